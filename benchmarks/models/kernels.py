"""MiniLM as the product runs it beside ctranslate2's own converter, onnxruntime and torch.

``python -m benchmarks.models.kernels``. Every engine gets the same texts, tokens and driver: texts
of like length in a batch, as many batches at once as there are cores, one thread inside each; of
some batch sizes the one that suits it best. torch, which cannot be called so, has threads of its
own. Measured: texts a second quiet and beside two busy loops (turns go through all engines), CPU
milliseconds for a text and for one query, how many of the ten nearest texts by torch's float32
vectors are kept, seconds from the start of a process to the first vector, and the bytes that have
to be installed beyond our own dependencies. A model is converted beforehand, which is not timed.

An engine that is not installed is a row with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import output
from benchmarks.data import ROOT
from benchmarks.models import onnx_graph, page
from benchmarks.neighbour.__main__ import busy_loops
from benchmarks.neighbour.jobs import texts_of
from shoestring.models.backbone import LOCAL, load_tokenizer, transformer_folder
from shoestring.models.bert import Bert
from shoestring.models.model_files import read_json, read_weights
from shoestring.models.token_encoder import batches_by_length, unit_rows
from shoestring.parallel import n_cores, one_blas_thread

Vectors = NDArray[np.float32]
Forward = Callable[[list[list[int]]], list[Vectors]]  # ids of texts to their states (T, D)

MAX_LENGTH, K = 128, 10
BATCH_TOKENS = (480, 2_048, 8_192)
QUERY = "how do I flatten a list of lists"


def ours(folder: Path) -> Forward:
    """What the product runs: ctranslate2 on a model file that it writes itself."""
    bert = Bert(folder, read_json(folder / "config.json"))

    def forward(ids: list[list[int]]) -> list[Vectors]:
        return [rows[: len(text)] for rows, text in zip(bert.states(ids), ids, strict=True)]

    return forward


def ctranslate2(folder: Path, kind: str) -> Forward:
    """A converted model, its weights in ``kind``."""
    import ctranslate2 as library

    encoder = library.Encoder(
        str(folder / "ctranslate2"), compute_type=kind, inter_threads=n_cores(), intra_threads=1
    )

    def forward(ids: list[list[int]]) -> list[Vectors]:
        states = np.array(encoder.forward_batch(ids).last_hidden_state, np.float32)
        return [rows[: len(text)] for rows, text in zip(states, ids, strict=True)]

    return forward


def onnxruntime(folder: Path, kind: str) -> Forward:
    """A graph of fused operators, its weights in ``kind``."""
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = 1
    session = library.InferenceSession(folder / f"{kind}.onnx", options)

    def forward(ids: list[list[int]]) -> list[Vectors]:
        padded, mask = padded_ids(ids)
        (states,) = session.run(None, {"ids": padded, "mask": mask})
        return [rows[: len(text)] for rows, text in zip(states, ids, strict=True)]

    return forward


def torch(folder: Path) -> Forward:
    """The model of transformers, float32."""
    import torch as library
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, **LOCAL).eval()

    def forward(ids: list[list[int]]) -> list[Vectors]:
        padded, mask = map(library.from_numpy, padded_ids(ids))
        with library.inference_mode():
            states = model(input_ids=padded.long(), attention_mask=mask).last_hidden_state.numpy()
        return [rows[: len(text)] for rows, text in zip(states, ids, strict=True)]

    return forward


def padded_ids(ids: list[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids, and where they are, both (texts, T)."""
    mask = np.arange(max(map(len, ids))) < np.array([[len(text)] for text in ids])
    padded = np.zeros(mask.shape, np.int32)
    padded[mask] = np.concatenate(ids)
    return padded, mask.astype(np.int32)


# Of each engine: how it is made from the folder of MiniLM, or of the converted models; whether it
# has threads of its own; and what has to be installed.
ENGINES: dict[str, tuple[Callable[[Path, Path], Forward], bool, tuple[str, ...]]] = {
    "ours, float32": (lambda model, made: ours(model), False, ("ctranslate2",)),
    **{
        f"ctranslate2, {kind}": (
            lambda model, made, kind=kind: ctranslate2(made, kind), False, ("ctranslate2",)
        )
        for kind in ("int8", "int16", "float32")
    },
    **{
        f"onnxruntime, {kind}": (
            lambda model, made, kind=kind: onnxruntime(made, kind), False, ("onnxruntime",)
        )
        for kind in ("int8", "float32")
    },
    "torch, float32": (lambda model, made: torch(model), True, ("torch", "transformers")),
}  # fmt: skip


def convert(model: Path, made: Path) -> dict[str, str]:
    """Make the models of the peers; say which could not be made, and why."""
    missing = {}
    try:
        library = importlib.import_module("ctranslate2")
        library.converters.TransformersConverter(str(model)).convert(str(made / "ctranslate2"))
    except ImportError as error:
        missing["ctranslate2"] = str(error)
    try:
        onnx_graph.write(
            read_weights(model), read_json(model / "config.json"), made / "float32.onnx"
        )
        onnx_graph.quantized(made / "float32.onnx", made / "int8.onnx")
    except ImportError as error:
        missing["onnxruntime"] = str(error)
    return missing


