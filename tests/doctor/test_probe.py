"""What is measured of real modules: against literal sums, and nothing is left behind."""

import copy
import math

import pytest
import torch
from benchmarks.doctor.cases import SOUND, bert, gpt2, llama, t5, torchs
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    DebertaV2Config,
    DebertaV2Model,
    XLNetConfig,
    XLNetModel,
)

from shoestring.doctor import measure
from shoestring.errors import ParameterError, ShoestringError

IDS = torch.arange(5, 29).view(2, 12)


def test_each_number_is_what_it_says():
    torch.manual_seed(0)
    model = bert(64, 2)
    signal = measure(model, {"input_ids": IDS}, seed=3)
    found = {row.place: row for row in signal.sublayers}
    kept = {}
    layer = model.bert.encoder.layer[1]

    def keep(name):
        def hook(module, args, out):
            out.retain_grad()
            kept[name] = args[0], out

        return hook

    layer.attention.output.dense.register_forward_hook(keep("attention"))
    layer.intermediate.dense.register_forward_hook(keep("reads"))
    start = model.eval().bert.embeddings(IDS).detach()
    last = model.bert(IDS).last_hidden_state
    top = torch.randn(last.shape, generator=torch.Generator().manual_seed(3))
    last.backward(top)
    read, wrote = kept["reads"][0], kept["attention"][1]
    gradient, wrote, read = (x.detach() for x in (wrote.grad, wrote, read))
    gradient = float(gradient.square().mean().sqrt())
    assert found["1.attention"].gradient == pytest.approx(gradient, rel=1e-4)
    assert found["1.attention"].deviation == pytest.approx(float(wrote.square().mean().sqrt()))
    unit = nn.functional.normalize(read, dim=-1)
    cosines = unit @ unit.transpose(1, 2)
    mean = float((cosines.sum() - cosines.diagonal(dim1=1, dim2=2).sum()) / (2 * 12 * 11))
    assert found["1.feed-forward"].correlation == pytest.approx(mean, rel=1e-4)
    gain = float(torch.cosine_similarity(start, read, dim=-1).mean())
    assert found["1.feed-forward"].gain == pytest.approx(gain, rel=1e-4)
    assert signal.logits == pytest.approx(
        float(model(IDS).logits.detach().std(-1).mean()), rel=1e-4
    )


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_scores_are_those_of_the_softmax(implementation):
    torch.manual_seed(0)
    model = llama(64, 1, attn_implementation=implementation)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight *= 20
    scores = measure(model, {"input_ids": IDS}).sublayers[0].scores
    model.set_attn_implementation("eager")
    with torch.no_grad():
        (weights,) = model.eval()(IDS, output_attentions=True).attentions
    rows = [weights[:, :, t, : t + 1].log().var(-1, correction=0) for t in range(1, 12)]
    assert scores == pytest.approx(math.sqrt(float(torch.stack(rows).mean())), rel=1e-3)


@pytest.mark.parametrize("name", SOUND)
def test_a_model_is_left_as_it_was(name):
    torch.manual_seed(0)
    model = SOUND[name](64).train()
    model.requires_grad_(False)  # frozen: the gradients of activations are measured all the same
    first = next(model.parameters()).requires_grad_(True)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    given = {"src": torch.randn(2, 6, 64)} if "nn." in name else {"input_ids": IDS}
    if name.startswith("T5"):
        given["decoder_input_ids"] = IDS
    state = torch.random.get_rng_state()
    measure(model, given)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert first.grad is None
    assert not any(p.requires_grad for p in model.parameters() if p is not first)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_frozen_model_has_the_same_gradients():
    torch.manual_seed(0)
    model = gpt2(64, 2)
    free = measure(model, {"input_ids": IDS})
    assert measure(model.requires_grad_(False), {"input_ids": IDS}) == free


