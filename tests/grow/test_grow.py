"""Growing in memory: exact for every family and axis, refused where it cannot be, and it learns."""

import copy
import math

import pytest
import torch
from benchmarks.grow.models import MODELS, model_of
from benchmarks.grow.training import equally_shared

from shoestring import ShoestringError, grow
from shoestring.errors import FormatError, ParameterError
from shoestring.grow import rules
from shoestring.grow.growth import Growth

POST_NORM = ("bert", "bert, no head", "roberta", "electra")
BOUND = (*POST_NORM, "gpt2", "modernbert")  # the head size is the width over the heads
GROUPED = ("llama", "llama, tied", "qwen2", "qwen3", "gemma")
FREE = (*GROUPED, "t5", "t5 v1.1")
EXACT = [
    *((family, {"hidden": 64}) for family in MODELS),
    *((family, {"hidden": 64, "heads": 8}) for family in BOUND),
    *((family, {"hidden": 72, "heads": 8}) for family in FREE),
    *((family, {"hidden": 81}) for family in FREE),
    ("gpt2", {"hidden": 76}),
    *((family, {"head_size": 24}) for family in FREE),
    *((family, {"head_size": 11}) for family in ("t5", "t5 v1.1")),
    *((family, {"heads": 6}) for family in FREE),
    *((family, {"heads": 8, "key_heads": 4}) for family in GROUPED),
    *((family, {"key_heads": 4}) for family in GROUPED),
    *((family, {"intermediate": 151}) for family in MODELS),
    *((family, {"layers": 7}) for family in MODELS if family not in POST_NORM),
    *((family, {"vocab": 77, "positions": 96}) for family in MODELS if not family.startswith("t5")),
    ("t5", {"vocab": 77}),
    *(
        (family, {"hidden": 96, "heads": 6, "head_size": 16, "intermediate": 160, "layers": 5,
                  "vocab": 61})
        for family in FREE
    ),
    ("modernbert", {"hidden": 96, "heads": 6, "layers": 5, "intermediate": 49}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "sizes"), EXACT, ids=str)
def test_the_large_model_computes_what_the_small_one_does(family, sizes):
    model = model_of(family)
    before = copy.deepcopy(model.state_dict())
    large, certificate = grow(model, batches=2, **sizes)
    assert certificate.max_logit_difference <= 1e-12
    assert certificate.relative_difference_float32 <= 1e-5
    assert certificate.exact
    assert type(large) is type(model)
    new = large.config
    assert new.hidden_size == sizes.get("hidden", 32)
    assert new.num_attention_heads == sizes.get("heads", 4)
    assert new.vocab_size == sizes.get("vocab", 60)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_tensor_shares_its_memory():
    small = model_of("llama")
    large, _ = grow(small, layers=5, batches=1)
    tensors = [*small.parameters(), *large.parameters()]
    assert len({value.data_ptr() for value in tensors}) == len(tensors)


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_a_hundred_batches(family):
    sizes = {"hidden": 64, "intermediate": 100 if family != "gpt2" else 200}
    _, certificate = grow(model_of(family), batches=100, **sizes)
    assert certificate.max_logit_difference <= 1e-12
    assert certificate.batches == 100


@pytest.mark.parametrize(
    ("family", "sizes", "told"),
    [
        ("bert", {"hidden": 80}, "multiple of 32.*64, 96"),
        ("modernbert", {"hidden": 80}, "multiple of 32"),
        ("bert", {"layers": 5}, "stack"),
        ("bert", {"hidden": 16}, r"int in \[32"),
        ("bert", {"heads": 8}, "at most 4 at this width"),
        ("bert", {"hidden": 64, "heads": 6}, "divisor of the width.*4, 8"),
        ("bert", {"head_size": 16}, "hidden / heads"),
        ("bert", {"key_heads": 4}, "left out"),
        ("llama", {"head_size": 12}, "multiple of 8.*8, 16"),
        ("llama", {"heads": 5}, "multiple of the 2 key_heads.*4, 6"),
        ("llama", {"key_heads": 3}, "divisor of the 4 heads.*2, 4"),
        ("llama", {}, "larger, or another size"),
        ("t5", {"positions": 96}, "have no limit"),
        ("llama", {"hidden": 64.5}, "must be an int"),
    ],
    ids=str,
)
def test_what_has_no_exact_growth_is_refused_with_the_nearest_that_has(family, sizes, told):
    with pytest.raises(ParameterError, match=told):
        grow(model_of(family), **sizes)


