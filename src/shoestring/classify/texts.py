"""A classifier of texts: vectors, and the softmax layer in closed form on them.

Letters: N texts, C classes, D the width of the vectors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring import encoders
from shoestring.artifacts import ArtifactWriter
from shoestring.checks import checked_int, checked_path, checked_str, checked_texts
from shoestring.classify import checks, saving
from shoestring.classify.moments import Doubles
from shoestring.classify.sample import keys_of
from shoestring.classify.softmax import ClosedForm
from shoestring.classify.state import Block
from shoestring.errors import FormatError, NotFittedError, ParameterError
from shoestring.estimator import Classifier, unfitted
from shoestring.types import TextEncoder

N_COMPONENTS = 384  # of the encoder "lsa"
GIVEN = "given"  # the name of an encoder that came as an object
EXAMPLES, ROWS, ENCODER = "examples.jsonl", "examples.npy", "encoder"  # in a saved folder
_OWNER = "TextClassifier"


@dataclass(frozen=True, slots=True)
class Near:
    """A text that was learned and lies near, its label, and how near: a cosine in [-1, 1]."""

    text: str
    label: Any
    likeness: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text got its label."""

    label: Any  # the most probable class
    probabilities: list[tuple[Any, float]]  # of the first few classes, the most probable first
    nearest_mean: Any  # the class of the nearest mean: not label where that is much more frequent
    examples: list[Near]  # the nearest texts of these classes, if texts were kept


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
    keep_texts : bool
        Keep the texts that are learned, and their vectors, to explain predictions by them.

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
    >>> classifier = TextClassifier("lsa", keep_texts=True).fit(texts, labels)
    >>> classifier.predict(["green shoes"]).tolist()
    ['shoe']
    >>> classifier.explain("green shoes").examples[0].label
    'shoe'
    """

    reads_text = True

    def __init__(
        self,
        encoder: str | Path | TextEncoder = encoders.AUTO,
        *,
        head: ClosedForm | None = None,
        keep_texts: bool = False,
    ) -> None:
        self.encoder = encoder
        self._head: ClosedForm | None = head
        self.keep_texts = keep_texts
        self._examples: list[tuple[str, Any]] = []
        self._blocks: list[NDArray[np.float32]] = []

    @property
    def head(self) -> ClosedForm:
        """The layer on the vectors."""
        if self._head is None:
            self._head = ClosedForm(expansion="auto")
        if not isinstance(self._head, ClosedForm):
            raise ParameterError.of("head", _OWNER, "an AnalyticSoftmax", self._head)
        return self._head

    @head.setter
    def head(self, head: ClosedForm | None) -> None:
        self._head = head

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Learn from texts, and from nothing before.

        ParameterError if there is no text, ShapeError if there is not a label for each; and the
        errors of :meth:`AnalyticSoftmax.fit`.
        """
        return self._learn(texts, labels, "fit")

    def begin(self, texts: Sequence[str]) -> None:
        """Choose the encoder, by texts that will come, and forget all that was learned."""
        texts, _ = checks.texts_and_labels(texts, texts, "begin")
        self._take(*self._new_encoder(texts))
        self.head._reset()

    def partial_fit(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Learn from more texts; classes may be new."""
        return self._learn(texts, labels, "partial_fit")

    def _learn(self, texts: Sequence[str], labels: Sequence[Any], verb: str) -> TextClassifier:
        texts, labels = checks.texts_and_labels(texts, labels, verb)
        is_new = verb == "fit" or not hasattr(self, "encoder_")
        chosen = self._new_encoder(texts) if is_new else (self.encoder_name, self.encoder_)
        X = np.asarray(chosen[1].encode(texts))
        self.head._learn(Block(X, labels, keys=keys_of(texts)), anew=verb == "fit")
        if is_new:
            self._take(*chosen)
        self._keep(texts, labels, X)
        return self

    def forget(self, texts: Sequence[str], labels: Sequence[Any]) -> TextClassifier:
        """Take texts back that were learned, with the labels they had."""
        texts, labels = checks.texts_and_labels(texts, labels, "forget")
        self.head._forget(Block(self.encode(texts), labels, keys=keys_of(texts)))
        gone = Counter(zip(texts, np.asarray(labels).tolist(), strict=True))
        kept = []
        for example in self._examples:
            kept.append(not gone[example])
            gone[example] -= not kept[-1]
        self._only(kept)
        return self

    def forget_class(self, label: Any) -> TextClassifier:
        """Take a class back: see :meth:`AnalyticSoftmax.forget_class`."""
        self.head.forget_class(label)
        self._only([other != label for _, other in self._examples])
        return self

    def merge(self, other: TextClassifier) -> TextClassifier:
        """Learn what another classifier has learned with the same encoder.

        ParameterError if its encoder is another, or was fitted to other texts.
        """
        if not isinstance(other, TextClassifier):
            raise ParameterError.of("other", f"{_OWNER}.merge", f"another {_OWNER}", other)
        if not (hasattr(self, "encoder_") and hasattr(other, "encoder_")):
            raise _unfitted()
        if not encoders.are_same(self.encoder_, other.encoder_):
            raise ParameterError(
                f"Both classifiers must have the same encoder; these are {self.encoder_name} and "
                f"{other.encoder_name} of different content. lsa and words are fitted to the first "
                "texts: fit the second with the first one's encoder, TextClassifier(FOLDER) of the "
                "saved first (--encoder FOLDER), or both with minilm."
            )
        self.head.merge(other.head)
        self._examples = self._examples + other._examples
        self._blocks = [*self._blocks, *other._blocks]
        return self

    def predict(self, texts: Sequence[str], reject_at: float | None = None) -> NDArray[Any]:
        """The most probable class of each text; None with ``reject_at`` where it is of none."""
        return self.head.predict(self.encode(texts), reject_at)

    def predict_proba(self, texts: Sequence[str]) -> Doubles:
        """Probabilities (N, C)."""
        return self.head.predict_proba(self.encode(texts))

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> float:
        """Accuracy."""
        texts, labels = checks.texts_and_labels(texts, labels, "score")
        return float(np.mean(self.predict(texts) == np.asarray(labels)))

    def explain(self, text: str, n: int = 3) -> Explanation:
        """Why a text gets its label: the nearest mean, and ``n`` classes and kept texts."""
        n = checked_int("n", n, 1, None, f"{_OWNER}.explain")
        X, head = self.encode([checked_str("text", text, f"{_OWNER}.explain")]), self.head
        p = head.predict_proba(X)[0]
        order = np.argsort(-p, kind="stable")[:n]
        classes = self.classes_.tolist()
        nearest = classes[int(np.argmax(head._logits(X)[0] - np.log(head.priors_)))]
        label = classes[order[0]]
        examples: list[Near] = []
        if self._examples:
            rows = self._rows
            norms = np.linalg.norm(rows, axis=1) * max(float(np.linalg.norm(X)), 1e-12)
            likeness = rows @ X[0] / np.maximum(norms, 1e-12)
            of_these = np.array([other in (label, nearest) for _, other in self._examples])
            nearest_first = np.argsort(-np.where(of_these, likeness, -2.0), kind="stable")
            for i in nearest_first[: min(n, int(of_these.sum()))]:
                near_text, near_label = self._examples[i]
                examples.append(Near(near_text, near_label, float(likeness[i])))
        shown = [(classes[i], float(p[i])) for i in order]
        return Explanation(label, shown, nearest, examples)

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
        if not hasattr(self, "encoder_"):
            raise _unfitted()
        texts = checked_texts("texts", texts, _OWNER)
        if not texts:
            return np.zeros((0, self.encoder_.n_dims), np.float32)
        return np.asarray(self.encoder_.encode(texts))

    def save(self, folder: str | Path) -> None:
        """Save to a folder, as :meth:`AnalyticSoftmax.save`, whose ``load`` opens it too."""
        self._save(folder)

    def _save(self, folder: str | Path, *, is_final: bool = True) -> None:
        if not hasattr(self, "encoder_"):
            raise _unfitted()
        self.head._save(folder, self._save_texts, is_final=is_final)

    def _save_texts(self, writer: ArtifactWriter) -> None:
        encoder: Any = self.encoder_
        writer.config["texts"] = {"encoder": self.encoder_name, "keep_texts": self.keep_texts}
        if self.encoder_name != GIVEN and encoders.is_lexical(encoder):
            writer.library(ENCODER, encoder.save)
        if self._examples:
            lines = (json.dumps(example, ensure_ascii=False) + "\n" for example in self._examples)
            writer.data(EXAMPLES, "".join(lines).encode("utf-8", "surrogatepass"))
            writer.array(ROWS, self._rows)

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
            settings = saved.config["texts"]
            name, keep_texts = str(settings["encoder"]), bool(settings["keep_texts"])
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
        classifier = cls(encoder if name == GIVEN else name, keep_texts=keep_texts)
        classifier._head = ClosedForm._opened(saved)
        classifier._take(name, encoder)
        if EXAMPLES in saved:
            with saved.decoding():
                lines = saved.data(EXAMPLES).decode("utf-8", "surrogatepass").split("\n")[:-1]
                classifier._examples = [(str(t), label) for t, label in map(json.loads, lines)]
                shape = len(lines), classifier._head.n_features_in_
                classifier._blocks = [saved.loaded_array(ROWS, "<f4", shape)]
        return classifier

    def _new_encoder(self, texts: Sequence[str]) -> tuple[str, TextEncoder]:
        """The name and the encoder to begin with."""
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

    def _take(self, name: str, encoder: TextEncoder) -> None:
        self.encoder_name, self.encoder_ = name, encoder
        self._examples, self._blocks = [], []

    def _keep(self, texts: Sequence[str], labels: Sequence[Any], X: NDArray[Any]) -> None:
        if self.keep_texts:
            plain = np.asarray(labels).tolist()
            self._examples += zip(texts, plain, strict=True)
            self._blocks.append(X.astype(np.float32))

    def _only(self, kept: list[bool]) -> None:
        if self._examples:
            self._examples = [e for e, stays in zip(self._examples, kept, strict=True) if stays]
            self._blocks = [self._rows[np.array(kept)]]

    @property
    def _rows(self) -> NDArray[np.float32]:
        """The vectors of the kept texts, in one array."""
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0] if self._blocks else np.zeros((0, self.encoder_.n_dims), np.float32)


def _unfitted() -> NotFittedError:
    return unfitted(f"This {_OWNER} is not fitted yet. Call fit(texts, labels) first.")


def _check_encoder(encoder: object) -> None:
    if isinstance(encoder, str) or not callable(getattr(encoder, "encode", None)):
        want = "a name, a folder or an object with encode(texts)"
        raise ParameterError.of("encoder", _OWNER, want, encoder)
