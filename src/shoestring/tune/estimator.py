"""A ladder as a classifier with the methods of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from shoestring.checks import checked_labelled, checked_texts
from shoestring.errors import ParameterError
from shoestring.estimator import Classifier, unfitted
from shoestring.jobs import Clock, RunFolder
from shoestring.text.records import Labelled
from shoestring.tune.baselines import make_model
from shoestring.tune.examples import examples_of, split
from shoestring.tune.job import Job, trained
from shoestring.tune.predict import logits_of


class LadderClassifier(Classifier):
    """A classifier of texts: a side ladder on a frozen backbone.

    Parameters
    ----------
    backbone : str
        "minilm", or the folder of a model.
    reduction : int
        Width of the backbone over that of the ladder.
    layers : sequence of int, optional
        Layers of the backbone that have a block beside them, from 0; every third by default.
    max_length : int
        Tokens that are read of a text.
    epochs : float
        At most; the best epoch on a tenth of the texts, held out at random, is kept.
    batch_size : int
    learning_rate : float, optional
        By default the method's own.
    seed : int

    Attributes
    ----------
    classes_ : ndarray (C,)
    model_ : Ladder
        ``model_.save_pretrained(folder)`` saves it for ``shoestring tune predict``.
    report_ : dict
        Quality on the texts that were held out, epochs, steps, memory.

    Examples
    --------
    >>> model = LadderClassifier().fit(texts, labels, minutes=10)  # doctest: +SKIP
    >>> model.predict(["where is my card"])  # doctest: +SKIP
    array(['card_arrival'], dtype='<U12')
    """

    reads_text = True

    def __init__(
        self,
        backbone: str = "minilm",
        *,
        reduction: int = 4,
        layers: Sequence[int] | None = None,
        max_length: int = 128,
        epochs: float = 10.0,
        batch_size: int = 32,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone = backbone
        self.reduction = reduction
        self.layers = layers
        self.max_length = max_length
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(
        self,
        texts: Sequence[str],
        labels: ArrayLike,
        *,
        minutes: float | None = None,
        progress: bool = False,
    ) -> Self:
        """Train on N texts and their labels.

        Parameters
        ----------
        texts : sequence of str (N,)
        labels : array-like (N,)
        minutes : float, optional
            Time limit; outputs, epochs and the falling learning rate end in time.
        progress : bool
            Show bars on standard error.

        Raises
        ------
        ParameterError, ShapeError, BudgetError
            If a parameter is out of range, there are fewer than two classes, not a label for each
            text, or the minutes are too few for a model of some of the texts.

        Warns
        -----
        ShoestringWarning
            If the minutes are enough for a random share of the texts only.
        """
        clock = Clock(minutes)
        options = {**self.get_params(), "backbone": str(self.backbone)}
        job = Job.of(**options)
        texts, truth = checked_labelled(texts, labels, "LadderClassifier.fit")
        classes, targets = np.unique(truth, return_inverse=True)
        if len(classes) < 2:
            want, got = "labels of at least two classes", classes.tolist()
            raise ParameterError.of("labels", "LadderClassifier.fit", want, got)
        names = tuple(map(str, classes.tolist()))
        config = replace(job.config, n_labels=len(names), labels=names)
        model = make_model(job.method, job.backbone, config)
        data, n = Labelled(texts, []), len(texts)
        examples = examples_of(data, n, targets.tolist(), model.backbone, model.settings)
        halves = split(examples, n, False, self.seed)
        with (
            TemporaryDirectory() as folder,
            RunFolder.open(Path(folder) / "ladder", {}, resume=False) as run,
        ):
            self.report_ = trained(job, model, examples, halves, clock, run, progress=progress)
        self.model_, self.classes_ = model.eval(), classes
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (N, C) of N texts, classes as in ``classes_``."""
        texts = checked_texts("texts", texts, "LadderClassifier.predict")
        if not hasattr(self, "model_"):
            raise unfitted("This LadderClassifier is not fitted yet. Call fit(texts, labels).")
        logits = logits_of(self.model_, texts)
        found: NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
        return found

    def predict(self, texts: Sequence[str]) -> NDArray[Any]:
        """The class of each of N texts (N,)."""
        best = self.predict_proba(texts).argmax(axis=1)
        chosen: NDArray[Any] = self.classes_[best]
        return chosen

    def score(self, texts: Sequence[str], labels: ArrayLike) -> float:
        """The share of N texts whose label is predicted."""
        texts, truth = checked_labelled(texts, labels, "LadderClassifier.score")
        return float(np.mean(self.predict(texts) == np.asarray(truth)))