def test_padding_does_not_count():
    torch.manual_seed(0)
    model = bert(64, 2)
    alone = measure(model, {"input_ids": IDS[:1, :8]})
    padded = IDS[:1].clone()
    padded[:, 8:] = 0
    mask = (padded != 0).long()
    found = measure(model, {"input_ids": padded, "attention_mask": mask})
    for a, b in zip(alone.sublayers, found.sublayers, strict=True):
        assert (b.deviation, b.correlation, b.gain) == pytest.approx(
            (a.deviation, a.correlation, a.gain), rel=1e-4
        )


def test_every_place_of_an_encoder_and_a_decoder_is_found():
    ids = {"input_ids": IDS, "decoder_input_ids": IDS[:, :5]}
    places = [row.place for row in measure(t5(64, 2), ids).sublayers]
    decoder = ["attention", "cross-attention", "feed-forward"]
    assert places == [
        *(f"{i}.{kind}" for i in range(2) for kind in ("attention", "feed-forward")),
        *(f"decoder {i}.{kind}" for i in range(2) for kind in decoder),
    ]
    with pytest.warns(UserWarning, match="nested"):
        whole = nn.Transformer(64, 2, 2, 2, 128)  # texts along the second axis
    given = {"src": torch.randn(7, 2, 64), "tgt": torch.randn(5, 2, 64)}
    assert [row.place for row in measure(whole, given).sublayers] == places


def test_texts_along_the_second_axis_are_the_same_texts():
    torch.manual_seed(0)
    first = torchs(64, 2)
    second = torchs(64, 2, batch_first=False)
    second.load_state_dict(first.state_dict())
    src = torch.randn(2, 6, 64)
    found = measure(first, {"src": src}), measure(second, {"src": src.transpose(0, 1)})
    for a, b in zip(*(one.sublayers for one in found), strict=True):
        assert b.correlation == pytest.approx(a.correlation, abs=1e-5)
        assert b.gain == pytest.approx(a.gain, abs=1e-5)


def test_layers_that_share_their_weights_and_unusual_names_are_found():
    config = AlbertConfig(
        vocab_size=40, embedding_size=16, hidden_size=32, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=64,
    )  # fmt: skip
    places = [row.place for row in measure(AlbertModel(config), {"input_ids": IDS}).sublayers]
    assert places == [f"{i}.{kind}" for i in range(3) for kind in ("attention", "feed-forward")]
    config = DebertaV2Config(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, relative_attention=True, pos_att_type=["p2c", "c2p"],
        share_att_key=True,
    )  # fmt: skip
    rows = measure(DebertaV2Model(config), {"input_ids": IDS}).sublayers
    assert [row.place for row in rows] == places[:4]


def test_what_cannot_be_measured_is_told():
    model = bert(64, 1)
    with pytest.raises(ParameterError, match=r"torch\.nn\.Module with weights"):
        measure("model", {"input_ids": IDS})
    with pytest.raises(ParameterError, match="Tensors that are not empty"):
        measure(model, {"input_ids": IDS[:0]})
    with pytest.raises(ShoestringError, match="has NaN: it is in the inputs"):
        measure(torchs(64, 1), {"src": torch.full((1, 3, 64), math.nan)})
    with pytest.raises(ParameterError, match="queries, keys and values"):
        measure(nn.Linear(4, 4), {"input": torch.randn(2, 3, 4)})
    sizes = {"vocab_size": 40, "d_model": 32, "n_layer": 1, "n_head": 2}
    with pytest.raises(ParameterError, match="queries, keys and values"):
        measure(XLNetModel(XLNetConfig(**sizes)), {"input_ids": IDS})
    with pytest.raises(ShoestringError, match="does not run on the inputs"):
        measure(model, {"input_ids": torch.full((1, 3), 10**6)})
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.fill_(math.nan)
    with pytest.raises(ShoestringError, match="has NaN: it is in the inputs"):
        measure(model, {"input_ids": IDS})
    assert all(not m._forward_hooks for m in model.modules())
