import copy
import json
import random
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors.torch import load_file

from shoestring.errors import FormatError, IntegrityError, ParameterError, StorageError
from shoestring.models.frozen import BackboneOutputs, FrozenBackbone
from shoestring.tune.config import LadderConfig
from shoestring.tune.ladder import Ladder

DECODERS = ("gpt2", "llama", "qwen2")
FIRSTS = [
    "open the file", "sort a list of words in the text", "join", "read text", "close the path",
    "split string", "flatten a nested list", "count the words of a line",
]  # fmt: skip
SECONDS = [
    "read write file", "sort words", "chain", "open a key of the map", "close", "join string list",
    "chain", "count",
]  # fmt: skip
CASES = {
    "classes": {"n_labels": 3},
    "classes of pairs, joint": {"n_labels": 3, "pairs": "joint"},
    "classes of pairs, apart": {"n_labels": 3, "pairs": "apart"},
    "numbers": {"task": "regress"},
    "numbers of pairs, apart": {"task": "regress", "pairs": "apart"},
    "scores, joint": {"task": "score", "pairs": "joint"},
    "scores, apart": {"task": "score", "pairs": "apart"},
    "scores, late": {"task": "score", "pairs": "late"},
    "two of three layers": {"n_labels": 3, "layers": (0, 2)},
}


@pytest.fixture(params=CASES)
def settings(request):
    """Each task and way to read pairs, in turn."""
    return CASES[request.param]


@pytest.fixture(scope="session")
def examples_of(inputs_of):
    """A function: eight labelled examples as a batch that a ladder learns from."""

    def examples(ladder):
        task, pairs = ladder.settings.task, ladder.settings.pairs
        arrays = inputs_of(ladder, FIRSTS, None if pairs == "none" else SECONDS)
        rows = torch.arange(len(FIRSTS))
        labels = {"classify": rows % 3, "regress": rows.float() / 4, "score": rows % 2}[task]
        return arrays | {"labels": labels}

    return examples


def loss_on(ladder, batch):
    ladder.eval()
    with torch.no_grad():
        return ladder(**batch)["loss"].item()


def answers(ladder, arrays):
    ladder.eval()
    with torch.no_grad():
        return ladder(**{k: v for k, v in arrays.items() if k != "labels"})["logits"]


# ---- the backbone stays frozen ----


def watch_backbone(frozen, monkeypatch):
    """Know when the backbone computes, and what it gives."""
    state, read = {"inside": False, "given": []}, frozen.outputs

    def outputs(*args, **kwargs):
        state["inside"] = True
        try:
            state["given"].append(read(*args, **kwargs))
        finally:
            state["inside"] = False
        return state["given"][-1]

    monkeypatch.setattr(frozen, "outputs", outputs)
    return state


def count_saved(ladder, batch, state):
    """Tensors that autograd keeps for the way back: those of the backbone, and all."""
    inside, everything = [], []

    def pack(tensor):
        everything.append(tensor)
        if state["inside"]:
            inside.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ladder.train()
        loss = ladder(**batch)["loss"]
    loss.backward()
    return inside, everything


def test_a_ladder_records_no_gradient_in_the_backbone(
    family, make_ladder, examples_of, backbone, monkeypatch
):
    ladder, frozen = make_ladder(family, n_labels=3, reduction=8), backbone(family)
    state = watch_backbone(frozen, monkeypatch)
    inside, everything = count_saved(ladder, examples_of(ladder), state)
    assert inside == []
    assert len(everything) > 10
    (outputs,) = state["given"]
    assert not outputs.requires_grad
    assert outputs.grad_fn is None
    k, b, t, d = outputs.shape
    wide = {x.data_ptr(): x.shape for x in everything if x.numel() >= b * t * d}
    assert list(wide.values()) == [(k, b * t, d)]  # the outputs that all come down at once
    assert outputs.data_ptr() in wide
    assert all(p.grad is None for p in frozen.model.parameters())


