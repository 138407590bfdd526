"""Faults are found where they were planted and nowhere else, and the prescription mends."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from benchmarks.doctor.cases import FAULTS, SOUND, bert, gpt2, sizes
from torch import nn
from transformers import AutoConfig, BertConfig, LlamaConfig, T5Config

from shoestring.doctor import examine, predict, prescribe, read_curve
from shoestring.doctor.families import stacks_of
from shoestring.doctor.remedy import first_move
from shoestring.errors import FormatError, ParameterError, StorageError

DEEP = BertConfig(**sizes(64, 12, initializer_range=0.125))


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    torch.manual_seed(0)
    fault, make, options = FAULTS[name]
    found = examine(make(128), **(options or {})).faults
    assert fault in [one.name for one in found]
    assert all(one.place and one.prescription.endswith(".") for one in found)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_has_no_fault(name):
    torch.manual_seed(0)
    report = examine(SOUND[name](128), learning_rate=1e-4)
    assert report.faults == []
    assert report.verdict.startswith("sound: ")
    assert not report.is_trained


def test_a_training_without_warm_up_is_judged_by_what_is_prescribed():
    config = BertConfig(**sizes(128, 12, initializer_range=0.05))
    (fault,) = examine(config, learning_rate=1e-3, warmup_steps=0).faults
    steps = fault.threshold
    assert 10 < steps < 1_000
    (fault,) = examine(config, learning_rate=1e-3, warmup_steps=steps - 1).faults
    assert (fault.name, fault.number, fault.threshold) == ("no warm-up", steps - 1, steps)
    assert examine(config, learning_rate=1e-3, warmup_steps=steps).faults == []
    assert examine(gpt2(64, 2), warmup_steps=0).faults == []


def test_the_first_step_of_adam_moves_the_last_hidden_state_as_predicted():
    config = BertConfig(**sizes(128, 6, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    torch.manual_seed(0)
    model = bert(128, 6, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ids = torch.arange(5, 69).view(2, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    with torch.no_grad():
        before = model.bert(ids).last_hidden_state
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    with torch.no_grad():
        move = model.bert(ids).last_hidden_state - before
    relative = float(move.square().mean().sqrt() / before.square().mean().sqrt())
    said = first_move(stacks_of(config), predict(config, ids.tolist()), 1e-5)
    assert relative / 2 < said < relative * 2


def test_a_prescription_keeps_the_input_and_the_tokens_apart():
    found = prescribe(DEEP)
    assert found.gain < 1e-3
    assert found.new_gain == pytest.approx(0.9, abs=0.02)
    assert found.new_correlation < 0.5 < 0.99 < found.correlation
    assert found.warmup_steps == 0
    mended = copy.deepcopy(DEEP)
    mended.initializer_range *= found.factor
    assert predict(mended).gain == pytest.approx(found.new_gain, abs=0.02)
    assert prescribe(mended).factor == pytest.approx(1.0, abs=0.05)


def test_a_prescription_holds_for_a_fresh_module():
    mended = copy.deepcopy(DEEP)
    mended.initializer_range *= prescribe(DEEP).factor
    report = examine(mended)
    assert report.measured.gain == pytest.approx(0.9, abs=0.05)
    assert report.faults == []


def test_pre_norm_models_keep_their_weights():
    found = prescribe(LlamaConfig(**sizes(64, 4)))
    assert (found.factor, found.warmup_steps) == (1.0, 0)


def test_trained_weights_are_not_judged_by_their_initialisation():
    torch.manual_seed(0)
    model = bert(64, 2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name.lower() or "dense" in name:
                weight *= 1 + 3 * torch.rand_like(weight)
    report = examine(model)
    assert report.is_trained
    assert report.faults == []


def test_a_config_alone_or_a_large_one_is_predicted_only(monkeypatch):
    from shoestring.doctor import report

    monkeypatch.setattr(report, "LARGEST", 1_000)
    found = examine(LlamaConfig(**sizes(64, 2)))
    assert found.measured is None
    assert found.rows()[0].keys() == {"place", "predicted"}
    with pytest.raises(ParameterError, match="at most 1,000 parameters, or of bert"):
        examine(AutoConfig.for_model("gpt_neox", **sizes(64, 2)))


def test_the_same_seed_gives_the_same_report_and_leaves_the_random_state():
    config = T5Config(d_model=64, d_ff=128, num_layers=1, num_heads=1, vocab_size=50)
    state = torch.random.get_rng_state()
    assert examine(config, seed=3) == examine(config, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())


# ---- losses

FALLING = [4 * math.exp(-i / 80) + 1 + 0.02 * math.sin(i) for i in range(400)]


def curve(folder, losses, name="log.jsonl"):
    path = folder / name
    path.write_text(
        "\n".join(json.dumps({"step": 10 * i, "loss": x}) for i, x in enumerate(losses))
    )
    return path


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        (FALLING, []),
        ([3.1 + 0.01 * math.sin(i) for i in range(400)], ["settled early"]),
        ([*np.linspace(7, 3, 20), *[3.0] * 380], ["settled early"]),
        ([*FALLING[:300], *np.linspace(1.1, 4, 100)], ["diverged"]),
        ([*FALLING[:300], *[math.nan] * 100], ["diverged"]),
        ([*FALLING[:200], 4.5, *FALLING[200:]], ["spike"]),
    ],
    ids=("falling", "constant", "settled", "diverged", "no number", "spike"),
)
def test_losses_say_what_went_wrong(tmp_path, losses, told):
    assert [fault.name for fault in read_curve(curve(tmp_path, losses))] == told


def test_the_places_of_a_curve_are_steps_and_a_trainer_state_is_read(tmp_path):
    (fault,) = read_curve(curve(tmp_path, [*FALLING[:200], 4.5, *FALLING[200:]]))
    assert (fault.place, fault.number) == ("step 2000", 4.5)
    rows = [{"step": i, "loss": x} for i, x in enumerate(FALLING[::20])]
    rows += [{"eval_loss": 9.0}, {"train_loss": 2.0}]  # the mean of the run
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": rows, "epoch": 1.0}, indent=1))
    assert read_curve(state) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has 0 losses"),
        ('{"loss": 1.0}\n' * 9, "has 9 losses"),
        ("step loss\n1 2\n", ":1:1: broken JSON"),
        ('{"log_history": 3}', "has 0 losses"),
        ('{"loss": "1.0"}\n' * 20, "has 0 losses"),
    ],
)
def test_a_log_without_losses_is_told(tmp_path, text, told):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(FormatError, match=told):
        read_curve(path)
    with pytest.raises(StorageError, match="no file"):
        read_curve(tmp_path / "none.jsonl")


# ---- the commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "base"
    torch.manual_seed(0)
    bert(64, 2).save_pretrained(path)
    return path


def test_the_command_prints_a_line_a_sublayer_and_the_verdict(
    run_command, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")  # of a table that is not cut
    batch = tmp_path / "texts.txt"
    batch.write_text("one text of some words\nand one more text\n")
    code, out, _ = run_command("doctor", folder, "--batch", batch)
    assert code == 0
    assert "1.feed-forward" in out
    assert "sound: last hidden state with gain" in out
    code, out, _ = run_command(
        "doctor", folder, "--json", "--warmup", 0, "--lr", 0.1, "--optimizer", "adam"
    )
    found = json.loads(out)
    assert len(found["sublayers"]) == 4
    assert found["sublayers"][0]["measured"]["deviation"] > 0
    (fault,) = found["faults"]
    assert fault.keys() == {"name", "place", "number", "threshold", "prescription"}
    assert fault["name"] == "learning rate"


def test_the_command_draws(run_command, folder, tmp_path):
    pytest.importorskip("matplotlib")
    assert run_command("doctor", folder, "--plot", tmp_path / "out.png")[0] == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_mended_config_is_written(run_command, tmp_path):
    DEEP.save_pretrained(tmp_path / "deep")
    out = tmp_path / "mended"
    code, said, _ = run_command("doctor", "prescribe", tmp_path / "deep", "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert json.loads((out / "prescription.json").read_text()) == found
    mended = AutoConfig.from_pretrained(out)
    assert mended.initializer_range == pytest.approx(0.125 * found["factor"])
    assert run_command("doctor", out / "config.json")[0] == 0
    assert run_command("doctor", "prescribe", tmp_path / "deep", "--out", out)[0] == 2


def test_a_curve_is_read_by_the_command(run_command, tmp_path):
    path = curve(tmp_path, FALLING)
    assert run_command("doctor", "curve", path)[1].startswith("sound")
    bad = curve(tmp_path, [3.0] * 100)
    assert "settled early" in run_command("doctor", "curve", bad)[1]
    faults = json.loads(run_command("doctor", "curve", bad, "--json")[1])["faults"]
    assert faults[0]["name"] == "settled early"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no model folder nowhere"),
        (["BASE", "--optimizer", "momentum"], "--optimizer must be 'adamw'"),
        (["BASE", "--lr", "0"], "--lr must be a number above 0"),
        (["BASE", "--warmup", "-1"], "--warmup must be an int of at least 0"),
        (["prescribe", "nowhere"], "no model folder nowhere"),
        (["curve", "nowhere"], "no file nowhere"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_that_names_the_flag(run_command, folder, arguments, told):
    code, out, err = run_command("doctor", *(folder if a == "BASE" else a for a in arguments))
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_texts_and_modules_that_cannot_be_examined_are_told():
    for wrong, told in (
        ({"texts": [""]}, "two tokens or more"),
        ({"texts": 3}, "list of texts"),
        ({"seed": -1}, "seed"),
        ({"learning_rate": math.nan}, "above 0"),
    ):
        with pytest.raises(ParameterError, match=told):
            examine(bert(64, 1), **wrong)
    with pytest.raises(ParameterError, match="must be a Transformer"):
        examine(nn.Linear(3, 3))
    with pytest.raises(ParameterError, match="of prescribe must be a path"):
        prescribe(nn.Linear(3, 3))
    with pytest.raises(ParameterError, match="one of bert"):
        prescribe(AutoConfig.for_model("gpt_neox", **sizes(64, 2)))


def test_what_cannot_be_drawn_is_told(run_command, folder, tmp_path):
    code, _, err = run_command("doctor", folder, "--plot", tmp_path / "out.txt")
    assert (code, "--plot must be a .png, .svg or .pdf file" in err) == (2, True)