@pytest.mark.parametrize("kind", ["llama3", "yarn", "dynamic"])
def test_rotary_scalings_grow_in_width_but_not_in_their_heads_size(kind):
    scaling = {
        "rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
    }  # fmt: skip
    model = model_of("llama", rope_parameters=scaling)
    assert grow(model, hidden=72, heads=8, batches=2)[1].max_logit_difference <= 1e-12
    with pytest.raises(ParameterError, match=f"type {kind}.*Grow the heads instead"):
        grow(model, head_size=16)
    with pytest.raises(ParameterError, match="with rotary positions of type"):
        grow(model, positions=96)


def test_linear_scaling_of_positions_grows_in_the_heads_size_too():
    scaling = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    model = model_of("llama", rope_parameters=scaling)
    assert grow(model, head_size=24, batches=2)[1].max_logit_difference <= 1e-12


def test_a_single_layer_grows_where_it_is_like_the_others():
    assert grow(model_of("llama", num_hidden_layers=1), layers=3)[1].exact
    with pytest.raises(ParameterError, match="unlike the others"):
        grow(model_of("t5", num_layers=1), layers=3)


def test_attention_scaled_by_the_layer_is_refused():
    with pytest.raises(ParameterError, match="scaled by the layer"):
        grow(model_of("gpt2", scale_attn_by_inverse_layer_idx=True), layers=5)


def test_stacking_is_declared_not_to_be_exact():
    large, certificate = grow(small := model_of("bert"), layers=6, stack=True)
    stacks = large.bert.encoder.layer[3].state_dict(), small.bert.encoder.layer[0].state_dict()
    assert all(torch.equal(value, stacks[1][name]) for name, value in stacks[0].items())
    assert not certificate.exact
    assert certificate.max_logit_difference > 1e-3
    assert "not exact" in certificate.rules["layers"]


def test_layers_keep_their_kinds_of_attention():
    large, _ = grow(model_of("modernbert", num_hidden_layers=4), layers=8)
    kinds = large.config.layer_types
    assert len(kinds) == 8
    assert kinds[0] == "full_attention"
    assert kinds.count("full_attention") > 2  # that of layer 3 and its copies


WRONG = {
    "an epsilon that is left as it was": (
        ("llama", {"hidden": 81}),
        lambda growth: setattr_config(growth, "rms_norm_eps", 1e-6),
    ),
    "the published factor of the head": (
        ("bert", {"hidden": 64}),
        lambda growth: factor(growth, {"last_norm": 1 / math.sqrt(2)}),
    ),
    "the published second bias": (
        ("gpt2", {"hidden": 64}),
        lambda growth: of_bias(growth, "mlp.c_proj.bias", 1 / math.sqrt(2)),
    ),
    "a relative bias that is missed": (
        ("t5", {"heads": 8}),
        lambda growth: of_bias(growth, "relative_attention_bias.weight", 0.5),
    ),
    "old rotary pairs that stay where they were": (
        ("llama", {"head_size": 16}),
        lambda growth: growth.sources.update(
            key=rules.in_heads(torch.arange(2), rules.padded_channels(8, 16), 8),
            query=rules.in_heads(torch.arange(4), rules.padded_channels(8, 16), 8),
        ),
    ),
}  # fmt: skip


def setattr_config(growth, name, value):
    config = Growth.new_config(growth)
    setattr(config, name, value)
    object.__setattr__(growth, "new_config", lambda: config)


def factor(growth, changed):
    object.__setattr__(
        growth, "_factor", lambda kind: changed.get(kind, Growth._factor(growth, kind))
    )


def of_bias(growth, ending, times):
    def grown(name, *rest):
        return Growth.grown(growth, name, *rest) * (times if name.endswith(ending) else 1.0)

    object.__setattr__(growth, "grown", grown)


@pytest.mark.parametrize("rule", WRONG)
def test_the_certificate_catches_wrong_rules(rule, monkeypatch):
    (family, sizes), spoil = WRONG[rule]
    right = Growth.of

    def wrong(*args, **options):
        spoil(growth := right(*args, **options))
        return growth

    small = model_of(family, **({"rms_norm_eps": 1e-6} if family == "llama" else {}))
    if "epsilon" in rule:
        with torch.no_grad():
            small.get_input_embeddings().weight *= 1e-3
    grow(small, batches=2, **sizes)
    monkeypatch.setattr(Growth, "of", wrong)
    with pytest.raises(ShoestringError, match="not the small one"):
        grow(small, batches=2, **sizes)


