"""A small index, its service, and a server on loopback. Needs the extras serve and serve-tests."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from shoestring import SearchIndex, score_with

KEY = "a-key-of-the-tests-0123"
RECORDS = [
    {"id": "a", "text": "red shoes", "lang": "en", "year": 2021},
    {"id": "b", "text": "blue shoes <script>document.title = 'hacked'</script>", "lang": "de"},
    {"id": "c", "text": "a hat of wool", "lang": "en"},
    {"id": "d", "text": "红色的鞋", "lang": "zh"},
]


def within(seconds):
    """Give the requests that follow so much time; returns what becomes of the next."""
    from shoestring.serve.scorer_queue import Asked, asked

    request = Asked(time.monotonic() + seconds)
    asked.set(request)
    return request


@pytest.fixture(autouse=True)
def no_request_stays():
    from shoestring.serve.scorer_queue import asked

    token = asked.set(None)
    yield
    asked.reset(token)


class Held:
    """A scorer that counts its pairs, and waits while it is told to hold."""

    def __init__(self):
        self.pairs, self.is_free, self.began = [], threading.Event(), threading.Event()
        self.is_free.set()

    def __call__(self, query, text):
        self.pairs.append((query, text))
        self.began.set()
        assert self.is_free.wait(60)
        return len({*query.split()} & {*text.split()})

    def hold(self):
        self.is_free.clear()
        self.began.clear()

    @property
    def scorer(self):
        return score_with(self, name="shared words", single=True)


@pytest.fixture
def held():
    found = Held()
    yield found
    found.is_free.set()  # its thread ends


@pytest.fixture
def index(tmp_path, held):
    return SearchIndex.build(
        tmp_path / "index", RECORDS, scorer=held.scorer, encoder="lsa", progress=False
    )


@pytest.fixture
def service(index):
    from shoestring.serve import Service

    return Service(index)


@pytest.fixture
def client(service):
    """A client without a key, and none is needed."""
    with client_of(service) as found:
        yield found


@contextmanager
def client_of(service, *given, **options):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    pytest.importorskip("httpx", reason="needs the extra serve-tests")
    from starlette.testclient import TestClient

    from shoestring.serve import create_app

    with TestClient(create_app(service, *given, **options)) as client:
        yield client


@contextmanager
def served(app):
    """The address of a server of an application, in a thread."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
