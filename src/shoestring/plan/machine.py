"""What this machine does in a second, measured once, and the time model that adds it up.

The time of a run is the sum over its operators (:mod:`shoestring.plan.trace`), the work of each
times a rate that is read from a table, made by timing the operator on this machine:

    products, attention   seconds per multiply-add, by type and shape
    all others            seconds per byte, by operator, type and bytes read and written; what was
                          not timed counts as an addition of as many bytes
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
from itertools import chain, cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from scipy.interpolate import interpn
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional as nnf

from shoestring.artifacts import make_folder, write_json
from shoestring.checks import checked_bool
from shoestring.errors import StorageError
from shoestring.jobs import say_cost
from shoestring.plan.trace import Operator, Trace, inputs_of, sum_of

aten = torch.ops.aten
VERSION = 5
DTYPES = ("float32", "bfloat16")
LIMIT_S = 60.0
LEAST_S, MOST_CALLS = 0.01, 50  # of timing one call: the quickest of those that fit
GRIDS: dict[str, tuple[tuple[int, ...], ...]] = {  # m, k, n of products; queries, size of attention
    "mm": ((1, 16, 128, 1024), (32, 256, 2048), (32, 256, 2048)),
    "bmm": ((16, 128, 1024), (16, 64, 1024), (16, 64, 1024)),
    "attention": ((32, 128, 512, 2048), (32, 64, 128)),
}
SIZES = tuple(1 << power for power in (12, 16, 19, 21, 23))  # elements of all other calls
WIDTH = 512
Case = tuple[int, int, int, int]  # width, layers, batch, length of a model
FITTED: tuple[Case, ...] = ((64, 4, 1, 8), (320, 3, 6, 48), (512, 2, 1, 192))
CHECKS: tuple[Case, ...] = ((256, 4, 8, 32), (384, 2, 4, 128), (512, 2, 2, 256))


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

    ``rates`` are tables, named by operator and type, such as "mm/float32"; a row is a point and the
    seconds per multiply-add or byte there. Without and with gradients, ``fit`` is how many times
    slower kernels are within a model than alone, and the seconds that each call takes more.
    ``adamw_s`` is a step's, per parameter; ``error`` the 90th percentile of the relative error on
    models that nothing was fitted to.
    """

    processor: str
    threads: int
    rates: dict[str, list[list[float]]]
    adamw_s: float
    fit: list[list[float]]
    error: float = math.nan

    def seconds(self, operators: Mapping[Operator, int], is_trained: bool) -> float:
        """Time of the operators of a run."""
        return float(np.dot(self.fit[is_trained], self._alone(operators)))

    def _alone(self, operators: Mapping[Operator, int]) -> tuple[float, int]:
        """Seconds of the kernels alone, and calls."""
        kernels = (times * found.work * self._rate(found) for found, times in operators.items())
        return sum(kernels), sum(operators.values())

    def _rate(self, found: Operator) -> float:
        """Seconds per unit of work, between the points of a grid, by logarithms."""
        dtype = found.dtype if found.dtype in DTYPES else DTYPES[0]
        rows = self.rates.get(f"{found.name}/{dtype}", self.rates[f"add/{dtype}"])
        *columns, rates = np.log(rows).T
        axes = [np.unique(column) for column in columns]
        inside = [
            np.clip(math.log(max(1, size)), axis[0], axis[-1])
            for size, axis in zip(found.point, axes, strict=True)
        ]
        values = rates.reshape([len(axis) for axis in axes])
        return math.exp(interpn(axes, values, inside)[0])

    @property
    def summary(self) -> dict[str, Any]:
        """For people: the best product in float32, an addition that no cache holds."""
        return {
            "processor": self.processor, "threads": self.threads,
            "GFLOPs a second": 2e-9 / min(row[-1] for row in self.rates["mm/float32"]),
            "GB a second": 1e-9 / self.rates["add/float32"][-1][-1],
            "microseconds a call": 1e6 * self.fit[False][1], "error": self.error,
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
    rates: dict[str, list[list[float]]] = {}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, call in chain(*(_kernels(getattr(torch, dtype)) for dtype in DTYPES)):
            with Trace() as trace:
                call()
            found = next(one for one in trace.operators["forward"] if one.name == name)
            seconds = quickest_s(call, ends)
            least = [] if len(found.point) > 1 else [[1, seconds]]  # fewer bytes take as long
            rows = rates.setdefault(f"{name}/{found.dtype}", least)
            rows.append([*found.point, seconds / found.work])
    known = Machine(get_host_cpu_name(), torch.get_num_threads(), rates, _adamw_s(), [])
    errors: list[float] = []
    for is_trained in (False, True):
        alone = [np.array(known._alone(ops)) / took for took, ops in _timed(FITTED, is_trained)]
        known.fit.append(nnls(np.array(alone), np.ones(len(alone)))[0].tolist())
        checks = _timed(CHECKS, is_trained)
        errors += [abs(known.seconds(ops, is_trained) / took - 1) for took, ops in checks]
    return replace(known, error=float(np.quantile(errors, 0.9)))


def _kernels(dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The calls that are timed, each with the name of its operator."""
    made = partial(torch.randn, dtype=dtype)
    for name in ("mm", "bmm"):
        for m, k, n in product(*GRIDS[name]):
            times = 1 if name == "mm" else max(1, min(48, (1 << 24) // (m * k * n)))
            a, b = made(times, m, k), made(times, n, k).mT  # as weights of a layer are
            yield name, partial(torch.matmul, *((a[0], b[0]) if name == "mm" else (a, b)))
    for n, size in product(*GRIDS["attention"]):
        q = made(1, max(2, min(48, (1 << 24) // (n * n * size))), n, size)
        forward = partial(aten._scaled_dot_product_flash_attention_for_cpu, q, q, q)
        backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
        yield "attention", forward
        yield "attention_backward", partial(backward, q, q, q, q, *forward(), 0.0, False)
    for (name, call), elements in product(CALLS.items(), SIZES):
        shape = max(2, min(16, SIZES[-1] // elements)), elements // WIDTH, WIDTH
        rows = made(shape).unbind()  # more than a cache holds
        pairs = cycle(zip(rows, rows[-1:] + rows[:-1], strict=True))
        yield name, lambda call=call, pairs=pairs: call(*next(pairs))  # type: ignore[misc]


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


def _adamw_s() -> float:
    parameters = [torch.nn.Parameter(torch.randn(512, 512)) for _ in range(8)]
    for parameter in parameters:
        parameter.grad = torch.randn(512, 512)
    return quickest_s(torch.optim.AdamW(parameters).step) / (8 * 512 * 512)


def _timed(cases: tuple[Case, ...], is_trained: bool) -> Iterator[tuple[float, Counter[Operator]]]:
    """Seconds and operators of passes through BERTs, and through Llamas, which are gated."""
    from transformers import AutoModel, BertConfig, LlamaConfig

    for (width, layers, batch, length), kind in product(cases, (BertConfig, LlamaConfig)):
        config = kind(
            hidden_size=width, num_attention_heads=width // 32, num_hidden_layers=layers,
            intermediate_size=4 * width, vocab_size=1000, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        model = AutoModel.from_config(config).train(is_trained)
        step = partial(_pass, model, inputs_of(config, batch, length))
        with Trace() as trace:
            step()
        yield quickest_s(step), trace.operators["forward"]


def _pass(model: torch.nn.Module, inputs: dict[str, Any]) -> None:
    with torch.set_grad_enabled(model.training):
        out = model(**inputs)
        if model.training:
            model.zero_grad()
            sum_of(out).backward()
