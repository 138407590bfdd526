"""How long a fit takes, and in how much memory: a million samples, and beside peers that fit.

``python -m benchmarks.classify.speed``: normal classes in 384 features, float32, 100 classes.

- A million samples from a file that is mapped into memory (1.5 GB; made by the seed, outside git),
  passed to ``partial_fit`` in blocks of 50,000, in a process of its own: seconds until the
  coefficients are there, of them those for reading alone, and the peak of the private memory beyond
  what the process had before the first block (the mapped pages are the stream). Bars: 20 seconds on
  two cores, 300 MiB.
- 100,000 of them in memory: ours, ``LogisticRegression`` (lbfgs, as it comes, 100 iterations at
  most), LDA by ``svd`` and by ``lsqr``, ``RidgeClassifier``, ``SGDClassifier`` by one pass. In
  turns; ratios are medians of ratios within a turn. Bars: 10 times faster than LogisticRegression
  and LDA (svd). The same samples in float64 too: ours sums in float64 whatever comes, these two
  compute in the precision of what comes.
- The same with 2,000 random features, which cost 39 times the multiplications, and with the choices
  of ``auto``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from benchmarks import output
from benchmarks.classify.quality import one_pass
from benchmarks.data import CACHE, ROOT
from shoestring import AnalyticSoftmax

D, C = 384, 100
LARGE, SMALL, BLOCK = 1_000_000, 100_000, 50_000
BARS = {"seconds": 20.0, "MiB": 300.0, "times": 10.0}
OURS = "closed form"
PEERS = ("LogisticRegression", "LDA (svd)")
Fit = Callable[[np.ndarray, np.ndarray], Any]

WAYS: dict[str, Fit] = {
    OURS: lambda X, y: AnalyticSoftmax().fit(X, y).coef_,
    "closed form, without a choice": lambda X, y: AnalyticSoftmax(None).fit(X, y).coef_,
    "closed form, 2,000 random features": lambda X, y: (
        AnalyticSoftmax(None, expansion="relu").fit(X, y).coef_
    ),
    "LogisticRegression": lambda X, y: LogisticRegression().fit(X, y),
    "LDA (svd)": lambda X, y: LinearDiscriminantAnalysis().fit(X, y),
    "LDA (lsqr)": lambda X, y: LinearDiscriminantAnalysis(solver="lsqr").fit(X, y),
    "RidgeClassifier": lambda X, y: RidgeClassifier().fit(X, y),
    "SGDClassifier, one pass": one_pass,
}


def samples(n: int, seed: int) -> tuple[Path, Path]:
    """Files of n samples and their labels."""
    folder = CACHE / "classify"
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"normal-{n}-{seed}-X.npy", folder / f"normal-{n}-{seed}-y.npy"
    if not files[1].exists():
        rng = np.random.default_rng(seed)
        means = rng.standard_normal((C, D), np.float32)
        turn = np.linalg.qr(rng.standard_normal((D, D)))[0].astype(np.float32)
        y = rng.integers(C, size=n)
        X = np.lib.format.open_memmap(files[0], "w+", np.float32, (n, D))
        for start in range(0, n, BLOCK):
            part = slice(start, start + BLOCK)
            noise = rng.standard_normal((len(y[part]), D), np.float32) * np.float32(4)
            X[part] = (noise + means[y[part]]) @ turn
        X.flush()
        np.save(files[1], y)
    return files


def private_mib() -> float:
    """Memory of this process that is its own: resident, without mapped files."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def streamed(n: int, seed: int) -> dict[str, float]:
    """Learn n samples block by block, in this process."""
    X_file, y_file = samples(n, seed)
    X, y = np.load(X_file, mmap_mode="r"), np.load(y_file)
    AnalyticSoftmax().fit(X[:500], y[:500])  # imports
    began = time.perf_counter()
    for start in range(0, n, BLOCK):
        X[start : start + BLOCK].sum()
    reading = time.perf_counter() - began
    before, peak = private_mib(), 0.0
    classifier = AnalyticSoftmax()
    began = time.perf_counter()
    for start in range(0, n, BLOCK):
        classifier.partial_fit(X[start : start + BLOCK], y[start : start + BLOCK])
        peak = max(peak, private_mib())
    _ = classifier.coef_
    seconds = time.perf_counter() - began
    peak = max(peak, private_mib())
    return {
        "seconds": round(seconds, 2),
        "of them to read, at most": round(reading, 2),
        "MiB beyond the stream": round(peak - before, 1),
        "accuracy on the last block": round(float(classifier.score(X[-BLOCK:], y[-BLOCK:])), 4),
    }


def peers(
    n: int, turns: int, seed: int, ways: Mapping[str, Fit] = WAYS, dtype: str = "float32"
) -> dict[str, Any]:
    """Seconds of each way, in turns."""
    X_file, y_file = samples(n, seed)
    X, y = np.load(X_file).astype(dtype, copy=False), np.load(y_file)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lbfgs has not converged in its 100 iterations
        for way in ways:
            ways[way](X[:2_000], y[:2_000])
        for turn in range(turns):
            for way, fit in ways.items():
                began = time.perf_counter()
                fit(X, y)
                seconds[way].append(time.perf_counter() - began)
                print(f"turn {turn + 1}: {way} {seconds[way][-1]:.2f} s", flush=True)
    medians = {way: round(statistics.median(times), 2) for way, times in seconds.items()}
    ratios = {
        way: round(statistics.median(t / o for t, o in zip(times, seconds[OURS], strict=True)), 1)
        for way, times in seconds.items()
        if way != OURS
    }
    return {"samples": n, "turns": turns, "seconds": medians, "times the seconds of ours": ratios}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both halves and the bars."""
    large, small = (100_000, 10_000) if options.quick else (LARGE, SMALL)
    command = [sys.executable, "-m", "benchmarks.classify.speed", "--stream", str(large)]
    command += ["--seed", str(options.seed)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    stream = json.loads(done.stdout.splitlines()[-1])
    output.show({f"{large:,} samples streamed": stream})
    turns = 1 if options.quick else 3
    table = peers(small, turns, options.seed)
    few = {way: WAYS[way] for way in (OURS, *PEERS)}
    tables = {"float32": table, "float64": peers(small, turns, options.seed, few, "float64")}
    ratios = {dtype: found["times the seconds of ours"] for dtype, found in tables.items()}
    result = {
        "features": D, "classes": C, "streamed samples": large, "streamed": stream,
        "beside peers": table, "beside peers, float64": tables["float64"],
        "bars": {
            "at most 20 seconds": stream["seconds"] <= BARS["seconds"],
            "at most 300 MiB": stream["MiB beyond the stream"] <= BARS["MiB"],
            **{
                f"10 times faster than {peer}, {dtype}": found[peer] >= BARS["times"]
                for dtype, found in ratios.items()
                for peer in PEERS
            },
        },
        **output.versions("scikit-learn"),
    }  # fmt: skip
    output.show({**tables, "bars": result["bars"]})
    output.write(result, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="a tenth of the samples, one turn")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        print(json.dumps(streamed(options.stream, options.seed)))
    else:
        measure(options)


if __name__ == "__main__":
    main()
