"""What pseudonymised text gives away by itself: ``python -m benchmarks.match.decipherment``.

The tokens of a secret side get numbers by a random key and are deciphered against public text of
other sources (:mod:`benchmarks.match.corpora`): shares of the 100, 500 and 1,500 most frequent
tokens that are right, and of the running text. Keys, samples of the secret texts, known pairs and
starts are drawn by the seeds 0-2. Beside it, on the same counts: the rank of the frequency (the
published alignment), VecMap (Artetxe, Labaka & Agirre 2018, arXiv 1805.06297: embeddings by a
singular value decomposition of PPMI, sorted similarities, stochastic self-learning; without its
last re-weighting), and (fused) Gromov-Wasserstein by POT on the 500 most frequent tokens.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse.linalg import svds

from benchmarks import output
from benchmarks.match import corpora
from shoestring.match import decipher as method
from shoestring.match.decipher import TokenCounts, count_tokens, decipher
from shoestring.match.symbols import split_symbols, with_parts
from shoestring.types import FloatArray, IntArray

ALL = ("wiki", "reviews", *corpora.QUESTIONS)
NOT_AFQMC = ("wiki", "reviews", "titles", "lcqmc", "paws")  # ATEC shares texts with it
CASES: dict[str, tuple[str, tuple[str, ...], int, int, float]] = {
    # secret side, public sides, number of secret texts, known pairs, bar for the top 500
    "OPPO, 200,000 texts": ("oppo", ALL, 200_000, 0, 0.9),
    "OPPO, 20,000 texts": ("oppo", ALL, 20_000, 0, 0.7),
    "OPPO, 2,000 texts": ("oppo", ALL, 2_000, 0, 0.1),
    "OPPO, 2,000 texts, 50 known pairs": ("oppo", ALL, 2_000, 50, 0.0),
    "OPPO, LCQMC alone": ("oppo", ("lcqmc",), 200_000, 0, 0.7),
    "Quora by words, 40,000 texts": ("quora", ("en",), 40_000, 0, 0.6),
    "OPPO, Wikipedia alone": ("oppo", ("wiki",), 200_000, 0, 0.0),
    "AFQMC": ("afqmc", NOT_AFQMC, 200_000, 0, 0.0),
    "hotel reviews": ("hotels", ("wiki", "titles", *corpora.QUESTIONS), 200_000, 0, 0.0),
    "OPPO, public side shuffled": ("oppo", ALL, 200_000, 0, 0.0),
    "OPPO, secret side shuffled": ("oppo", ALL, 200_000, 0, 0.0),
    "OPPO, 100,000 texts": ("oppo", ALL, 100_000, 0, 0.0),
    "OPPO, without questions": ("oppo", ("wiki", "reviews"), 200_000, 0, 0.0),
}
QUICK = ("OPPO, 2,000 texts", "OPPO, LCQMC alone")
PEERS = ("OPPO, without questions",)
Method = Callable[..., tuple[IntArray, IntArray]]


class Side:
    """Texts as numbers: the symbols, the tokens of all texts, where each text begins."""

    def __init__(self, texts: Iterable[str], unit: str) -> None:
        numbers: dict[str, int] = {}
        flat, ends = array("q"), [0]
        for text in texts:
            flat.extend(numbers.setdefault(s, len(numbers)) for s in split_symbols(text, unit))
            ends.append(len(flat))
        self.ids, self.starts = np.array(flat), np.array(ends)
        self.symbols = list(numbers)

    def counts(self, n: int, seed: int | None = None) -> TokenCounts:
        """The counts; with a seed, of the tokens in a random order."""
        ids = self.ids if seed is None else np.random.default_rng(seed).permutation(self.ids)
        return count_tokens(ids, self.starts, n)


def secret_texts(name: str) -> list[str]:
    if name in ("oppo", "quora"):
        pairs = corpora.oppo("train-100k") if name == "oppo" else corpora.quora("dev")
        return [text for pair in pairs for text in pair[:2]]
    if name == "hotels":
        table = corpora.words_data.to_simplified()
        return [text.translate(table).strip() for text in corpora.hotels()]
    return corpora.chinese(name)


@lru_cache(maxsize=1)
def public_side(names: tuple[str, ...]) -> Side:
    texts = corpora.english() if names == ("en",) else corpora.chinese(*names)
    return Side(with_parts(texts), "words" if names == ("en",) else "characters")


def measure(case: str, seed: int, peers: Mapping[str, Method]) -> dict[str, Any]:
    """Shares that are right, and CPU seconds, of one case and key."""
    name, sources, n_texts, n_known, _ = CASES[case]
    generator = np.random.default_rng(seed)
    texts = secret_texts(name)
    texts = [texts[i] for i in generator.permutation(len(texts))[:n_texts]]
    running = Side(texts, "words" if name == "quora" else "characters")
    secret = Side(dict.fromkeys(texts), "words" if name == "quora" else "characters")
    key = generator.permutation(len(secret.symbols))
    secret.ids = key[secret.ids]
    secret.symbols = [secret.symbols[i] for i in np.argsort(key)]
    public = public_side(sources)
    start = time.process_time()
    shuffled = case.rpartition(", ")[2]
    sides = (
        secret.counts(method.SECRET_TOKENS, seed if shuffled == "secret side shuffled" else None),
        public.counts(method.PUBLIC_TOKENS, seed if shuffled == "public side shuffled" else None),
    )
    counting = time.process_time() - start
    number = {symbol: i for i, symbol in enumerate(public.symbols)}
    truth = np.array([number.get(symbol, -2) for symbol in secret.symbols])
    known = None
    if n_known:
        chosen = generator.choice(sides[0].tokens[:500], n_known, replace=False)
        both = zip(sides, (len(secret.symbols), len(public.symbols)), strict=True)
        places = [_places(side, n) for side, n in both]
        known = np.stack([places[0][chosen], places[1][truth[chosen]]], axis=1)
        known = known[(truth[chosen] >= 0) & (known >= 0).all(1)]
    start = time.process_time()
    found = decipher(*sides, known=known, seed=seed)
    seconds = time.process_time() - start
    shares = np.zeros(len(secret.symbols))
    place = {symbol: i for i, symbol in enumerate(secret.symbols)}
    np.add.at(shares, [place[symbol] for symbol in running.symbols], np.bincount(running.ids))
    shares /= shares.sum()
    answer = np.full(len(secret.symbols), -1)
    answer[sides[0].tokens] = np.append(sides[1].tokens, -1)[found.assignment]
    right = _right(answer, sides[0], truth, shares)
    estimate = float(shares[sides[0].tokens] @ found.confidence)
    cap = (truth[sides[0].tokens[:500]] >= 0).mean()
    result = {
        **right, "readable by its confidence": round(estimate, 3),
        "agreement": round(found.agreement, 3), "in the public vocabulary": round(float(cap), 3),
        "public tokens": len(public.ids), "secret tokens": len(running.ids),
        "CPU seconds": round(seconds, 1), "of counting": round(counting, 1),
    }  # fmt: skip
    for peer, assign in peers.items():
        start = time.process_time()
        answer = np.full(len(secret.symbols), -1)
        rows, columns = assign(*sides, seed)
        answer[sides[0].tokens[rows]] = sides[1].tokens[columns]
        spent = round(time.process_time() - start, 1)
        result.setdefault("peers", {})[peer] = {
            **_right(answer, sides[0], truth, shares),
            "CPU seconds": spent,
        }
    return result


def _places(side: TokenCounts, n_tokens: int) -> IntArray:
    """The place of each token among those that are kept, or -1."""
    places = np.full(n_tokens, -1)
    places[side.tokens] = np.arange(len(side.tokens))
    return places


def _right(
    assignment: IntArray, secret: TokenCounts, truth: IntArray, shares: FloatArray
) -> dict[str, float]:
    right = assignment == truth
    tops = {f"top {n}": round(float(right[secret.tokens[:n]].mean()), 3) for n in (100, 500, 1_500)}
    return {**tops, "running text": round(float(shares @ right), 3)}


def by_rank(secret: TokenCounts, public: TokenCounts, seed: int) -> tuple[IntArray, IntArray]:
    """The published alignment."""
    ranks = np.arange(min(len(secret.tokens), len(public.tokens)))
    return ranks, ranks


def embeddings(side: TokenCounts, n_dims: int = 300) -> FloatArray:
    """Of unit length, centred, again of unit length, as VecMap wants them."""
    ppmi = np.concatenate([method._ppmi(m, 1.0) for m in method._relations(side)], axis=1)
    left, values, _ = svds(ppmi, k=min(n_dims, len(ppmi) - 1), random_state=0)
    vectors = method._unit_rows(left * np.sqrt(values))
    return method._unit_rows(vectors - vectors.mean(0))


def by_vecmap(secret: TokenCounts, public: TokenCounts, seed: int) -> tuple[IntArray, IntArray]:
    """Sorted similarities, then stochastic self-learning with an orthogonal map."""
    generator = np.random.default_rng(seed)
    x, z = embeddings(secret), embeddings(public)
    n = min(len(x), len(z))
    spectra = []
    for vectors in (x, z):
        left, values, _ = np.linalg.svd(vectors[:n], full_matrices=False)
        spectra.append(method._unit_rows(np.sort((left * values) @ left.T, axis=1)))
    spectra = [method._unit_rows(spectrum - spectrum.mean(0)) for spectrum in spectra]
    similarity = method._csls(spectra[0] @ spectra[1].T)
    best, keep, since = -np.inf, 0.1, 0
    while keep <= 1:
        kept = np.where(generator.random(similarity.shape) < keep, similarity, -np.inf)
        rows = np.concatenate([np.arange(len(kept)), kept.argmax(0)])
        columns = np.concatenate([kept.argmax(1), np.arange(kept.shape[1])])
        left, _, right = np.linalg.svd(x[rows].T @ z[columns])
        cosine = x @ (left @ right) @ z.T
        objective = (cosine.max(1).mean() + cosine.max(0).mean()) / 2
        since = 0 if objective > best + 1e-6 else since + 1
        best = max(best, objective)
        if since >= 10:
            keep, since = keep * 2 if keep in (0.1, 0.2, 0.4) else keep + 0.2, 0
        similarity = method._csls(cosine)
    return np.arange(len(x)), similarity.argmax(1)


def by_transport(
    secret: TokenCounts, public: TokenCounts, seed: int, fused: bool = False
) -> tuple[IntArray, IntArray]:
    """Gromov-Wasserstein between cosine distances, maybe with the distance of log frequencies."""
    import ot

    n = min(500, len(secret.tokens), len(public.tokens))
    distances = [1 - vectors[:n] @ vectors[:n].T for vectors in map(embeddings, (secret, public))]
    mass = np.full(n, 1 / n)
    if fused:
        logs = [np.log(side.counts[:n] / side.counts.sum()) for side in (secret, public)]
        cost = np.subtract.outer(*logs) ** 2
        plan = ot.gromov.fused_gromov_wasserstein(cost, *distances, mass, mass, alpha=0.5)
    else:
        plan = ot.gromov.gromov_wasserstein(*distances, mass, mass)
    return np.arange(n), plan.argmax(1)


METHODS: dict[str, Method] = {
    "frequency rank": by_rank,
    "VecMap": by_vecmap,
    "Gromov-Wasserstein": by_transport,
    "fused Gromov-Wasserstein": lambda *sides: by_transport(*sides, fused=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two cases, one key, some two minutes")
    parser.add_argument("--keys", type=int, default=3, help="how many keys, from --seed on")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for case in QUICK if options.quick else CASES:
        keys = range(options.seed, options.seed + (1 if options.quick else options.keys))
        runs = [
            measure(case, key, METHODS if case in PEERS and key == keys[0] else {}) for key in keys
        ]
        if "peers" in runs[0]:
            beside[case] = runs[0].pop("peers")
        means = {name: round(float(np.mean([run[name] for run in runs])), 3) for name in runs[0]}
        tops = [run["top 500"] for run in runs]
        figures[case] = {**means, "top 500 by key": tops, "bar": CASES[case][4]}
        output.show({case: figures[case]})
        found = {"cases": figures, "peers": beside}
        output.write({**output.versions("POT", "scipy"), **found}, options)


if __name__ == "__main__":
    main()