class Encoder:
    """Texts to unit sentence vectors by one engine."""

    def __init__(self, forward: Forward, own_threads: bool, model: Path) -> None:
        self.forward, self.n_at_once = forward, 1 if own_threads else n_cores()
        self.tokenizer = load_tokenizer(model)
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.batch_tokens = BATCH_TOKENS[0]

    def encode(self, texts: list[str]) -> Vectors:
        """Vectors (N, D): means of the tokens' states, of length 1."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        vectors: list[Vectors] = [np.empty(0, np.float32)] * len(texts)

        def run(rows: list[int]) -> None:
            for row, states in zip(rows, self.forward([ids[i] for i in rows]), strict=True):
                vectors[row] = states.mean(axis=0)

        batches = list(batches_by_length([len(text) for text in ids], self.batch_tokens))
        with ThreadPoolExecutor(self.n_at_once) as pool, one_blas_thread():
            list(pool.map(run, reversed(batches)))
        return unit_rows(np.array(vectors))

    def choose_batch(self, texts: list[str]) -> None:
        """Keep the size of batches that is quickest on these texts."""
        seconds = {}
        for self.batch_tokens in BATCH_TOKENS:
            self.encode(texts[:8])
            seconds[self.batch_tokens] = timed(lambda: self.encode(texts))
        self.batch_tokens = min(seconds, key=seconds.__getitem__)


def timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call."""
    began = clock()
    action()
    return clock() - began


def engines(model: Path, made: Path, missing: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Each engine ready to encode, or why it is not there."""
    for name, (make, own_threads, _) in ENGINES.items():
        if why := missing.get(name.partition(",")[0]):
            yield name, why
            continue
        try:
            yield name, Encoder(make(model, made), own_threads, model)
        except (ImportError, ValueError) as error:  # or this processor cannot, as int16 on AMD
            yield name, str(error)


def measure(n_texts: int, turns: int, seed: int) -> dict[str, Any]:
    """All figures of every engine."""
    model, texts = transformer_folder(None), texts_of(n_texts, seed)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        found = dict(engines(model, made, convert(model, made)))
        ready = {name: one for name, one in found.items() if isinstance(one, Encoder)}
        skipped = {name: why for name, why in found.items() if not isinstance(why, Encoder)}
        for one in ready.values():
            one.choose_batch(texts[: max(8, n_texts // 4)])
        rates = {name: list[float]() for name in ready}
        beside = {name: list[float]() for name in ready}
        cpu = {name: list[float]() for name in ready}
        for _ in range(turns):
            for name, one in ready.items():
                spent = time.process_time()
                rates[name].append(n_texts / timed(lambda one=one: one.encode(texts)))
                cpu[name].append((time.process_time() - spent) / n_texts)
            with busy_loops(2):
                for name, one in ready.items():
                    beside[name].append(n_texts / timed(lambda one=one: one.encode(texts)))
        vectors = {name: one.encode(texts) for name, one in ready.items()}
        for name, one in ready.items():
            rows[name] = {
                "texts_per_s": median(rates[name]),
                "texts_per_s_beside_2_loops": median(beside[name]),
                "text_cpu_ms": 1e3 * min(cpu[name]),
                "query_cpu_ms": 1e3 * query_seconds(one),
                "kept": kept(vectors[name], vectors.get("torch, float32")),
                "cold_s": median(cold_start(name, made) for _ in range(min(turns, 3))),
                "installed_mb": installed_bytes(ENGINES[name][2]) / 1e6,
                "batch_tokens": one.batch_tokens,
            }
    return {"texts": n_texts, "turns": turns, "k": K, "engines": rows, "skipped": skipped}


def query_seconds(encoder: Encoder, n_runs: int = 30) -> float:
    """CPU seconds of one query: of the quickest of some runs."""
    encoder.encode([QUERY])
    return min(timed(lambda: encoder.encode([QUERY]), time.process_time) for _ in range(n_runs))


def kept(vectors: Vectors, reference: Vectors | None) -> float | None:
    """The share of each text's ten nearest by the reference that are its ten nearest."""
    if reference is None:
        return None
    tops = [np.argsort(-nearness(v), axis=1)[:, :K] for v in (vectors, reference)]
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(*tops, strict=True)]))


def nearness(vectors: Vectors) -> Vectors:
    """Cosines (N, N), of a text with itself -1."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return cosines


def cold_start(name: str, made: Path) -> float:
    """Seconds of a process that encodes one text, its start included."""
    command = [sys.executable, "-m", "benchmarks.models.kernels", "--cold", name, str(made)]
    return timed(lambda: subprocess.run(command, check=True, cwd=ROOT, capture_output=True))


def installed_bytes(names: tuple[str, ...]) -> int:
    """Size of these distributions and what they need, beyond what our own base needs."""
    base = needed(("shoestring",))
    return sum(map(size_of, needed(names) - base))


def needed(names: tuple[str, ...]) -> set[str]:
    """Distributions with all that they require, extras left out."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another system
        plain = (line for line in requires if "extra ==" not in line)
        todo += [re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0] for line in plain]
    return found


def size_of(name: str) -> int:
    """Bytes of a distribution's files."""
    try:
        files = [file.locate() for file in distribution(name).files or []]
    except PackageNotFoundError:
        return 0
    return sum(Path(file).stat().st_size for file in files if Path(file).is_file())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--cold", nargs=2, help=argparse.SUPPRESS)
    output.options(parser, quick="300 texts, three turns")
    options = parser.parse_args()
    if options.cold:
        name, made = options.cold
        make, own_threads, _ = ENGINES[name]
        model = transformer_folder(None)
        Encoder(make(model, Path(made)), own_threads, model).encode([QUERY])
        return
    if options.quick:
        options.texts, options.turns = 300, 3
    result = measure(options.texts, options.turns, options.seed)
    print("\n".join(page.table(result)))
    print(json.dumps({name: row["batch_tokens"] for name, row in result["engines"].items()}))
    output.write(result, options)


if __name__ == "__main__":
    main()
