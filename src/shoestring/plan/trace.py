"""A model run without numbers: its operators, their FLOPs, and the bytes that live at a time.

torch's fake tensors have shapes, types and a device, and no data: a model of any size, built on the
meta device, runs on them in a second, chooses the kernels that it would on the CPU, and frees what
it would free. So this counts what a model does of which no description is known, proves the closed
form of :mod:`shoestring.plan.cost`, and finds the peak of memory.

FLOPs are those of matrix products, convolutions and attention kernels: 2 m k n of each product.
torch's own counter has no entry for the CPU's attention kernels, and counts 0 for them.

Not covered: kernels of other packages; what a model decides by values. Layers that training leaves
out at random are counted as if they ran.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class Operator(NamedTuple):
    """One kind of call, as the time model needs it: its work, and what the rate depends on."""

    name: str  # "mm", "bmm", "attention" or "attention_backward" for products
    dtype: str
    work: float  # multiply-adds that a product computes, bytes that others read and write
    point: tuple[int, ...]  # m, k, n of products; queries, head size of attention; bytes


Product = tuple[str, int, tuple[int, ...]]  # name, multiply-adds, point


def _product(*tensors: Tensor) -> Product:
    """Of (..., m, k) by (..., k, n), the last two of the arguments, before the result."""
    a, out = tensors[-3], tensors[-1]
    rows, m, k = math.prod(a.shape[:-1]), math.prod(a.shape[-2:-1]), a.shape[-1]
    return "bmm" if a.ndim > 2 else "mm", out.numel() * k, (m, k, out.numel() // max(1, rows))


def _grouped(a: Tensor, b: Tensor, *rest: Any) -> Product:
    """Of (S, k) by (experts, k, n), rows sorted by expert; or (m, S) by (S, n) for each of them."""
    k, out = a.shape[-1], rest[-1]
    experts = max(len(out) if out.ndim > 2 else len(b), 1)
    if out.ndim > 2:
        return "mm", a.numel() * out.shape[-1], (len(a), k // experts, out.shape[-1])
    return "mm", out.numel() * k, (len(a) // experts, k, out.shape[-1])


def _convolution(products: int, weight: Tensor, out: Tensor) -> Product:
    channels, size = len(weight), math.prod(weight.shape[1:])
    return "mm", products * out.numel() * size, (out.numel() // channels, size, channels)


# From the arguments and the result of a call
PRODUCTS: dict[Any, Callable[..., Product]] = {
    **dict.fromkeys((aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.mv, aten.dot), _product),
    aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, *_: ("attention", 2 * q.numel() * k.shape[2], q.shape[2:])
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, *_: ("attention_backward", 5 * q.numel() * k.shape[2], q.shape[2:])
    ),
    aten._grouped_mm: _grouped,  # how transformers multiplies by experts
    aten.convolution: lambda x, weight, *rest: _convolution(1, weight, rest[-1]),
    aten.convolution_backward: lambda grad, x, weight, *rest: _convolution(
        sum(part is not None for part in rest[-1][:2]), weight, grad
    ),
}  # values are as wide as queries: the kernel requires it

LOOKUPS = aten.embedding, aten.gather, aten.index, aten.index_select


class Trace(TorchDispatchMode):  # type: ignore[misc]
    """Record the operators that run within the block, on fake or on real tensors.

    Attributes
    ----------
    phase : str
        Under which operators are recorded; set it as the run goes on.
    flops : Counter
        Of matrix products and attention, by phase.
    operators : dict
        Of each phase, a Counter of :class:`Operator`.
    live, peak : int
        Bytes of the storages that were made within the block and live now; the most at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = "forward"
        self.flops: Counter[str] = Counter()
        self.operators: dict[str, Counter[Operator]] = defaultdict(Counter)
        self.live = self.peak = 0
        self._bytes: dict[int, int] = {}  # by the address of the storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        results = [part for part in tree_leaves(out) if isinstance(part, Tensor)]
        if not results:
            return out
        reads = [part for part in tree_leaves(args) if isinstance(part, Tensor)]
        known = {part.untyped_storage()._cdata for part in reads}
        made = [part for part in results if part.untyped_storage()._cdata not in known]
        for tensor in made:
            self._own(tensor)
        packet, is_view = func._overloadpacket, not made and not func._schema.is_mutable
        if packet in LOOKUPS:  # which read as much as they write, not the table
            reads = results
        sizes = [0 if is_view else part.numel() * part.element_size() for part in reads + results]
        point: tuple[int, ...] = (sum(sizes),)
        name, work = packet.__name__, float(sum(sizes))
        if packet in PRODUCTS:
            name, macs, point = PRODUCTS[packet](*args, out)
            self.flops[self.phase] += 2 * macs
            is_causal = "attention" in name and any(part is True for part in args)
            work = macs * (0.5 + 0.5 * min(1, 256 / point[0]) if is_causal else 1.0)  # by blocks
        found = Operator(name, str(results[0].dtype).removeprefix("torch."), work, point)
        self.operators[self.phase][found] += 1
        return out

    def _own(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._bytes:
            self._bytes[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self._bytes.pop(key, 0)


class Run(NamedTuple):
    """What a run without numbers found."""

    trace: Trace
    parameters: int  # elements, of each tied one once
    trained: int  # and of these, without fixed positions; 0 in a forward pass
    largest: int  # elements of the largest parameter that is trained
    embedding: int  # of lookup tables, tied ones once
    cache: int  # bytes of keys and values from before
    activations: int  # bytes that backward needs; in a forward pass the peak
    is_fused: bool  # whether attention went backward by one kernel


def inputs_of(config: Any, batch: int, length: int) -> dict[str, Any]:
    """Arguments of a model of transformers for B texts of n tokens, none of them padding."""
    inputs: dict[str, Any] = {"input_ids": torch.ones(batch, length, dtype=torch.long)}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    if hasattr(config, "use_cache"):
        inputs["use_cache"] = False
    return inputs


def sum_of(outputs: Any) -> Tensor:
    """Something to go backward from that needs all of a model's outputs."""
    results = [value for value in outputs.values() if isinstance(value, Tensor)]
    return torch.stack([value.float().sum() for value in results if value.requires_grad]).sum()


def run_without_numbers(
    kind: Any, config: Any, batch: int, length: int, *, is_trained: bool, dtype: str = "float32",
    cached: int = 0, checkpointing: bool = False,
) -> Run:  # fmt: skip
    """Run a class of transformers on B x n tokens, forward or forward and backward.

    Raises whatever the model raises.
    """
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        setattr(config, name, 0.0)
    # Without numbers transformers cannot see that no row holds several texts, and makes a mask
    one_text_a_row = mock.patch(
        "transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None
    )
    # Nor can float32 tokens be sent to experts: all go to the first, which costs as much
    one_expert = mock.patch("torch.nn.functional.grouped_mm", lambda a, b, **_: a @ b[0])
    with warnings.catch_warnings(), one_text_a_row, one_expert:
        warnings.simplefilter("ignore")  # of the libraries, about their own ways
        with torch.device("meta"):
            model = kind._from_config(config, dtype=getattr(torch, dtype))
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = model.to_empty(device="cpu").train(is_trained)
            model.tie_weights()
            if checkpointing:
                model.gradient_checkpointing_enable()
            inputs = inputs_of(config, batch, length)
            with Trace() as trace, torch.set_grad_enabled(is_trained):
                if cached:
                    inputs["use_cache"], trace.phase = True, "before"
                    before = model(**inputs_of(config, batch, cached) | {"use_cache": True})
                    inputs["past_key_values"] = before.past_key_values
                    del before
                    trace.phase, trace.peak = "forward", trace.live
                cache = trace.live
                activations = _pass(trace, model, inputs, is_trained)
    return _found(trace, model, is_trained, cache, activations)


def run_once(model: Any, batch: int, length: int, *, is_trained: bool) -> Run:
    """The same of a module as it stands, its frozen weights and adapters: run once, with numbers.

    Its modes, gradients and buffers are left as they were. Raises whatever the model raises.
    """
    modes = [(part, part.training) for part in model.modules()]
    kept = [(part, part.grad) for part in model.parameters()]
    buffers = [(part, part.clone()) for part in model.buffers()]
    inputs, takes = inputs_of(model.config, batch, length), signature(model.forward).parameters
    if "use_cache" not in takes and "kwargs" not in takes:  # a ladder
        inputs.pop("use_cache", None)
    for name in inputs.keys() - {"use_cache"}:
        inputs[name] = inputs[name].to(next(model.parameters()).device)
    try:
        model.train(is_trained).zero_grad()
        with torch.random.fork_rng(), Trace() as trace, torch.set_grad_enabled(is_trained):
            activations = _pass(trace, model, inputs, is_trained)
    finally:
        for module, mode in modes:  # a part may have had another than the whole
            module.training = mode
        for part, gradient in kept:
            part.grad = gradient
        for part, value in buffers:
            part.data.copy_(value)
    return _found(trace, model, is_trained, 0, activations)


def _pass(trace: Trace, model: Any, inputs: dict[str, Any], is_trained: bool) -> int:
    """Forward, and backward if it is trained: the bytes of the activations."""
    out = model(**inputs)
    activations = trace.live if is_trained else trace.peak
    if is_trained:
        trace.phase = "backward"
        sum_of(out).backward()
    return activations


def _found(trace: Trace, model: Any, is_trained: bool, cache: int, activations: int) -> Run:
    frozen = getattr(getattr(model, "backbone", None), "model", None)  # beside a ladder's modules
    modules = {part for whole in (model, frozen) if whole is not None for part in whole.modules()}
    parameters = {value for part in modules for value in part.parameters(recurse=False)}
    trained = [value.numel() for value in parameters if is_trained and value.requires_grad]
    tables = {part.weight for part in modules if isinstance(part, torch.nn.Embedding)}
    embedding = sum(table.numel() for table in tables)
    is_fused = any("attention" in found.name for found in trace.operators["backward"])
    return Run(
        trace, sum(value.numel() for value in parameters), sum(trained), max(trained, default=0),
        embedding, cache, activations, is_fused,
    )  # fmt: skip
