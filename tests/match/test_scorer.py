import functools
import subprocess
import sys
import threading

import numpy as np
import pytest

from shoestring.errors import ParameterError, ScorerError
from shoestring.match import checked_scores, load_scorer, score_with, scorer_name
from shoestring.types import PairScorer

PAIRS = [("a", "b"), ("a", "c"), ("d", "e")]


class Answers:
    """A scorer that always answers the same."""

    def __init__(self, answer):
        self.answer = answer

    def predict(self, pairs):
        return self.answer


def word_overlap(pairs):
    return [len(set(query.split()) & set(text.split())) for query, text in pairs]


def length_difference(query, text):
    return -abs(len(query) - len(text))


def test_importing_match_imports_no_torch():
    code = "import sys, shoestring.match, shoestring.match.scorer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_function_of_a_list_becomes_a_scorer():
    scorer = score_with(word_overlap)
    assert isinstance(scorer, PairScorer)
    assert scorer.predict([("a b", "b c"), ("a", "c")]).tolist() == [1.0, 0.0]


def test_a_function_of_one_pair_becomes_a_scorer():
    scorer = score_with(length_difference, single=True)
    assert scorer.predict([("aa", "b"), ("a", "b")]).tolist() == [-1.0, 0.0]


def test_the_function_never_gets_more_than_a_batch():
    sizes = []
    scorer = score_with(lambda p: sizes.append(len(p)) or [0.0] * len(p), "zeros", max_batch=4)
    assert len(scorer.predict([("a", "b")] * 10)) == 10
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([1.0, 2.0], "answered 2 scores for 3 pairs"),
        ([1.0, float("nan"), 2.0], "answered nan for 1 of 3 pairs, first for ('a', 'c')"),
        ([1.0, 2.0, float("inf")], "first for ('d', 'e')"),
        (np.zeros((3, 2)), "shape (3, 2)"),
        (np.zeros((3, 2)), "Of several labels keep one"),
        (["high", "low", "low"], "must answer one number for each"),
        ([1.0, None, 2.0], "nan"),
        (None, "must answer one number for each"),
        (0.5, "must answer one number for each"),
        ([[1.0], [2.0, 3.0], [4.0]], "must answer one number for each"),
        (np.zeros(3, complex), "must answer one number for each"),
    ],
)
def test_a_wrong_answer_gets_one_clear_sentence(answer, words):
    with pytest.raises(ScorerError) as caught:
        checked_scores(Answers(answer), PAIRS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        np.float32([1, 2, 3]),
        np.float32([[1], [2], [3]]),
        np.arange(1, 4),
    ],
)
def test_any_list_or_array_of_numbers_is_an_answer(answer):
    scores = checked_scores(Answers(answer), PAIRS)
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.0, 2.0, 3.0]


def test_tensors_of_any_float_type_are_an_answer():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16, requires_grad=True)
    assert checked_scores(Answers(tensor), PAIRS).tolist() == [1.0, 2.0, 3.0]


def test_an_exception_inside_the_scorer_is_chained():
    def quota(pairs):
        raise OSError("quota used up")

    for scorer in (
        score_with(quota, name="judge"),
        type("Api", (), {"predict": staticmethod(quota)})(),
    ):
        with pytest.raises(ScorerError, match="raised OSError on 3 pairs: quota used up") as caught:
            checked_scores(scorer, PAIRS)
        assert isinstance(caught.value.__cause__, OSError)


def test_interrupting_a_scorer_is_not_a_fault_of_it():
    def interrupted(pairs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked_scores(score_with(interrupted), PAIRS)


def test_a_scorer_is_not_called_for_no_pairs():
    assert checked_scores(Answers(None), []).shape == (0,)


def test_names_tell_functions_apart_and_stay():
    assert score_with(word_overlap).name == score_with(word_overlap).name
    assert score_with(word_overlap).name.endswith(".word_overlap")
    assert score_with(word_overlap, name="judge v2").name == "judge v2"
    one = score_with(word_overlap)
    assert scorer_name(one) == one.name
    assert scorer_name(Answers(None)).endswith("test_scorer.Answers")


def test_a_function_without_a_name_must_be_given_one():
    partial = functools.partial(word_overlap)
    for nameless in (partial, lambda pairs: [1.0]):
        with pytest.raises(ParameterError, match="pass name="):
            score_with(nameless)
    assert score_with(partial, name="partial").predict([("a", "a")]).tolist() == [1.0]


@pytest.mark.parametrize("max_batch", [0, -1, 2.5])
def test_a_max_batch_that_cannot_be_is_refused(max_batch):
    with pytest.raises(ParameterError, match="max_batch"):
        score_with(word_overlap, max_batch=max_batch)


def test_load_scorer_takes_scorers_and_functions():
    scorer = Answers([1.0])
    assert load_scorer(scorer) is scorer
    assert load_scorer(word_overlap).predict([("a", "a")]).tolist() == [1.0]


@pytest.mark.parametrize("spec", ["minilmm", "/no/such/folder", 3, None, Answers])
def test_load_scorer_refuses_what_is_no_scorer_in_one_sentence(spec):
    with pytest.raises(
        ParameterError, match="must be 'minilm', 'minilm-weighted', 'minilm-docs' or a folder"
    ):
        load_scorer(spec)


# --- a paid service


@pytest.mark.parametrize("threads", [1, 4])
def test_what_came_before_an_error_is_there_and_nothing_is_asked_after_it(threads):
    pairs = [("q", chr(97 + i % 26)) for i in range(200)]
    asked = []

    def fails_at_19(query, text):
        asked.append(text)
        if len(asked) > 19:
            raise OSError("quota")
        return 1.0

    came = []
    with pytest.raises(ScorerError, match="quota"):
        for part, scores in score_with(fails_at_19, single=True, threads=threads).parts(pairs):
            came.append((int(part[0]), scores.tolist()))
    assert len(came) == 19 and len({start for start, _ in came}) == 19
    assert len(asked) <= 19 + threads


def test_threads_ask_at_once_and_keep_the_order():
    barrier = threading.Barrier(3, timeout=20)  # three calls must be under way together

    def judge(pairs):
        barrier.wait()
        return [float(text) for _, text in pairs]

    pairs = [("q", str(i)) for i in range(12)]
    scorer = score_with(judge, max_batch=2, threads=3)
    assert scorer.predict(pairs).tolist() == list(map(float, range(12)))


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": 2.5},
        {"name": ""},
        {"name": 3},
        {"single": "no"},
    ],
)
def test_parameters_of_score_with_are_checked(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        score_with(word_overlap, **options)


@pytest.mark.parametrize(
    "pairs",
    [
        ["ab", "cd"],
        ("red", "shoes"),
        [("a", "b", "c")],
        [("a", None)],
        [("a", float("nan"))],
        [("a", "half \ud83d")],
        "ab",
        None,
        5,
    ],
)
def test_what_is_no_pair_is_refused(pairs):
    for score in (
        score_with(word_overlap).predict,
        lambda pairs: checked_scores(Answers([1]), pairs),
    ):
        with pytest.raises(ParameterError, match="'pairs' parameter"):
            score(pairs)
