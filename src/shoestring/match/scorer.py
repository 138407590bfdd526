"""Pair scorers: make one of any function, load one, name one, and check what it answers.

A :class:`~shoestring.types.PairScorer` has ``predict(pairs) -> (B,)``, higher is more alike. Ours
also have ``name``, the key under which paid scores are kept.

B pairs.

Not covered: rate limits of a paid API, and asking it again when it fails (the function's task).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import digest
from shoestring.checks import checked_bool, checked_int, checked_pairs, checked_text
from shoestring.errors import ParameterError, ScorerError, short
from shoestring.match.weighting import MINILM, SHIPPED, is_weighting
from shoestring.models.model_files import how_to_download, model_path
from shoestring.tune.config import LADDER
from shoestring.types import IntArray, PairScorer

Pair = tuple[str, str]


class FunctionScorer:
    """A function as a pair scorer; made by :func:`score_with`."""

    def __init__(
        self, fn: Callable[..., Any], name: str, max_batch: int, *, single: bool, threads: int
    ) -> None:
        self.fn, self.name, self.max_batch = fn, name, max_batch
        self.single, self.threads = single, threads

    def predict(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Score B pairs, ``max_batch`` at a time: (B,) float64.

        Raises
        ------
        ScorerError
            If the function raises, or does not answer one finite number for each pair.
        """
        pairs = checked_pairs("pairs", pairs, "FunctionScorer.predict")
        scores = np.empty(len(pairs))
        for part, answer in self.parts(pairs):
            scores[part] = answer
        return scores

    def parts(self, pairs: Sequence[Pair]) -> Iterator[tuple[IntArray, NDArray[np.float64]]]:
        """Each answer of the function as it comes: which of the pairs, and their scores.

        With several threads in the order in which they come; after an error nothing more is asked,
        and the error is raised when the answers that were under way are there. What a call that
        failed for some of its pairs has answered for the others comes too.
        """
        step = 1 if self.single else self.max_batch
        spans = [slice(start, start + step) for start in range(0, len(pairs), step)]
        errors: list[ScorerError] = []

        def ask(span: slice) -> tuple[IntArray, NDArray[np.float64]]:
            scores = np.empty(0)
            try:
                if not errors:
                    scores = _checked(self._call, list(pairs[span]), self.name)
            except ScorerError as error:
                errors.append(error)
                scores = scores if error.scores is None else error.scores
            found = np.flatnonzero(~np.isnan(scores))
            return span.start + found, scores[found]

        with ThreadPoolExecutor(self.threads) as pool:
            answers = map(ask, spans)
            if self.threads > 1:
                asked = [pool.submit(ask, span) for span in spans]
                answers = map(Future.result, as_completed(asked))
            try:
                for rows, scores in answers:
                    if len(rows):
                        yield rows, scores
            finally:  # also when the user interrupts it
                pool.shutdown(cancel_futures=True)
        if errors:
            raise errors[0]

    def _call(self, pairs: list[Pair]) -> Any:
        return [self.fn(*pairs[0])] if self.single else self.fn(pairs)

    def __repr__(self) -> str:
        return f"FunctionScorer({self.name!r})"


def score_with(
    fn: Callable[..., Any],
    name: str | None = None,
    max_batch: int = 64,
    *,
    single: bool = False,
    threads: int = 1,
) -> FunctionScorer:
    """Make a pair scorer from any function: a rule, an LLM judge, a paid API.

    Parameters
    ----------
    fn : callable
        ``fn(pairs) -> scores``: a list of (query, text) in, one number for each out, higher is more
        alike. With ``single=True`` it is ``fn(query, text) -> score``. Scores differ as far
        as they are below 1e15; a huge negative one, such as -1e9, rejects a text.
    name : str, optional
        The scorer's name. Paid scores are kept under it, so choose another name when the function
        changes its judgement (a new prompt, a new model). Default: the function's module and
        qualified name; for a lambda, with a digest of its code, which does not cover the variables
        that it closes over.
    max_batch : int
        Maximum number of pairs in one call of ``fn``.
    single : bool
        Whether ``fn`` takes one query and one text instead of a list of pairs.
    threads : int
        How many calls of ``fn`` are made at once.

    Returns
    -------
    FunctionScorer

    Raises
    ------
    ParameterError
        If ``fn`` cannot be called, has no name of its own (pass ``name``), or a number is out of
        range.

    Examples
    --------
    >>> def shared_letters(query, text):
    ...     return len(set(query) & set(text))
    >>> scorer = score_with(shared_letters, name="letters", single=True)
    >>> scorer.predict([("abc", "cab"), ("abc", "xyz")])
    array([3., 0.])
    """
    if not callable(fn):
        raise ParameterError.of("fn", "score_with", "a function", fn)
    return FunctionScorer(
        fn,
        _function_name(fn) if name is None else checked_text("name", name, "score_with"),
        checked_int("max_batch", max_batch, 1, None, "score_with"),
        single=checked_bool("single", single, "score_with"),
        threads=checked_int("threads", threads, 1, 1_000, "score_with"),
    )


