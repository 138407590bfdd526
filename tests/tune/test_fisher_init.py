"""Channels are known by hand: weights hold their own position, row x 1000 + column."""

import copy

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from benchmarks.tune import fisher_init
from benchmarks.tune.fisher_init import all_heads, importances, pruned, tuned
from torch import nn
from torch.nn import functional

from shoestring.errors import ParameterError, ShapeError
from shoestring.models.frozen import FrozenBackbone, layers_of
from shoestring.tune.job import Job
from shoestring.tune.side_network import side_network

WIDTH, HEADS, HEAD_SIZE, FEED_FORWARD, REDUCTION = 64, 4, 16, 128, 4
ROTARY = ("modernbert", "llama", "qwen2")
GROUPED = ("llama", "qwen2")  # two heads share keys and values

QKV = {"query": ("query", "hidden"), "key": ("key", "hidden"), "value": ("value", "hidden")}
OF_BERT = {
    **{f"attention.self.{name}": sides for name, sides in QKV.items()},
    "attention.output.dense": ("hidden", "context"),
    "intermediate.dense": ("neurons", "hidden"),
    "output.dense": ("hidden", "neurons"),
}
SIDES = {  # of each matrix: outputs and inputs
    "bert": OF_BERT,
    "roberta": OF_BERT,
    "electra": OF_BERT,
    "distilbert": {
        **{f"attention.{name[0]}_lin": sides for name, sides in QKV.items()},
        "attention.out_lin": ("hidden", "context"),
        "ffn.lin1": ("neurons", "hidden"),
        "ffn.lin2": ("hidden", "neurons"),
    },
    "modernbert": {
        "attn.Wqkv": ("query key value", "hidden"),
        "attn.Wo": ("hidden", "context"),
        "mlp.Wi": ("neurons neurons", "hidden"),
        "mlp.Wo": ("hidden", "neurons"),
    },
    "gpt2": {
        "attn.c_attn": ("query key value", "hidden"),
        "attn.c_proj": ("hidden", "context"),
        "mlp.c_fc": ("neurons", "hidden"),
        "mlp.c_proj": ("hidden", "neurons"),
    },
    "llama": {
        **{f"self_attn.{name[0]}_proj": sides for name, sides in QKV.items()},
        "self_attn.o_proj": ("hidden", "context"),
        "mlp.gate_proj": ("neurons", "hidden"),
        "mlp.up_proj": ("neurons", "hidden"),
        "mlp.down_proj": ("hidden", "neurons"),
    },
}
SIDES["qwen2"] = SIDES["cohere"] = SIDES["llama"]


@pytest.fixture
def make_model(tiny_model):
    def model(family, **changes):
        sizes = {
            "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD,
            "hidden_dim": FEED_FORWARD, "head_dim": HEAD_SIZE,
            "num_key_value_heads": 2, "embedding_size": WIDTH,
        }  # fmt: skip
        return tiny_model(family, **{**sizes, **changes})

    return model


def side_of(model, layers=(0, 2)):
    with all_heads():
        return side_network(model.config, REDUCTION, layers).eval()


def neurons_of(model):
    return 4 * WIDTH if model.config.model_type == "gpt2" else FEED_FORWARD


def hold_positions(model):
    """Let each weight be its own position."""
    for parameter in layers_of(model).parameters():
        numbers = [torch.arange(float(n)) for n in parameter.shape]
        at = numbers[0] if len(numbers) == 1 else 1000 * numbers[0][:, None] + numbers[1]
        parameter.data.copy_(at)


def positions(weight):
    """Rows and columns of the backbone's weight that a side block's holds."""
    numbers = weight.detach().round().long()
    assert (weight - numbers).abs().max() < 0.3
    rows, columns = numbers // 1000, numbers % 1000
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    return rows[:, 0], columns[0]


def drawn(n, of):
    return torch.randperm(of)[:n].sort().values


