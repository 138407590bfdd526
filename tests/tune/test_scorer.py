"""A tuned model as a pair scorer: for search and match, with a name that its scores are kept by."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring import SearchIndex
from shoestring.errors import IntegrityError, ParameterError
from shoestring.match.scorer import checked_scores, load_scorer, scorer_name
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import LadderScorer
from shoestring.types import PairScorer

WORDS = [
    "open",
    "close",
    "read",
    "write",
    "file",
    "list",
    "string",
    "word",
    "split",
    "join",
    "sort",
    "count",
]
CLOSE = {"atol": 0.03, "rtol": 0.03}


def make_texts(n):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 5)) for _ in range(n)]


TEXTS = make_texts(30)
PAIRS = [(query, text) for query in ("open the file", "sort words") for text in TEXTS[:8]]


@pytest.fixture(scope="module")
def folder(make_ladder, stir, tmp_path_factory):
    """A scorer's folder, of two texts that are read apart."""
    folder = tmp_path_factory.mktemp("scorer") / "s"
    stir(make_ladder(task="score", pairs="apart"), size=0.1).save_pretrained(folder)
    return folder


@pytest.fixture
def saved_ladder(make_ladder, stir, tmp_path):
    def save(name="other", seed=1, **settings):
        stir(make_ladder(**settings), seed).save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def test_a_folder_is_a_pair_scorer(folder):
    scorer = load_scorer(folder)
    assert isinstance(scorer, LadderScorer)
    assert isinstance(load_scorer(str(folder)), LadderScorer)
    assert isinstance(scorer, PairScorer)
    assert load_scorer(scorer) is scorer
    found = scorer.predict(PAIRS)
    assert (found.shape, found.dtype) == ((16,), np.float32)
    assert checked_scores(scorer, PAIRS).tolist() == found.tolist()
    assert repr(scorer) == "LadderScorer('s', max_length=128)"


def test_scores_are_the_logits_of_the_ladder(folder, inputs_of):
    scorer = LadderScorer(folder)
    firsts, seconds = map(list, zip(*PAIRS, strict=True))
    with torch.no_grad():
        want = scorer.ladder(**inputs_of(scorer.ladder, firsts, seconds))["logits"]
    np.testing.assert_allclose(scorer.predict(PAIRS), want.float().numpy(), **CLOSE)


def test_scores_do_not_depend_on_order_or_company(folder):
    scorer = LadderScorer(folder)
    whole = scorer.predict(PAIRS)
    np.testing.assert_allclose(scorer.predict(PAIRS[::-1])[::-1], whole, **CLOSE)
    alone = np.concatenate([scorer.predict([pair]) for pair in PAIRS])
    np.testing.assert_allclose(alone, whole, **CLOSE)
    assert scorer.predict(iter(PAIRS)).tolist() == whole.tolist()
    assert scorer.predict([]).shape == (0,)
    assert np.ptp(whole) > 0.1


def test_a_query_with_many_texts_is_read_once(folder, monkeypatch):
    rows, outputs = [], FrozenBackbone.outputs

    def spied(self, ids, *more):
        rows.append(len(ids))
        return outputs(self, ids, *more)

    scorer = LadderScorer(folder)
    monkeypatch.setattr(FrozenBackbone, "outputs", spied)
    scorer.predict(PAIRS)
    assert sum(rows) == 2 + 8


# ---- its name ----


def test_the_same_folder_has_the_same_name_wherever_it_is(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    assert LadderScorer(folder).name == LadderScorer(tmp_path / "moved").name
    assert scorer_name(LadderScorer(folder)) == LadderScorer(folder).name


def test_other_weights_have_another_name(folder, saved_ladder):
    names = {
        LadderScorer(folder).name,
        LadderScorer(saved_ladder("a", 2, task="score", pairs="apart")).name,
        LadderScorer(saved_ladder("b", 3, task="score", pairs="apart")).name,
        LadderScorer(saved_ladder("c", 3, task="score", pairs="apart", max_length=12)).name,
    }
    assert len(names) == 4


def test_a_scorer_is_refused_on_another_backbone(folder, save_tiny, tmp_path):
    other = save_tiny(tmp_path / "other", "bert", seed=5)
    with pytest.raises(IntegrityError, match=r"was trained on the backbone .* Name the folder"):
        LadderScorer(folder, other)


def test_a_backbone_that_has_moved_can_be_named(saved, folder, tmp_path):
    moved = shutil.copytree(saved("bert"), tmp_path / "moved")
    scorer = LadderScorer(folder, moved)
    assert scorer.name == LadderScorer(folder).name
    np.testing.assert_allclose(scorer.predict(PAIRS), LadderScorer(folder).predict(PAIRS), **CLOSE)


# ---- what is no scorer ----


@pytest.mark.parametrize(
    "settings", [{"n_labels": 3}, {"task": "regress"}, {"n_labels": 2, "pairs": "apart"}]
)
def test_a_model_that_does_not_score_pairs_is_refused(saved_ladder, settings):
    with pytest.raises(ParameterError, match=r"a ladder that scores pairs \(shoestring tune score"):
        load_scorer(saved_ladder(**settings))


def test_numbers_of_pairs_are_scores_as_well(saved_ladder):
    scorer = load_scorer(saved_ladder(task="regress", pairs="apart"))
    assert np.isfinite(scorer.predict(PAIRS)).all()


# ---- search ----


def test_a_search_index_is_built_and_asked_with_a_tuned_scorer(folder, tmp_path):
    index = SearchIndex.build(
        tmp_path / "index", TEXTS, scorer=str(folder), encoder="lsa", calls=60, progress=False
    )
    hits = index.query("open the file", k=5, calls=30)
    scores = LadderScorer(folder).predict([("open the file", text) for text in TEXTS])
    assert all(hit.exact for hit in hits)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:5], **CLOSE)
    assert {hit.text for hit in hits} <= set(TEXTS)


def test_search_build_takes_a_tuned_folder_on_the_command_line(
    folder, tmp_path, monkeypatch, capsys
):
    import sys

    from shoestring import cli

    source = tmp_path / "t.txt"
    source.write_text("\n".join(TEXTS))
    arguments = ("search", "build", source, "--out", tmp_path / "i", "--scorer", folder)
    more = ("--encoder", "lsa", "--calls", 40)
    monkeypatch.setattr(sys, "argv", ["shoestring", *map(str, (*arguments, *more))])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0, capsys.readouterr()