def checked_scores(scorer: PairScorer, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Score the pairs and check the answer.

    Parameters
    ----------
    scorer : PairScorer
        Anything with ``predict``.
    pairs : sequence of tuple[str, str]
        B pairs (query, text).

    Returns
    -------
    ndarray of shape (B,), float64
        All finite. The scorer is not called for no pairs.

    Raises
    ------
    ScorerError
        If the scorer raises (chained), or answers with the wrong length, several columns, values
        that are not numbers, NaN or infinity.

    Examples
    --------
    >>> checked_scores(score_with(lambda pairs: [1.0]), [("a", "b"), ("a", "c")])
    Traceback (most recent call last):
        ...
    shoestring.errors.ScorerError: The scorer ... answered 1 scores for 2 pairs; it must answer one
    for each pair, in their order.
    """
    pairs = checked_pairs("pairs", pairs, "checked_scores")
    if not callable(getattr(scorer, "predict", None)):
        want = "an object with predict(pairs)"
        raise ParameterError.of("scorer", "checked_scores", want, scorer)
    name = _own_name(scorer) or type(scorer).__name__
    return _checked(scorer.predict, pairs, name) if pairs else np.empty(0)


def answers_of(
    scorer: PairScorer, pairs: Sequence[Pair], lock: AbstractContextManager[Any] | None = None
) -> Iterator[tuple[slice | IntArray, NDArray[np.float64]]]:
    """Scores of pairs as they come: which of them, and their scores, checked.

    The ``lock`` is held unless several threads may ask the scorer at once. ScorerError if it fails.
    """
    if lock is None or getattr(scorer, "is_thread_safe", False):
        lock = nullcontext()
    with lock:
        if isinstance(scorer, FunctionScorer):
            yield from scorer.parts(pairs)
        else:
            yield slice(None), checked_scores(scorer, pairs)


def batch_size_of(scorer: PairScorer | None) -> int:
    """Pairs to score at once at most, so that what a function answered before it fails is kept.

    A function is asked a batch at a time anyhow.
    """
    return scorer.max_batch if isinstance(scorer, FunctionScorer) else 1 << 62


def scorer_name(scorer: PairScorer) -> str:
    """The name under which a scorer's paid scores are found again, and no other scorer's.

    Parameters
    ----------
    scorer : PairScorer
        Anything with ``predict``.

    Returns
    -------
    str
        The scorer's own ``name`` where it has one (all of ours: kind, digest of the weights,
        max_length). A sentence-transformers ``CrossEncoder`` has that of its folder. Otherwise its
        class.

    Notes
    -----
    Cost: the digest reads the weights once, about a second per gigabyte.
    """
    if name := _own_name(_answering_logits(scorer)):
        return name
    return f"class:{type(scorer).__module__}.{type(scorer).__qualname__}"


def load_scorer(spec: Any) -> PairScorer:
    """Load a pair scorer by name, from a folder, an object or a function.

    Parameters
    ----------
    spec : str, Path, PairScorer or callable
        ``"minilm"``: :class:`TokenInteraction` on the MiniLM weights of the package index;
        ``"minilm-weighted"``: the same with trained weights of a query's tokens, search's default;
        ``"minilm-docs"``: with an adapter of MiniLM as well, for documentation of software.
        A folder, or the id of a model on the Hugging Face hub that was downloaded before. Of a
        folder that ``shoestring tune score`` wrote: :class:`~shoestring.tune.LadderScorer`, or
        :class:`TokenInteraction` where token vectors are compared and there is no side network;
        of a BERT cross-encoder with one score: :class:`FastCrossEncoder`; of another
        cross-encoder: :class:`CrossEncoderScorer`; of any other model: :class:`TokenInteraction`
        on it. An object with ``predict`` is returned as it is, but for a ``CrossEncoder`` of one
        label, which becomes a :class:`CrossEncoderScorer`: the same scores as from its folder. A
        function goes through :func:`score_with`.

    Returns
    -------
    PairScorer

    Raises
    ------
    ParameterError
        If ``spec`` is none of these.

    Examples
    --------
    >>> load_scorer("no-such-folder")
    Traceback (most recent call last):
        ...
    shoestring.errors.ParameterError: The 'scorer' parameter of load_scorer must be 'minilm',
    'minilm-weighted', 'minilm-docs' or a folder with a model; in Python also an object with
    predict(pairs) or a function. Got 'no-such-folder' instead.
    """
    if isinstance(spec, str) and spec in (MINILM, *SHIPPED):
        from shoestring.match.interaction import TokenInteraction

        return TokenInteraction(weighting=spec if spec in SHIPPED else None)
    if (folder := model_path(spec)) is not None:
        return _load_folder(folder)
    if not isinstance(spec, type):
        if callable(getattr(spec, "predict", None)):
            return _answering_logits(spec)
        if callable(spec):
            return score_with(spec)
    want = (
        "'minilm', 'minilm-weighted', 'minilm-docs' or a folder with a model; in Python also an "
        "object with predict(pairs) or a function"
    )
    got = str(spec) if isinstance(spec, Path) else spec
    raise ParameterError.of("scorer", "load_scorer", want, got, how_to_download(spec))


def _load_folder(folder: Path) -> PairScorer:
    from shoestring.models.bert import is_left_to_torch
    from shoestring.models.model_files import read_json

    config = read_json(folder / "config.json")
    if config.get("format") == LADDER.format:
        if is_weighting(config):  # as what it is, without torch where the model allows
            from shoestring.match.interaction import TokenInteraction

            backbone, length = config.get("backbone", MINILM), config["ladder"].get("max_length")
            model = None if backbone == MINILM else folder / str(backbone)  # it may be inside
            return TokenInteraction(model, length or 96, weighting=folder)
        from shoestring.tune import LadderScorer

        return LadderScorer(folder)
    if config.get("format") == "shoestring-matcher":
        from shoestring.match import PairMatcher

        return PairMatcher.load(folder)
    if config.get("format") == "shoestring-match-baseline":
        from shoestring.match.baselines import load_baseline

        return load_baseline(folder)
    architectures = " ".join(config.get("architectures") or [])
    if "SequenceClassification" not in architectures:
        from shoestring.match.interaction import TokenInteraction

        return TokenInteraction(folder)
    from shoestring.match.cross_encoder import CrossEncoderScorer, FastCrossEncoder, why_not_fast

    if why_not_fast(folder, config) or is_left_to_torch():
        return CrossEncoderScorer(folder)
    return FastCrossEncoder(folder)


def _checked(
    predict: Callable[[list[Pair]], Any], pairs: list[Pair], name: str
) -> NDArray[np.float64]:
    try:
        answer = predict(pairs)
    except ScorerError:
        raise
    except Exception as error:
        raise ScorerError(
            f"The scorer {name} raised {type(error).__name__} on {_counted(pairs)}: {error}"
        ) from error
    scores = _as_numbers(answer, name)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    _check(scores, pairs, name)
    return scores


def _counted(pairs: Sequence[Pair]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"


def _as_numbers(answer: Any, name: str) -> NDArray[np.float64]:
    if hasattr(answer, "detach"):  # a torch tensor: on any device, of any float type
        answer = answer.detach().double().cpu().numpy()
    try:
        array = np.asarray(answer)
        if array.dtype.kind not in "fiubO" or array.ndim == 0:
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ScorerError(
            f"The scorer {name} answered {short(answer)}; it must answer a list or an array of "
            "numbers, one for each pair."
        ) from None


def _check(scores: NDArray[np.float64], pairs: list[Pair], name: str) -> None:
    """One finite number for each pair."""
    n_pairs = _counted(pairs)
    if scores.ndim != 1:
        raise ScorerError(
            f"The scorer {name} answered an array of shape {scores.shape} for {n_pairs}; it "
            "must answer one score for each pair. For a classifier of several labels load it with "
            "num_labels=1, or wrap it and keep one column: "
            "score_with(lambda pairs: model.predict(pairs)[:, 1])."
        )
    if len(scores) != len(pairs):
        raise ScorerError(
            f"The scorer {name} answered {len(scores)} scores for {n_pairs}; it must answer "
            "one for each pair, in their order."
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, text = pairs[bad[0]]
        error = ScorerError(
            f"The scorer {name} answered {scores[bad[0]]} for {len(bad)} of {n_pairs}, "
            f"first for ({short(query)}, {short(text)}); a score must be a finite number."
        )
        error.scores = np.where(np.isfinite(scores), scores, np.nan)
        raise error


def _function_name(fn: Callable[..., Any]) -> str:
    qualname, module = getattr(fn, "__qualname__", None), getattr(fn, "__module__", None)
    if qualname is None:
        hint = "It has no name of its own: pass name='...', under which its scores are kept."
        raise ParameterError.of("fn", "score_with", "a function with a name", fn, hint)
    code = getattr(fn, "__code__", None)
    if "<lambda>" not in qualname or code is None:
        return f"function:{module}.{qualname}"
    body = repr(
        (code.co_code, [c for c in code.co_consts if not hasattr(c, "co_code")], code.co_names)
    )
    return f"function:{module}.{qualname}:{digest(body)[:12]}"


def _answering_logits(scorer: Any) -> PairScorer:
    """A sentence-transformers ``CrossEncoder`` of one label as ours, any other scorer as it is."""
    kinds: list[Any] = [kind for kind in type(scorer).__mro__ if kind.__name__ == "CrossEncoder"]
    is_own = any(scorer.predict.__func__ is kind.predict for kind in kinds)  # not of a subclass
    if is_own and scorer.config.num_labels == 1:
        from shoestring.match.cross_encoder import CrossEncoderScorer

        return CrossEncoderScorer(scorer)
    return cast(PairScorer, scorer)


def _own_name(scorer: PairScorer) -> str:
    name = getattr(scorer, "name", None)
    return name if isinstance(name, str) else ""