def drawn_within_heads(n_heads, rotary):
    """Four channels of each head's sixteen: (heads, 4); two pairs with a rotary embedding."""
    if not rotary:
        return torch.stack([drawn(4, HEAD_SIZE) for _ in range(n_heads)])
    pairs = torch.stack([drawn(2, HEAD_SIZE // 2) for _ in range(n_heads)])
    return torch.cat([pairs, pairs + HEAD_SIZE // 2], dim=1)


def known_channels(family, n_neurons):
    """Of each kind, which channels of a layer are to be kept."""
    key_heads = 2 if family in GROUPED else HEADS
    kept = {"neurons": drawn(n_neurons // REDUCTION, n_neurons)}
    for wide, shared, rotary in (
        ("query", "key", family in ROTARY), ("context", "value", False),
    ):  # fmt: skip
        within = drawn_within_heads(key_heads, rotary)
        each = within.repeat_interleave(HEADS // key_heads, dim=0)
        for kind, heads in ((wide, each), (shared, within)):
            kept[kind] = (heads + HEAD_SIZE * torch.arange(len(heads))[:, None]).flatten()
    return kept


def wanted_positions(family, name, kept, n_of):
    """Rows and columns, in the order of the stored weight; a norm has channels of the residual."""
    owner, _, leaf = name.rpartition(".")
    outputs, inputs = SIDES[family].get(owner, ("hidden", "hidden"))
    found = []
    for side in (outputs, inputs)[: 1 if leaf == "bias" or owner not in SIDES[family] else 2]:
        kinds = side.split()
        starts = torch.tensor([0] + [n_of[kind] for kind in kinds]).cumsum(0)
        found.append(torch.cat([kept[k] + s for k, s in zip(kinds, starts[:-1], strict=True)]))
    return found[::-1] if family == "gpt2" else found


@pytest.mark.parametrize("layers", [(0, 2), (0, 1, 2), (2,)])
def test_every_parameter_of_a_side_block_is_placed(family, layers, make_model):
    model = make_model(family)
    side = side_of(model, layers)
    before = {name: p.detach().clone() for name, p in layers_of(side).named_parameters()}
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    assert pruned(side, model, layers, random, REDUCTION) == []
    for name, parameter in layers_of(side).named_parameters():
        assert not torch.isclose(parameter, before[name], atol=1e-6).all(), name


def test_important_channels_are_kept_and_no_others(family, make_model):
    torch.manual_seed(3)
    model = make_model(family)
    hold_positions(model)
    layers, n_neurons = layers_of(model), neurons_of(model)
    n_of = {"hidden": WIDTH, "neurons": n_neurons}
    n_of |= dict.fromkeys(("query", "context"), WIDTH)
    n_of |= dict.fromkeys(("key", "value"), WIDTH // 2 if family in GROUPED else WIDTH)
    hidden = drawn(WIDTH // REDUCTION, WIDTH)
    kept = [{**known_channels(family, n_neurons), "hidden": hidden} for _ in layers]
    known = {}
    for name, parameter in layers.named_parameters():
        i, _, within = name.partition(".")
        at = wanted_positions(family, within, kept[int(i)], n_of)
        known[name] = torch.zeros_like(parameter)
        known[name][at[0] if len(at) == 1 else (at[0][:, None], at[1])] = 0.5

    side = side_of(model, (0, 2))
    assert pruned(side, model, (0, 2), known, REDUCTION) == []
    for name, parameter in layers_of(side).named_parameters():
        k, _, within = name.partition(".")
        at = wanted_positions(family, within, kept[(0, 2)[int(k)]], n_of)
        found = positions(parameter) if len(at) == 2 else [parameter.round().long()]
        for ours, wanted in zip(found, at, strict=True):
            assert torch.equal(ours, wanted), name


@pytest.fixture
def blocks_of_positions(make_model, monkeypatch):
    """A function: side blocks of positions, by random importances, with some rows favoured."""
    monkeypatch.setattr(fisher_init, "_gain", lambda *_: 1.0)

    def blocks(family, favoured=()):
        torch.manual_seed(5)
        model = make_model(family)
        hold_positions(model)
        random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
        for end, rows in favoured:
            for name in random:
                if name.endswith(end):
                    random[name][rows] *= 1000
        side = side_of(model)
        assert pruned(side, model, (0, 2), random, REDUCTION) == []
        return layers_of(side)

    return blocks


def attention_channels(family, block):
    """Channels that the query, key, value and output matrices keep, a row for each head."""
    turned = family == "gpt2"
    names = [name for name, sides in SIDES[family].items() if "query" in sides[0]]
    if "key" in SIDES[family][names[0]][0]:  # fused
        found = positions(block.get_submodule(names[0]).weight)[int(turned)].chunk(3)
        found = [part - WIDTH * third for third, part in enumerate(found)]
    else:
        names = [n for n, sides in SIDES[family].items() if sides[0] in ("query", "key", "value")]
        found = [positions(block.get_submodule(name).weight)[0] for name in names]
    (out,) = (name for name, sides in SIDES[family].items() if sides[1] == "context")
    found = [*found, positions(block.get_submodule(out).weight)[int(not turned)]]
    assert len(found) == 4
    return [channels.reshape(-1, HEAD_SIZE // REDUCTION) for channels in found]


def test_a_head_keeps_channels_of_its_own_when_another_is_more_important(blocks_of_positions):
    own = "attention.self."
    first_heads = [(f"{own}{name}.weight", slice(0, 16)) for name in ("query", "key", "value")]
    for block in blocks_of_positions("bert", first_heads):
        for channels in attention_channels("bert", block):
            assert (channels // HEAD_SIZE == torch.arange(HEADS)[:, None]).all()


def test_a_query_keeps_its_keys_channels_and_a_value_those_that_are_read(
    family, blocks_of_positions
):
    for block in blocks_of_positions(family):
        query, key, value, context = (c % HEAD_SIZE for c in attention_channels(family, block))
        shared_by = 2 if family in GROUPED else 1
        assert torch.equal(query, key.repeat_interleave(shared_by, dim=0))
        assert torch.equal(context, value.repeat_interleave(shared_by, dim=0))
        assert not torch.equal(key, value)  # each by its own importance
        assert len(key.unique(dim=0)) > 1  # and each head by its own


@pytest.mark.parametrize("family", ROTARY)
def test_channels_that_are_turned_together_stay_together(family, blocks_of_positions):
    for block in blocks_of_positions(family):
        for channels in attention_channels(family, block)[:2]:
            half = HEAD_SIZE // REDUCTION // 2
            assert torch.equal(channels[:, half:], channels[:, :half] + HEAD_SIZE // 2)


def test_pairs_of_shared_heads_are_those_of_the_largest_sum(make_model, monkeypatch):
    monkeypatch.setattr(fisher_init, "_gain", lambda *_: 1.0)
    torch.manual_seed(6)
    model = make_model("llama")
    hold_positions(model)
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    side = side_of(model, (1, 2))
    assert pruned(side, model, (1, 2), random, REDUCTION) == []
    for block, i in zip(layers_of(side), (1, 2), strict=True):
        of_query, of_key = (random[f"{i}.self_attn.{n}_proj.weight"].sum(1).tolist() for n in "qk")
        keys = attention_channels("llama", block)[1] % HEAD_SIZE
        for shared, kept in enumerate(keys.tolist()):
            sums = []
            for j in range(8):
                pair = (j, j + 8)
                own = sum(of_key[16 * shared + c] for c in pair)
                queries = (2 * shared, 2 * shared + 1)  # heads that share it
                sums.append(own + sum(of_query[16 * head + c] for head in queries for c in pair))
            best = sorted(sorted(range(8), key=lambda j: -sums[j])[:2])
            assert kept == [*best, *(j + 8 for j in best)]


def test_channels_that_are_turned_next_to_each_other_stay_so(blocks_of_positions):
    """Cohere's rotary embedding pairs 0 with 1, 2 with 3."""
    for block in blocks_of_positions("cohere"):
        for channels in attention_channels("cohere", block)[:2]:
            assert (channels[:, ::2] % 2 == 0).all()
            assert torch.equal(channels[:, 1::2], channels[:, ::2] + 1)


def test_the_channels_of_the_residual_are_the_same_in_all_blocks(blocks_of_positions):
    first, second = blocks_of_positions("bert")
    hidden = first.output.LayerNorm.weight
    assert torch.equal(hidden, second.output.LayerNorm.weight)
    for block in (first, second):
        assert torch.equal(block.attention.output.dense.bias, hidden)
        assert torch.equal(positions(block.output.dense.weight)[0], hidden.long())
        assert torch.equal(positions(block.intermediate.dense.weight)[1], hidden.long())
    neurons = [block.intermediate.dense.bias for block in (first, second)]
    assert not torch.equal(*neurons)
    for block, kept in zip((first, second), neurons, strict=True):
        assert torch.equal(positions(block.output.dense.weight)[1], kept.long())


class KeptNorm(nn.Module):
    """A norm of the kept channels alone; the others stay zero."""

    def __init__(self, norm, kept):
        super().__init__()
        self.norm, self.kept = norm, kept
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x):
        weight, bias = self.weight[self.kept], self.bias[self.kept]
        out = torch.zeros_like(x)
        out[..., self.kept] = functional.layer_norm(
            x[..., self.kept], (len(self.kept),), weight, bias, self.norm.eps
        )
        return out


def with_zeros(model, family, kept):
    """Make all weights of channels that are not kept zero."""
    for name, parameter in layers_of(model).named_parameters():
        i, _, within = name.partition(".")
        n_of = dict.fromkeys(("hidden", "query", "key", "value", "context"), WIDTH)
        at = wanted_positions(family, within, kept[int(i)], {**n_of, "neurons": neurons_of(model)})
        mask = torch.zeros_like(parameter)
        mask[at[0] if len(at) == 1 else (at[0][:, None], at[1])] = 1
        parameter.data.mul_(mask)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_block_computes_what_the_layer_did_if_the_other_channels_are_zero(family, make_model):
    torch.manual_seed(7)
    model = make_model(family)
    hidden = drawn(WIDTH // REDUCTION, WIDTH)
    kept = [{**known_channels(family, neurons_of(model)), "hidden": hidden} for _ in range(3)]
    with_zeros(model, family, kept)
    weights = layers_of(model).named_parameters()
    squares = {name: p.detach().square() for name, p in weights}  # weights that are not zero matter
    side, kept_layers = side_of(model, (0, 2)), [layers_of(model)[i] for i in (0, 2)]
    assert pruned(side, model, (0, 2), squares, REDUCTION) == []

    x = torch.randn(2, 6, WIDTH // REDUCTION)
    wide = torch.zeros(2, 6, WIDTH)
    wide[..., hidden] = x
    for layer, block in zip(kept_layers, layers_of(side), strict=True):
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.LayerNorm):
                owner, _, leaf = name.rpartition(".")
                setattr(layer.get_submodule(owner), leaf, KeptNorm(module, hidden))
        old, new = (p.attention.self if family == "bert" else p.attn for p in (layer, block))
        old.scaling = new.scaling  # of the narrow head
        ours, theirs = (_states(part(states)) for part, states in ((block, x), (layer, wide)))
        assert (ours - x).abs().mean() > 0.1
        torch.testing.assert_close(ours, theirs[..., hidden], rtol=1e-4, atol=1e-4)


def _states(output):
    return output[0] if isinstance(output, tuple) else output


def test_outputs_keep_their_size_where_inputs_are_not_alike(make_model):
    torch.manual_seed(2)
    model = make_model("bert")
    sizes = torch.exp(torch.randn(WIDTH))  # of the inputs
    fisher = {}
    for name, p in layers_of(model).named_parameters():
        reads = p.ndim == 2 and p.shape[1] == WIDTH and "output" not in name
        fisher[name] = sizes.square() * torch.rand(len(p), 1) if reads else torch.zeros_like(p)
    side = side_of(model, (0, 1, 2))
    pruned(side, model, (0, 1, 2), fisher, REDUCTION)
    hidden = sizes.argsort(descending=True)[: WIDTH // REDUCTION].sort().values
    x = torch.randn(500, WIDTH) * sizes
    for layer, block in zip(layers_of(model), layers_of(side), strict=True):
        weight, cut = (part.attention.self.value.weight for part in (layer, block))
        rows = [int((weight[:, hidden] / row).std(dim=1).argmin()) for row in cut]
        ours, theirs = x[:, hidden] @ cut.T, x @ weight[rows].T
        assert 0.9 < ours.std() / theirs.std() < 1.1
        plain = weight[rows][:, hidden] * REDUCTION**0.5
        assert (x[:, hidden] @ plain.T).std() / theirs.std() > 1.5


def test_inputs_that_are_alike_are_rescaled_by_how_many_are_kept(make_model):
    model = make_model("bert")
    for p in layers_of(model).parameters():
        p.data.fill_(1.0)
    alike = {name: torch.ones_like(p) for name, p in layers_of(model).named_parameters()}
    side = side_of(model)
    pruned(side, model, (0, 2), alike, REDUCTION)
    for name, parameter in layers_of(side).named_parameters():
        wanted = REDUCTION**0.5 if parameter.ndim == 2 else 1.0
        assert torch.allclose(parameter, torch.tensor(wanted)), name


def test_weights_without_importance_or_size_are_copied_as_they_are(make_model):
    model = make_model("bert")
    for p in layers_of(model).parameters():
        p.data.zero_()
    none = {name: torch.zeros_like(p) for name, p in layers_of(model).named_parameters()}
    side = side_of(model)
    assert pruned(side, model, (0, 2), none, REDUCTION) == []
    assert not any(p.any() for p in layers_of(side).parameters())


# ---- what cannot be placed ----


def test_norms_within_a_head_keep_their_start_and_are_named(make_model):
    model = make_model("qwen3")
    side = side_of(model)
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    missing = pruned(side, model, (0, 2), random, REDUCTION)
    assert missing == [f"{k}.self_attn.{n}_norm.weight" for k in (0, 1) for n in ("q", "k")]
    assert all((layers_of(side).get_parameter(name) == 1).all() for name in missing)


def test_queries_and_keys_that_are_turned_in_part_are_named(make_model):
    model = make_model("phi")
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    missing = pruned(side_of(model), model, (0, 2), random, REDUCTION)
    kinds = [f"self_attn.{n}_proj.{what}" for n in "qk" for what in ("weight", "bias")]
    assert missing == [f"{k}.{kind}" for k in (0, 1) for kind in kinds]


def test_a_mixture_of_experts_is_named(make_model):
    model = make_model("mixtral")
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    missing = pruned(side_of(model), model, (0, 2), random, REDUCTION)
    assert missing
    assert all(".mlp." in name for name in missing)


def test_another_reduction_or_number_of_blocks_is_refused(make_model):
    model = make_model("bert")
    random = {name: torch.rand_like(p) for name, p in layers_of(model).named_parameters()}
    with pytest.raises(ShapeError, match="is not 1 / 2 of 64 wide"):
        pruned(side_of(model), model, (0, 2), random, 2)
    with pytest.raises(ShapeError, match="1 layers cannot start 2 side blocks"):
        pruned(side_of(model), model, (2,), random, REDUCTION)


# ---- importances ----

TEXTS = torch.tensor([[2, 7, 9, 3], [2, 8, 5, 3]])


def loss_of(model, i):
    return model(TEXTS[i : i + 1]).last_hidden_state[0, :, :3].square().sum()


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_importances_are_mean_squares_of_each_samples_gradients(make_model):
    model = make_model("bert")
    found = importances(FrozenBackbone(copy.deepcopy(model), None, "float32"), loss_of, 2)
    wanted = {name: torch.zeros_like(p) for name, p in layers_of(model).named_parameters()}
    for i in range(2):
        model.zero_grad()
        loss_of(model, i).backward()
        for name, parameter in layers_of(model).named_parameters():
            wanted[name] += parameter.grad**2 / 2
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])
        assert not value.requires_grad
        assert value.any() or "key.bias" in name, name  # softmax does not see the keys' bias


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_frozen_backbone_stays_as_it_was(dtype, make_model):
    backbone = FrozenBackbone(make_model("bert"), None, dtype)
    model, before = backbone.model, state_of(backbone.model)
    with torch.no_grad():
        found = importances(backbone, loss_of, 2)
    assert backbone.model is model
    assert not model.training
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    assert all(
        tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])
        for name, tensor in model.state_dict().items()
    )
    assert {value.dtype for value in found.values()} == {torch.float32}
    side = side_of(model)
    assert pruned(side, model, (0, 2), found, REDUCTION) == []
    assert {p.dtype for p in side.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in layers_of(side).parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_caller_sees_each_sample_and_can_stop(make_model):
    backbone, seen = FrozenBackbone(make_model("bert"), None, "float32"), []

    def stop_after_one(n_done):
        seen.append(n_done)
        return n_done == 1

    stopped = importances(backbone, loss_of, 2, stop_after_one)
    assert seen == [1]
    first = importances(backbone, loss_of, 1)
    assert all(torch.equal(stopped[name], first[name]) for name in first)
    importances(backbone, loss_of, 2, seen.append)
    assert seen == [1, 1, 2]


def test_a_loss_that_is_not_finite_or_no_sample_is_refused(make_model):
    backbone = FrozenBackbone(make_model("bert"), None, "float32")
    with pytest.raises(ParameterError, match=r"finite loss of a sample\. Got nan"):
        importances(backbone, lambda model, i: loss_of(model, i) * float("nan"), 2)
    with pytest.raises(ParameterError, match="'n_samples' parameter of importances"):
        importances(backbone, loss_of, 0)


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
