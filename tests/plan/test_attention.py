import pytest
import torch
from tests.plan.small import config_of
from transformers import BertConfig, FNetConfig

from shoestring.errors import ParameterError
from shoestring.plan import attention
from shoestring.plan.attention import compare_attention, linear_attention


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


@pytest.mark.parametrize(("wider", "length"), [(1, 64), (4, 16 * 64 + 2)])  # 2 for the sums
def test_the_published_crossovers_hold_by_multiply_adds(monkeypatch, wider, length):
    monkeypatch.setattr(attention, "WIDER", wider)
    found = compare_attention(BertConfig(), lengths=(8,))
    assert found["crossovers"]["flops"] == length + 1


def test_a_decoders_chunks_move_the_crossover_out():
    found = compare_attention(config_of("llama"), lengths=(8,))
    assert found["crossovers"]["flops"] > 16 * 24 + 3


def test_the_fused_kernel_needs_less_memory_at_every_length():
    found = compare_attention(BertConfig(), lengths=(64,))
    assert found["crossovers"]["bytes"] is None
    row = found["lengths"][0]
    assert row["softmax"]["bytes"] < row["linear"]["bytes"]


def test_where_it_saves_time_the_smaller_softmax_model_is_named(monkeypatch):
    took_s = iter([1.0] * 5 + [0.5] * 5)  # softmax, linear
    monkeypatch.setattr(attention, "quickest_s", lambda call, ends: next(took_s))
    found = compare_attention(config_of("bert"), lengths=(1024,))
    row = found["lengths"][0]
    assert row["linear"]["measured"] == 0.5
    assert row["width"] == 32  # of 64, in heads of 16: matrices cost next to nothing here
    assert "width 32 in place of 64" in found["advice"]


def test_where_it_saves_no_time_no_model_is_named(monkeypatch):
    took_s = iter([1.0] * 5 + [2.0] * 5)
    monkeypatch.setattr(attention, "quickest_s", lambda call, ends: next(took_s))
    found = compare_attention(config_of("llama"), lengths=(16,))
    assert found["lengths"][0]["width"] == 64
    assert "does not pay at 16 tokens" in found["advice"]


def test_bad_input_is_one_sentence():
    with pytest.raises(ParameterError, match="one of the families"):
        compare_attention(FNetConfig())
    with pytest.raises(ParameterError, match="lengths"):
        compare_attention(BertConfig(), lengths=(0,))


@pytest.mark.parametrize("wrong", [7, ()])
def test_wrong_lengths_are_refused(wrong):
    with pytest.raises(ParameterError, match="lengths"):
        compare_attention(BertConfig(), lengths=wrong)
