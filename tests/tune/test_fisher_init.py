"""Channels are known by hand: weights hold their own position, row x 1000 + column."""

import copy

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from benchmarks.tune import fisher_init
from benchmarks.tune.fisher_init import all_heads, importances, pruned, tuned
from benchmarks.tune.layer_layout import rotary_pairs

from shoestring.errors import ParameterError, ShapeError
from shoestring.models.frozen import FrozenBackbone, layers_of
from shoestring.tune.job import Job
from shoestring.tune.side_network import side_network

WIDTH, HEADS, HEAD_SIZE, REDUCTION = 64, 4, 16, 4
TEXTS = torch.tensor([[2, 7, 9, 3], [2, 8, 5, 3]])


@pytest.fixture
def make_model(tiny_model):
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 128}
    sizes |= {"hidden_dim": 128, "head_dim": HEAD_SIZE, "num_key_value_heads": 2}
    return lambda family: tiny_model(family, **sizes, embedding_size=WIDTH)


def side_of(model):
    with all_heads():
        return side_network(model.config, REDUCTION, (0, 2)).eval()


def drawn(model):
    """Importances at random."""
    return {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}


def loss_of(model, i):
    return model(TEXTS[i : i + 1]).last_hidden_state[0, :, :3].square().sum()


def test_every_parameter_of_a_side_block_is_placed(family, make_model):
    model = make_model(family)
    side = side_of(model)
    before = {name: p.detach().clone() for name, p in layers_of(side).named_parameters()}
    assert pruned(side, model, (0, 2), drawn(model), REDUCTION) == []
    for name, parameter in layers_of(side).named_parameters():
        assert not torch.isclose(parameter, before[name], atol=1e-6).all(), name


def test_important_channels_are_kept_within_each_head_and_no_others(make_model, monkeypatch):
    monkeypatch.setattr(fisher_init, "_gain", lambda *_: 1.0)
    torch.manual_seed(3)
    model = make_model("bert")
    for p in layers_of(model).parameters():
        numbers = [torch.arange(float(n)) for n in p.shape]
        p.data.copy_(numbers[0] if p.ndim == 1 else 1000 * numbers[0][:, None] + numbers[1])
    random = drawn(model)
    random["0.attention.self.query.weight"][:HEAD_SIZE] *= 1000  # a head that matters more
    side = side_of(model)
    assert pruned(side, model, (0, 2), random, REDUCTION) == []

    def within(i, wide, read):
        """The four best of each head, by the sums along rows and along columns."""
        along = random[f"{i}.attention.self.{wide}.weight"].sum(1)
        along = along + random[f"{i}.attention.self.{wide}.bias"] + read
        best = along.reshape(HEADS, HEAD_SIZE).topk(HEAD_SIZE // REDUCTION).indices.sort().values
        return (best + HEAD_SIZE * torch.arange(HEADS)[:, None]).flatten()

    hidden = layers_of(side)[0].output.LayerNorm.weight  # one set for all blocks
    for block, i in zip(layers_of(side), (0, 2), strict=True):
        own, key = block.attention.self, f"{i}.attention.self.key"
        keys = within(i, "query", random[key + ".weight"].sum(1) + random[key + ".bias"])
        values = within(i, "value", random[f"{i}.attention.output.dense.weight"].sum(0))
        for part, rows in ((own.query, keys), (own.key, keys), (own.value, values)):
            assert torch.equal(part.weight, 1000.0 * rows[:, None] + hidden)
        assert torch.equal(block.attention.output.dense.weight, 1000 * hidden[:, None] + values)
        neurons = block.intermediate.dense.bias
        assert torch.equal(block.output.dense.weight, 1000 * hidden[:, None] + neurons)


def test_channels_that_are_turned_together_stay_together(make_model, monkeypatch):
    """Llama's rotary embedding pairs channel 0 with 8, and two heads share keys."""
    monkeypatch.setattr(fisher_init, "_gain", lambda *_: 1.0)
    model = make_model("llama")
    for p in layers_of(model).parameters():
        if p.ndim == 2:
            p.data.copy_(torch.arange(float(len(p)))[:, None].expand_as(p))
    side = side_of(model)
    assert pruned(side, model, (0, 2), drawn(model), REDUCTION) == []
    for block in layers_of(side):
        parts = block.self_attn.q_proj, block.self_attn.k_proj
        of_query, of_key = (part.weight[:, 0].reshape(-1, 4) % HEAD_SIZE for part in parts)
        assert torch.equal(of_query, of_key.repeat_interleave(2, dim=0))
        assert torch.equal(of_key[:, 2:], of_key[:, :2] + HEAD_SIZE // 2)


@pytest.mark.parametrize("shares", [[1.0] * 64, [16.0] * 16 + [1.0] * 48])
def test_a_matrix_of_fewer_inputs_is_rescaled_by_what_they_carried(shares):
    kept = torch.arange(16)
    gain = fisher_init._gain(torch.ones(64), torch.tensor(shares), kept)
    assert gain**2 == pytest.approx(sum(shares) / sum(shares[:16]))


def test_what_cannot_be_placed_keeps_its_start_and_is_named(make_model):
    model = make_model("qwen3")  # with norms within a head
    missing = pruned(side_of(model), model, (0, 2), drawn(model), REDUCTION)
    assert missing == [f"{k}.self_attn.{n}_norm.weight" for k in (0, 1) for n in "qk"]
    with pytest.raises(ShapeError, match="is not 1 / 2 of 64 wide"):
        pruned(side_of(model), model, (0, 2), drawn(model), 2)


def test_importances_are_mean_squares_of_each_samples_gradients(make_model):
    model = make_model("bert")
    backbone, seen = FrozenBackbone(copy.deepcopy(model), None, "float32"), []
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    found = importances(backbone, loss_of, 2, seen.append)
    wanted = {name: torch.zeros_like(p) for name, p in layers_of(model).named_parameters()}
    for i in range(2):
        model.zero_grad()
        loss_of(model, i).backward()
        for name, parameter in layers_of(model).named_parameters():
            wanted[name] += parameter.grad**2 / 2
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])
    assert seen == [1, 2]
    after = backbone.model.state_dict()  # the backbone itself stays as it was
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with pytest.raises(ParameterError, match=r"finite loss of a sample\. Got nan"):
        importances(backbone, lambda model, i: loss_of(model, i) * float("nan"), 2)


def test_a_ladder_that_starts_so_is_trained_and_has_the_backbones_heads(
    saved, tmp_path, monkeypatch
):
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "cache"))
    monkeypatch.setattr(fisher_init, "HEAD_STEPS", 2)
    lines = [f"{word} file,{label}" for word, label in (("open", "io"), ("sort", "lists"))] * 6
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]))
    job = Job.of("ladder", str(saved("bert")), epochs=1, batch_size=4)
    model, report = tuned(job, tmp_path / "t.csv", {"text": "text", "label": "label"})
    assert (model.side.config.num_attention_heads, report["steps"]) == (2, 3)


def test_partners_that_cannot_be_told_are_none(tiny_model):
    model = tiny_model("roformer", rotary_value=False, embedding_size=32)
    assert rotary_pairs(model, 16) is None
