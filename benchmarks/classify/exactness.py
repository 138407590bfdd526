"""Is the closed form exact? Coefficients beside scikit-learn's LDA, however the samples come.

``python -m benchmarks.classify.exactness``: 5,000 samples of 15 classes in 64 features, in three
kinds: plain, badly conditioned (features from 1e-3 to 1e3, eigenvalues of their correlations over
four orders of magnitude), far from zero (means of 1e4 standard deviations). The largest relative
difference, over the coefficients, from the same formula in 80-bit arithmetic on all samples:

- streamed: random orders and partitions into 2 to 200 batches (1,002, a third of each kind);
- merged: each partition's parts learned apart, then merged in a random order;
- forgotten: a tenth more was learned and forgotten again.

Beside them, once each: ``LinearDiscriminantAnalysis(solver="lsqr")``, which solves by a truncated
SVD and so loses features of small scale, and ours from it; LDA(svd); the published code, which
takes the means away from a total covariance with ddof 1, at growing distance of the classes;
Deep_SLDA's streaming covariance (Hayes & Kanan 2020), a sample and a mini-batch at a time, beside
the pooled covariance that it stands for.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from benchmarks import output
from shoestring import AnalyticSoftmax

N, D, C = 5_000, 64, 15
BAR = 1e-9
KINDS = ("plain", "badly conditioned", "far from zero")
Sample = tuple[np.ndarray, np.ndarray]


def sample(kind: str, rng: np.random.Generator, apart: float = 1.0) -> Sample:
    """Normal classes of one covariance."""
    y = rng.integers(C, size=N)
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    spread = np.logspace(0, -2, D) if kind == "badly conditioned" else rng.uniform(0.3, 3, D)
    X = rng.standard_normal((N, D)) * spread + apart * rng.standard_normal((C, D))[y] * spread
    X = X @ turn
    if kind == "badly conditioned":
        X = X * np.logspace(-3, 3, D)
    if kind == "far from zero":
        X = X + 1e4 * rng.standard_normal(D)
    return X, y


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of coefficients, relative to the largest of their feature."""
    return float((np.abs(found - wanted) / np.abs(wanted).max(axis=0)).max())


