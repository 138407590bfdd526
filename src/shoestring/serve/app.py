"""The web service: what a request must pass, and what it is answered.

Not covered: TLS, rights of different users, limits of a rate: that is a proxy's work.
"""

# No "from __future__ import annotations": FastAPI reads annotations that are made in a function.
import hmac
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from shoestring.errors import MissingExtraError, ScorerError, ShoestringError, UnknownWordError
from shoestring.serve import bodies
from shoestring.serve.service import AbsentError, Service, notes_to_requests

MAX_BODY = 16 << 20  # bytes
N_THREADS, MAX_WAITING = 32, 64
PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"), "/docs": ("docs.html", "text/html"),
    "/page.css": ("page.css", "text/css"), "/page.js": ("page.js", "text/javascript"),
    "/docs.js": ("docs.js", "text/javascript"),
}  # fmt: skip
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
    service: Service, keys: Sequence[str] = (), hosts: Sequence[str] = ("*",),
    max_waiting: int = MAX_WAITING,
) -> Any:  # fmt: skip
    """The FastAPI application of a service.

    Parameters
    ----------
    service : Service
    keys : sequence of str
        One of them must come with each request, as a bearer token; without, nothing is written.
    hosts : sequence of str
        Names under which the server is reached: against DNS rebinding.
    max_waiting : int
        Requests that work or wait at once; one more is answered 429.
    """
    try:
        from anyio import CapacityLimiter, to_thread
        from fastapi import FastAPI, HTTPException, Request, Response
        from fastapi.exceptions import RequestValidationError
        from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
        from starlette.exceptions import HTTPException as AnyHTTPException
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise MissingExtraError(str(error.name), extra="serve", purpose="the server") from None

    registry, n_working, threads = CollectorRegistry(), 0, CapacityLimiter(N_THREADS)
    seconds = Histogram("shoestring_seconds", "Requests.", ["path", "status"], registry=registry)
    calls = Counter("shoestring_calls", "Scores that were paid for.", registry=registry)
    cut = Counter("shoestring_partial", "Answers that were cut short.", registry=registry)

    def said(content: Any, status: int = 200, headers: Any = None) -> Any:
        text = to_json(content, inf_nan_mode="null")
        return Response(text, status, headers, "application/json")

    @asynccontextmanager
    async def running(app: Any) -> AsyncIterator[None]:
        with notes_to_requests():
            await to_thread.run_sync(service.warm)
            yield

    app = FastAPI(
        title="shoestring", lifespan=running, docs_url=None, redoc_url=None,
        responses={"4XX": {"model": dict[str, Any]}},
    )  # fmt: skip

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

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)

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
        status = 422 if isinstance(error, ValueError) else 503  # these are about what came
        status = 404 if isinstance(error, AbsentError | UnknownWordError) else status
        status = 502 if isinstance(error, ScorerError) else status
        if status in HIDDEN:  # what it says may name files, or what a paid scorer was asked with
            print(f"{request.url.path}: {type(error).__name__}: {error}", file=sys.stderr)
        headers = {"Retry-After": "1"} if status == 503 else None
        return told(request, status, HIDDEN.get(status, str(error)), headers)

    async def work(call: Callable[..., Any], asked: dict[str, Any]) -> Any:
        """Call it in a thread, unless too many are at work."""
        nonlocal n_working
        if n_working >= max_waiting:
            raise HTTPException(429, "The server is busy: ask again.", {"Retry-After": "1"})
        if "deadline_ms" in asked:
            asked["until"] = time.monotonic() + asked.pop("deadline_ms") / 1000
        n_working += 1
        try:
            answer = await to_thread.run_sync(partial(call, **asked), limiter=threads)
        finally:
            n_working -= 1
        calls.inc(answer.get("calls", 0))
        cut.inc(not answer.get("complete", True))
        return answer

    def route(method: str, path: str, body: Any, call: Callable[..., Any]) -> None:
        async def endpoint(asked: body) -> Any:
            if path == "/v1/records" and not keys:
                raise HTTPException(403, "Writing needs a key: start with --api-key-file.")
            return said(await work(call, asked.model_dump()))

        app.add_api_route(path, endpoint, methods=[method], name=call.__name__)

    route("POST", "/v1/search", bodies.Search, service.search)
    route("POST", "/v1/classify", bodies.Classify, service.classify)
    route("POST", "/v1/similar-words", bodies.Word, service.similar_words)
    route("POST", "/v1/records", bodies.Records, service.add)
    route("DELETE", "/v1/records", bodies.Ids, service.delete)

    @app.post("/rerank")
    @app.post("/v1/rerank")
    @app.post("/v2/rerank")
    async def rerank(asked: bodies.Rerank, request: Request) -> Any:
        request.state.body = asked.model_dump(exclude_none=True)  # for the form of an error
        given = {"query": asked.query, "documents": asked.all_texts(), "top_n": asked.top_n}
        found = await work(
            service.rerank, given | {"calls": asked.calls, "deadline_ms": asked.deadline_ms}
        )
        cost = {"x-calls": str(found["calls"]), "x-complete": str(found["complete"]).lower()}
        return said(bodies.answered(asked, request.url.path, found), headers=cost)

    @app.get("/health")
    async def health() -> Any:
        return said({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Any:
        return said(await work(service.ready, {}))

    @app.get("/metrics")
    async def metrics() -> Any:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    def show(path: str, content: bytes, kind: str) -> None:
        async def file(request: Request) -> Any:
            return Response(content, media_type=kind)

        app.add_route(path, file, include_in_schema=False)

    for path, (name, kind) in FILES.items():
        show(path, (PAGE / name).read_bytes(), kind)
    return app


def run(app: Any, host: str, port: int) -> None:
    """Serve the application until it is interrupted."""
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", extra="serve", purpose="the server") from None
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
