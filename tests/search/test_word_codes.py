"""An index of word codes: small, in any language, and as safe as one of vectors."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring import BinaryVectors, SearchIndex, score_with
from shoestring.errors import NotFittedError, ParameterError, ShoestringWarning, StorageError
from shoestring.types import Hits
from shoestring.words.table import CodeTable

pytestmark = pytest.mark.usefixtures("no_fsync")

COLOURS, THINGS = ("red", "blue", "green", "white", "old"), ("hat", "shoe", "scarf", "belt", "tie")
STUFFS = ("wool", "silk")
TEXTS = [f"a {c} {t} of {stuff}" for c in COLOURS for t in THINGS for stuff in STUFFS]
CHINESE = [
    "分行的营业时间是早上九点到下午五点。",
    "跨行转账的手续费由谁负担？",
    "信用卡丢了怎么办？",
]
ENCODERS = ("words", "lsa")


class Counting:
    """A scorer that keeps account of what it was asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = Counter[tuple[str, str]]()

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.asked.update(pairs)
        return [len(set(q.split()) & set(t.split())) + len(t) / 100 for q, t in pairs]


def build(path: Path, records: Any = TEXTS, scorer: Any = None, **options: Any) -> SearchIndex:
    if isinstance(records, list):
        records = [
            {"id": str(n), "text": r} if isinstance(r, str) else r for n, r in enumerate(records, 1)
        ]
    return SearchIndex.build(
        path, records, scorer=scorer, **{"encoder": "words", "progress": False} | options
    )


def stored(index: SearchIndex) -> np.ndarray:
    """The rows of the live records in the order of their keys."""
    with index.snapshot() as snapshot:
        return np.concatenate(list(snapshot.view.live_rows("vectors")))


def answers(hits: Hits) -> list[tuple[str, float, bool]]:
    return [(hit.id, hit.score, hit.exact) for hit in hits]


