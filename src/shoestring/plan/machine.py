"""What this machine does in a second, measured once, and the time model that adds it up.

The time of a run is the sum over its operators (:mod:`shoestring.plan.trace`), each by its own
table, made by timing the operator on this machine:

    products, attention   seconds per multiply-add, by shape and type, between the points of a grid
    all others            seconds by bytes read and written, by operator and type; what was not
                          timed counts as an addition of as many bytes
    every call            what Python and the dispatcher need, from small models

FLOPs over peak FLOP/s is no such model: norms, softmax and activations are no FLOPs and take up to
half of the time, and small products reach a tenth of the peak.

Not covered: machines whose load changes; accelerators; time to read data.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from scipy.interpolate import RegularGridInterpolator
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional as nnf

from shoestring.artifacts import make_folder, write_json
from shoestring.checks import checked_bool
from shoestring.errors import StorageError
from shoestring.jobs import say_cost
from shoestring.plan.trace import Operator, Trace, inputs_of, sum_of

aten = torch.ops.aten
VERSION = 4
DTYPES = ("float32", "bfloat16")
LIMIT_S = 60.0
LEAST_S, MOST_CALLS = 0.01, 50  # of timing one call: the quickest of those that fit
GRIDS: dict[str, tuple[tuple[int, ...], ...]] = {  # m, k, n of products; queries, size of attention
    "mm": ((1, 16, 128, 1024), (32, 256, 2048), (32, 256, 2048)),
    "bmm": ((16, 128, 1024), (16, 64, 1024), (16, 64, 1024)),
    "attention": ((32, 128, 512, 2048), (32, 64, 128)),
    "attention_backward": ((32, 128, 512, 2048), (32, 64, 128)),
}
Case = tuple[int, int, int, int]  # width, layers, batch, length of a model
FITTED: tuple[Case, ...] = ((64, 4, 1, 8), (320, 3, 6, 48), (512, 2, 1, 192))
CHECKS: tuple[Case, ...] = ((256, 4, 8, 32), (384, 2, 4, 128), (512, 2, 2, 256))
SIZES = tuple(1 << power for power in (12, 16, 19, 21, 23))  # elements
WIDTH = 512


def _layer_norm_backward(x: Tensor, y: Tensor) -> Any:
    means = x[:, :1].contiguous()
    return aten.native_layer_norm_backward(
        x, y, [WIDTH], means, means, x[0], x[0], [True, True, True]
    )


CALLS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda x, y: x + y,
    "clone": lambda x, y: x.view(-1, 4, WIDTH // 4).transpose(0, 1).contiguous(),
    "_to_copy": lambda x, y: x.to(torch.bfloat16 if x.dtype == torch.float32 else torch.float32),
    "gelu": lambda x, y: nnf.gelu(x),
    "gelu_backward": lambda x, y: aten.gelu_backward(x, y),
    "silu": lambda x, y: nnf.silu(x),
    "silu_backward": lambda x, y: aten.silu_backward(x, y),
    "elu": lambda x, y: nnf.elu(x),
    "elu_backward": lambda x, y: aten.elu_backward(x, 1.0, 1.0, 1.0, False, y),
    "tanh": lambda x, y: torch.tanh(x),
    "tanh_backward": lambda x, y: aten.tanh_backward(x, y),
    "native_layer_norm": lambda x, y: torch.native_layer_norm(x, [WIDTH], x[0], x[0], 1e-5),
    "native_layer_norm_backward": _layer_norm_backward,
    "_softmax": lambda x, y: torch.softmax(x, -1),
    "_safe_softmax": lambda x, y: torch._safe_softmax(x, -1),
    "_softmax_backward_data": lambda x, y: torch._softmax_backward_data(x, y, -1, x.dtype),
    "bernoulli_": lambda x, y: x.bernoulli_(0.9),
    "sum": lambda x, y: x.sum(0),
    "embedding_dense_backward": lambda x, y: aten.embedding_dense_backward(
        x, torch.arange(len(x)) // 2, len(x), -1, False
    ),
}


@dataclass(frozen=True)
class Machine:
    """What was measured of a machine.

    Tables are named by kind and type, such as "mm/float32": ``mac_s`` has seconds per multiply-add
    on the points of ``GRIDS``, ``byte_s`` bytes and seconds of ``CALLS`` at ``SIZES``. Without and
    with gradients, kernels are ``slowdown`` times slower within a model than alone, and a call
    takes ``overhead_s`` more. ``adamw_s`` is a step's, per parameter; ``error`` the 90th percentile
    of the relative error on models that nothing was fitted to.
    """

    processor: str
    threads: int
    mac_s: dict[str, list[float]]
    byte_s: dict[str, list[list[float]]]
    slowdown: list[float]
    overhead_s: list[float]
    adamw_s: float
    error: float = math.nan

    def seconds(self, operators: Mapping[Operator, int], is_trained: bool) -> float:
        """Time of the operators of a run."""
        alone, calls = self._parts(operators)
        return self.slowdown[is_trained] * alone + self.overhead_s[is_trained] * calls

    def _parts(self, operators: Mapping[Operator, int]) -> tuple[float, int]:
        """Seconds of the kernels alone, and calls."""
        alone = sum(times * self._kernel_s(found) for found, times in operators.items())
        return alone, sum(operators.values())

    def _kernel_s(self, found: Operator) -> float:
        if found.name == "view":
            return 0.0
        dtype = found.dtype if found.dtype in DTYPES else DTYPES[0]
        if found.shape:
            point = found.shape[1:] if "mm" in found.name else found.shape[1:3]
            share = 0.5 + 0.5 * min(1, 256 / found.shape[1]) if found.is_causal else 1.0
            return share * math.prod(found.shape) * self._rate(f"{found.name}/{dtype}", point)
        name = found.name if found.name in CALLS else "add"
        n_bytes, seconds = np.log(self.byte_s[f"{name}/{dtype}"]).T
        x = math.log(max(1, found.n_bytes))
        beyond = max(0.0, x - n_bytes[-1])  # where memory is as slow as it gets
        return math.exp(np.interp(x, n_bytes, seconds) + beyond)

    def _rate(self, name: str, point: tuple[int, ...]) -> float:
        axes = [np.log(axis) for axis in GRIDS[name.partition("/")[0]]]
        values = np.log(self.mac_s[name]).reshape([len(axis) for axis in axes])
        logs = [math.log(max(1, size)) for size in point]
        inside = [np.clip(x, axis[0], axis[-1]) for x, axis in zip(logs, axes, strict=True)]
        return math.exp(RegularGridInterpolator(axes, values)(inside)[0])

    @property
    def summary(self) -> dict[str, Any]:
        """For people: the best product in float32, an addition that no cache holds."""
        n_bytes, seconds = self.byte_s["add/float32"][-1]
        return {
            "processor": self.processor, "threads": self.threads,
            "GFLOPs a second": 2e-9 / min(self.mac_s["mm/float32"]),
            "GB a second": 1e-9 * n_bytes / seconds,
            "microseconds a call": 1e6 * self.overhead_s[0], "error": self.error,
        }  # fmt: skip


def measure_machine(*, again: bool = False) -> Machine:
    """What is remembered of this machine; where nothing is, or ``again``, it is measured.

    That takes 60 s at most. ParameterError if ``again`` is no bool.
    """
    path = _path()
    if not checked_bool("again", again, "measure_machine"):
        with suppress(OSError, ValueError, TypeError):
            return Machine(**json.loads(path.read_text("utf-8")))
    say_cost("Measuring this machine, once", LIMIT_S)
    found = calibrate()
    with suppress(StorageError):  # without a cache folder it is measured each time
        make_folder(path.parent)
        write_json(path, asdict(found))
    return found


def _path() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    key = f"{get_host_cpu_name()}-{torch.get_num_threads()}-{torch.__version__}-{VERSION}"
    return Path(folder) / "shoestring" / f"machine-{key}.json"


def calibrate() -> Machine:
    """Measure this machine with the threads that torch has now."""
    ends = time.perf_counter() + 0.5 * LIMIT_S  # the rest is for models
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mac_s = {
            f"{kind}/{dtype}": [_mac_s(kind, point, dtype, ends) for point in product(*axes)]
            for dtype in DTYPES
            for kind, axes in GRIDS.items()
        }
        byte_s = {
            f"{name}/{dtype}": [_byte_s(call, size, dtype, ends) for size in SIZES]
            for dtype in DTYPES
            for name, call in CALLS.items()
        }
    tables = Machine(
        get_host_cpu_name(), torch.get_num_threads(), mac_s, byte_s, [1.0] * 2, [0.0] * 2,
        _adamw_s(),
    )  # fmt: skip
    known = _fitted(tables)
    errors = [abs(known.seconds(ops, is_trained) / s - 1) for is_trained, s, ops in _timed(CHECKS)]
    return replace(known, error=float(np.quantile(errors, 0.9)))


def quickest_s(call: Callable[[], Any], ends: float = math.inf) -> float:
    """Seconds of the quickest of some calls, after one that warms up; after ``ends`` of one.

    With one thread these are seconds of the processor, which a busy neighbour changes little.
    """
    now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    held = deque([call()], maxlen=4)  # results live for a while, so that each needs fresh memory
    best, spent = math.inf, 0.0
    for number in range(MOST_CALLS):
        began = now()
        held.append(call())
        took = now() - began
        best, spent = min(best, took), spent + took
        if spent > LEAST_S and (number or time.perf_counter() > ends):
            break
    return best


def _mac_s(kind: str, point: tuple[int, ...], dtype: str, ends: float) -> float:
    """Seconds per multiply-add of a kernel at a point of its grid."""
    made: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if "mm" in kind:
        m, k, n = point
        times = 1 if kind == "mm" else max(1, min(48, (1 << 24) // (m * k * n)))
        a, b = torch.randn(times, m, k, **made), torch.randn(times, n, k, **made)
        b = b.transpose(1, 2)  # as weights of a layer are
        if kind == "mm":
            a, b = a[0], b[0]
        return quickest_s(lambda: a @ b, ends) / (times * m * k * n)
    n, size = point
    heads = max(2, min(48, (1 << 24) // (n * n * size)))
    q = torch.randn(1, heads, n, size, **made)
    call = partial(aten._scaled_dot_product_flash_attention_for_cpu, q, q, q)
    if kind == "attention_backward":
        back = aten._scaled_dot_product_flash_attention_for_cpu_backward
        call = partial(back, q, q, q, q, *call(), 0.0, False)
    return quickest_s(call, ends) / (heads * n * n * size)


def _byte_s(
    call: Callable[[Tensor, Tensor], Any], size: int, dtype: str, ends: float
) -> list[float]:
    """Bytes that a call on so many elements reads and writes, and its seconds."""
    shape = max(2, min(16, SIZES[-1] // size)), size // WIDTH, WIDTH
    rows = torch.randn(shape).to(getattr(torch, dtype)).unbind()  # more than a cache holds
    with Trace() as trace:
        call(rows[0], rows[1])
    n_bytes = sum(found.n_bytes * times for found, times in trace.operators["forward"].items())
    pairs = cycle(zip(rows, rows[-1:] + rows[:-1], strict=True))
    return [n_bytes, quickest_s(lambda: call(*next(pairs)), ends)]


def _adamw_s() -> float:
    parameters = [torch.nn.Parameter(torch.randn(512, 512)) for _ in range(8)]
    for parameter in parameters:
        parameter.grad = torch.randn(512, 512)
    return quickest_s(torch.optim.AdamW(parameters).step) / (8 * 512 * 512)


def _timed(cases: tuple[Case, ...]) -> Iterator[tuple[bool, float, Counter[Operator]]]:
    """Models gated and not, trained and not: whether trained, seconds, operators."""
    for case, gated, is_trained in product(cases, (False, True), (False, True)):
        yield is_trained, *_timed_model(*case, gated, is_trained)


def _timed_model(
    width: int, layers: int, batch: int, length: int, gated: bool, is_trained: bool
) -> tuple[float, Counter[Operator]]:
    """Seconds and operators of a pass through a BERT, or a Llama where it is gated."""
    from transformers import AutoModel, BertConfig, LlamaConfig

    config = (LlamaConfig if gated else BertConfig)(
        hidden_size=width, num_attention_heads=width // 32, num_hidden_layers=layers,
        intermediate_size=4 * width, vocab_size=1000, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = AutoModel.from_config(config).train(is_trained)
    inputs = inputs_of(config, batch, length)

    def call() -> None:
        out = model(**inputs)
        if is_trained:
            model.zero_grad()
            sum_of(out).backward()

    with torch.set_grad_enabled(is_trained):
        with Trace() as trace:
            call()
        return quickest_s(call), trace.operators["forward"]


def _fitted(tables: Machine) -> Machine:
    """With slowdown and overhead that fit some models best, in relative error."""
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for is_trained, took, operators in _timed(FITTED):
        found[is_trained].append([part / took for part in tables._parts(operators)])
    fits = [nnls(np.array(rows), np.ones(len(rows)))[0].tolist() for rows in found.values()]
    return replace(tables, slowdown=[a for a, _ in fits], overhead_s=[b for _, b in fits])
