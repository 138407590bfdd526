"""The other ways to train the same task: whole, through LoRA, the head alone."""

import shutil
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.errors import MissingExtraError, ParameterError
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import baselines
from shoestring.tune.baselines import attention_inputs, make_model
from shoestring.tune.config import LadderConfig
from shoestring.tune.ladder import Ladder
from shoestring.tune.metrics import trained_parameters

D, LAYERS, CLASSES = 32, 3, 3
OUT = CLASSES * D + CLASSES  # the head's numbers
FIRSTS = ["open the file", "sort a list of words", "join"]
SECONDS = ["read write file", "sort words", "chain"]
TRAINED = ("lora", "full")

# peft 0.21 asks transformers 5.23 for a name that is to go
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def lora():
    pytest.importorskip("peft")


def config(**changes):
    return LadderConfig(**{"reduction": 4, "n_labels": CLASSES, "dropout": 0.0, **changes})


def step(model, inputs, labels, rate=0.05):
    """A few steps of training."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(3):
        loss = model(**inputs, labels=labels)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss


def trained(method, frozen, inputs_of, **changes):
    model = make_model(method, frozen, config(**changes))
    seconds = None if model_pairs(model) == "none" else SECONDS
    inputs = inputs_of(model, FIRSTS, seconds)
    n = model.settings.n_labels
    labels = torch.tensor([0, 1, 2]) if n > 1 else torch.tensor([1.0, 0.0, 1.0])
    step(model.train(), inputs, labels)
    return model.eval(), inputs


def model_pairs(model):
    return model.settings.pairs


# ---- what is trained ----


@pytest.mark.parametrize("method", ["ladder", "head", "lora", "full"])
def test_trained_parameters_are_the_numbers_that_a_step_changes(backbone, inputs_of, lora, method):
    model = make_model(method, backbone(), config()).train()
    inputs = inputs_of(model, FIRSTS)
    with torch.no_grad():  # what is multiplied by zeros at first has no gradient in the first step
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1)
    model(**inputs, labels=torch.tensor([0, 1, 2]))["loss"].backward()
    changed = sum(p.numel() for p in model.parameters() if p.grad is not None)
    assert trained_parameters(model) == changed


def test_all_of_the_backbone_is_trained_and_counted(backbone):
    model = make_model("full", backbone(), config())
    numbers = sum(
        p.numel() for name, p in backbone().model.named_parameters() if "pooler" not in name
    )
    assert sum(p.numel() for p in model.model.parameters()) == numbers
    assert all(p.requires_grad for p in model.model.parameters())
    assert trained_parameters(model.model) == numbers


def test_lora_trains_two_thin_matrices_a_projection(backbone, lora):
    model = make_model("lora", backbone(), config())
    assert trained_parameters(model.model) == LAYERS * 2 * baselines.LORA_RANK * (D + D)
    names = {name for name, p in model.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in names)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {"query", "value"}


def test_a_head_has_no_side_and_a_ladder_has_one(backbone):
    head, ladder = (make_model(method, backbone(), config()) for method in ("head", "ladder"))
    assert head.side is None
    assert ladder.side is not None
    assert not any(p.requires_grad for p in backbone().model.parameters())


@pytest.mark.parametrize("method", TRAINED)
def test_the_backbone_that_was_given_stays_as_it_was(backbone, inputs_of, lora, method):
    frozen = backbone()
    before = {name: value.clone() for name, value in frozen.model.state_dict().items()}
    model, _ = trained(method, frozen, inputs_of)
    after = frozen.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(p.requires_grad for p in frozen.model.parameters())
    assert frozen.model.pooler is not None
    assert model.backbone is frozen


@pytest.mark.parametrize("method", TRAINED)
def test_gradients_go_through_the_backbone(backbone, inputs_of, lora, method):
    model = make_model(method, backbone(), config())
    inputs = inputs_of(model, FIRSTS)
    model(**inputs, labels=torch.tensor([0, 1, 2]))["loss"].backward()
    graded = {
        name: p.grad.abs().max().item()
        for name, p in model.model.named_parameters()
        if p.requires_grad and "lora_A" not in name  # B is zero at first
    }
    lowest = [value for name, value in graded.items() if ".0." in name and "bias" not in name]
    assert len(lowest) >= 2
    assert min(lowest) > 0


def test_the_same_seed_gives_the_same_start(backbone, lora):
    one, two = (make_model("lora", backbone(), config()).state_dict() for _ in range(2))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_making_lora_leaves_the_random_numbers_of_others_alone(backbone, lora):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    make_model("lora", backbone(), config())
    assert torch.equal(torch.rand(3), want)


# ---- what is saved ----


CASES = [
    {}, {"task": "regress", "pairs": "joint"}, {"task": "score", "pairs": "apart"},
    {"task": "score", "pairs": "late"},
]  # fmt: skip


@pytest.mark.parametrize("changes", CASES, ids=lambda case: case.get("pairs", "none"))
@pytest.mark.parametrize("method", TRAINED)
def test_a_saved_folder_answers_as_the_trained_model_does(
    saved, tmp_path, inputs_of, lora, method, changes
):
    source = tmp_path / "backbone"
    shutil.copytree(saved("bert"), source)
    frozen = FrozenBackbone.load(source, "float32")
    start = make_model(method, frozen, config(**changes))
    model, inputs = trained(method, frozen, inputs_of, **changes)
    want = model(**inputs)["logits"]
    model.save_pretrained(tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len({file.stat().st_mode for file in files}) == 1
    if method == "full":
        shutil.rmtree(source)  # what is saved stands alone
    again = Ladder.from_pretrained(tmp_path / "out", dtype="float32")
    assert again.side is None
    assert torch.allclose(again(**inputs)["logits"], want, atol=1e-5)
    assert not torch.allclose(start.eval()(**inputs)["logits"], want, atol=1e-3)  # it was trained


@pytest.mark.parametrize("method", TRAINED)
def test_a_folder_that_is_saved_again_is_replaced_whole(
    backbone, tmp_path, inputs_of, lora, method
):
    model, inputs = trained(method, backbone(), inputs_of)
    model.save_pretrained(tmp_path / "out")
    step(model, inputs, torch.tensor([2, 2, 2]))
    model.eval().save_pretrained(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*/*"))) == 2  # head, what was trained
    again = Ladder.from_pretrained(tmp_path / "out", dtype="float32")
    assert torch.allclose(again(**inputs)["logits"], model(**inputs)["logits"], atol=1e-5)


def test_saving_does_not_merge_the_model_that_is_trained_on(backbone, tmp_path, inputs_of, lora):
    model, inputs = trained("lora", backbone(), inputs_of)
    before = model(**inputs)["logits"]
    model.save_pretrained(tmp_path / "out")
    assert torch.equal(model(**inputs)["logits"], before)
    assert any("lora_A" in name for name, _ in model.named_parameters())


def test_another_family_is_trained_whole_and_saved(saved, tmp_path, inputs_of):
    frozen = FrozenBackbone.load(saved("gpt2"), "float32")
    model, inputs = trained("full", frozen, inputs_of)
    model.save_pretrained(tmp_path / "out")
    again = Ladder.from_pretrained(tmp_path / "out", dtype="float32")
    assert torch.allclose(again(**inputs)["logits"], model(**inputs)["logits"], atol=1e-5)


# ---- every family, bad input ----


def test_projections_of_every_family_are_found_and_lora_runs(family, saved, inputs_of, lora):
    frozen = FrozenBackbone.load(saved(family), "float32")
    names = attention_inputs(frozen.model)
    assert names
    model = make_model("lora", frozen, config())
    loss = step(model, inputs_of(model, FIRSTS), torch.tensor([0, 1, 2]))
    assert loss.isfinite()
    layers = {
        name.split(".lora_")[0].rpartition(".")[0]
        for name, p in model.model.named_parameters()
        if p.requires_grad
    }
    assert len(layers) == LAYERS


def test_a_model_without_projections_is_refused(backbone, lora):
    with pytest.raises(ParameterError, match=r"projections called.*'Linear'.*--method ladder"):
        attention_inputs(torch.nn.Linear(2, 2))


def test_lora_without_peft_prints_the_install_line(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"--method lora needs the package 'peft'.*tune"):
        make_model("lora", backbone(), config())