@pytest.fixture(scope="module")
def vectors_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word vectors of a user, trained on other text."""
    path = tmp_path_factory.mktemp("mine") / "vectors"
    BinaryVectors(128, 16, 3, min_count=2).fit([*TEXTS, "a hat for a head"] * 4).save(path)
    return path


# --- what is stored, what is asked


def test_a_text_takes_fifty_bytes_and_the_codes_are_those_of_the_encoder(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    index.add([{"id": "new", "text": "a white hat of silk"}])
    rows = stored(index)
    assert rows.dtype == np.uint8 and rows.shape == (len(TEXTS) + 1, 50)
    encoder, _ = CodeTable.load(index.path / "encoder")
    assert np.array_equal(rows, encoder.codes_of_texts([*TEXTS, "a white hat of silk"]))


def test_the_nearness_of_a_query_is_the_share_of_bits_that_its_code_shares(tmp_path: Path) -> None:
    index = build(tmp_path / "index")
    index.delete(["3", "9"])
    index.add([{"id": "new", "text": "a white hat of silk"}])
    with index.snapshot() as snapshot:
        rows, _, features, _ = index.first_look(snapshot, "a red hat of wool")
        live = np.searchsorted(rows.row_keys, snapshot.keys)
    query = index.models.encode(["a red hat of wool"])[0]
    shared = np.unpackbits(stored(index) & query, axis=1).sum(axis=1)
    assert np.array_equal(features[live, 0], shared.astype(np.float32) / np.float32(50))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("calls", [0, 300])
def test_with_a_call_for_every_text_the_ranking_is_the_exact_one(
    tmp_path: Path, encoder: str, calls: int
) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", TEXTS, scorer, encoder=encoder, calls=calls)
    hits = index.query("a red hat of wool", k=50, calls=50)
    exact = scorer.predict([("a red hat of wool", text) for text in TEXTS])
    assert [hit.score for hit in hits] == sorted(exact, reverse=True)
    few = index.query("an old scarf of silk", k=5, calls=12)
    assert few.calls == 12 and all(hit.exact for hit in few)


@pytest.mark.filterwarnings("ignore:No word of the query is in the index")
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_rounds_learn_from_the_codes(tmp_path: Path, encoder: str) -> None:
    """A scorer that likes one of two subjects, whatever is asked: only item features tell it."""
    rng, words = np.random.default_rng(0), [f"word{chr(97 + i)}" for i in range(26)]
    texts = [" ".join(rng.choice(words[13 * (i % 2) :][:13], 6, replace=False)) for i in range(60)]
    liked = set(texts[::2])
    scorer = score_with(lambda q, t: float(t in liked), name="subject", single=True)
    index = build(tmp_path / "index", texts, scorer, encoder=encoder)
    hits = index.query("what is there", k=25, calls=30)
    assert sum(hit.score for hit in hits if hit.exact) >= 20  # by chance 15


def test_chinese_is_found_and_learnt_from_like_english(tmp_path: Path) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", CHINESE * 10, scorer, calls=60)
    assert index.query("转账手续费", k=1, calls=0)[0].text == CHINESE[1]
    with index.snapshot() as snapshot:
        rows, _, features, _ = index.first_look(snapshot, "转账手续费谁付")
        best = rows.row_keys[np.argsort(-features[:, 0], kind="stable")[:10]]
        assert set(snapshot.texts(best)) == {CHINESE[1]}  # by the codes alone


# --- changes


@pytest.mark.parametrize("encoder", ENCODERS)
def test_changes_are_seen_and_an_index_opened_again_answers_alike(
    tmp_path: Path, encoder: str
) -> None:
    scorer = Counting()
    index = build(tmp_path / "index", TEXTS, scorer, encoder=encoder)
    index.add([{"id": "z", "text": "a warm hat of fur"}])
    assert index.query("a warm hat of fur", k=1, calls=0)[0].id == "z"
    index = build(index.path, None, scorer, encoder=encoder, calls=200, resume=True)
    index.delete(["z", "4"])
    again = SearchIndex.open(index.path, scorer=scorer)
    for calls in (0, 20):
        hits = index.query("a warm hat of fur", k=100, calls=calls)
        assert answers(hits) == answers(again.query("a warm hat of fur", k=100, calls=calls))
        assert len(hits) == 49 and {"z", "4"}.isdisjoint(hit.id for hit in hits)


def test_builds_of_one_seed_are_equal(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name) for name in ("a", "b"))
    assert np.array_equal(stored(first), stored(second))
    hits = [answers(index.query("a red hat", calls=0)) for index in (first, second)]
    assert hits[0] == hits[1]


def test_a_resumed_build_keeps_the_codes_and_adds_anchors(tmp_path: Path) -> None:
    scorer, path = Counting(), tmp_path / "index"
    before = stored(build(path, TEXTS, scorer))
    index = build(path, None, scorer, resume=True, calls=200)
    assert np.array_equal(stored(index), before)
    assert index.info()["anchor_queries"] > 0 and index.info()["encoder"] == "words"
    assert max(scorer.asked.values()) == 1


@pytest.mark.parametrize("stopped", [False, True])
def test_another_encoder_on_resume_takes_the_place_of_the_first(
    tmp_path: Path, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, path = Counting(), tmp_path / "index"
    build(path, TEXTS, scorer, encoder="lsa", calls=200)
    paid = scorer.asked.total()
    if stopped:  # as if killed when the old encoder was gone and the new one not yet settled
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(
                "shoestring.search.store.RecordStore.update_settings",
                lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt),
            )
            build(path, None, scorer, resume=True)
    for encoder, kind in (("words", np.uint8), ("lsa", np.float32), ("words", np.uint8)):
        index = build(path, None, scorer, encoder=encoder, resume=True)
        assert stored(index).dtype == kind
        assert np.allclose(stored(index), index.models.encode(TEXTS), atol=1e-5)
        # among the first: which of the nearest is first, rounding decides
        best = index.query(TEXTS[0], k=5, calls=0)
        assert TEXTS[0] in [hit.text for hit in best]
    assert scorer.asked.total() == paid


# --- word vectors of the user


def test_word_vectors_are_copied_so_that_the_index_outlives_them(
    tmp_path: Path, vectors_folder: Path
) -> None:
    mine = shutil.copytree(vectors_folder, tmp_path / "mine")
    path = tmp_path / "index"
    index = build(path, encoder=str(mine))
    want, before = answers(index.query("a red hat", calls=0)), stored(index)
    assert before.shape == (50, 16) and index.info()["encoder"] == str(mine)
    assert np.array_equal(before, BinaryVectors.load(mine).encode(TEXTS))
    files = list((path / "arrays").glob("*-vectors.rows"))
    BinaryVectors(128, 16, 3, min_count=1, random_state=5).fit(TEXTS).save(mine)  # trained anew
    index = build(path, None, encoder=str(mine), resume=True)
    assert np.array_equal(stored(index), before)
    assert list((path / "arrays").glob("*-vectors.rows")) == files  # not encoded again
    shutil.rmtree(mine)
    assert answers(SearchIndex.open(path).query("a red hat", calls=0)) == want
    SearchIndex.open(path).add([{"id": "z", "text": "a red hat of silk"}])


def test_a_damaged_copy_is_made_again_or_its_source_is_asked_for(
    tmp_path: Path, vectors_folder: Path
) -> None:
    mine = shutil.copytree(vectors_folder, tmp_path / "mine")
    path = tmp_path / "index"
    before = stored(build(path, encoder=str(mine)))
    for has_source in (True, False):
        (path / "encoder" / "config.json").write_text("{")
        if not has_source:
            shutil.rmtree(mine)
            SearchIndex.open(path)
            with pytest.raises(StorageError, match=r"no model folder .*mine") as caught:
                build(path, None, resume=True, encoder="auto").add(["a hat"])
            assert "\n" not in str(caught.value)
        else:
            assert np.array_equal(stored(build(path, None, resume=True, encoder="auto")), before)
    build(path, None, resume=True)
    assert SearchIndex.open(path).query("a red hat", calls=0)


def test_texts_that_the_word_vectors_do_not_know_are_noted(
    tmp_path: Path, vectors_folder: Path
) -> None:
    said = r"3 of 4 new texts without a word that the word codes know: \['分行.* on such text"
    with pytest.warns(ShoestringWarning, match=said) as noted:
        index = build(tmp_path / "index", [*CHINESE, "a red hat"], encoder=str(vectors_folder))
    assert len(noted) == 1
    assert index.query("转账手续费", k=1, calls=0)[0].text == CHINESE[1]  # BM25


# --- what is refused


@pytest.mark.parametrize("records", [["hat"], ["?!", "——。"], ["猫", "狗"], ["4 5 6", "7 8"]])
def test_texts_that_no_codes_can_be_learnt_from_are_refused_and_leave_nothing(
    tmp_path: Path, records: list[str]
) -> None:
    with pytest.raises(ParameterError, match=r"some dozen texts .* encoder=\.\.\.") as caught:
        build(tmp_path / "index", records)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index").exists()


def test_word_vectors_without_activations_are_refused_and_leave_nothing(
    tmp_path: Path, vectors_folder: Path
) -> None:
    BinaryVectors.load(vectors_folder).save(tmp_path / "codes", activations=False)
    with pytest.raises(NotFittedError, match="activations=True"):
        build(tmp_path / "index", encoder=str(tmp_path / "codes"))
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("texts", [["red shoes", "blue shoes", "a red hat"], CHINESE])
def test_three_short_texts_are_an_index(tmp_path: Path, texts: list[str]) -> None:
    index = build(tmp_path / "index", texts)
    assert [index.query(text, k=1, calls=0)[0].text for text in texts] == texts


def test_the_command_line_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shoestring import cli

    (tmp_path / "docs.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    command = ["search", "build", tmp_path / "docs.txt", "--out", tmp_path / "index"]
    command += ["--encoder", "words"]
    monkeypatch.setattr("sys.argv", ["shoestring", *map(str, command), "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)["encoder"] == "words"
