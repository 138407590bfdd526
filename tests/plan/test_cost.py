import pytest
import torch
from tests.plan.small import class_of, config_of
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig

from shoestring.plan.cost import Job, macs, products, weights
from shoestring.plan.families import FAMILIES, describe
from shoestring.plan.job import _but_the_head, _with_lora
from shoestring.plan.trace import Trace, inputs_of, run_without_numbers, sum_of

QUICK = (
    *("bert", "roberta", "distilbert", "electra", "albert", "esm", "modernbert", "nomic_bert"),
    *("gpt2", "gpt_neox", "opt", "bloom", "falcon", "gpt_bigcode", "phi", "mpt", "starcoder2"),
    *("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "olmo2", "glm"),
    *("mixtral", "qwen2_moe", "t5", "umt5", "bart", "marian"),
)


def flops(config, job, has_head=False):
    sums = macs(products(describe(config, has_head), job)).values()
    return [2 * sum(pair[number] for pair in sums) for number in (0, 1)]


def counted(run):
    return [run.trace.flops["forward"], run.trace.flops["backward"]]


def check(family, has_head, attention, is_trained, length):
    config = config_of(family)
    config._attn_implementation = attention
    kind = class_of(family, has_head)
    run = run_without_numbers(kind, config, 3, length, is_trained=is_trained)
    fuses = describe(config).fuses or not is_trained
    method = "full" if is_trained else None
    job = Job(3, length, method, is_fused=run.attention == "sdpa" and fuses)
    assert flops(config, job, has_head) == counted(run)


@pytest.mark.parametrize("family", QUICK)
def test_the_closed_form_equals_the_operators(family):
    fuses = describe(config_of(family)).fuses
    check(family, True, "eager", True, 7)
    check(family, False, "sdpa", fuses, 10)  # where training cannot fuse, forward does


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_closed_form_equals_the_operators_of_every_family(family):
    for has_head in (False, True):
        for attention in ("eager", "sdpa"):
            for is_trained in (False, True):
                for length in (5, 16, 33):
                    check(family, has_head, attention, is_trained, length)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_lora_heads_checkpoints_and_caches_equal_the_operators(family):
    pytest.importorskip("peft")
    config = config_of(family, tie_word_embeddings=False)
    config._attn_implementation = "eager"
    kind = class_of(family, True)
    methods = {"lora": _with_lora, "head": _but_the_head}
    if family == "t5":  # whose head is its embedding
        methods.pop("head")
    for method, prepare in methods.items():
        run = run_without_numbers(kind, config, 3, 10, is_trained=True, prepare=prepare)
        assert flops(config, Job(3, 10, method, False), True) == counted(run), method
    run = run_without_numbers(kind, config, 3, 10, is_trained=True, checkpointing=True)
    job = Job(3, 10, "full", False, checkpointing=True, skips_last=family == "llama")
    assert flops(config, job, True) == counted(run)
    if FAMILIES[family]["kind"] == "decoder":
        run = run_without_numbers(kind, config, 3, 1, is_trained=False, cached=9)
        assert flops(config, Job(3, 1, None, False, 9), True) == counted(run)


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
        sums = macs(products(describe(config), Job(2, 9)))
        missed = theirs.get_total_flops() != 2 * sum(pair[0] for pair in sums.values())
        assert missed == misses
        if missed:  # a version of torch that knows the kernel
            sums.pop("attention")
            assert theirs.get_total_flops() == 2 * sum(pair[0] for pair in sums.values())


def test_bert_base_has_the_published_count():
    sums = macs(products(describe(BertConfig()), Job(1, 128)))
    assert sum(pair[0] for part, pair in sums.items() if part != "logits") == 11_173_625_856
    n, width = 128, 768
    assert sum(map(sum, sums.values())) - sums["logits"][0] == 12 * (
        12 * n * width**2 + 2 * n**2 * width
    )


@pytest.mark.parametrize("n", [128, 512, 4608])
def test_the_attention_matrix_is_n_over_n_plus_6_widths_of_a_layer(n):
    sums = macs(products(describe(BertConfig()), Job(1, n)))
    layers = sum(pair[0] for part, pair in sums.items() if part != "logits")
    assert sums["attention"][0] / layers == pytest.approx(n / (n + 6 * 768))


def test_a_fused_kernel_goes_backward_in_five_products():
    config = LlamaConfig()
    for is_fused, factor in ((True, 2.5), (False, 2.0)):
        pair = macs(products(describe(config), Job(1, 100, "full", is_fused)))["attention"]
        assert pair[1] == factor * pair[0]


def test_shared_keys_shrink_their_projections_and_not_the_attention():
    many = describe(LlamaConfig(num_key_value_heads=32))
    few = describe(LlamaConfig(num_key_value_heads=8))
    a, b = macs(products(many, Job(1, 100))), macs(products(few, Job(1, 100)))
    assert b["projections"][0] / a["projections"][0] == 2.5 / 4
    assert a["attention"] == b["attention"]


def test_of_experts_the_active_ones_work_and_all_have_weights():
    config = config_of("mixtral")
    two, four = describe(config), describe(config_of("mixtral"))
    config.num_local_experts = 8
    four = describe(config)
    work = [macs(products(model, Job(1, 10)))["feed-forward"][0] for model in (two, four)]
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
    config = config_of("deberta-v2")
    config.relative_attention = True
    assert describe(config) is None
    config = config_of("qwen2_moe")
    config.decoder_sparse_step = 2
    assert describe(config) is None
