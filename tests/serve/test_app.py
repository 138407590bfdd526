"""What a request must pass, and the answers over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from tests.serve.conftest import KEY, client_of

from shoestring import score_with
from shoestring.serve import Service
from shoestring.serve.app import FILES, MAX_BODY

WITH_KEY = {"Authorization": f"Bearer {KEY}"}


def test_a_search_says_hits_and_cost(client):
    asked = {"query": "red shoes", "k": 2, "calls": 4}
    found = client.post("/v1/search", json=asked).json()
    assert found["hits"][0] == {
        "id": "a", "text": "red shoes", "score": 2.0, "exact": True,
        "fields": {"lang": "en", "year": 2021}, "words": ["red", "shoes"],
    }  # fmt: skip
    assert (found["calls"], found["complete"], found["notes"]) == (4, True, [])


def test_chinese_is_found_and_notes_come_back(client):
    found = client.post("/v1/search", json={"query": "鞋", "calls": 0}).json()
    assert found["hits"][0]["id"] == "d"
    found = client.post("/v1/search", json={"query": "zebra", "calls": 0}).json()
    assert found["hits"] == [] and "No word of the query" in found["notes"][0]


@pytest.mark.parametrize("where", ["lang = 'zh'", {"lang": "zh"}, {"lang": ["zh", "fr"]}])
def test_a_condition_limits_the_answer(client, where):
    found = client.post("/v1/search", json={"query": "shoes 鞋", "where": where}).json()
    assert [hit["id"] for hit in found["hits"]] == ["d"]


def test_a_deadline_in_the_past_gives_what_is_known(client, held):
    asked = {"query": "red shoes", "calls": 4, "deadline_ms": 0}
    held.hold()
    found = client.post("/v1/search", json=asked).json()
    assert found["hits"][0]["id"] == "a" and not found["complete"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({}, "query"),
        ({"query": " "}, "query"),
        ({"query": "a", "k": 0}, "greater than or equal to 1"),
        ({"query": "a", "k": 1_001}, "less than or equal to 1000"),
        ({"query": "a" * 10_001}, "at most 10000 characters"),
        ({"query": "a", "calls": -1}, "calls"),
        ({"query": "a", "where": "1; drop table records"}, "condition"),
        ({"query": "a", "where": {}}, "condition"),
        ({"query": "\ud800"}, "query"),
    ],
)
def test_a_bad_body_is_422_and_says_the_limit(client, body, what):
    import json

    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/search", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422 and what in answer.json()["detail"]


def test_a_body_that_is_too_large_is_413_and_one_of_unknown_length_411(client):
    answer = client.post("/v1/search", content=b" " * (MAX_BODY + 1))
    assert answer.status_code == 413 and f"{MAX_BODY:,}" in answer.json()["detail"]
    assert client.post("/v1/search", content=iter([b"{}"])).status_code == 411


def test_every_path_but_the_page_needs_the_key(service, capsys, caplog):
    with client_of(service, keys=[KEY, "another-key-0123456"]) as client:
        asked = {"query": "red"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": KEY[:-1]}):
            answer = client.post("/v1/search", json=asked, headers=headers)
            assert answer.status_code == 401 and "key" in answer.json()["detail"]
            assert client.get("/metrics", headers=headers).status_code == 401
        for headers in (WITH_KEY, {"X-Api-Key": KEY}):
            assert client.post("/v1/search", json=asked, headers=headers).status_code == 200
        for path in (*FILES, "/health", "/ready", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        assert KEY not in client.get("/metrics", headers=WITH_KEY).text
    assert KEY not in "".join(capsys.readouterr()) + caplog.text


def test_records_are_written_with_a_key_and_never_without_one(service):
    new = {"records": [{"id": "e", "text": "green shoes", "lang": "en"}, {"text": "绿色的鞋"}]}
    with client_of(service) as client:
        assert client.post("/v1/records", json=new).status_code == 403
        assert client.request("DELETE", "/v1/records", json={"ids": ["a"]}).status_code == 403
    with client_of(service, keys=[KEY]) as client:
        client.headers.update(WITH_KEY)
        added = client.post("/v1/records", json=new).json()
        assert added == {"added": 2, "replaced": 0, "skipped": 0}
        again = client.post("/v1/records", json=new)
        assert again.status_code == 422 and "e" in again.json()["detail"]
        new["on_duplicate"] = "skip"
        assert client.post("/v1/records", json=new).json()["skipped"] == 2
        found = client.post("/v1/search", json={"query": "green", "k": 1}).json()
        assert found["hits"][0]["id"] == "e"
        gone = client.request("DELETE", "/v1/records", json={"ids": ["e", "nowhere"]}).json()
        assert gone == {"deleted": 1}


@pytest.mark.parametrize("records", ["/etc/passwd", ["/etc/passwd"], [{"text": ""}], [], [{}]])
def test_records_are_texts_and_no_file_is_read(service, records):
    with client_of(service, keys=[KEY]) as client:
        answer = client.post("/v1/records", json={"records": records}, headers=WITH_KEY)
        assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/%2e%2e/app.py", "/page/../app.py", "/x"])
def test_no_path_reaches_the_file_system(client, path):
    assert client.get(path).status_code == 404


def test_all_answers_have_a_strict_policy(client):
    for path in ("/", "/page.js", "/health", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_another_name_of_the_host_is_refused(service):
    with client_of(service, hosts=["127.0.0.1", "localhost"]) as client:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/health", headers={"Host": "localhost:8321"}).status_code == 200


def test_one_request_too_many_is_429_and_health_answers_meanwhile(service, held):
    with client_of(service, most=1) as client, ThreadPoolExecutor(1) as pool:
        held.hold()
        first = pool.submit(client.post, "/v1/search", json={"query": "red shoes", "calls": 4})
        assert held.began.wait(60)
        second = client.post("/v1/search", json={"query": "hat"})
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
        assert client.get("/health").json() == {"status": "ok"}
        held.is_free.set()
        assert first.result().json()["complete"]
        assert client.post("/v1/search", json={"query": "hat"}).status_code == 200


def test_what_a_scorer_says_when_it_fails_stays_in_the_log(index, capsys):
    def paid(query, text):
        raise RuntimeError("401 for token s3cret")

    with client_of(Service(index, scorer=score_with(paid, name="paid", single=True))) as client:
        answer = client.post("/v1/search", json={"query": "red shoes"})
    assert (answer.status_code, answer.json()) == (502, {"detail": "The scorer failed."})
    assert "s3cret" in capsys.readouterr().err


def test_a_damaged_index_is_503_and_names_no_file(service, index, capsys):
    with client_of(service) as client:
        assert client.get("/ready").json() == {"records": 4, "scorer": "shared words"}
        (index.path / "records.sqlite").write_bytes(b"nothing of it is left" * 1_000)
        answer = client.get("/ready")
        assert answer.status_code == 503 and str(index.path) not in answer.text


def test_what_the_server_does_not_have_is_404(client):
    assert client.post("/v1/classify", json={"texts": ["a"]}).status_code == 404
    assert client.post("/v1/similar-words", json={"word": "red"}).status_code == 404


def test_metrics_count_requests_calls_and_partial_answers(client, held):
    client.post("/v1/search", json={"query": "red shoes", "calls": 4})
    held.hold()
    client.post("/v1/search", json={"query": "hat", "calls": 4, "deadline_ms": 20})
    told = client.get("/metrics").text
    assert 'shoestring_seconds_count{path="/v1/search",status="200"} 2.0' in told
    assert "shoestring_calls_total 4.0" in told and "shoestring_partial_total 1.0" in told


def test_the_document_of_the_api_names_every_path(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/search", "/v1/classify", "/v1/similar-words", "/v1/records"} < {*paths}
    assert {"/rerank", "/v1/rerank", "/v2/rerank", "/health", "/ready", "/metrics"} < {*paths}


def test_many_clients_get_what_they_asked_for(client):
    texts = {"red shoes": "a", "a hat of wool": "c", "红色的鞋": "d"}

    def ask(query):
        return client.post("/v1/search", json={"query": query, "calls": 4}).json()

    queries = [*texts] * 8
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(ask, queries)]
    assert [answer["hits"][0]["id"] for answer in found] == [texts[query] for query in queries]