def exact(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The coefficients in 80-bit arithmetic."""
    Z = X.astype(np.longdouble)
    means = np.stack([Z[y == c].mean(axis=0) for c in range(C)])
    Z -= means[y]
    S = Z.T @ Z / len(y)
    L = np.zeros_like(S)
    for i in range(D):  # Cholesky, a column at a time
        L[i, i] = np.sqrt(S[i, i] - L[i, :i] @ L[i, :i])
        L[i + 1 :, i] = (S[i + 1 :, i] - L[i + 1 :, :i] @ L[i, :i]) / L[i, i]
    white = means.T.copy()
    for i in range(D):
        white[i] = (white[i] - L[i, :i] @ white[:i]) / L[i, i]
    for i in reversed(range(D)):
        white[i] = (white[i] - L[i + 1 :, i] @ white[i + 1 :]) / L[i, i]
    return white.T


def published(X: np.ndarray, y: np.ndarray, *, ddof: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The published code (bojone/analytical-classification): coefficients, intercepts.

    It whitens by the total covariance and takes the means away; with ``ddof=0`` that is the closed
    form but for cancellation.
    """
    mean, covariance = X.mean(axis=0), np.cov(X, rowvar=False, ddof=ddof)
    vectors, values, _ = np.linalg.svd(covariance)
    kernel = vectors / np.sqrt(values)
    Z = (X - mean) @ kernel
    shares = np.bincount(y) / len(y)
    means = np.stack([Z[y == c].mean(axis=0) for c in range(len(shares))])
    within = np.eye(Z.shape[1]) - (shares[:, None] * means).T @ means
    white = np.linalg.solve(within, means.T).T
    coef = white @ kernel.T
    return coef, np.log(shares) - (white * means).sum(axis=1) / 2 - coef @ mean


def plain() -> AnalyticSoftmax:
    """The closed form without any choice."""
    return AnalyticSoftmax(shrinkage=None, sample_size=0, n_jobs=1)


def in_parts(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """A random order, cut at random places."""
    order = rng.permutation(len(y))
    cuts = np.sort(rng.integers(1, len(y), size=rng.integers(1, 200)))
    return [(X[part], y[part]) for part in np.split(order, cuts) if len(part)]


def streamed(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> AnalyticSoftmax:
    classifier = plain()
    for part in in_parts(X, y, rng):
        classifier.partial_fit(*part)
    return classifier


def merged(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> AnalyticSoftmax:
    learnt = [plain().partial_fit(*part) for part in in_parts(X, y, rng)]
    whole = learnt.pop(rng.integers(len(learnt)))
    for i in rng.permutation(len(learnt)):
        whole.merge(learnt[i])
    return whole


def forgotten(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> AnalyticSoftmax:
    """X and a tenth more, other samples of the same kind, which are taken back."""
    gone = rng.permutation(len(y))[: len(y) // 10]
    others = X[gone] + rng.standard_normal((len(gone), D)) * X.std(axis=0), rng.permutation(y[gone])
    classifier = plain()
    parts = in_parts(np.concatenate([X, others[0]]), np.concatenate([y, others[1]]), rng)
    for part in parts:
        classifier.partial_fit(*part)
    return classifier.forget(*others)


WAYS = {"streamed": streamed, "merged": merged, "forgotten": forgotten}


def exactness(n_partitions: int, seed: int) -> dict[str, dict[str, float]]:
    """The largest difference of each way on each kind."""
    table: dict[str, dict[str, float]] = {}
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, number])
        X, y = sample(kind, rng)
        wanted = exact(X, y)
        lsqr = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).coef_
        row = dict.fromkeys(WAYS, 0.0)
        for _ in range(n_partitions):
            for way, learn in WAYS.items():
                row[way] = max(row[way], difference(learn(X, y, rng).coef_, wanted))
        svd = LinearDiscriminantAnalysis(solver="svd").fit(X, y).coef_
        centred = wanted - np.bincount(y) @ wanted / N  # svd's are; softmax sees no difference
        row["LDA (lsqr)"] = difference(lsqr, wanted)
        row["LDA (svd)"] = difference(svd, centred)
        row["ours from LDA (lsqr)"] = difference(plain().fit(X, y).coef_, lsqr)
        table[kind] = {way: float(f"{value:.2g}") for way, value in row.items()}
        output.show({kind: table[kind]})
    return table


def ddof(seed: int) -> dict[str, dict[str, float]]:
    """The largest error of a logit of the published code, by the distance of the classes."""
    table = {}
    for apart in (1.0, 3.0, 10.0, 30.0, 100.0):
        rng = np.random.default_rng([seed, 99])
        X, y = sample("plain", rng, apart)
        wanted = plain().fit(X, y).decision_function(X)
        wanted = wanted - wanted.mean(axis=1, keepdims=True)
        row = {}
        for d in (1, 0):
            coef, intercept = published(X, y, ddof=d)
            logits = X @ coef.T + intercept
            row[f"ddof {d}"] = float(
                f"{np.abs(logits - logits.mean(axis=1, keepdims=True) - wanted).max():.2g}"
            )
        table[f"{apart:g} apart"] = {**row, "largest logit": float(f"{np.abs(wanted).max():.3g}")}
        output.show({f"{apart:g} apart": table[f"{apart:g} apart"]})
    return table


def deep_slda(X: np.ndarray, y: np.ndarray, batch: int) -> tuple[np.ndarray, float]:
    """Its covariance, streamed from nothing, and the share of the samples that it has counted."""
    means, counts, sigma, n = np.zeros((C, D)), np.zeros(C), np.zeros((D, D)), 0
    for start in range(0, len(y), batch):
        x, c = X[start : start + batch], y[start : start + batch]
        v = x - means[c]
        sigma = (n * sigma + (n / (n + 1)) * v.T @ v) / (n + len(x))
        means[c] += v / (counts[c] + 1)[:, None]  # of equal classes in a batch the last one stays
        counts[c] += 1
        n += len(x)
    return sigma, float(counts.sum() / len(y))


def streaming_peer(seed: int) -> dict[str, dict[str, float]]:
    """Deep_SLDA's covariance beside the pooled one."""
    X, y = sample("plain", np.random.default_rng([seed, 7]))
    wanted = plain().fit(X, y).moments_.covariance()
    table = {}
    for batch in (1, 32):
        found, counted = deep_slda(X, y, batch)
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        name = f"Deep_SLDA, {batch} at a time"
        table[name] = {
            "error of the covariance": round(float(error), 4),
            "samples counted": counted,
        }
    ours = np.linalg.norm(
        streamed(X, y, np.random.default_rng(seed)).moments_.covariance() - wanted
    )
    error = float(f"{ours / np.linalg.norm(wanted):.2g}")
    return {**table, "ours": {"error of the covariance": error, "samples counted": 1.0}}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All tables."""
    n = 10 if options.quick else options.partitions
    table = exactness(n, options.seed)
    worst = max(row[way] for row in table.values() for way in WAYS)
    result = {
        "samples": N, "features": D, "classes": C, "partitions of each kind": n,
        "difference of the coefficients": table,
        "worst": worst,
        f"within {BAR:g}": worst <= BAR,
        "largest error of a logit": ddof(options.seed),
        "streaming covariance": streaming_peer(options.seed),
        **output.versions("scikit-learn"),
    }  # fmt: skip
    output.show({k: result[k] for k in ("worst", f"within {BAR:g}", "streaming covariance")})
    output.write(result, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="30 partitions instead of 1,002")
    parser.add_argument("--partitions", type=int, default=334, help="of each kind")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
