"""Fitting from the command line: in batches, within minutes, resumable.

Texts come in a random order, drawn by the seed, so that a budget that ends before them leaves a
random share of them learnt. While ``model`` is fitted, ``model.fitting`` has what was learnt so far
and how many texts that is; it goes when the model is saved. It is written after each batch, or as
often as that takes little of the time, and when Ctrl-C interrupts.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from shoestring.artifacts import CONFIG, written_aside
from shoestring.classify import artifact, checks
from shoestring.classify.calibration import reliability
from shoestring.classify.softmax import AnalyticSoftmax
from shoestring.classify.texts import TextClassifier
from shoestring.errors import (
    BudgetError,
    FormatError,
    ParameterError,
    ShoestringWarning,
)
from shoestring.text import read_records

BATCH = 1_024
WARM_UP, TIMED, LEAST_BATCH = 32, 256, 16
SHARE_OF_SAVING = 0.05  # of the time
FLOPS = 1e10  # multiplications a second in double precision, on a slow machine
HOW = "how.json"


def labelled(
    source: str, text: str, label: str, on_empty: str = "error"
) -> tuple[list[str], list[str]]:
    """Texts and labels of a file; every record must have both, or is skipped without a text.

    Raises
    ------
    FormatError, StorageError, ParameterError
        If the file cannot be read, has no such column, or a record lacks its label.
    """
    records = list(read_records(source, text=text, label=label, on_empty=on_empty))
    for number, record in enumerate(records, start=1):
        if record.label is None or not record.label.strip():
            raise FormatError(
                f"record {number} has no value in the column {label!r}. Fill it in or leave the "
                "record out.",
                file=source,
            )
    return [record.text for record in records], [str(record.label) for record in records]


def fit_to_folder(
    source: str, out: Path, *, text: str, label: str, vectors: str, minutes: float | None,
    keep_texts: bool, resume: bool, on_empty: str = "error", **head: Any,
) -> dict[str, Any]:  # fmt: skip
    """Fit a classifier to a file and save it.

    Parameters
    ----------
    source : str
        What ``read_records`` takes.
    out : Path
        New, empty, or a saved classifier, which is replaced.
    text, label : str
        Columns.
    vectors : str
        Of :class:`TextClassifier`.
    minutes : float or None
        To read, encode and learn in at most.
    keep_texts, resume : bool
    on_empty : {"error", "skip"}
        What to do with empty texts.
    **head
        Of :class:`AnalyticSoftmax`.

    Returns
    -------
    dict
        What was made, and how good it is on texts that are left out.

    Raises
    ------
    ParameterError
        If an interrupted fit waits and is not to be resumed.
    BudgetError
        If the minutes end before a batch.
    """
    began = time.monotonic()
    deadline = began + checked_seconds(minutes)
    out = out.resolve()
    artifact.FOLDER.check(out)
    checks.settings(AnalyticSoftmax(**head).get_params())
    texts, labels = labelled(source, text, label, on_empty)
    if len(set(labels)) < 2:
        raise ParameterError.of(
            "label", "classify fit", "a column of at least two classes", sorted(set(labels))
        )
    aside = out.with_name(out.name + ".fitting")
    how = {"vectors": vectors, "keep_texts": keep_texts, **head, "texts": _digest(texts, labels)}
    how.pop("n_jobs", None)  # the result is the same for any number
    classifier = _interrupted(aside, how, resume)
    if classifier is None:
        classifier = TextClassifier(vectors, head=AnalyticSoftmax(**head), keep_texts=keep_texts)
        classifier.begin(texts)
    classifier.head.set_params(n_jobs=head.get("n_jobs"))
    run = _Run(classifier, aside, how, began)
    order = np.random.default_rng(int(head.get("random_state", 0))).permutation(len(texts))
    try:
        for batch in run.batches(order, deadline):
            run.learn([texts[i] for i in batch], [labels[i] for i in batch])
    except KeyboardInterrupt:
        run.keep()
        raise
    if run.done < len(texts):
        unseen = sorted(set(labels) - set(classifier.classes_.tolist()))
        _say_share(run.done, len(texts), unseen)
    try:
        describe(classifier)
    except ParameterError:  # nothing to go on with: the texts themselves cannot be told apart
        shutil.rmtree(aside, ignore_errors=True)
        raise
    made = _described_and_saved(classifier, out)
    shutil.rmtree(aside, ignore_errors=True)
    return made


class _Run:
    """A fit that keeps its place: the number of samples in what was learnt."""

    def __init__(
        self, classifier: TextClassifier, aside: Path, how: dict[str, Any], began: float
    ) -> None:
        self.classifier, self.aside, self.how, self._began = classifier, aside, how, began
        self._saved_at, self._saving_s = time.monotonic(), 0.0

    @property
    def done(self) -> int:
        """How many texts were learnt."""
        return self.classifier.n_learnt

    def batches(self, order: NDArray[np.int64], deadline: float) -> Iterator[NDArray[np.int64]]:
        """Which texts to learn next, a small batch first to see how fast it goes.

        Raises
        ------
        BudgetError
            If the time ends before the first.
        """
        first, n = self.done, len(order)
        reserve = seconds_to_solve(self.classifier.head, self.classifier.encoder_.n_dims)
        with tqdm(total=n, initial=first, desc="texts", unit="text", disable=None) as bar:
            sizes, rate = [WARM_UP, TIMED], 0.0  # the first batch loads and compiles
            while self.done < n:
                left_s = deadline - time.monotonic() - reserve
                size = sizes.pop(0) if sizes else BATCH
                if rate and left_s < math.inf:
                    size = min(size, int(rate * left_s))
                if left_s <= 0 or size < LEAST_BATCH:
                    self._check_enough(left_s, reserve)
                    return
                batch, began = order[self.done : self.done + size], time.monotonic()
                yield batch
                seconds = max(time.monotonic() - began, 1e-9)
                if not rate and size != WARM_UP:
                    _say_cost(n - self.done, len(batch) / seconds)
                if size != WARM_UP:
                    rate = len(batch) / seconds
                bar.update(len(batch))

    def _check_enough(self, left_s: float, reserve: float) -> None:
        if self.done < LEAST_BATCH or len(self.classifier.classes_) < 2:
            needed = (time.monotonic() - self._began + reserve + max(-left_s, 1.0)) / 60
            raise BudgetError(
                f"The minutes are over before there is anything to classify with. Pass "
                f"{needed:.2g} minutes or more, or --random 0, which is solved faster."
            )

    def learn(self, texts: list[str], labels: list[str]) -> None:
        """Learn from a batch, and write down what is known if that takes little of the time."""
        self.classifier.partial_fit(texts, labels)
        if self._saving_s <= SHARE_OF_SAVING * (time.monotonic() - self._saved_at):
            self.keep()

    def keep(self) -> None:
        """Write down what is known."""
        if not self.done:
            return
        began = time.monotonic()
        if not (self.aside / HOW).exists():
            self.aside.mkdir(parents=True, exist_ok=True)
            with written_aside(self.aside / HOW) as file:
                file.write(_as_json(self.how))
        self.classifier.save(self.aside / "model")
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began


def _interrupted(aside: Path, how: dict[str, Any], resume: bool) -> TextClassifier | None:
    """What an interrupted fit left, if it is to be gone on with.

    Raises
    ------
    ParameterError
        If there is one and nobody asked for it, or it is of other texts or settings.
    """
    if not (aside / "model" / CONFIG).exists():
        shutil.rmtree(aside, ignore_errors=True)
        return None
    if not resume:
        raise ParameterError(
            f"An interrupted fit of this classifier is in {aside}. Go on with it (--resume), or "
            "remove that folder to begin anew."
        )
    known = (aside / HOW).read_bytes()
    if known != _as_json(how):
        raise ParameterError(
            f"The interrupted fit in {aside} was of other texts or settings. Pass the same, or "
            "remove that folder to begin anew."
        )
    return TextClassifier.load(aside / "model")


def describe(classifier: TextClassifier) -> dict[str, Any]:
    """What a classifier is and how good it seems, for people and for JSON."""
    head = classifier.head
    report = head.report()
    left_out = {"left_out": report.pop("n")} if report else {}
    return {
        "texts": classifier.n_learnt,
        "classes": len(classifier.classes_),
        "vectors": classifier.vectors_name,
        "random_features": head.n_random_,
        "shrinkage": head.shrinkage_,
        "temperature": head.temperature_,
        "noise": head.noise_,
        **left_out,
        **{f"left_out_{name}": value for name, value in report.items()},
    }


def seconds_to_solve(head: AnalyticSoftmax, n_dims: int) -> float:
    """About how long the layer takes to be found from what was learnt, on a slow machine."""
    width = n_dims + (head.n_random if head.expansion is not None else 0)
    tried = 7 if head.shrinkage == "auto" else 1
    return 1.0 + tried * (width**3 / 3 + head.sample_size * width**2) / FLOPS


def checked_seconds(minutes: float | None) -> float:
    """Minutes as seconds, infinity without them."""
    if minutes is None:
        return math.inf
    if not 0 < minutes < math.inf:
        raise ParameterError.of("minutes", "classify fit", "a positive number", minutes)
    return 60 * minutes


def _say_cost(n_left: int, rate: float) -> None:
    about = tqdm.format_interval(n_left / rate)
    tqdm.write(f"{n_left:,} texts to go at {rate:,.0f} a second: about {about}", file=sys.stderr)


def _say_share(done: int, n: int, unseen: list[str]) -> None:
    said = f"In the minutes {done:,} of {n:,} texts were learnt, drawn at random."
    if unseen:
        more = f" and {len(unseen) - 3} more" if len(unseen) > 3 else ""
        said += f" None of them was of {', '.join(map(repr, unseen[:3]))}{more}."
    warnings.warn(said, ShoestringWarning, stacklevel=3)


def _digest(texts: list[str], labels: list[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in (*texts, *labels):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _as_json(how: dict[str, Any]) -> bytes:
    return json.dumps(how, ensure_ascii=False, sort_keys=True, default=str).encode()


def change(
    model: Path, source: str | None, verb: str, *, text: str, label: str, on_empty: str = "error"
) -> dict[str, Any]:
    """Add or forget the texts of a file; the classifier is replaced when all is done.

    Raises
    ------
    ParameterError, FormatError
        If the file has no such columns, or has what was never learnt; nothing is changed.
    """
    if source is None:
        raise ParameterError.of("source", f"classify {verb}", "a file of texts", None)
    texts, labels = labelled(source, text, label, on_empty)
    classifier = TextClassifier.load(model)
    do = classifier.partial_fit if verb == "add" else classifier.forget
    do(texts, labels)
    return _described_and_saved(classifier, model)


def forget_class(model: Path, label: str, source: str | None) -> dict[str, Any]:
    """Forget a class of a saved classifier."""
    if source is not None:
        want = "left out where a whole class is forgotten"
        raise ParameterError.of("source", "classify forget", want, source)
    return _described_and_saved(TextClassifier.load(model).forget_class(label), model)


def merge_folders(models: list[Path], out: Path) -> dict[str, Any]:
    """Merge saved classifiers into a new one."""
    if len(models) < 2:
        want = "the folders of two classifiers or more"
        raise ParameterError.of("models", "classify merge", want, [str(m) for m in models])
    artifact.FOLDER.check(out)
    whole = TextClassifier.load(models[0])
    for model in models[1:]:
        whole.merge(TextClassifier.load(model))
    return _described_and_saved(whole, out)


def _described_and_saved(classifier: TextClassifier, folder: Path) -> dict[str, Any]:
    """Described first: what cannot be used is not saved."""
    made = describe(classifier) | {"folder": str(folder)}
    classifier.save(folder)
    return made


def predictions(
    model: Path, source: str, *, text: str, reject_at: float | None, on_empty: str = "error"
) -> Iterator[dict[str, Any]]:
    """The label and the probability of each text of a file, as they are found."""
    classifier = TextClassifier.load(model)
    records = read_records(source, text=text, on_empty=on_empty)
    while batch := list(islice(records, BATCH)):
        texts = [record.text for record in batch]
        X = classifier.encode(texts)
        labels = classifier.head.predict(X, reject_at)
        p = classifier.head.predict_proba(X).max(axis=1)
        for record, label, probability in zip(batch, labels.tolist(), p, strict=True):
            yield {"id": record.id, "label": label, "probability": round(float(probability), 6)}


def evaluate_on(
    model: Path,
    source: str,
    *,
    text: str,
    label: str,
    reject_at: float | None,
    on_empty: str = "error",
) -> dict[str, Any]:
    """How good a classifier is on labelled texts; labels that it has never seen are errors."""
    from sklearn.metrics import f1_score

    classifier = TextClassifier.load(model)
    texts, given = labelled(source, text, label, on_empty)
    X = classifier.encode(texts)
    p = classifier.head.predict_proba(X)
    classes = classifier.classes_.astype(str)
    truth = np.array(given)
    place_of = {name: place for place, name in enumerate(classes.tolist())}
    places = np.array([place_of.get(name, -1) for name in given])
    known = places >= 0
    found = classes[p.argmax(axis=1)]
    result: dict[str, Any] = {
        "texts": len(texts),
        "of_known_classes": int(known.sum()),
        "accuracy": float((found == truth).mean()),
        "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0.0)),
    }
    if known.any():
        log_p = np.log(np.maximum(p[known, places[known]], 1e-300))
        result["log_loss"] = float(-log_p.mean())
        result["ece"] = reliability(p[known], places[known]).error
    if reject_at is not None:
        none = np.array([answer is None for answer in classifier.head.predict(X, reject_at)])
        result["rejected"] = float(none.mean())
        result["rejected_of_known"] = float(none[known].mean()) if known.any() else None
        kept = ~none
        result["accuracy_of_the_rest"] = (
            float((found == truth)[kept].mean()) if kept.any() else None
        )
    return result