def test_a_backbone_that_is_read_with_gradients_would_be_seen(
    make_ladder, examples_of, tiny_model, monkeypatch
):
    """The count above can fail."""
    frozen = FrozenBackbone(tiny_model("bert"), dtype="float32")
    ladder = Ladder(LadderConfig(reduction=4, n_labels=3), frozen)
    batch = examples_of(make_ladder(n_labels=3))
    frozen.model.requires_grad_(True)
    read, model = frozen.outputs, frozen.model
    monkeypatch.setattr(frozen, "outputs", lambda *given, **_: read(*given, trained=model))
    inside, _ = count_saved(ladder, batch, watch_backbone(frozen, monkeypatch))
    assert len(inside) > 10


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_what_is_kept_for_the_way_back_does_not_grow_with_the_depth_of_the_backbone(
    kind, tiny_model, make_ladder, examples_of
):
    batch, kept = examples_of(make_ladder(kind, n_labels=3)), []
    for depth in (3, 9):
        frozen = FrozenBackbone(tiny_model(kind, num_hidden_layers=depth), dtype="float32")
        layers = tuple(range(depth - 2, depth))
        ladder = Ladder(LadderConfig(reduction=4, n_labels=3, layers=layers), frozen)
        _, everything = count_saved(ladder, batch, {"inside": False})
        kept.append(sum(x.numel() for x in everything))
    assert kept[0] == kept[1]


def test_a_ladder_has_no_parameter_buffer_or_module_of_the_backbone(family, make_ladder, backbone):
    ladder, model = make_ladder(family), backbone(family).model
    theirs = {x.data_ptr() for x in (*model.parameters(), *model.buffers())}
    assert not theirs & {x.data_ptr() for x in (*ladder.parameters(), *ladder.buffers())}
    assert not {id(m) for m in model.modules()} & {id(m) for m in ladder.modules()}
    names = set(ladder.state_dict())
    assert {name.split(".")[0] for name in names} == {"side", "down", "head"}
    assert (
        sum(p.numel() for p in ladder.parameters() if p.requires_grad)
        < sum(p.numel() for p in model.parameters()) / 2
    )


