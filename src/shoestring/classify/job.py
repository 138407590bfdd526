"""Fitting from the command line: in batches, within minutes, resumable.

Texts come in a random order, drawn by the seed, so that a time limit that ends before them leaves a
random share of them learned. Encoding a million texts takes hours, so ``model.run`` keeps what was
learned so far, every so often. Adding, forgetting and merging start again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from shoestring.classify import checks
from shoestring.classify.calibration import calibration_error
from shoestring.classify.saving import KIND
from shoestring.classify.texts import TextClassifier
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder, SaveEvery, say_cost, too_short
from shoestring.progress import Progress
from shoestring.text.records import Labelled, Reading, read_labelled, read_records

BATCH, AT_ONCE = 256, 1_024  # texts that are learned, that are answered


def fit_to_folder(
    classifier: TextClassifier,
    source: str,
    out: Path,
    clock: Clock,
    *,
    resume: bool = False,
    **reading: Unpack[Reading],
) -> dict[str, Any]:
    """Fit a new classifier to a file, save it, and say how good it is on texts that are left out.

    ``reading`` are settings of :func:`~shoestring.read_records`. BudgetError if the minutes,
    reading included, end before anything is learned; solving, some seconds, comes after them.
    """
    out = out.resolve()
    KIND.check(out)
    params = classifier.head.get_params()
    checks.settings(params)
    data = read_labelled(source, **reading)
    if len(set(data.labels)) < 2:
        want = "a column of at least two classes"
        raise ParameterError.of("label", "classify fit", want, sorted(set(data.labels)))
    settings = {"encoder": classifier.encoder, **params}
    settings["texts"] = data.digest
    del settings["n_jobs"]  # the result is the same for any number
    with RunFolder.open(out, settings, resume=resume, what="fit") as run:
        if run.progress:
            clock.add_used(run.used_s)
            classifier = TextClassifier.load(run.path / "model")
            classifier.head.set_params(n_jobs=params["n_jobs"])
        else:
            classifier.begin(data.texts)
        order = np.random.default_rng(int(params["random_state"])).permutation(len(data))
        _learn_all(classifier, data, order.tolist(), run, clock)
        try:
            return _described_and_saved(classifier, out)
        except ParameterError:  # the texts themselves cannot be told apart
            run.restart()
            raise


def _learn_all(
    classifier: TextClassifier, data: Labelled, order: list[int], run: RunFolder, clock: Clock
) -> None:
    """Learn the texts that are left, in this order, until there is no time for another batch."""
    every, n = SaveEvery(clock), len(order)
    done, batch_s = classifier.n_learnt, list[float]()
    bar = Progress(total=n, initial=done, desc="texts", unit="text", disable=None)
    with bar:
        while done < n and clock.left_s > min(batch_s, default=0.0):
            batch, began = order[done : done + BATCH], clock.used_s
            classifier.partial_fit([data.texts[i] for i in batch], [data.labels[i] for i in batch])
            done += len(batch)
            bar.update(len(batch))
            batch_s.append(clock.used_s - began)
            if len(batch_s) == 2 and done < n:  # the first one loads and compiles
                say_cost(f"{n - done:,} texts to go", (n - done) * batch_s[1] / len(batch))
            if every.is_due:
                began = clock.used_s
                classifier._save(run.path / "model", is_final=False)
                run.keep(clock, texts=classifier.n_learnt)
                every.saved(began)
    if done == n:
        return
    if not done or len(classifier.classes_) < 2:
        needed_s = 2 * clock.used_s
        raise too_short("Fitting to the first texts", needed_s, needed_s, "or fewer texts")
    message = f"--minutes was enough for {done:,} of {n:,} texts, drawn at random."
    if unseen := sorted(set(data.labels) - set(classifier.classes_.tolist())):
        more = f" and {len(unseen) - 3} more" if len(unseen) > 3 else ""
        message += f" None of them was of {', '.join(map(repr, unseen[:3]))}{more}."
    warnings.warn(message, ShoestringWarning, stacklevel=3)


def change(model: Path, source: str, method: str, **reading: Unpack[Reading]) -> dict[str, Any]:
    """Call a method of a classifier with the texts of a file; it is replaced when all is done."""
    data = read_labelled(source, **reading)
    classifier = getattr(TextClassifier.load(model), method)(data.texts, data.labels)
    return _described_and_saved(classifier, model)


def merge_folders(models: list[Path], out: Path) -> dict[str, Any]:
    """Merge saved classifiers into a new one."""
    if len(models) < 2:
        want = "the folders of two classifiers or more"
        raise ParameterError.of("models", "classify merge", want, [str(m) for m in models])
    KIND.check(out)
    whole = TextClassifier.load(models[0])
    for model in models[1:]:
        whole.merge(TextClassifier.load(model))
    return _described_and_saved(whole, out)


def _described_and_saved(classifier: TextClassifier, folder: Path) -> dict[str, Any]:
    """What a classifier is and how good it seems; what cannot be used is not saved."""
    head = classifier.head
    names = {"steps": "newton_steps", "n": "left_out"}
    made = {
        "texts": classifier.n_learnt,
        "classes": len(classifier.classes_),
        "encoder": classifier.encoder_name,
        "random_features": head.n_random_,
        "shrinkage": head.shrinkage_,
        "temperature": head.temperature_,
        "label_noise": head.label_noise_,
        **{names.get(name, f"left_out_{name}"): x for name, x in head.report().items()},
        "folder": str(folder),
    }
    classifier.save(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return made | {"folder_mb": round(size / 1e6, 2)}


def predictions(
    model: Path,
    source: str,
    *,
    reject_at: float | None = None,
    with_text: bool = False,
    **reading: Unpack[Reading],
) -> Iterator[dict[str, Any]]:
    """The label and the probability of each text of a file, as they are found, maybe the text."""
    classifier = TextClassifier.load(model)
    records = read_records(source, **reading)
    while batch := list(islice(records, AT_ONCE)):
        texts = [record.text for record in batch]
        X = classifier.encode(texts)
        labels = classifier.head.predict(X, reject_at)
        p = classifier.head.predict_proba(X).max(axis=1)
        for record, label, probability in zip(batch, labels.tolist(), p, strict=True):
            row = {"id": record.id, "label": label, "probability": round(float(probability), 6)}
            yield row | {"text": record.text} if with_text else row


def evaluate_on(
    model: Path, source: str, *, reject_at: float | None = None, **reading: Unpack[Reading]
) -> dict[str, Any]:
    """How good a classifier is on labelled texts; labels that it has never seen are errors."""
    from sklearn.metrics import f1_score

    classifier = TextClassifier.load(model)
    data = read_labelled(source, **reading)
    X, truth = classifier.encode(data.texts), np.array(data.labels)
    p = classifier.head.predict_proba(X)
    classes = classifier.classes_.astype(str)
    number_of = {name: number for number, name in enumerate(classes.tolist())}
    numbers = np.array([number_of.get(name, -1) for name in data.labels])
    known = numbers >= 0
    found = classes[p.argmax(axis=1)]
    right = found == truth
    result: dict[str, Any] = {
        "texts": len(data),
        "of_known_classes": int(known.sum()),
        "accuracy": float(right.mean()),
        "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0.0)),
    }
    if known.any():
        log_p = np.log(np.maximum(p[known, numbers[known]], 1e-300))
        result["log_loss"] = float(-log_p.mean())
        result["ece"] = calibration_error(p[known], numbers[known])
    if reject_at is not None:
        none = np.array([answer is None for answer in classifier.head.predict(X, reject_at)])
        result["rejected"] = float(none.mean())
        result["rejected_of_known"] = float(none[known].mean()) if known.any() else None
        result["accuracy_of_the_rest"] = float(right[~none].mean()) if not none.all() else None
    return result
