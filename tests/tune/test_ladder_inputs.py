"""What may come to a ladder: two threads at once, padding before, other kinds of numbers."""

import threading

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from shoestring.errors import ParameterError
from shoestring.models.backbone import own_length
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune.config import LadderConfig
from shoestring.tune.ladder import Ladder
from shoestring.tune.metrics import loss_of

FIRSTS = ["open the file", "sort", "join a list of words in the text", "read text"]
SECONDS = ["close", "flatten a nested list", "count", "split string"]
KINDS = {
    "classes": {"n_labels": 3},
    "apart": {"task": "score", "pairs": "apart"},
    "late": {"task": "score", "pairs": "late"},
}


@pytest.fixture(params=KINDS)
def settings(request):
    return KINDS[request.param]


def arrays_for(ladder, inputs_of):
    return inputs_of(ladder, FIRSTS, None if ladder.settings.pairs == "none" else SECONDS)


def turned(arrays):
    """The same with padding before the texts."""
    found = {}
    for name, array in arrays.items():
        mask = arrays["second_attention_mask" if "second" in name else "attention_mask"].bool()
        order = mask.long().argsort(dim=1, stable=True)
        found[name] = array.gather(1, order)
    return found


@torch.no_grad()
def test_two_threads_have_their_own_answers(make_ladder, stir, inputs_of):
    ladder = stir(make_ladder(n_labels=3)).eval()
    inputs = [inputs_of(ladder, [text]) for text in FIRSTS]
    want = [ladder(**arrays)["logits"] for arrays in inputs]
    wrong = []

    @torch.no_grad()
    def ask(n):
        for _ in range(50):
            try:
                if not torch.allclose(ladder(**inputs[n])["logits"], want[n], atol=1e-5):
                    wrong.append(n)
            except (RuntimeError, LookupError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@torch.no_grad()
def test_padding_may_come_before_a_text(family, settings, make_ladder, stir, inputs_of):
    ladder = stir(make_ladder(family, **settings)).eval()
    arrays = arrays_for(ladder, inputs_of)
    want, found = ladder(**arrays)["logits"], ladder(**turned(arrays))["logits"]
    torch.testing.assert_close(found, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "qwen2"])
def test_a_model_in_bfloat16_may_be_given(family, tiny_model, settings, inputs_of, saved):
    model = tiny_model(family).bfloat16()
    model.config.dtype = torch.bfloat16  # as it comes from a checkpoint
    frozen = FrozenBackbone.load(model)
    ladder = Ladder(LadderConfig(reduction=4, **settings), frozen)
    assert {weight.dtype for weight in ladder.parameters()} == {torch.float32}
    frozen.folder = saved(family)  # for its tokenizer
    arrays = arrays_for(ladder, inputs_of)
    ladder(**arrays)["logits"].sum().backward()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_ladder_in_another_kind_of_number_answers(settings, dtype, make_ladder, inputs_of):
    ladder = make_ladder(**settings).eval()
    arrays = arrays_for(ladder, inputs_of)
    want, found = ladder(**arrays)["logits"], ladder.to(dtype)(**arrays)["logits"]
    torch.testing.assert_close(found.float(), want, atol=0.1, rtol=0.1)


@torch.no_grad()
def test_half_precision_may_be_left_to_autocast(settings, make_ladder, inputs_of):
    ladder = make_ladder(**settings).eval()
    with torch.autocast("cpu", torch.float16):
        found = ladder(**arrays_for(ladder, inputs_of))["logits"]
    assert found.isfinite().all()


@torch.no_grad()
def test_a_first_batch_without_a_token_spoils_nothing(make_ladder, inputs_of):
    ladder, other = make_ladder(n_labels=3).eval(), make_ladder(n_labels=3).eval()
    arrays = inputs_of(ladder, FIRSTS)
    empty = arrays | {"attention_mask": torch.zeros_like(arrays["attention_mask"])}
    assert ladder(**empty)["logits"].isfinite().all()
    assert torch.equal(ladder(**arrays)["logits"], other(**arrays)["logits"])


