"""Texts of no known class: how many are told, for how many of the known ones by mistake.

``python -m benchmarks.classify.rejection``: CLINC150, MiniLM's vectors: fitted to 15,000 texts of
150 classes, asked about 4,500 of these classes and 1,000 of none. Of our relative Mahalanobis
distance, the plain one and the largest probability: the area under the ROC curve (0.5 is chance).
At 1, 5 and 10 % that may be rejected: the share of known texts that is, and of the others, with
the threshold that the classifier takes from its left out samples; and the share of known texts
beyond that quantile of chi-square, which the plain distance would follow were the features normal.
Control: random scores.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from benchmarks import output
from benchmarks.classify import data
from shoestring import AnalyticSoftmax

RATES = (0.01, 0.05, 0.1)


def plain_distance(classifier: AnalyticSoftmax, X: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance to the nearest mean."""
    covariance = classifier.moments_.covariance()[: X.shape[1], : X.shape[1]]
    lower = np.linalg.cholesky(covariance)
    white = np.linalg.solve(lower, X.T).T
    centres = np.linalg.solve(lower, classifier.moments_.centres[:, : X.shape[1]].T).T
    across = (centres**2).sum(axis=1) - 2 * white @ centres.T
    return across.min(axis=1) + (white**2).sum(axis=1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both classifiers."""
    task = data.vectors("CLINC150")
    X = np.concatenate([task.X_test, task.X_outside]).astype(np.float64)
    outside = np.arange(len(X)) >= len(task.X_test)
    result: dict[str, Any] = {"known": int((~outside).sum()), "of none": int(outside.sum())}
    for name, expansion in (("plain", None), ("2,000 random features", "relu")):
        n_random = 200 if options.quick else 2_000
        classifier = AnalyticSoftmax(expansion=expansion, n_random=n_random).fit(task.X, task.y)
        strange = classifier.novelty_score(X)
        scores = {
            "relative Mahalanobis distance": strange,
            "Mahalanobis distance of the vectors": plain_distance(classifier, X),
            "largest probability": -classifier.predict_proba(X).max(axis=1),
            "random": np.random.default_rng(options.seed).random(len(X)),
        }
        rates = {}
        for rate in RATES:
            beyond = strange > classifier.novelty_threshold(rate)
            plain = scores["Mahalanobis distance of the vectors"]
            rates[f"{rate:.0%}"] = {
                "known rejected": round(float(beyond[~outside].mean()), 4),
                "others rejected": round(float(beyond[outside].mean()), 4),
                "known beyond chi-square": round(
                    float((plain > chi2.ppf(1 - rate, X.shape[1]))[~outside].mean()), 4
                ),
            }
        areas = {way: round(float(roc_auc_score(outside, s)), 4) for way, s in scores.items()}
        result[name] = {"area under ROC": areas, "at a rate of": rates}
        output.show({name: result[name]})
    output.write(result, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="200 random features")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
