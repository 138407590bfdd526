"""The fly's hashes beside faiss: ``python -m benchmarks.words.hashing``.

Vectors of three kinds: MiniLM's of the Python documentation's entries and of SciFact's abstracts,
and scikit-learn's digits, 64 pixels. 500 of them ask, the others are asked; truth is the cosine
(pixels: the Euclidean distance). mAP@100 of the 100 nearest and recall@10 of the 10 nearest.

With k = 16, 32 and 64 active bits a code takes 2 k bytes (two a bit, as posting lists keep them):

- FlyHash and BioHash with 20 k bits (5 % are active, as published) and with 4,096;
- at equal bytes: SignHash and faiss's LSH of 16 k bits, product quantisation of 2 k bytes;
- at the published comparison, an equal number of active bits: SignHash of k bits;
- controls: random codes of k in 20 k bits; FlyHash's codes, shuffled among the samples.

Published (Ryali et al. 2020, on images, relevant is what has the same label): BioHash above FlyHash
above LSH at short codes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import output
from benchmarks.data import CACHE
from shoestring.overlap import OverlapIndex
from shoestring.overlap.codes import top_k_codes
from shoestring.words import BioHash, FlyHash, SignHash

ACTIVE, SEEDS, WIDE = (16, 32, 64), (0, 1, 2), 4096
N_ASKED, DEPTH = 500, 100
Rows = NDArray[np.float32]
Ranking = NDArray[np.int64]  # (queries, DEPTH): the nearest samples, nearest first


def minilm_vectors(name: str) -> Rows:
    """Of all entries or abstracts; made once, kept outside git."""
    from benchmarks.search.corpora import scifact_corpus
    from shoestring.models import SentenceEncoder
    from shoestring.text.pydocs import python_docs

    file = CACHE / "words" / f"hashing-{name}.npy"
    if not file.exists():
        texts = (
            list(scifact_corpus().values())
            if name == "SciFact"
            else [record.text for record in python_docs()]
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, SentenceEncoder().encode(texts).astype(np.float32))
    found: Rows = np.load(file)
    return found


def digits(_: str) -> Rows:
    """scikit-learn's, 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    found: Rows = load_digits().data.astype(np.float32)
    return found


SETS: dict[str, Callable[[str], Rows]] = {
    "Python docs": minilm_vectors,
    "SciFact": minilm_vectors,
    "digits": digits,
}


def by_codes(codes: Any, asked: Any, n_bits: int, metric: Any) -> Ranking:
    """The ranking of an index of ours."""
    index = OverlapIndex(n_bits)
    index.add(codes)
    ids, _ = index.search(asked, n=DEPTH, metric=metric)
    return ids


def ways(rows: Rows, asked: Rows, k: int, seed: int) -> Iterator[tuple[str, Ranking]]:
    """Each way, and its ranking of the samples."""
    import faiss

    short = 20 * k
    for n_bits in (short, WIDE):
        for kind in (FlyHash, BioHash):
            hash_ = kind(n_bits, k, random_state=seed).fit(rows)
            codes, of_asked = hash_.transform(rows), hash_.transform(asked)
            where = "20 k" if n_bits == short else f"{WIDE:,}"
            yield (
                f"{kind.__name__}, k of {where} bits",
                by_codes(codes, of_asked, n_bits, "overlap"),
            )
            if kind is FlyHash and n_bits == short:
                shuffled = np.random.default_rng(seed).permutation(codes)
                found = by_codes(shuffled, of_asked, n_bits, "overlap")
    yield "FlyHash, shuffled", found
    for n_bits, where in ((16 * k, "16 k bits"), (k, "k bits")):
        sign = SignHash(n_bits, random_state=seed).fit(rows)
        ranking = by_codes(sign.transform(rows), sign.transform(asked), n_bits, "hamming")
        yield f"SignHash, {where}", ranking
    lsh = faiss.IndexLSH(rows.shape[1], 16 * k, True, True)  # rotated, with thresholds of its own
    lsh.train(rows)
    lsh.add(rows)
    yield "faiss LSH, 16 k bits", lsh.search(asked, DEPTH)[1]
    if rows.shape[1] % (2 * k) == 0:
        pq = faiss.IndexPQ(rows.shape[1], 2 * k, 8)
        pq.pq.cp.seed, pq.pq.cp.min_points_per_centroid = seed + 1234, 1  # no warnings
        pq.train(rows)
        pq.add(rows)
        yield "faiss product quantisation, 2 k bytes", pq.search(asked, DEPTH)[1]
    rng = np.random.default_rng(seed)
    random = [top_k_codes(rng.random((len(of), short)), k) for of in (rows, asked)]
    yield "random codes", by_codes(*random, short, "overlap")


def figures(ranking: Ranking, truth: Ranking) -> dict[str, float]:
    """mAP@100 and recall@10."""
    precision, recall = [], []
    for found, nearest in zip(ranking, truth, strict=True):
        hits = np.isin(found, nearest)
        ranks = np.arange(1, len(found) + 1)
        precision.append((hits * np.cumsum(hits) / ranks).sum() / len(nearest))
        recall.append(np.isin(found[:10], nearest[:10]).mean())
    return {"mAP@100": float(np.mean(precision)), "recall@10": float(np.mean(recall))}


def measure(name: str, quick: bool, seed: int) -> dict[str, Any]:
    """All ways on one set of vectors, by active bits: the mean of the seeds."""
    rows = SETS[name](name)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    if quick:
        rows = rows[:2_000]
    asked, rows = np.split(rows, [N_ASKED])
    nearness = asked @ rows.T if name != "digits" else asked @ rows.T - (rows**2).sum(1) / 2
    truth = np.argsort(-nearness, axis=1, kind="stable")[:, :DEPTH]
    table: dict[str, Any] = {}
    for k in ACTIVE:
        found: dict[str, list[dict[str, float]]] = {}
        for of_seed in SEEDS[:1] if quick else SEEDS:
            for way, ranking in ways(rows, asked, k, seed + of_seed):
                found.setdefault(way, []).append(figures(ranking, truth))
        table[str(k)] = {
            way: {key: round(float(np.mean([one[key] for one in of])), 4) for key in of[0]}
            for way, of in found.items()
        }
        output.show({f"{name}, k = {k}: {way}": one for way, one in table[str(k)].items()})
    return {"samples": len(rows), "features": rows.shape[1], "k": table}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="1,500 samples of each set, one seed: a minute")
    options = parser.parse_args()
    sets: dict[str, Any] = {}
    for name in SETS:
        sets[name] = measure(name, options.quick, options.seed)
        output.write({"asked": N_ASKED, "seeds": len(SEEDS), "sets": sets}, options)


if __name__ == "__main__":
    main()
