"""Classes that come ten at a time, each sample seen once: CLINC150, MiniLM's vectors.

``python -m benchmarks.classify.incremental``: after each ten of the 150 classes, the accuracy on
the test rows of the classes so far, of the closed form (plain, and with 2,000 random features), of
scikit-learn's SGDClassifier by ``partial_fit`` (logistic loss; batches of 256 of the new classes'
rows), of its Gaussian naive Bayes, and of the nearest class mean. The closed form on all rows so
far at once must be the same as streamed. Three orders of the classes.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid

from benchmarks import output
from benchmarks.classify import data
from shoestring import AnalyticSoftmax

STEP = 10
SHOWN = (10, 50, 100, 150)


def orders(classes: np.ndarray, seeds: int, seed: int) -> list[np.ndarray]:
    """Orders in which the classes come."""
    return [np.random.default_rng([seed, i]).permutation(classes) for i in range(seeds)]


def run(task: data.Vectors, order: np.ndarray, step: int) -> dict[str, dict[int, float]]:
    """Accuracies by the number of classes so far."""
    plain = AnalyticSoftmax(None)
    expanded = AnalyticSoftmax(0.01, expansion="relu")
    sgd, bayes = SGDClassifier(loss="log_loss", random_state=0), GaussianNB()
    table: dict[str, dict[int, float]] = {}
    for n in range(step, len(order) + 1, step):
        new, so_far = order[n - step : n], order[:n]
        rows = np.flatnonzero(np.isin(task.y, new))
        rows = np.random.default_rng(n).permutation(rows)
        X, y = task.X[rows], task.y[rows]
        plain.partial_fit(X, y)
        expanded.partial_fit(X, y)
        bayes.partial_fit(X, y, classes=order)
        for start in range(0, len(rows), 256):
            part = slice(start, start + 256)
            sgd.partial_fit(X[part], y[part], classes=order)
        seen = np.isin(task.y, so_far)
        at_once = AnalyticSoftmax(None).fit(task.X[seen], task.y[seen])
        nearest = NearestCentroid().fit(task.X[seen], task.y[seen])
        asked = np.isin(task.y_test, so_far)
        ways = {
            "closed form": plain, "closed form, 2,000 random features": expanded,
            "closed form, all rows at once": at_once, "SGDClassifier.partial_fit": sgd,
            "GaussianNB.partial_fit": bayes, "nearest class mean": nearest,
        }  # fmt: skip
        for way, model in ways.items():
            right = model.predict(task.X_test[asked]) == task.y_test[asked]
            table.setdefault(way, {})[n] = 100 * float(right.mean())
    return table


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Means over the orders."""
    task = data.vectors("CLINC150")
    classes = np.unique(task.y)[: 30 if options.quick else None]
    tables = [run(task, o, STEP) for o in orders(classes, 1 if options.quick else 3, options.seed)]
    means = {
        way: {n: round(float(np.mean([t[way][n] for t in tables])), 2) for n in tables[0][way]}
        for way in tables[0]
    }
    result = {"orders": len(tables), "classes": len(classes), "accuracy by classes so far": means}
    shown = [n for n in SHOWN if n <= len(classes)]
    output.show({way: {n: row[n] for n in shown} for way, row in means.items()})
    output.write({**result, **output.versions("scikit-learn")}, options)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="30 classes, one order")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