def test_what_it_does_not_know_is_named():
    model = model_of("llama")
    model.lora_a = torch.nn.Linear(4, 4)
    with pytest.raises(FormatError, match=r"2 tensors.*lora_a\.weight"):
        grow(model, hidden=64)
    model = model_of("bert")
    model.config.model_type = "mamba"
    with pytest.raises(ParameterError, match="bert, roberta"):
        grow(model, hidden=64)


def test_weights_that_are_not_finite_are_named():
    model = model_of("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight[3] = math.nan
    with pytest.raises(FormatError, match=r"wpe\.weight"):
        grow(model, hidden=64)


def batch(seed, n=16):
    """Texts in which every other token repeats the one before it."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(3, 60, (n, 12), generator=draws).repeat_interleave(2, dim=1)


def trained(model, steps, optimizer=None, seed=0, rate=3e-3):
    """Losses of a training by AdamW."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), rate)
    losses = []
    for step in range(steps):
        ids = batch(1_000 * seed + step)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, optimizer


def test_copies_part_where_they_are_not_symmetric(monkeypatch):
    small = model_of("llama")
    found = {}
    for symmetric in (False, True):
        if symmetric:
            monkeypatch.setattr(rules, "shared", equally_shared)
        large, _ = grow(small, hidden=64, intermediate=96, batches=1)
        trained(large, 30)
        up = large.model.layers[1].mlp.up_proj.weight.detach()
        apart = up[:48] - up[48:]
        found[symmetric] = float(apart.norm() / up.norm())
        if not symmetric:
            assert torch.linalg.matrix_rank(apart, rtol=1e-3) > 16
    assert found[False] > 10 * found[True]


def test_more_is_learnt_than_by_the_small_model():
    small = model_of("llama", num_hidden_layers=2)
    _, optimizer = trained(small, 60)
    large, _ = grow(small, hidden=64, intermediate=192, layers=4, batches=1)
    on, _ = trained(small, 60, optimizer, seed=1)
    grown, _ = trained(large, 60, seed=1)
    assert sum(grown[-10:]) < sum(on[-10:])


def test_the_optimiser_goes_on_without_a_spike():
    small = model_of("llama")
    _, optimizer = trained(small, 80)
    fresh, _ = grow(small, hidden=64, heads=8, intermediate=96, batches=1)
    fresh_losses, _ = trained(fresh, 6, seed=2, rate=1e-2)
    large, _ = grow(small, hidden=64, heads=8, intermediate=96, batches=1, optimizer=optimizer)
    steps = {float(state["step"]) for state in optimizer.state.values()}
    assert steps == {80.0}
    shapes = {id(p): p.shape for p in large.parameters()}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(shapes)
    assert all(state["exp_avg"].shape == p.shape for p, state in optimizer.state.items())
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    losses, _ = trained(large, 6, optimizer, seed=2)
    assert losses[0] == pytest.approx(fresh_losses[0], rel=1e-3)
    assert max(losses) - losses[0] < 0.5 * (max(fresh_losses) - fresh_losses[0])


def test_an_optimiser_of_another_model_is_refused():
    other = torch.optim.AdamW(model_of("llama").parameters())
    with pytest.raises(ParameterError, match="one of the model's parameters"):
        grow(model_of("llama"), hidden=64, optimizer=other, batches=1)


def test_staged_training_under_the_trainer(tmp_path):
    from transformers import Trainer, TrainingArguments

    from shoestring.grow import GrowAt

    rows = [{"input_ids": row, "labels": row} for row in batch(0, 64)]
    model, growing = model_of("llama").train(), GrowAt(4, layers=5)
    arguments = TrainingArguments(
        str(tmp_path), max_steps=8, per_device_train_batch_size=4, report_to=[], logging_steps=1,
        save_strategy="no", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[growing])
    trainer.train()
    assert growing.certificate.exact
    assert len(model.model.layers) == 5
    added = model.model.layers[2].mlp.down_proj.weight
    assert added.abs().max() > 0  # it was 0, and is trained
    assert [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
