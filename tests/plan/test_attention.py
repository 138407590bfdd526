import pytest
import torch
from tests.plan.small import config_of
from transformers import BertConfig, FNetConfig

from shoestring.errors import ParameterError
from shoestring.plan.attention import (
    compare_attention,
    crossover,
    eager_attention,
    linear_attention,
    linear_macs,
    softmax_attention,
)


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return [torch.randn(2, 3, 150, 8, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("is_causal", [False, True])
def test_linear_attention_is_that_with_weights_of_products(qkv, is_causal):
    q, k, v = qkv
    weights = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).mT
    weights = weights.tril() if is_causal else weights
    expected = weights / weights.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(linear_attention(q, k, v, is_causal), expected)


@pytest.mark.parametrize("is_causal", [False, True])
def test_eager_attention_is_the_fused_kernels(qkv, is_causal):
    torch.testing.assert_close(eager_attention(*qkv, is_causal), softmax_attention(*qkv, is_causal))


@pytest.mark.parametrize(("wider", "length"), [(1, 64), (4, 16 * 64)])
def test_the_published_crossovers_hold_by_multiply_adds(wider, length):
    found = compare_attention(BertConfig(), lengths=(8,), wider=wider, measure=False)
    assert found["crossovers"]["flops"] == {"softmax": length + 1, "eager": length + 1}


def test_a_decoders_chunks_move_the_crossover_out():
    assert linear_macs(1000, 64, True) > linear_macs(1000, 64, False)


def test_a_crossover_is_the_first_length_below_one():
    assert crossover(lambda n: 777 / n) == 778
    assert crossover(lambda n: 2.0) is None


def test_memory_crosses_against_eager_attention_and_never_against_the_fused_kernel():
    found = compare_attention(BertConfig(), lengths=(256,), measure=False)
    by = found["crossovers"]["bytes"]
    assert by["softmax"] is None
    assert 256 < by["eager"] < 4096
    row = found["lengths"][0]
    assert row["softmax"]["bytes"] < row["eager"]["bytes"] < row["linear"]["bytes"]


def test_where_it_saves_time_the_smaller_softmax_model_is_named():
    found = compare_attention(config_of("bert"), lengths=(4096,), wider=1, measure=False)
    row = found["lengths"][0]
    assert row["linear"]["seconds"] < row["softmax"]["seconds"]
    assert 0 < row["width"] < 64
    assert f"width {row['width']} in place of 64" in found["advice"]


def test_measuring_adds_seconds_of_every_kernel():
    found = compare_attention(config_of("llama"), lengths=(16,))
    assert all(found["lengths"][0][k]["measured"] > 0 for k in ("softmax", "eager", "linear"))


def test_bad_input_is_one_sentence():
    with pytest.raises(ParameterError, match="one of the families"):
        compare_attention(FNetConfig(), measure=False)
    with pytest.raises(ParameterError, match="lengths"):
        compare_attention(BertConfig(), lengths=(0,), measure=False)


@pytest.mark.parametrize("wrong", [{"lengths": 7}, {"lengths": ()}, {"on": "cuda"}, {"wider": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        compare_attention(BertConfig(), **{"lengths": (4,), "measure": False} | wrong)