def test_a_label_or_a_text_that_is_out_of_range_is_told(make_ladder):
    ladder = make_ladder("bert", task="classify", n_labels=2)
    ids = torch.tensor([[5, 6]])
    with pytest.raises(ParameterError, match="classes from 0 to 1"):
        ladder(ids, labels=torch.tensor([2]))
    with pytest.raises(ParameterError, match=r"tokens a text.*truncation=True"):
        ladder(ids.repeat(1, 2_000))
    with pytest.raises(ParameterError, match="own tokenizer"):
        ladder(ids + 10**6)


def test_labels_may_be_a_column_or_small_integers():
    numbers = torch.tensor([0.5, 1.0, 2.0])
    for task in ("regress", "score"):
        row, column = loss_of(task, numbers, numbers / 4), loss_of(
            task, numbers, numbers.unsqueeze(1) / 4
        )  # fmt: skip
        assert row == column
    logits, labels = torch.randn(3, 4), torch.tensor([0, 3, 1])
    assert loss_of("classify", logits, labels) == loss_of("classify", logits, labels.int())


def test_what_is_left_out_is_named(make_ladder, inputs_of):
    with pytest.raises(ParameterError, match=r"'input_ids'.*must be given"):
        make_ladder(n_labels=3)()
    for pairs in ("apart", "late"):
        ladder = make_ladder(task="score", pairs=pairs)
        arrays = inputs_of(ladder, FIRSTS, SECONDS)
        alone = {name: array for name, array in arrays.items() if "second" not in name}
        with pytest.raises(ParameterError, match=r"'second_input_ids'.*must be given"):
            ladder(**alone)
    short = {name: array[:1, :3] for name, array in arrays.items() if name.endswith("ids")}
    ladder(**short)  # without masks all is text


@pytest.mark.parametrize(
    ("name", "value"),
    [("layers", 2), ("layers", ("0", "2")), ("dropout", "x"), ("dropout", None)],
)
def test_settings_of_another_type_are_refused(name, value):
    with pytest.raises(ParameterError, match=f"'{name}'"):
        LadderConfig(**{"n_labels": 3, name: value})


SIZES = {
    "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
        ("rembert", {"input_embedding_size": 32, "output_embedding_size": 32}),
        ("falcon", {"ffn_hidden_size": 64}),
    ],
)
def test_other_names_of_sizes_are_divided_too(family, more):
    config = transformers.AutoConfig.for_model(family, **SIZES, **more)
    ladder = Ladder.from_backbone(
        transformers.AutoModel.from_config(config), LadderConfig(reduction=2, n_labels=3)
    )
    widest = max(max(weight.shape) for weight in ladder.side.parameters() if weight.ndim == 2)
    assert widest <= 82  # positions, of two texts and two besides
    ids = torch.ones((2, 5), dtype=torch.long)
    ladder(ids)["logits"].sum().backward()


@pytest.mark.parametrize("family", ["layoutlm", "mamba"])
def test_a_family_that_cannot_be_made_narrow_is_refused_at_once(family):
    sizes = {**SIZES, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "state_size": 4}
    config = transformers.AutoConfig.for_model(family)
    for name, value in sizes.items():
        if hasattr(config, name):
            setattr(config, name, value)
    model = transformers.AutoModel.from_config(config)
    with pytest.raises(ParameterError, match=r"'backbone'.*an attention mask and"):
        Ladder.from_backbone(model, LadderConfig(reduction=2, n_labels=3))


def test_a_model_of_pictures_is_refused():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    with pytest.raises(ParameterError, match=r"'backbone'"):
        Ladder.from_backbone(transformers.AutoModel.from_config(config))


def test_heads_that_have_a_width_of_their_own_must_divide(tiny_model):
    model = tiny_model("llama", head_dim=10)
    with pytest.raises(ParameterError, match=r"'reduction'"):
        Ladder.from_backbone(model, LadderConfig(reduction=4, n_labels=3))


@pytest.mark.parametrize(
    ("family", "want"), [("mpnet", 38), ("camembert", 38), ("xlm-roberta", 38), ("bert", 40)]
)
def test_positions_that_are_counted_from_padding_are_fewer(family, want, tmp_path):
    assert own_length(tmp_path, {"model_type": family, "max_position_embeddings": 40}) == want
