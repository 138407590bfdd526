"""The web service under load: deadlines, health, fifty clients, overload, memory.

``python -m benchmarks.serve`` starts a server on loopback with an index of 2,000 made-up texts (in
a process of its own) and asks it from threads. Times are wall-clock and of the client: run it on a
quiet machine. The scorer is a hash that sleeps, so that what is measured is the server.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output

TEXT = "red blue green shoe hat sock coat wool silk old new warm light dark 红 鞋 帽子"
WORDS = TEXT.split(" ")
BARS = {
    "deadline_ms_max": 250.0,
    "health_ms_max": 50.0,
    "overload_ms_p99": 50.0,
    "lost": 0.0,
    "memory_growth_mb": 20.0,
}


def serve(folder: str, port: int, seconds: float) -> None:
    """The server, in a process of its own."""
    import uvicorn

    from shoestring import SearchIndex, score_with
    from shoestring.serve import Service, create_app

    def sleepy(query: str, text: str) -> float:
        time.sleep(seconds)
        return hashlib.blake2b(f"{query}\0{text}".encode()).digest()[0] / 255

    scorer = score_with(sleepy, name=f"sleepy {seconds}", single=True)
    service = Service(SearchIndex.open(folder), scorer)
    uvicorn.run(create_app(service), port=port, log_level="error")


@contextmanager
def server(folder: str, port: int, seconds: float) -> Iterator[int]:
    """Its process id, as soon as it is ready."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.serve",
        "--server",
        folder,
        str(port),
        str(seconds),
    ]
    process = subprocess.Popen(command)
    try:
        while True:
            assert process.poll() is None, "the server did not start"
            try:
                if ask(port, "GET", "/ready", None)[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def ask(port: int, method: str, path: str, body: Any) -> tuple[int, float, Any]:
    """Status, milliseconds, answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
    finally:
        connection.close()
    return answer.status, 1000 * (time.perf_counter() - began), found


def question(rng: random.Random) -> dict[str, Any]:
    return {"query": " ".join(rng.choices(WORDS, k=3)), "calls": 10, "k": 5}


def clients(port: int, n: int, requests: int, seconds: float, seed: int) -> list[tuple[int, float]]:
    """Status and milliseconds of each request of n clients that ask one after the other."""
    found: list[tuple[int, float]] = []
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        rng = random.Random(seed * 1_000 + number)
        for _ in range(requests // n):
            if time.monotonic() > until:
                return
            try:
                status, spent, _ = ask(port, "POST", "/v1/search", question(rng))
            except OSError:
                status, spent = 0, 0.0
            found.append((status, spent))
            if status == 429:
                time.sleep(1)  # as Retry-After says

    threads = [threading.Thread(target=client, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def percentile(found: list[tuple[int, float]], status: int, q: float) -> float:
    times = [spent for s, spent in found if s == status]
    return round(float(np.percentile(times, q)), 1) if times else 0.0


def measure(seed: int, *, quick: bool) -> dict[str, Any]:
    """All figures."""
    from shoestring import SearchIndex

    rng, port, figures = random.Random(seed), 8_397, {}
    n_requests, seconds = (500, 5.0) if quick else (10_000, 60.0)
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"{' '.join(rng.choices(WORDS, k=8))} {i}" for i in range(2_000)]
        SearchIndex.build(f"{folder}/i", texts, scorer=None, encoder="lsa", progress=False)
        with server(f"{folder}/i", port, 1.0):
            asked = [question(rng) | {"deadline_ms": 200} for _ in range(5 if quick else 50)]
            answers = [ask(port, "POST", "/v1/search", body) for body in asked]
            assert not any(found["complete"] for _, _, found in answers)
            figures["deadline_ms_max"] = round(max(spent for _, spent, _ in answers), 1)
        with server(f"{folder}/i", port, 0.001) as pid:
            for name, n in (("1", 1), ("16", 16), ("50", 50)):
                began = time.monotonic()
                found = clients(port, n, 1 << 30, seconds, seed + n)
                figures[f"clients_{name}"] = {
                    "requests_a_second": round(len(found) / (time.monotonic() - began), 1),
                    "ms_p50": percentile(found, 200, 50),
                    "ms_p99": percentile(found, 200, 99),
                }
                figures["lost"] = figures.get("lost", 0) + sum(s != 200 for s, _ in found)
            clients(port, 16, n_requests // 10, 3_600, seed)
            before = resident_mb(pid)
            health: list[float] = []
            is_over = threading.Event()

            def look() -> None:
                while not is_over.wait(0.05):
                    health.append(ask(port, "GET", "/health", None)[1])

            looking = threading.Thread(target=look)
            looking.start()
            found = clients(port, 16, n_requests, 3_600, seed + 1)
            is_over.set()
            looking.join()
            figures["health_ms_max"] = round(max(health), 1)
            figures["requests_for_memory"] = len(found)
            figures["memory_growth_mb"] = round(resident_mb(pid) - before, 1)
            figures["lost"] += sum(s != 200 for s, _ in found)
            load = [sys.executable, "-m", "benchmarks.serve", "--load", str(port), str(seconds)]
            busy = subprocess.Popen(load)  # more clients than the server takes
            overload: list[tuple[int, float]] = []
            while busy.poll() is None:
                overload.append(ask(port, "POST", "/v1/search", question(rng))[:2])
            figures["overload"] = {str(s): n for s, n in Counter(s for s, _ in overload).items()}
            figures["overload_ms_p99"] = percentile(overload, 429, 99)
    holds = {name: figures[name] <= bar for name, bar in BARS.items()}
    return {"figures": figures, "bars": BARS, "holds": holds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    output.options(parser, quick="a minute instead of six")
    options = parser.parse_args()
    if options.server:
        folder, port, seconds = options.server
        serve(folder, int(port), float(seconds))
        return
    if options.load:
        clients(int(options.load[0]), 200, 1 << 30, float(options.load[1]), options.seed)
        return
    result = measure(options.seed, quick=options.quick)
    print(json.dumps(result, indent=1))
    output.write(result, options)


if __name__ == "__main__":
    main()
