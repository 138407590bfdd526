"""The web service: what a request must pass, and what it is answered.

Not covered: TLS, rights of different users, limits of a rate: that is a proxy's work.
"""

# No "from __future__ import annotations": FastAPI reads annotations that are made in a function.
import hmac
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from threading import Semaphore
from typing import Any

from pydantic_core import to_json

from shoestring.errors import ScorerError, ShoestringError, ShoestringWarning, UnknownWordError
from shoestring.lazy import require
from shoestring.serve import bodies
from shoestring.serve.scorer_queue import Asked, asked
from shoestring.serve.service import AbsentError, Service

MAX_BODY = 16 << 20  # bytes
N_AT_WORK = 4  # more take turns at Python's lock: half the requests a second at 50 clients
PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/docs": "docs.html"} | {
    f"/{n}": n for n in ("page.js", "docs.js", "page.css")
}
OPEN = {*FILES, "/health", "/ready", "/openapi.json"}  # without a key
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
HIDDEN = {502: "The scorer failed.", 503: "The server cannot do that now; its log says why."}


def create_app(
    service: Service, keys: Sequence[str] = (), hosts: Sequence[str] = ("*",), most: int = 64
) -> Any:
    """The FastAPI application of a service.

    With ``keys`` each request must bring one of them, as a bearer token; without, nothing is
    written. ``hosts`` are the names under which the server is reached, against DNS rebinding.
    ``most`` requests work or wait at once; one more is answered 429.
    """
    require("The server", "serve", "fastapi", "prometheus_client", "uvicorn")
    from anyio import CapacityLimiter, to_thread
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi.exceptions import RequestValidationError
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
    from starlette.exceptions import HTTPException as AnyHTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    sys.setswitchinterval(0.001)  # /health waits for every busy thread once
    warnings.simplefilter("ignore", ShoestringWarning)  # answers have the notes
    registry, threads, slot = CollectorRegistry(), CapacityLimiter(most), Semaphore(N_AT_WORK)
    seconds = Histogram("shoestring_seconds", "Requests.", ["path", "status"], registry=registry)
    calls = Counter("shoestring_calls", "Scores that were paid for.", registry=registry)
    cut = Counter("shoestring_partial", "Answers that were cut short.", registry=registry)

    def said(content: Any, status: int = 200, headers: Any = None) -> Any:
        text = to_json(content, inf_nan_mode="null")
        return Response(text, status, headers, "application/json")

    app = FastAPI(title="shoestring", docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)

    def told(request: Request, status: int, message: str, headers: Any = None) -> Any:
        body = getattr(request.state, "body", None)
        return said(bodies.problem(request.url.path, body, status, message), status, headers)

    def is_known(request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = (given or request.headers.get("x-api-key", "")).encode()
        return sum(hmac.compare_digest(given, key.encode()) for key in keys) > 0  # all of them

    @app.middleware("http")
    async def gate(request: Request, answer: Callable[[Request], Any]) -> Any:
        began, size = time.perf_counter(), request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not size.isdigit():
            response = told(request, 411, "The request must have a Content-Length.")
        elif int(size) > MAX_BODY:
            response = told(request, 413, f"The body must have at most {MAX_BODY:,} bytes.")
        elif keys and request.url.path not in OPEN and not is_known(request):
            response = told(request, 401, "An API key is needed: Authorization: Bearer KEY.")
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        path = getattr(request.scope.get("route"), "path", "other")
        seconds.labels(path, response.status_code).observe(time.perf_counter() - began)
        return response

    @app.exception_handler(AnyHTTPException)
    @app.exception_handler(RequestValidationError)
    @app.exception_handler(ShoestringError)
    async def failed(request: Request, error: Any) -> Any:
        if isinstance(error, AnyHTTPException):
            return told(request, error.status_code, str(error.detail), error.headers)
        if isinstance(error, RequestValidationError):
            request.state.body = error.body
            found = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:3]]
            return told(request, 422, "; ".join(found))
        kinds = {404: AbsentError | UnknownWordError, 502: ScorerError, 422: ValueError}
        status = next((n for n, kind in kinds.items() if isinstance(error, kind)), 503)
        if status in HIDDEN:  # what it says may name files, or what a paid scorer was asked with
            print(f"{request.url.path}: {type(error).__name__}: {error}", file=sys.stderr)
        headers = {"Retry-After": "1"} if status == 503 else None
        return told(request, status, HIDDEN.get(status, str(error)), headers)

    async def work(call: Callable[..., Any], given: Any, deadline_ms: float = inf) -> Any:
        """Call it in a thread, unless too many are at work."""
        if threads.borrowed_tokens >= most:
            raise HTTPException(429, "The server is busy: ask again.", {"Retry-After": "1"})
        asked.set(Asked(time.monotonic() + deadline_ms / 1000, slot))

        def at_work() -> Any:
            with slot:
                return call(**given)

        answer = await to_thread.run_sync(at_work, limiter=threads)
        calls.inc(answer.get("calls", 0))
        cut.inc(not answer.get("complete", True))
        return answer

    def route(path: str, call: Callable[..., Any], method: str = "POST") -> None:
        body: Any = bodies.body_of(call)

        async def endpoint(given: body) -> Any:
            if path == "/v1/records" and not keys:
                raise HTTPException(403, "Writing needs a key: start with --api-key-file.")
            named = given.model_dump()
            return said(await work(call, named, named.pop("deadline_ms", inf)))

        app.add_api_route(path, endpoint, methods=[method], name=call.__name__)

    route("/v1/search", service.search)
    route("/v1/classify", service.classify)
    route("/v1/similar-words", service.similar_words)
    route("/v1/records", service.add)
    route("/v1/records", service.delete, "DELETE")

    @app.post("/rerank")
    @app.post("/v1/rerank")
    @app.post("/v2/rerank")
    async def rerank(given: bodies.Rerank, request: Request) -> Any:
        request.state.body = given.model_dump(exclude_none=True)  # for the form of an error
        named = given.model_dump(include={"query", "calls", "top_n"})
        named["documents"] = given.all_texts()
        found = await work(service.rerank, named, given.deadline_ms)
        cost = {"x-calls": str(found["calls"]), "x-complete": str(found["complete"]).lower()}
        return said(bodies.answered(given, request.url.path, found), headers=cost)

    @app.get("/health")
    async def health() -> Any:
        return said({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Any:
        return said(await work(service.ready, {}))

    @app.get("/metrics")
    async def metrics() -> Any:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    for path, name in FILES.items():
        kind = "text/" + name.rpartition(".")[2].replace("js", "javascript")
        app.add_route(path, Response((PAGE / name).read_bytes(), media_type=kind))
    return app
