import pytest
import torch
from tests.plan.small import class_of, config_of
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig

from shoestring.plan.cost import FAMILIES, describe, macs, weights
from shoestring.plan.trace import Trace, inputs_of, run_without_numbers, sum_of

QUICK = (
    *("bert", "roberta", "distilbert", "electra", "albert", "esm", "modernbert", "nomic_bert"),
    *("gpt2", "gpt_neox", "opt", "bloom", "falcon", "gpt_bigcode", "phi", "mpt", "starcoder2"),
    *("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "olmo2", "glm"),
    *("mixtral", "qwen2_moe", "t5", "umt5", "bart", "marian"),
)


def flops(config, *sizes, has_head=False, **job):
    sums = macs(describe(config, has_head), *sizes, **job).values()
    return [2 * sum(pair[number] for pair in sums) for number in (0, 1)]


def counted(run):
    return [run.trace.flops["forward"], run.trace.flops["backward"]]


def check(family, has_head, attention, is_trained, length):
    config, kind = config_of(family), class_of(family, has_head)
    if attention == "sdpa" and not kind._supports_sdpa:
        return
    config._attn_implementation = attention
    run = run_without_numbers(kind, config, 3, length, is_trained=is_trained)
    found = flops(
        config, 3, length, has_head=has_head, is_trained=is_trained, is_fused=run.is_fused
    )
    assert found == counted(run)
    assert not (run.is_fused and attention == "eager")


@pytest.mark.parametrize("family", QUICK)
def test_the_closed_form_equals_the_operators(family):
    check(family, True, "eager", True, 7)
    check(family, False, "sdpa", True, 10)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_closed_form_equals_the_operators_of_every_family(family):
    for has_head in (False, True):
        for attention in ("eager", "sdpa"):
            for is_trained in (False, True):
                for length in (5, 16, 33):
                    check(family, has_head, attention, is_trained, length)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_token_beside_cached_ones_equals_the_operators(family):
    config, kind = config_of(family), class_of(family, True)
    run = run_without_numbers(kind, config, 3, 1, is_trained=False, cached=9)
    assert flops(config, 3, 1, has_head=True, cached=9) == counted(run)


def test_numbers_change_nothing():
    config = config_of("bert")
    model = BertModel(config).train()
    with Trace() as trace:
        out = model(**inputs_of(config, 2, 9))
        trace.phase = "backward"
        sum_of(out).backward()
    fake = run_without_numbers(BertModel, config, 2, 9, is_trained=True)
    assert trace.flops == fake.trace.flops


def test_torch_counts_the_same_but_for_the_kernels_that_it_does_not_know():
    for attention, misses in (("eager", False), ("sdpa", True)):
        config = config_of("llama")
        config._attn_implementation = attention
        model = class_of("llama", False)(config).eval()
        with FlopCounterMode(display=False) as theirs, torch.no_grad():
            model(**inputs_of(config, 2, 9))
        sums = macs(describe(config), 2, 9)
        missed = theirs.get_total_flops() != 2 * sum(pair[0] for pair in sums.values())
        assert missed == misses
        if missed:  # a version of torch that knows the kernel
            sums.pop("attention")
            assert theirs.get_total_flops() == 2 * sum(pair[0] for pair in sums.values())


def test_bert_base_has_the_published_count():
    sums = macs(describe(BertConfig()), 1, 128)
    assert sum(pair[0] for part, pair in sums.items() if part != "logits") == 11_173_625_856
    n, width = 128, 768
    assert sum(map(sum, sums.values())) - sums["logits"][0] == 12 * (
        12 * n * width**2 + 2 * n**2 * width
    )


@pytest.mark.parametrize("n", [128, 512, 4608])
def test_the_attention_matrix_is_n_over_n_plus_6_widths_of_a_layer(n):
    sums = macs(describe(BertConfig()), 1, n)
    layers = sum(pair[0] for part, pair in sums.items() if part != "logits")
    assert sums["attention"][0] / layers == pytest.approx(n / (n + 6 * 768))


def test_a_fused_kernel_goes_backward_in_five_products():
    config = LlamaConfig()
    for is_fused, factor in ((True, 2.5), (False, 2.0)):
        pair = macs(describe(config), 1, 100, is_trained=True, is_fused=is_fused)["attention"]
        assert pair[1] == factor * pair[0]


def test_shared_keys_shrink_their_projections_and_not_the_attention():
    many = describe(LlamaConfig(num_key_value_heads=32))
    few = describe(LlamaConfig(num_key_value_heads=8))
    a, b = macs(many, 1, 100), macs(few, 1, 100)
    assert b["projections"][0] / a["projections"][0] == 2.5 / 4
    assert a["attention"] == b["attention"]


def test_of_experts_the_active_ones_work_and_all_have_weights():
    config = config_of("mixtral")
    two = describe(config)
    config.num_local_experts = 8
    four = describe(config)
    work = [macs(model, 1, 10)["feed-forward"][0] for model in (two, four)]
    gates = 2 * 10 * 64 * 4  # layers, tokens, width, more experts
    assert work[1] - work[0] == gates
    assert weights(four)["feed-forward"] == 2 * weights(two)["feed-forward"]


@pytest.mark.parametrize("family", ["bert", "llama", "mixtral", "t5", "electra"])
def test_matrices_lookup_tables_and_the_rest_are_all_parameters(family):
    run = run_without_numbers(class_of(family, False), config_of(family), 1, 4, is_trained=False)
    real = class_of(family, False)(config_of(family))
    assert run.parameters == sum(value.numel() for value in real.parameters())
    known = sum(weights(describe(config_of(family))).values()) + run.embedding
    small = sum(value.numel() for value in real.parameters() if value.ndim == 1)
    assert run.parameters - known == small


def test_what_is_not_described_is_none():
    assert describe(BertConfig(model_type="unheard-of")) is None
