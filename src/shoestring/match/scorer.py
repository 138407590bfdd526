"""Pair scorers: make one of any function, load one, name one, and check what it answers.

A :class:`~shoestring.types.PairScorer` has ``predict(pairs) -> (B,)``, higher is more alike. Ours
also have ``name``, the key under which paid scores are kept.

B pairs.

Not covered: rate limits of a paid API, and asking it again when it fails (the function's task).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shoestring.checks import checked_bool, checked_int, checked_pairs, checked_text
from shoestring.errors import ParameterError, ScorerError, short
from shoestring.match.cross_encoder import CrossEncoderScorer
from shoestring.match.interaction import MINILM, SHIPPED, TokenInteraction, is_weighting
from shoestring.models.model_files import how_to_download, model_path, read_json
from shoestring.tune.config import LADDER
from shoestring.types import IntArray, PairScorer

Pair = tuple[str, str]


class FunctionScorer:
    """A pair scorer of any function: a rule, an LLM judge, a paid API; made by ``score_with``.

    Parameters
    ----------
    fn : callable
        ``fn(pairs) -> scores``: a list of (query, text) in, one number for each out, higher is more
        alike. With ``single=True`` it is ``fn(query, text) -> score``. Scores differ as far
        as they are below 1e15; a huge negative one, such as -1e9, rejects a text.
    name : str, optional
        The scorer's name. Paid scores are kept under it, so choose another name when the function
        changes its judgement (a new prompt, a new model). Default: the function's module and
        qualified name.
    max_batch : int
        Maximum number of pairs in one call of ``fn``.
    single : bool
        Whether ``fn`` takes one query and one text instead of a list of pairs.
    threads : int
        How many calls of ``fn`` are made at once.

    Raises
    ------
    ParameterError
        If ``fn`` cannot be called, has no name of its own, as a lambda has none, or a number is out
        of range.

    Examples
    --------
    >>> def shared_letters(query, text):
    ...     return len(set(query) & set(text))
    >>> scorer = score_with(shared_letters, name="letters", single=True)
    >>> scorer.predict([("abc", "cab"), ("abc", "xyz")])
    array([3., 0.])
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        max_batch: int = 64,
        *,
        single: bool = False,
        threads: int = 1,
    ) -> None:
        if not callable(fn):
            raise ParameterError.of("fn", "score_with", "a function", fn)
        qualname = getattr(fn, "__qualname__", "<lambda>")
        if name is None and "<lambda>" in qualname:
            hint = "It has no name of its own: pass name='...', under which its scores are kept."
            raise ParameterError.of("fn", "score_with", "a function with a name", fn, hint)
        own_name = f"function:{getattr(fn, '__module__', None)}.{qualname}"
        self.fn = fn
        self.name = own_name if name is None else checked_text("name", name, "score_with")
        self.max_batch = checked_int("max_batch", max_batch, 1, None, "score_with")
        self.single = checked_bool("single", single, "score_with")
        self.threads = checked_int("threads", threads, 1, 1_000, "score_with")

    def predict(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Score B pairs, ``max_batch`` at a time: (B,) float64.

        ScorerError if the function raises, or does not answer one finite number for each pair.
        """
        return checked_scores(self, pairs)

    def parts(self, pairs: Sequence[Pair]) -> Iterator[tuple[IntArray, NDArray[np.float64]]]:
        """Each answer of the function as it comes: which of the pairs, and their scores.

        With several threads in the order in which they come; after an error nothing more is asked,
        and the error is raised when the answers that were under way are there. What a call that
        failed for some of its pairs has answered for the others comes too.
        """
        step = 1 if self.single else self.max_batch
        spans = [slice(start, start + step) for start in range(0, len(pairs), step)]
        call = (lambda part: [self.fn(*part[0])]) if self.single else self.fn
        errors: list[ScorerError] = []

        def ask(span: slice) -> tuple[IntArray, NDArray[np.float64]]:
            scores = np.empty(0)
            try:
                if not errors:
                    scores = _checked(call, list(pairs[span]), self.name)
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


score_with = FunctionScorer


def checked_scores(scorer: PairScorer, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Score B pairs with anything that has ``predict``: (B,) float64, all finite.

    The scorer is not called for no pairs.

    Raises
    ------
    ScorerError
        If the scorer raises (chained), or answers with the wrong length, several columns, values
        that are not numbers, NaN or infinity.

    Examples
    --------
    >>> checked_scores(score_with(lambda pairs: [1.0], "one"), [("a", "b"), ("a", "c")])
    Traceback (most recent call last):
        ...
    shoestring.errors.ScorerError: The scorer one answered 1 scores for 2 pairs; it must answer one
    number for each, in their order. Of several labels keep one: ...
    """
    pairs = checked_pairs("pairs", pairs, "checked_scores")
    if not callable(getattr(scorer, "predict", None)):
        want = "an object with predict(pairs)"
        raise ParameterError.of("scorer", "checked_scores", want, scorer)
    scores = np.empty(len(pairs))
    for part, answer in answers_of(scorer, pairs) if pairs else ():
        scores[part] = answer
    return scores


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
            name = getattr(scorer, "name", type(scorer).__name__)
            yield slice(None), _checked(scorer.predict, list(pairs), name)


def batch_size_of(scorer: PairScorer | None) -> int:
    """Pairs to score at once at most, so that what a function answered before it fails is kept.

    A function is asked a batch at a time anyhow.
    """
    return scorer.max_batch if isinstance(scorer, FunctionScorer) else 1 << 62


def scorer_name(scorer: PairScorer) -> str:
    """The name under which a scorer's paid scores are found again, and no other scorer's.

    That is its own ``name`` where it has one (all of ours: kind, digest of the weights,
    max_length). A sentence-transformers ``CrossEncoder`` has that of its folder. Otherwise its
    class. The digest reads the weights once, about a second per gigabyte.
    """
    name = getattr(_answering_logits(scorer), "name", None)
    if isinstance(name, str) and name:
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
        of a cross-encoder: :class:`CrossEncoderScorer`; of any other model:
        :class:`TokenInteraction` on it. An object with ``predict`` is returned as it is, but for
        a ``CrossEncoder`` of one label, which becomes a :class:`CrossEncoderScorer`: the same
        scores as from its folder. A function goes through :func:`score_with`.

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
        return TokenInteraction(weighting=None if spec == MINILM else spec)
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
    raise ParameterError.of("scorer", "load_scorer", want, spec, how_to_download(spec))


def _load_folder(folder: Path) -> PairScorer:
    config = read_json(folder / "config.json")
    kind = config.get("format")
    if kind == LADDER.format and is_weighting(config):  # without torch where the model allows
        return TokenInteraction(weighting=folder)
    if kind == LADDER.format:
        from shoestring.tune import LadderScorer

        return LadderScorer(folder)
    if kind == "shoestring-matcher":
        from shoestring.match import PairMatcher

        return PairMatcher.load(folder)
    if kind == "shoestring-match-baseline":
        from shoestring.match.baselines import load_baseline

        return load_baseline(folder)
    if "SequenceClassification" not in " ".join(config.get("architectures") or []):
        return TokenInteraction(folder)
    return CrossEncoderScorer(folder)


def _checked(
    predict: Callable[[list[Pair]], Any], pairs: list[Pair], name: str
) -> NDArray[np.float64]:
    """One finite number for each pair, or a ScorerError."""
    n_pairs = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    try:
        answer = predict(pairs)
    except ScorerError:
        raise
    except Exception as fault:
        said = f"The scorer {name} raised {type(fault).__name__} on {n_pairs}: {fault}"
        raise ScorerError(said) from fault
    if hasattr(answer, "detach"):  # a torch tensor: on any device, of any float type
        answer = answer.detach().double().cpu().numpy()
    got, scores = short(answer), np.empty(0)
    with suppress(TypeError, ValueError, RuntimeError):
        array = np.asarray(answer)
        if array.dtype.kind in "fiubO" and array.ndim:
            scores = array.astype(np.float64)
            got = f"{len(scores)} scores" if array.ndim == 1 else f"scores of shape {array.shape}"
    if scores.shape not in ((len(pairs),), (len(pairs), 1)):
        raise ScorerError(
            f"The scorer {name} answered {got} for {n_pairs}; it must answer one number for each, "
            "in their order. Of several labels keep one: "
            "score_with(lambda pairs: model.predict(pairs)[:, 1], name=...)."
        )
    scores = scores.reshape(len(pairs))
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, text = pairs[bad[0]]
        error = ScorerError(
            f"The scorer {name} answered {scores[bad[0]]} for {len(bad)} of {n_pairs}, "
            f"first for ({short(query)}, {short(text)}); a score must be a finite number."
        )
        error.scores = np.where(np.isfinite(scores), scores, np.nan)
        raise error
    return scores


def _answering_logits(scorer: Any) -> PairScorer:
    """A sentence-transformers ``CrossEncoder`` of one label as ours, any other scorer as it is."""
    kinds: list[Any] = [kind for kind in type(scorer).__mro__ if kind.__name__ == "CrossEncoder"]
    is_own = any(scorer.predict.__func__ is kind.predict for kind in kinds)  # not of a subclass
    if is_own and scorer.config.num_labels == 1:
        return CrossEncoderScorer(scorer)
    return cast(PairScorer, scorer)
