import pytest
import torch
from tests.plan.small import class_of, config_of
from torch.profiler import profile
from transformers import AutoConfig, AutoModel, FNetConfig, XLNetConfig

from shoestring.plan.trace import Trace, inputs_of, run_without_numbers, sum_of


def test_products_have_two_flops_a_multiply_add():
    a, b, c = torch.randn(2, 3, 5), torch.randn(2, 5, 7), torch.randn(7)
    for call, flops in (
        (lambda: a @ b, 2 * 2 * 3 * 5 * 7),
        (lambda: torch.addmm(c, a[0], b[0]), 2 * 3 * 5 * 7),
        (lambda: a[0] @ b[0, :, 0], 2 * 3 * 5),
        (lambda: torch.conv1d(a, torch.randn(4, 3, 2)), 2 * 2 * 4 * 4 * 3 * 2),
        (lambda: a + a, 0),
    ):
        with Trace() as trace:
            call()
        assert trace.flops["forward"] == flops


def test_the_attention_kernel_of_a_cpu_has_two_products_and_five_backward():
    q, k = torch.randn(2, 3, 8, 16, requires_grad=True), torch.randn(2, 3, 12, 16)
    with Trace() as trace:
        out = torch.nn.functional.scaled_dot_product_attention(q, k, k)
        trace.phase = "backward"
        out.sum().backward()
    one = 2 * 2 * 3 * 8 * 12 * 16
    assert trace.flops == {"forward": 2 * one, "backward": 5 * one}


def test_live_bytes_grow_and_shrink_with_storages_and_not_with_views():
    with Trace() as trace:
        x = torch.zeros(1000)
        y = x.view(10, 100).T
        assert trace.live == 4000
        z = x + x
        assert trace.live == 8000
        del x, z
        assert trace.live == 4000  # the view holds it
        del y
    assert (trace.live, trace.peak) == (0, 8000)
    works = {found.name: found.work for found in trace.operators["forward"]}
    assert works == {"zeros": 4000, "view": 0, "permute": 0, "add": 12000}


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_peak_is_that_of_a_run_with_numbers(family):
    config = config_of(family)
    kind = class_of(family, False)
    found = run_without_numbers(kind, config, 8, 40, is_trained=True)
    model, inputs = kind(config).train(), inputs_of(config, 8, 40)
    with profile(profile_memory=True) as profiler:
        sum_of(model(**inputs)).backward()
    live = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert found.trace.peak == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize("config", [XLNetConfig, FNetConfig])
def test_a_model_without_a_description_runs_too(config):
    small = AutoConfig.for_model(config.model_type, num_hidden_layers=1)
    kind = AutoModel._model_mapping[config]
    found = run_without_numbers(kind, small, 2, 16, is_trained=True)
    assert found.trace.flops["backward"] > found.trace.flops["forward"] > 0


def test_a_causal_kernel_leaves_out_blocks_and_has_all_flops():
    q = torch.randn(1, 2, 512, 16, requires_grad=True)
    works = {}
    for is_causal in (True, False):
        with Trace() as trace:
            attended = torch.nn.functional.scaled_dot_product_attention(
                q, q, q, is_causal=is_causal
            )
            attended.sum().backward()
        assert trace.flops["forward"] == (2 + 5) * 2 * 2 * 512 * 512 * 16
        operators = trace.operators["forward"]
        works[is_causal] = [found.work for found in operators if "attention" in found.name]
    assert works[True] == [0.75 * work for work in works[False]]