def test_training_mode_leaves_dropout_in_the_backbone_off(tiny_model):
    model = tiny_model("bert", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    ids = torch.tensor([[2, 7, 9, 3]])
    model.train()
    with torch.no_grad():  # it has dropout indeed
        assert not torch.equal(model(ids).last_hidden_state, model(ids).last_hidden_state)
    ladder = Ladder.from_backbone(model, LadderConfig(reduction=4, dropout=0.5), dtype="float32")
    ladder.train()
    assert not any(m.training for m in ladder.backbone.model.modules())
    assert all(m.training for m in ladder.modules())
    read = [ladder.read(ids, torch.ones_like(ids)) for _ in range(2)]
    assert torch.equal(read[0].outputs, read[1].outputs)
    assert not torch.equal(ladder.side_states(read[0]), ladder.side_states(read[1]))
    ladder.eval()
    assert torch.equal(ladder.side_states(read[0]), ladder.side_states(read[1]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decoders_are_told_from_encoders(family, dtype, saved):
    frozen = FrozenBackbone.load(saved(family), dtype)
    assert frozen.is_causal == (family in DECODERS)


class Mute(torch.nn.Module):
    """A Transformer that keeps the outputs of its layers to itself."""

    def __init__(self, model, n_states):
        super().__init__()
        self.inner, self.config, self.n_states = model, model.config, n_states

    def forward(self, input_ids, attention_mask, output_hidden_states, return_dict):
        found = self.inner(input_ids, attention_mask=attention_mask, output_hidden_states=True)
        if self.n_states is None:
            return type(found)(last_hidden_state=found.last_hidden_state)
        return type(found)(hidden_states=found.hidden_states[: self.n_states])


@pytest.mark.parametrize("n_states", [None, 3])
def test_a_backbone_that_does_not_give_its_states_is_refused(n_states, tiny_model):
    model = Mute(tiny_model("bert"), n_states)
    with pytest.raises(ParameterError, match=r"outputs of all its layers.*Got 'Mute'"):
        Ladder.from_backbone(model, LadderConfig(reduction=4))


def test_what_is_no_backbone_is_refused():
    with pytest.raises(ParameterError, match=r"a folder, a name, or a model.*Got 'Linear'"):
        Ladder.from_backbone(torch.nn.Linear(2, 2))
    with pytest.raises(StorageError, match="no model folder minilmm"):
        Ladder.from_backbone("minilmm")


def test_an_unknown_dtype_is_refused(saved):
    with pytest.raises(ParameterError, match="dtype"):
        Ladder.from_backbone(saved("bert"), dtype="float8")


# ---- padding and batches ----


def test_a_text_alone_and_padded_in_a_batch_is_read_the_same(
    family, backbone, inputs_of, make_ladder
):
    ladder = make_ladder(family)
    arrays = inputs_of(ladder, FIRSTS, width=20)
    together = ladder.read(arrays["input_ids"], arrays["attention_mask"])
    for i, text in enumerate(FIRSTS):
        arrays = inputs_of(ladder, [text])
        alone = ladder.read(arrays["input_ids"], arrays["attention_mask"])
        n = alone.outputs.shape[2]
        torch.testing.assert_close(
            together.outputs[:, i, :n], alone.outputs[:, 0], atol=1e-4, rtol=1e-4
        )


def test_answers_do_not_depend_on_padding_or_companions(
    family, settings, make_ladder, inputs_of, examples_of, stir
):
    ladder = stir(make_ladder(family, **settings))
    answers(ladder, examples_of(ladder))  # the scale of outputs is known from here on
    seconds = None if ladder.settings.pairs == "none" else SECONDS
    together = answers(ladder, inputs_of(ladder, FIRSTS, seconds, width=19))
    assert together.std() > 0.05
    for i, text in enumerate(FIRSTS):
        alone = answers(ladder, inputs_of(ladder, [text], seconds and [seconds[i]]))[0]
        torch.testing.assert_close(alone, together[i], atol=2e-4, rtol=2e-4)


def test_two_texts_as_long_as_the_backbone_reads_make_a_pair(family, make_ladder, inputs_of):
    ladder = make_ladder(family, task="score", pairs="apart", max_length=40)
    arrays = inputs_of(ladder, ["open the file " * 40], ["close the path " * 40])
    assert arrays["input_ids"].shape[1] == ladder.backbone.max_length
    assert answers(ladder, arrays).isfinite().all()


def test_texts_that_were_read_before_are_answered_as_their_ids(
    settings, make_ladder, examples_of, stir
):
    ladder = stir(make_ladder(**settings))
    batch = examples_of(ladder)
    want = answers(ladder, batch)
    names = ("input_ids", "attention_mask", "special_tokens_mask")
    first = ladder.read(*(batch[name] for name in names), batch.get("token_type_ids"))
    second = None
    if "second_input_ids" in batch:
        second = ladder.read(*(batch[f"second_{name}"] for name in names))
    assert torch.equal(answers(ladder, {"first": first, "second": second}), want)
    as_dicts = {"first": first._asdict(), "second": second and second._asdict()}
    assert torch.equal(answers(ladder, as_dicts), want)
    assert isinstance(first, BackboneOutputs)


# ---- training ----


def test_training_lowers_the_loss(settings, make_ladder, examples_of):
    ladder = make_ladder(**settings)
    batch = examples_of(ladder)
    before = loss_on(ladder, batch)
    ladder.train()
    optimizer = torch.optim.Adam(ladder.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        ladder(**batch)["loss"].backward()
        optimizer.step()
    assert loss_on(ladder, batch) < 0.7 * before


def test_training_lowers_the_loss_of_groups(make_ladder, examples_of):
    for pairs in ("apart", "late"):
        ladder = make_ladder(task="score", pairs=pairs)
        batch = examples_of(ladder) | {"groups": torch.arange(8) // 4}
        before = loss_on(ladder, batch)
        optimizer = torch.optim.Adam(ladder.parameters(), lr=1e-2)
        for _ in range(25):
            optimizer.zero_grad()
            ladder(**batch)["loss"].backward()
            optimizer.step()
        assert loss_on(ladder, batch) < 0.7 * before


@pytest.mark.parametrize("case", ["classes", "scores, apart", "scores, late"])
def test_every_parameter_that_is_trained_gets_a_gradient(
    family, case, make_ladder, examples_of, stir
):
    ladder = stir(make_ladder(family, **CASES[case]))
    ladder.train()
    ladder(**examples_of(ladder))["loss"].backward()
    for name, parameter in ladder.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    gates = ladder.down.gate_logits.grad
    assert (gates != 0).all()
    assert (ladder.down.weight.grad.flatten(1).norm(dim=1) > 0).all()


def test_the_side_network_itself_learns(make_ladder, examples_of):
    """It is multiplied by zeros at first: after a few steps it must have moved too."""
    ladder = make_ladder(n_labels=3)
    before = copy.deepcopy(ladder.state_dict())
    batch, optimizer = examples_of(ladder), torch.optim.SGD(ladder.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        ladder(**batch)["loss"].backward()
        optimizer.step()
    for name in ("down.weight", "down.gate_logits", "head.up.weight", "head.out.weight"):
        assert not torch.equal(ladder.state_dict()[name], before[name]), name
    moved = [
        n for n, w in ladder.side.state_dict().items() if not torch.equal(w, before[f"side.{n}"])
    ]
    assert len(moved) > 30


def test_labels_are_optional(settings, make_ladder, examples_of):
    ladder = make_ladder(**settings).eval()
    batch = examples_of(ladder)
    found = ladder(**batch)
    assert set(found) == {"loss", "logits"}
    assert found["loss"].shape == ()
    del batch["labels"]
    assert set(ladder(**batch)) == {"logits"}
    assert torch.equal(ladder(**batch)["logits"], found["logits"])
    assert found["logits"].shape == {"classify": (8, 3)}.get(ladder.settings.task, (8,))


def train(ladder, batch, folder, **arguments):
    """The plain Trainer on the rows of a batch."""
    rows = [{name: array[i] for name, array in batch.items()} for i in range(len(FIRSTS))]
    settings = {
        "max_steps": 15, "learning_rate": 1e-2, "save_strategy": "no", "logging_strategy": "no",
        "per_device_train_batch_size": 4, "dataloader_pin_memory": False, "disable_tqdm": True,
    }  # fmt: skip
    trainer = transformers.Trainer(
        ladder,
        transformers.TrainingArguments(
            str(folder), report_to=[], use_cpu=True, remove_unused_columns=False,
            **{**settings, **arguments},
        ),
        train_dataset=rows, eval_dataset=rows,
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def test_a_ladder_trains_under_the_plain_trainer(settings, make_ladder, examples_of, tmp_path):
    ladder = make_ladder(**settings)
    batch = examples_of(ladder)
    weights = [p.clone() for p in ladder.backbone.model.parameters()]
    before = loss_on(ladder, batch)
    trainer = train(ladder, batch, tmp_path)
    trainer.train()
    after = loss_on(ladder, batch)
    assert after < 0.9 * before
    assert trainer.evaluate()["eval_loss"] == pytest.approx(after, rel=1e-3)
    logits = trainer.predict(trainer.eval_dataset).predictions
    np.testing.assert_allclose(logits, answers(ladder, batch), atol=1e-4)
    for one, other in zip(weights, ladder.backbone.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_two_half_batches_make_the_step_of_one(make_ladder, examples_of, tmp_path):
    """The Trainer must not take the loss for one that is divided already."""
    ladders = [make_ladder(n_labels=3) for _ in range(2)]
    batch = examples_of(ladders[0])
    for ladder, size in zip(ladders, (8, 4), strict=True):
        loss_on(ladder, batch)  # the scale of all outputs
        train(
            ladder, batch, tmp_path, max_steps=1, per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size, optim="sgd", learning_rate=0.5, max_grad_norm=0,
            lr_scheduler_type="constant",
        ).train()  # fmt: skip
    one, two = (ladder.state_dict() for ladder in ladders)
    fresh = make_ladder(n_labels=3).state_dict()
    assert not torch.allclose(one["head.out.weight"], fresh["head.out.weight"], atol=1e-3)
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-5, rtol=1e-4)


def test_training_that_was_stopped_goes_on_from_its_checkpoint(make_ladder, examples_of, tmp_path):
    whole, half = make_ladder(n_labels=3), make_ladder(n_labels=3)
    batch = examples_of(whole)
    train(whole, batch, tmp_path / "whole", max_steps=6).train()
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    train(half, batch, tmp_path / "half", **saving).train()
    resumed = make_ladder(n_labels=3)
    checkpoint = str(tmp_path / "half" / "checkpoint-3")
    train(resumed, batch, tmp_path / "half", max_steps=6).train(resume_from_checkpoint=checkpoint)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, atol=1e-6, rtol=1e-5)


# ---- seeds ----


def test_the_same_seed_makes_the_same_weights(family, make_ladder):
    one, two, other = (make_ladder(family, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["down.weight"], other["down.weight"])
    assert any(not torch.equal(one[n], other[n]) for n in one if n.startswith("side."))


def test_making_or_opening_a_ladder_leaves_random_numbers_alone(saved, tmp_path):
    def state():
        return torch.get_rng_state(), random.getstate()

    def untouched(before):
        now = state()
        return torch.equal(now[0], before[0]) and now[1] == before[1]

    before = state()
    ladder = Ladder.from_backbone(saved("bert"), LadderConfig(reduction=4), dtype="float32")
    assert untouched(before)
    ladder.save_pretrained(tmp_path / "ladder")
    Ladder.from_pretrained(tmp_path / "ladder", dtype="float32")
    assert untouched(before)
    torch.rand(1)
    assert not untouched(before)


# ---- saving ----


@pytest.fixture
def ladder(make_ladder, stir, inputs_of):
    """A ladder that has been somewhere: weights moved, scale known."""
    ladder = stir(make_ladder(n_labels=3, labels=("a", "b", "c")))
    answers(ladder, inputs_of(ladder, FIRSTS))
    return ladder


@pytest.mark.parametrize("case", ["classes", "scores, apart", "scores, late"])
def test_a_ladder_comes_back_with_the_same_answers_bit_for_bit(
    family, case, make_ladder, stir, examples_of, tmp_path
):
    ladder = stir(make_ladder(family, **CASES[case]))
    batch = examples_of(ladder)
    want = answers(ladder, batch)
    ladder.save_pretrained(tmp_path / "ladder")
    again = Ladder.from_pretrained(tmp_path / "ladder", dtype="float32")
    assert not again.training
    assert again.settings == ladder.settings
    assert torch.equal(answers(again, batch), want)


def test_a_head_alone_comes_back_as_one(make_ladder, stir, examples_of, tmp_path):
    ladder = stir(make_ladder(with_side=False, n_labels=3))
    batch = examples_of(ladder)
    ladder.save_pretrained(tmp_path / "head")
    again = Ladder.from_pretrained(tmp_path / "head", dtype="float32")
    assert again.side is None
    assert torch.equal(answers(again, batch), answers(ladder, batch))


def test_the_folder_has_no_weights_of_the_backbone(ladder, tmp_path):
    ladder.save_pretrained(tmp_path / "ladder")
    names = sorted(path.name for path in (tmp_path / "ladder").iterdir())
    assert names == ["config.json", "shoestring-save-1"]
    weights = load_file(tmp_path / "ladder" / names[1] / "side.safetensors")
    assert set(weights) == set(ladder.state_dict())


def test_saving_again_replaces_what_was_saved(ladder, stir, examples_of, tmp_path):
    folder = tmp_path / "ladder"
    ladder.save_pretrained(folder)
    stir(ladder, seed=7)
    ladder.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "shoestring-save-2"]
    again = Ladder.from_pretrained(folder, dtype="float32")
    batch = examples_of(ladder)
    assert torch.equal(answers(again, batch), answers(ladder, batch))


def test_a_save_that_fails_leaves_what_was_saved(ladder, stir, examples_of, tmp_path, monkeypatch):
    folder = tmp_path / "ladder"
    ladder.save_pretrained(folder)
    batch = examples_of(ladder)
    want = answers(ladder, batch)
    stir(ladder, seed=7)

    def full(self, target, replace=Path.replace):
        if target.name == "config.json":  # the last file of a save
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match="No space left"):
            ladder.save_pretrained(folder)
    assert torch.equal(answers(Ladder.from_pretrained(folder, dtype="float32"), batch), want)
    ladder.save_pretrained(folder)
    assert len(list(folder.iterdir())) == 2


def test_another_backbone_at_the_old_place_is_refused(save_tiny, tmp_path):
    place = save_tiny(tmp_path / "backbone", "bert")
    ladder = Ladder.from_backbone(place, LadderConfig(reduction=4), dtype="float32")
    ladder.save_pretrained(tmp_path / "ladder")
    save_tiny(place, "bert", seed=1)
    with pytest.raises(IntegrityError, match=r"trained on the backbone .*backbone=\.\.\."):
        Ladder.from_pretrained(tmp_path / "ladder")


def test_a_backbone_that_has_moved_can_be_named(save_tiny, tmp_path, examples_of):
    place = save_tiny(tmp_path / "backbone", "bert")
    ladder = Ladder.from_backbone(place, LadderConfig(reduction=4, n_labels=3), dtype="float32")
    batch = examples_of(ladder)
    want = answers(ladder, batch)
    ladder.save_pretrained(tmp_path / "ladder")
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="There is no model folder"):
        Ladder.from_pretrained(tmp_path / "ladder")
    again = Ladder.from_pretrained(tmp_path / "ladder", tmp_path / "elsewhere", dtype="float32")
    assert torch.equal(answers(again, batch), want)


def test_a_backbone_is_named_by_its_folder(ladder, tiny_model, tmp_path):
    ladder.save_pretrained(tmp_path / "ladder")
    with pytest.raises(ParameterError, match=r"'backbone' parameter of Ladder\.from_pre"):
        Ladder.from_pretrained(tmp_path / "ladder", tiny_model("bert"))


def test_a_ladder_on_a_model_that_was_given_cannot_be_saved(tiny_model, tmp_path):
    ladder = Ladder.from_backbone(tiny_model("bert"), LadderConfig(reduction=4), dtype="float32")
    with pytest.raises(ParameterError, match="Save it with its tokenizer"):
        ladder.save_pretrained(tmp_path / "ladder")
    assert not (tmp_path / "ladder").exists()


def test_a_folder_with_other_files_is_not_written_to(ladder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(ParameterError, match=r"notes\.txt"):
        ladder.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_of_something_else_is_not_written_to(ladder, saved, tmp_path):
    with pytest.raises(ParameterError, match=r"outside of .*, which is replaced"):
        ladder.save_pretrained(saved("bert"))
    (tmp_path / "config.json").write_text('{"format": "shoestring-words", "format_version": 1}')
    with pytest.raises(FormatError, match=r"not the config\.json of a ladder"):
        ladder.save_pretrained(tmp_path)


def change_config(folder, **changes):
    file = folder / "config.json"
    config = {**json.loads(file.read_text("utf-8")), **changes}
    config.pop("crc32", None)
    file.write_text(json.dumps(config), "utf-8")


def cut_weights(folder):
    file = folder / "shoestring-save-1" / "side.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def garble_weights(folder):
    (folder / "shoestring-save-1" / "side.safetensors").write_bytes(b"\xff" * 5000)


def lose_weights(folder):
    (folder / "shoestring-save-1" / "side.safetensors").unlink()


def other_settings(folder):
    ladder = json.loads((folder / "config.json").read_text("utf-8"))["ladder"]
    change_config(folder, ladder={**ladder, "n_labels": 5, "labels": []})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_weights, r"side\.safetensors is damaged: its bytes have changed.*Tune it again"),
        (garble_weights, r"side\.safetensors is damaged"),
        (lose_weights, r"side\.safetensors is missing"),
        (other_settings, r"side\.safetensors is damaged: Error\(s\) in loading"),
    ],
)
def test_damaged_weights_are_named(damage, words, ladder, tmp_path):
    ladder.save_pretrained(tmp_path / "ladder")
    damage(tmp_path / "ladder")
    with pytest.raises(IntegrityError, match=words):
        Ladder.from_pretrained(tmp_path / "ladder")


def test_a_config_of_something_else_or_of_another_version_is_refused(ladder, tmp_path):
    folder = tmp_path / "ladder"
    ladder.save_pretrained(folder)
    change_config(folder, format="shoestring-words")
    with pytest.raises(FormatError, match=r"not the config\.json of a ladder"):
        Ladder.from_pretrained(folder)
    change_config(folder, format="shoestring-ladder", format_version=9)
    with pytest.raises(FormatError, match="9"):
        Ladder.from_pretrained(folder)


def test_a_folder_without_a_ladder_is_refused(saved, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ParameterError, match=r"no config\.json"):
            Ladder.from_pretrained(folder)
    with pytest.raises(FormatError, match=r"not the config\.json of a ladder"):
        Ladder.from_pretrained(saved("bert"))


def test_a_config_that_is_no_json_is_named(ladder, tmp_path):
    ladder.save_pretrained(tmp_path / "ladder")
    (tmp_path / "ladder" / "config.json").write_bytes(b'{"format": "shoe')
    with pytest.raises(IntegrityError, match=r"config\.json is damaged"):
        Ladder.from_pretrained(tmp_path / "ladder")


@pytest.mark.parametrize("name", ["backbone", "backbone_digest", "files", "ladder", "with_side"])
def test_a_config_that_lacks_an_entry_is_named(name, ladder, tmp_path):
    folder = tmp_path / "ladder"
    ladder.save_pretrained(folder)
    document = json.loads((folder / "config.json").read_text("utf-8"))
    del document[name]
    (folder / "config.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        Ladder.from_pretrained(folder)


def test_a_copy_is_a_ladder_of_its_own(ladder, examples_of, stir):
    batch = examples_of(ladder)
    want = answers(ladder, batch)
    other = copy.deepcopy(ladder)
    assert torch.equal(answers(other, batch), want)
    stir(other, seed=9)
    assert not torch.equal(answers(other, batch), want)
    assert torch.equal(answers(ladder, batch), want)


# ---- settings ----


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *CASES.values(),
        {"labels": ("yes", "no")},
        {"layers": (1, 3), "seed": 9},
    ],
)
def test_settings_come_back_from_json(settings):
    config = LadderConfig(**settings)
    assert LadderConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "dance"), ("pairs", "both"), ("reduction", 1),
        ("reduction", 8.0), ("reduction", True),
        ("n_labels", 1), ("n_labels", 0), ("max_length", 3), ("dropout", 1.0), ("dropout", -0.1),
        ("labels", ("a", "b", "c")), ("pairs", "late"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(name, value):
    with pytest.raises(ParameterError, match=f"'{name}' parameter of LadderConfig"):
        LadderConfig(**{name: value})


@pytest.mark.parametrize("layers", [(), (0, 1), (2, 1), (1, 1, 2), (0, 3), (-1, 2)])
def test_layers_that_cannot_be_are_refused(layers, make_ladder):
    with pytest.raises(ParameterError, match="'layers' parameter of LadderConfig"):
        make_ladder(layers=layers)


@pytest.mark.parametrize(
    ("n_layers", "layers"),
    [(1, (0,)), (2, (1,)), (3, (2,)), (6, (2, 5)), (8, (1, 4, 7)), (12, (2, 5, 8, 11))],
)
def test_every_third_layer_has_a_rung_by_default_and_the_last_one(n_layers, layers):
    assert LadderConfig().of_backbone(n_layers).layers == layers


def test_a_number_is_one_label_and_a_score_is_of_pairs_read_apart():
    assert LadderConfig(task="regress").n_labels == 1
    assert (LadderConfig(task="score").n_labels, LadderConfig(task="score").pairs) == (1, "apart")


def test_no_warning_is_left_to_the_user(saved, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ladder = Ladder.from_backbone(saved("bert"), LadderConfig(reduction=4), dtype="float32")
        ladder.save_pretrained(tmp_path / "ladder")
        Ladder.from_pretrained(tmp_path / "ladder")
    assert [str(w.message) for w in caught] == []
