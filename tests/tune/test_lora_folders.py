"""What LoRA leaves: a head and an adapter, beside a backbone that is named."""

import json
import sys
import zlib

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch

from shoestring.errors import IntegrityError
from shoestring.match import TokenInteraction, load_scorer
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import Ladder, LadderConfig, LadderScorer
from shoestring.tune.baselines import make_model

# peft 0.21 asks transformers 5.23 for a name that is to go
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

TEXTS = ["open the file", "sort a list of words", "join", "", "read write file list"]
SAVE = "shoestring-save-1"
PAIRS = [(query, text) for query in TEXTS[:4] for text in TEXTS]


def trained(source, method="lora", **changes):
    """A model whose adapter, or backbone, and head have been moved at random."""
    config = LadderConfig(**{"reduction": 4, "n_labels": 3, "dropout": 0.0, **changes})
    model = make_model(method, FrozenBackbone.load(source, "float32"), config)
    generator, size = torch.Generator().manual_seed(0), 0.3 if method == "lora" else 0.05
    with torch.no_grad():
        for parameter in [*model.model.parameters(), *model.head.parameters()]:
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
        if changes.get("pairs") == "late":
            head = model.head
            head.scale.copy_(torch.tensor([0.15, 0.04, 0.06]))
    return model.eval()


@pytest.fixture
def folder(saved, tmp_path):
    trained(saved("bert")).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def late(saved, tmp_path, method):
    model = trained(saved("bert"), method, task="score", pairs="late", n_labels=1)
    model.save_pretrained(tmp_path / method)
    return tmp_path / method


def document_of(folder):
    return json.loads((folder / "config.json").read_text("utf-8"))


def test_the_backbone_is_named_not_copied(folder, saved):
    document = document_of(folder)
    assert document["backbone"] == str(saved("bert").resolve())
    files = sorted((folder / SAVE / "adapter").iterdir())
    assert [file.name for file in files] == ["adapter_config.json", "adapter_model.safetensors"]
    adapter = sum(file.stat().st_size for file in files)
    assert adapter < (saved("bert") / "model.safetensors").stat().st_size / 2


def test_peft_opens_the_adapter_and_answers_alike(folder, saved):
    from peft import PeftModel
    from transformers import AutoModel

    base = AutoModel.from_pretrained(saved("bert"), local_files_only=True)
    theirs = PeftModel.from_pretrained(base, str(folder / SAVE / "adapter")).eval()
    ours = Ladder.from_pretrained(folder, dtype="float32").backbone.model
    ids = torch.tensor([[2, 5, 8, 3]])
    with torch.no_grad():
        want, found = theirs(ids).last_hidden_state, ours(ids).last_hidden_state
        own = FrozenBackbone.load(saved("bert"), "float32").model(ids).last_hidden_state
    assert torch.allclose(found, want, atol=1e-5)
    assert not torch.allclose(found, own, atol=1e-2)


def test_what_was_opened_is_saved_again_with_its_adapter(folder, tmp_path, inputs_of):
    ladder = Ladder.from_pretrained(folder, dtype="float32")
    inputs = inputs_of(ladder, TEXTS[:3])
    ladder.save_pretrained(tmp_path / "again")
    again = Ladder.from_pretrained(tmp_path / "again", dtype="float32")
    assert torch.equal(again(**inputs)["logits"], ladder(**inputs)["logits"])
    ladder.save_pretrained(folder)  # over itself: the old adapter is read, then dropped
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["config.json", "shoestring-save-2"]


def test_a_backbone_that_is_named_anew_gets_the_adapter(folder, saved, inputs_of):
    want = Ladder.from_pretrained(folder, dtype="float32")
    found = Ladder.from_pretrained(folder, saved("bert"), dtype="float32")
    inputs = inputs_of(want, TEXTS[:3])
    assert torch.equal(found(**inputs)["logits"], want(**inputs)["logits"])


def test_outputs_of_the_adapted_backbone_are_other_outputs(folder, saved):
    adapted = Ladder.from_pretrained(folder).backbone
    own = FrozenBackbone.load(saved("bert"))
    assert adapted.own_digest == own.digest
    assert adapted.digest != own.digest  # the key of the cache


def test_a_backbone_of_other_weights_is_refused(folder, save_tiny, tmp_path):
    other = save_tiny(tmp_path / "other", "bert", seed=1)
    with pytest.raises(IntegrityError, match="was trained on the backbone"):
        Ladder.from_pretrained(folder, other)


def test_an_adapter_that_is_lost_is_said(folder):
    (folder / SAVE / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"adapter_model\.safetensors is damaged: its bytes"):
        Ladder.from_pretrained(folder)


def test_nothing_is_asked_of_the_hub(saved, tmp_path, monkeypatch):
    def asked(*words, **_):
        raise AssertionError(words)

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", asked)
    monkeypatch.setattr(FrozenBackbone, "public_name", "somebody/model")
    trained(saved("bert")).save_pretrained(tmp_path / "lora")
    assert (tmp_path / "lora" / SAVE / "adapter/adapter_model.safetensors").exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_compared_token_vectors_are_scored_without_torch(saved, tmp_path, method):
    folder = late(saved, tmp_path, method)
    scorer = load_scorer(folder)
    assert isinstance(scorer, TokenInteraction)
    assert not scorer.encoder.uses_torch
    logits = LadderScorer(folder).predict(PAIRS)
    found = scorer.predict(PAIRS)
    known = [bool(query and text) for query, text in PAIRS]
    want = (logits + 10 * 0.5 * 2.5) / (10 * 2.5)  # the ladder's is 10 c . (l - 1/2)
    np.testing.assert_allclose(found[known], want[known], atol=0.01)  # bfloat16 of the backbone
    plain = TokenInteraction(saved("bert"), scorer.max_length)
    assert np.abs(found - plain.predict(PAIRS))[known].max() > 0.05
    assert scorer.name != plain.name


def test_torch_runs_the_adapted_model_where_the_fast_one_does_not(saved, tmp_path, monkeypatch):
    folder = late(saved, tmp_path, "lora")
    want = load_scorer(folder).predict(PAIRS)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    scorer = load_scorer(folder)
    assert scorer.encoder.uses_torch
    np.testing.assert_allclose(scorer.predict(PAIRS), want, atol=5e-3)


def test_scorers_of_other_adapters_have_other_names(saved, tmp_path):
    one = load_scorer(late(saved, tmp_path, "lora")).name
    folder = late(saved, tmp_path, "lora")
    document = document_of(folder)
    file = next(folder.glob("*/adapter/adapter_config.json"))
    file.write_text(file.read_text("utf-8").replace('"lora_alpha": 16', '"lora_alpha": 17'))
    del document["crc32"]
    document["files"][f"adapter/{file.name}"] = zlib.crc32(file.read_bytes())
    (folder / "config.json").write_text(json.dumps(document))
    assert load_scorer(folder).name != one
