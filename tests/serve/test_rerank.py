"""The drop-in rerank endpoint: three forms, their errors, and the real client of Cohere."""

import math

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from tests.serve.conftest import KEY, client_of, served

from shoestring.serve import Service, create_app

TEXTS = ["a blue hat", "red shoes", "红鞋", "red socks"]
ASKED = {"query": "red shoes", "documents": TEXTS, "calls": 4}


def logistic(score):
    return pytest.approx(1 / (1 + math.exp(-score)))


@pytest.fixture
def alone(held):
    """A server without an index."""
    with client_of(Service(scorer=held.scorer)) as client:
        yield client


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_texts_are_answered_as_tei_does(alone, path):
    asked = {"query": "red shoes", "texts": TEXTS, "calls": 4, "return_text": True}
    answer = alone.post(path, json=asked)
    first = answer.json()[0]
    assert first == {"index": 1, "score": logistic(2), "exact": True, "text": "red shoes"}
    assert (answer.headers["x-calls"], answer.headers["x-complete"]) == ("4", "true")


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_answered_as_cohere_does(alone, path):
    found = alone.post(path, json=ASKED | {"model": "rerank-v3.5", "top_n": 2}).json()
    assert found["results"] == [
        {"index": 1, "relevance_score": logistic(2), "exact": True},
        {"index": 3, "relevance_score": logistic(1), "exact": True},
    ]
    assert {"id", "meta"} < {*found} and (found["calls"], found["complete"]) == (4, True)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_a_model_of_jina_is_answered_as_jina_does(alone, path):
    model = "jina-reranker-v2-base-multilingual"
    found = alone.post(path, json=ASKED | {"model": model, "top_n": 1}).json()
    assert (found["model"], found["object"]) == (model, "list")
    (only,) = found["results"]
    assert only["document"] == {"text": "red shoes"} and only["index"] == 1
    found = alone.post(path, json=ASKED | {"model": model, "return_documents": False}).json()
    assert "document" not in found["results"][0]


def test_documents_may_be_objects_and_scores_raw(alone):
    documents = [{"text": text, "title": "ignored"} for text in TEXTS]
    asked = {"query": "red shoes", "documents": documents, "raw_scores": True, "calls": 4}
    scores = [r["relevance_score"] for r in alone.post("/v1/rerank", json=asked).json()["results"]]
    assert scores == [2.0, 1.0, 0.0, 0.0]


def test_each_score_says_whether_it_is_exact(alone, held):
    results = alone.post("/v1/rerank", json=ASKED | {"calls": 2}).json()["results"]
    assert sum(result["exact"] for result in results) == 2 == len(held.pairs)
    assert {result["index"] for result in results} == {0, 1, 2, 3}


def test_a_deadline_gives_estimates_and_says_so(alone, held):
    held.hold()
    found = alone.post("/v2/rerank", json=ASKED | {"deadline_ms": 50}).json()
    assert not found["complete"] and not any(result["exact"] for result in found["results"])
    assert "time for the answer" in found["meta"]["warnings"][0]
    assert found["results"][0]["index"] == 1


@pytest.mark.parametrize(
    ("path", "body", "form"),
    [
        ("/rerank", {"texts": ["a"]}, {"error", "error_type"}),
        ("/v1/rerank", {"texts": ["a"]}, {"error", "error_type"}),
        ("/rerank", {"documents": ["a"]}, {"message"}),
        ("/rerank", {"documents": ["a"], "model": "jina-x"}, {"detail"}),
        ("/v2/rerank", {"query": "a", "documents": ["b"] * 2_001}, {"message"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "texts": ["c"]}, {"error", "error_type"}),
        ("/v1/rerank", [], {"message"}),
        ("/rerank", "no", {"error", "error_type"}),
    ],
)
def test_errors_have_the_form_of_the_request(alone, path, body, form):
    answer = alone.post(path, json=body)
    assert answer.status_code == 422 and {*answer.json()} == form


def test_a_failure_has_the_form_of_the_request_too(client_without_scorer):
    answer = client_without_scorer.post("/rerank", json={"query": "a", "documents": ["b"]})
    assert answer.status_code == 404 and "--scorer" in answer.json()["message"]


@pytest.fixture
def client_without_scorer():
    with client_of(Service()) as client:
        yield client


def test_the_client_of_cohere_works_as_it_is(held):
    cohere = pytest.importorskip("cohere", reason="needs the extra serve-tests")
    httpx = pytest.importorskip("httpx", reason="needs the extra serve-tests")
    app = create_app(Service(scorer=held.scorer), keys=[KEY])
    with served(app) as url, httpx.Client() as http:
        for make, extra in ((cohere.ClientV2, {}), (cohere.Client, {"return_documents": True})):
            client = make(api_key=KEY, base_url=url, httpx_client=http)
            budget = {"additional_body_parameters": {"calls": 4, "deadline_ms": 60_000}}
            found = client.rerank(
                model="rerank-v3.5", query="red shoes", documents=TEXTS, top_n=2,
                request_options=budget, **extra,
            )  # fmt: skip
            assert [result.index for result in found.results] == [1, 3]
            assert found.results[0].relevance_score == logistic(2)
            assert found.results[0].exact is True
            assert found.meta.api_version.version == ("1" if extra else "2")
        assert found.results[0].document.text == "red shoes"
        with pytest.raises(cohere.UnprocessableEntityError) as error:
            client.rerank(model="m", query=" ", documents=TEXTS)
        assert "query" in error.value.body["message"]
        stranger = cohere.ClientV2(api_key="wrong", base_url=url, httpx_client=http)
        with pytest.raises(cohere.UnauthorizedError):
            stranger.rerank(model="m", query="a", documents=TEXTS)
