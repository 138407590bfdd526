"""What the server answers, without HTTP."""

import pytest
from tests.serve.conftest import within

from shoestring import BinaryVectors, SearchIndex, TextClassifier, score_with
from shoestring.errors import ParameterError, UnknownWordError
from shoestring.serve.service import AbsentError, Service


def test_the_hits_are_those_of_the_index(service, index):
    found = service.search("red shoes", k=2, calls=4)
    hits = index.query("red shoes", k=2, calls=0)
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in hits] == ["a", "b"]
    assert (found["calls"], found["complete"], found["everything"]["calls"]) == (4, True, 4)


@pytest.mark.filterwarnings("ignore:The time for")
def test_a_deadline_gives_a_partial_answer_that_says_so(service, held):
    held.hold()  # it would not answer before the test ends
    within(0.1)
    found = service.search("red shoes", calls=4)
    assert not found["complete"] and found["calls"] == 0
    assert found["hits"][0]["id"] == "a" and not found["hits"][0]["exact"]
    assert any("time for the answer ended" in note for note in found["notes"])


@pytest.mark.filterwarnings("ignore:The time for")
def test_another_query_is_answered_while_the_scorer_is_held(service, held):
    held.hold()
    within(0.05)
    service.search("red shoes", calls=4)
    within(0.05)
    found = service.search("hat", calls=4)
    assert found["hits"][0]["id"] == "c"


@pytest.mark.filterwarnings("ignore:The time for")
def test_what_was_scored_before_the_deadline_is_not_paid_for_again(service, held):
    held.hold()
    within(2)  # in which the scorer has begun
    service.search("red shoes", calls=1)
    assert held.began.wait(60)
    held.is_free.set()
    within(60)
    service.search("red shoes", calls=4)
    assert len(held.pairs) == len({*held.pairs}) == 4


@pytest.mark.filterwarnings("ignore:The time for")
def test_rerank_with_a_deadline_is_partial_too(service, held):
    held.hold()
    within(0.1)
    found = service.rerank("red shoes", ["a hat", "red shoes"])
    assert not found["complete"] and found["results"][0]["corpus_id"] == 1


def test_rerank_says_its_calls_without_a_request_too(service):
    found = service.rerank("red shoes", ["a hat", "red shoes", "a hat"], calls=9)
    assert (found["calls"], found["complete"]) == (2, True)  # equal texts are one


def test_records_are_found_when_they_were_added_and_gone_when_deleted(service):
    assert service.add([{"text": "green trousers", "n": [1, {"x": None}]}])["added"] == 1
    (hit,) = service.search("trousers", k=1, calls=0)["hits"]
    assert hit["text"] == "green trousers" and hit["fields"] == {"n": [1, {"x": None}]}
    assert service.delete([hit["id"], "never there"]) == {"deleted": 1}
    assert hit["id"] not in [h["id"] for h in service.search("green shoes", calls=0)["hits"]]


def test_an_index_of_other_columns_takes_records_too(tmp_path):
    rows = [{"question": "how long is it", "key": "1"}, {"question": "how wide is it", "key": "2"}]
    index = SearchIndex.build(
        tmp_path / "i", rows, text="question", id="key", scorer=None, encoder="lsa", progress=False
    )
    service = Service(index)
    service.add([{"text": "how heavy is it", "id": "3"}])
    assert service.search("heavy", k=1)["hits"][0]["id"] == "3"


def test_an_index_without_records_answers_and_takes_some(service, index):
    index.delete([record.id for record in index.records()])
    assert Service(index).ready() == {"records": 0, "scorer": "shared words"}
    assert service.search("red shoes", calls=4)["hits"] == []
    service.add([{"text": "red boots"}])
    assert service.search("red", k=1, calls=4)["hits"][0]["exact"]


def test_what_is_not_there_is_said(service):
    alone = Service()
    for ask in (
        lambda: alone.search("a"),
        lambda: alone.rerank("a", ["b"]),
        lambda: alone.classify(["a"]),
        lambda: service.similar_words("red"),
    ):
        with pytest.raises(AbsentError, match=r"This (server|index) has no"):
            ask()


def test_texts_are_classified():
    texts, labels = (
        ["red shoes", "blue shoes", "an old hat", "旧帽子"] * 5,
        ["s", "s", "h", "h"] * 5,
    )
    service = Service(classifier=TextClassifier("lsa").fit(texts, labels))
    ((best, second), (hat, _)) = service.classify(["green shoes", "旧帽子"])["results"]
    assert (best["label"], hat["label"]) == ("s", "h")
    assert best["probability"] + second["probability"] == pytest.approx(1)
    assert len(service.classify(["x"], top=1)["results"][0]) == 1


def test_similar_words_are_those_of_the_vectors(tmp_path):
    texts = [f"the {animal} sat on the {place}" for animal in ["cat", "dog"]
             for place in ["mat", "rug", "bed"]] * 9  # fmt: skip
    vectors = BinaryVectors(n_neurons=16, n_active=4, window=3, min_count=1).fit(texts)
    vectors.save(tmp_path / "vectors")
    index = SearchIndex.build(
        tmp_path / "i", texts[:6], scorer=None, encoder=str(tmp_path / "vectors"), progress=False
    )
    found = Service(index).similar_words("cat", 3)["words"]
    assert [(w["word"], w["similarity"]) for w in found] == vectors.most_similar("cat", topn=3)
    with pytest.raises(UnknownWordError):
        Service(index).similar_words("zebra")


def test_another_scorer_may_be_given(index):
    scorer = score_with(lambda query, text: len(text), name="length", single=True)
    service = Service(index, scorer=scorer)
    assert service.search("red shoes", k=1, calls=4)["hits"][0]["id"] == "b"


def test_an_error_of_a_parameter_stays_one(service):
    with pytest.raises(ParameterError):
        service.search(" ")
    with pytest.raises(ParameterError, match="condition"):
        service.search("a", where="drop table records")
