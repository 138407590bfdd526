"""A classifier of texts: vectors, and the softmax layer in closed form on them.

Letters: N texts, C classes, D the width of the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring import encoders
from shoestring.checks import checked_labelled, checked_path, checked_texts
from shoestring.classify import saving
from shoestring.classify.moments import Doubles
from shoestring.classify.sample import keys_of
from shoestring.classify.softmax import AnalyticSoftmax
from shoestring.classify.state import Block
from shoestring.errors import FormatError, ParameterError
from shoestring.estimator import Classifier, unfitted
from shoestring.types import TextEncoder

N_COMPONENTS = 384  # of the encoder "lsa"
GIVEN = "given"  # the name of an encoder that came as an object
ENCODER = "encoder"  # in a saved folder
_OWNER = "TextClassifier"


class TextClassifier(Classifier):
    """Classifies texts; learns more, merges and forgets as :class:`AnalyticSoftmax` does.

    Parameters
    ----------
    encoder : str or TextEncoder
        "minilm"; "lsa" or "words", fitted to the first texts; the folder of a model or of word
        vectors (``shoestring words``), or of a saved classifier, whose encoder is taken; "auto":
        what fits the texts; or an object with ``encode``.
    head : AnalyticSoftmax, optional
        By default one with ``expansion="auto"``. It is learned from in place.

    Attributes
    ----------
    classes_ : ndarray (C,)
    encoder_ : TextEncoder
    encoder_name : str
        "minilm", "lsa", "words", a folder, or "given".

    Examples
    --------
    >>> texts = ["red shoes", "blue shoes", "an old hat", "a new hat"] * 5
    >>> labels = ["shoe", "shoe", "hat", "hat"] * 5
    >>> classifier = TextClassifier("lsa").fit(texts, labels)
    >>> classifier.predict(["green shoes"]).tolist()
    ['shoe']
    """

    reads_text = True

    def __init__(
        self,
        encoder: str | Path | TextEncoder = encoders.AUTO,
        *,
        head: AnalyticSoftmax | None = None,
    ) -> None:
        self.encoder = encoder
        self.head = AnalyticSoftmax(expansion="auto") if head is None else head

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Learn from texts, and from nothing before.

        ParameterError if there is no text, ShapeError if there is not a label for each; and the
        errors of :meth:`AnalyticSoftmax.fit`.
        """
        return self._learn(texts, labels, "fit")

    def begin(self, texts: Sequence[str]) -> None:
        """Choose the encoder, by texts that will come, and forget all that was learned."""
        texts, _ = checked_labelled(texts, texts, f"{_OWNER}.begin")
        self.encoder_name, self.encoder_ = self._new_encoder(texts)
        self.head = AnalyticSoftmax(**self.head.get_params())

    def partial_fit(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Learn from more texts; classes may be new."""
        return self._learn(texts, labels, "partial_fit")

    def _learn(self, texts: Sequence[str], labels: Sequence[Any], verb: str) -> TextClassifier:
        texts, labels = checked_labelled(texts, labels, f"{_OWNER}.{verb}")
        is_new = verb == "fit" or not hasattr(self, "encoder_")
        chosen = self._new_encoder(texts) if is_new else (self.encoder_name, self.encoder_)
        X = np.asarray(chosen[1].encode(texts))
        self.head._learn(Block(X, labels, keys=keys_of(texts)), anew=verb == "fit")
        if is_new:
            self.encoder_name, self.encoder_ = chosen
        return self

    def refine(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Newton steps on all texts that were learned; see :meth:`AnalyticSoftmax.refine`."""
        texts, labels = checked_labelled(texts, labels, f"{_OWNER}.refine")
        self.head.refine(self.encode(texts), labels)
        return self

    def forget(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Take texts back that were learned, with the labels they had."""
        texts, labels = checked_labelled(texts, labels, f"{_OWNER}.forget")
        self.head._forget(Block(self.encode(texts), labels, keys=keys_of(texts)))
        return self

    def merge(self, other: TextClassifier) -> TextClassifier:
        """Learn what another classifier has learned with the same encoder.

        ParameterError if its encoder is another, or was fitted to other texts.
        """
        if not isinstance(other, TextClassifier):
            raise ParameterError.of("other", f"{_OWNER}.merge", f"another {_OWNER}", other)
        if not encoders.are_same(self._fitted(), other._fitted()):
            raise ParameterError(
                f"Both classifiers must have the same encoder; these are {self.encoder_name} and "
                f"{other.encoder_name} of different content. lsa and words are fitted to the first "
                "texts: fit the second with the first one's encoder, TextClassifier(FOLDER) of the "
                "saved first (--encoder FOLDER), or both with minilm."
            )
        self.head.merge(other.head)
        return self

    def predict(self, texts: Sequence[str], reject_at: float | None = None) -> NDArray[Any]:
        """The most probable class of each text; None with ``reject_at`` where it is of none."""
        return self.head.predict(self.encode(texts), reject_at)

    def predict_proba(self, texts: Sequence[str]) -> Doubles:
        """Probabilities (N, C)."""
        return self.head.predict_proba(self.encode(texts))

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """Accuracy."""
        texts, labels = checked_labelled(texts, labels, f"{_OWNER}.score")
        return float(np.mean(self.predict(texts) == np.asarray(labels)))

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels."""
        return self.head.classes_

    @property
    def n_learnt(self) -> int:
        """Texts that were learned and not forgotten."""
        return int(self.head.moments_.sizes.sum()) if hasattr(self.head, "moments_") else 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Vectors of texts (N, D)."""
        encoder, texts = self._fitted(), checked_texts("texts", texts, _OWNER)
        if not texts:
            return np.zeros((0, encoder.n_dims), np.float32)
        return np.asarray(encoder.encode(texts))

    def save(self, folder: str | Path) -> None:
        """Save to a folder, as :meth:`AnalyticSoftmax.save`, whose ``load`` opens it too."""
        self._save(folder)

    def _save(self, folder: str | Path, *, is_final: bool = True) -> None:
        encoder: Any = self._fitted()
        with saving.KIND.saving(checked_path("folder", folder, f"{_OWNER}.save")) as writer:
            self.head._write(writer, is_final=is_final)
            writer.config["texts"] = {"encoder": self.encoder_name}
            if self.encoder_name != GIVEN and encoders.is_lexical(encoder):
                encoder.save(writer.folder / ENCODER)

    @classmethod
    def load(cls, folder: str | Path, *, encoder: TextEncoder | None = None) -> TextClassifier:
        """Open what :meth:`save` wrote; the errors of :meth:`AnalyticSoftmax.load`.

        ``encoder`` is the one it was fitted with, if that was an object of your own.
        """
        saved = saving.KIND.read(checked_path("folder", folder, f"{_OWNER}.load"))
        if "texts" not in saved.config:
            raise FormatError(
                "this classifier was fitted to vectors, not to texts. Open it with "
                "AnalyticSoftmax.load.",
                file=saved.folder,
            )
        with saved.decoding():
            name = str(saved.config["texts"]["encoder"])
        if encoder is not None:
            _check_encoder(encoder)
        elif name == GIVEN:
            raise ParameterError(
                "This classifier was fitted with an encoder of your own, which the command line "
                "cannot open. In Python: TextClassifier.load(folder, encoder=...)."
            )
        else:
            is_kept = name in (encoders.LSA, encoders.WORDS) or ENCODER in saved
            encoder = encoders.open_encoder(name, saved.path(ENCODER) if is_kept else None)
        head = AnalyticSoftmax._opened(saved)
        classifier = cls(encoder if name == GIVEN else name, head=head)
        classifier.encoder_name, classifier.encoder_ = name, encoder
        return classifier

    def _fitted(self) -> TextEncoder:
        if not hasattr(self, "encoder_"):
            raise unfitted(f"This {_OWNER} is not fitted yet. Call fit(texts, labels) first.")
        return self.encoder_

    def _new_encoder(self, texts: Sequence[str]) -> tuple[str, TextEncoder]:
        """The name and the encoder to begin with."""
        if not isinstance(self.head, AnalyticSoftmax):
            raise ParameterError.of("head", _OWNER, "an AnalyticSoftmax", self.head)
        if not isinstance(self.encoder, str | Path):
            _check_encoder(self.encoder)
            return GIVEN, self.encoder
        given = str(self.encoder)
        if saving.KIND.is_saved(Path(given)):
            other = TextClassifier.load(given)
            return other.encoder_name, other.encoder_
        name, seed = encoders.resolve(given, texts), int(self.head.random_state)
        encoder = encoders.fit_encoder(
            name, texts, owner=_OWNER, n_components=N_COMPONENTS, seed=seed
        )
        return encoders.checked_encoder(name, _OWNER), encoder


def _check_encoder(encoder: object) -> None:
    if isinstance(encoder, str) or not callable(getattr(encoder, "encode", None)):
        want = "a name, a folder or an object with encode(texts)"
        raise ParameterError.of("encoder", _OWNER, want, encoder)
