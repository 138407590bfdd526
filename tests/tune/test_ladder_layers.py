import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.tune.ladder import Ladder
from shoestring.tune.ladder_layers import DownProjections

TEXTS = ["open the file", "sort a list of words in the text", "join"]


def scalar_down(down, k, token):
    """Down_k of one token (D,), number by number: the output over its size, the matrix, the bias.

    Read from the stored weights, in Python's own float64.
    """
    weight, scale = down.weight[k].tolist(), down.scale[k].item()
    bias = down.bias[k, 0].tolist()
    return [
        sum(x * scale * row[j] for x, row in zip(token, weight, strict=True)) + bias[j]
        for j in range(len(bias))
    ]


def scalar_mixed(down, k, state, lowered):
    """What enters block k, for one token (d,)."""
    g = 1 / (1 + math.exp(-down.gate_logits[k].item() / 0.1))
    return [g * s + (1 - g) * b for s, b in zip(state, lowered, strict=True)]


def record(ladder):
    """Keep what enters and leaves each block, and what enters the side network."""
    from shoestring.models.frozen import layers_of

    seen = {"in": [], "out": [], "first": None}

    def entering(_, args, kwargs):
        seen["in"].append((args[0] if args else kwargs["hidden_states"]).detach())

    def leaving(_, args, found):
        seen["out"].append((found[0] if isinstance(found, tuple) else found).detach())

    def first(_, args, kwargs):
        seen["first"] = kwargs["inputs_embeds"].detach()

    for layer in layers_of(ladder.side):
        layer.register_forward_pre_hook(entering, with_kwargs=True)
        layer.register_forward_hook(leaving)
    ladder.side.register_forward_pre_hook(first, with_kwargs=True)
    return seen


def embedded(side, states):
    """What the side network's class makes of its first states: positions are added, or nothing."""
    if hasattr(side, "embeddings"):
        return side.embeddings(input_ids=None, inputs_embeds=states)
    return states + side.wpe.weight[: states.shape[1]] if hasattr(side, "wpe") else states


@pytest.mark.parametrize("kept", [(0, 1, 2), (0, 2), (2,)])
def test_what_enters_each_block_equals_a_scalar_port_of_the_rule(
    family, kept, make_ladder, stir, inputs_of
):
    ladder = stir(make_ladder(family, layers=kept)).eval()
    seen = record(ladder)
    arrays = inputs_of(ladder, TEXTS)
    read = ladder.read(arrays["input_ids"], arrays["attention_mask"])
    ladder.side_states(read)
    assert len(seen["in"]) == len(kept)
    for b, t in ((0, 0), (1, 3)):
        token = read.outputs[0, b, t].tolist()
        want = scalar_down(ladder.down, 0, token)
        assert seen["first"][b, t].tolist() == pytest.approx(want, abs=1e-5)
        for k, layer in enumerate(kept):
            token = read.outputs[k + 1, b, t].tolist()
            before = seen["out"][k - 1] if k else embedded(ladder.side, seen["first"])
            lowered = scalar_down(ladder.down, k + 1, token)
            entered = scalar_mixed(ladder.down, k, before[b, t].tolist(), lowered)
            assert seen["in"][k][b, t].tolist() == pytest.approx(entered, abs=2e-5), layer


def test_the_outputs_beside_the_blocks_are_those_of_the_kept_layers(backbone, make_ladder):
    ids = torch.tensor([[2, 7, 9, 3]])
    mask = torch.ones_like(ids)
    states = backbone().model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    outputs = make_ladder(layers=(0, 2)).read(ids, mask).outputs
    assert torch.equal(outputs, torch.stack([states[0], states[1], states[3]]))


def test_a_ladder_starts_with_half_of_each():
    down = DownProjections(n_outputs=4, width=6, side_width=2)
    assert down.gates().tolist() == [0.5, 0.5, 0.5]
    state, lowered = torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[0.0, 8.0]]])
    assert down.mixed(0, state, lowered).tolist() == [[[1.0, 6.0]]]


def test_a_gate_of_a_tenth_is_the_sigmoid_of_one():
    down = DownProjections(n_outputs=2, width=6, side_width=2)
    down.gate_logits.data.fill_(0.1)
    assert down.gates().item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_outputs_of_a_layer_are_divided_by_their_root_mean_square():
    down = DownProjections(n_outputs=2, width=3, side_width=2)
    outputs = torch.stack([torch.full((1, 2, 3), 4.0), torch.full((1, 2, 3), -500.0)])
    down(outputs, torch.ones(1, 2))
    assert down.scale.tolist() == pytest.approx([1 / 4, 1 / 500])


def test_padding_does_not_enter_the_scale():
    torch.manual_seed(0)
    outputs, mask = torch.randn(3, 2, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    down = DownProjections(n_outputs=3, width=4, side_width=2)
    down(outputs * torch.where(mask.bool(), 1.0, 1e6)[..., None], mask)
    tokens = torch.cat([outputs[:, 0, :3], outputs[:, 1, :4]], dim=1)  # (K, 7, D)
    want = tokens.square().mean((1, 2)).rsqrt()
    assert torch.allclose(down.scale, want)


def test_the_scale_is_measured_once():
    down = DownProjections(n_outputs=2, width=3, side_width=2)
    down(torch.ones(2, 1, 2, 3), torch.ones(1, 2))
    before = down.scale.clone()
    down(torch.full((2, 1, 2, 3), 100.0), torch.ones(1, 2))
    assert torch.equal(down.scale, before)


def test_the_scale_is_saved_and_loaded_and_not_measured_again(make_ladder, inputs_of, tmp_path):
    ladder = make_ladder()
    ladder(**inputs_of(ladder, TEXTS))
    assert ladder.down.scale.all()
    ladder.save_pretrained(tmp_path / "ladder")
    again = Ladder.from_pretrained(tmp_path / "ladder", dtype="float32")
    assert torch.equal(again.down.scale, ladder.down.scale)
    again(**inputs_of(again, ["of"]))
    assert torch.equal(again.down.scale, ladder.down.scale)


def test_bfloat16_outputs_come_down_as_float32_near_those_of_float32():
    torch.manual_seed(0)
    down = DownProjections(n_outputs=3, width=64, side_width=8)
    outputs, mask = torch.randn(3, 2, 5, 64), torch.ones(2, 5)
    exact = down(outputs, mask)
    lowered = down(outputs.bfloat16(), mask)
    assert lowered.dtype == torch.float32
    assert (lowered - exact).abs().max() < 0.03 * exact.std()
    assert not torch.equal(lowered, exact)
