"""kill -9 at random moments of builds, adds, deletes and calibrations of a search index.

A child notes each step in a log before and after; the parent kills it after a random time, and
opens the index again. A step that was noted as done must be there; the step in hand must be whole
or not there at all; ``search check`` must pass; a killed build must go on to its end, and scores
that the scorer had answered must be kept, but for those of the last twentieth of a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from shoestring import SearchIndex, score_with
from shoestring.errors import ShoestringError
from shoestring.models import LsaEncoder
from shoestring.search.score_cache import KEEP_S, ScoreCache

N_KILLS = {"build": 55, "add": 55, "delete": 50, "calibrate": 55}  # 215
N_KILLS_QUICK = {"build": 6, "add": 6, "delete": 5, "calibrate": 6}
FAULTS = ("lost", "half done", "damaged", "not resumed", "paid twice")
BATCH, N_TEXTS, CALLS = 4, 400, 120
ANSWER_S = 0.005  # of a batch
UNKEPT = BATCH * (2 + round(KEEP_S / ANSWER_S))  # answers that a kill may lose: see score_cache
LONGEST_S = {"build": 0.7, "add": 0.3, "delete": 0.3, "calibrate": 0.5}

Rows = dict[str, str]  # texts by their ids


def texts(prefix: str, n_texts: int, rng: random.Random) -> Rows:
    """Texts of their own words, English and Chinese."""
    return {
        f"{prefix}{i}": f"common text {i} about w{rng.getrandbits(40):x} 第 {i} 号"
        for i in range(n_texts)
    }


def records(rows: Rows) -> list[dict[str, str]]:
    """As the index takes them."""
    return [{"id": id, "text": text} for id, text in rows.items()]


class Log:
    """What a child has begun and ended, in a file that outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, entry: Any) -> None:
        """Add a line in one write."""
        os.write(self._file, (json.dumps(entry) + "\n").encode())

    def steps(self) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """The steps that were done, and the one in hand."""
        done: list[dict[str, Any]] = []
        in_hand = None
        for line in self.path.read_text().splitlines():
            entry = json.loads(line)
            if entry == "done" and in_hand is not None:
                done.append(in_hand)
                in_hand = None
            elif isinstance(entry, dict) and "op" in entry:
                in_hand = entry
        return done, in_hand

    def n_paid(self) -> int:
        """Pairs that the scorer answered in whole batches."""
        lines = self.path.read_text().splitlines()
        return sum(json.loads(line)["paid"] for line in lines if line.startswith('{"paid"'))


def scorer(log: Log | None = None) -> Any:
    """A scorer that notes what it answers, a batch at a time."""

    def score(pairs: list[tuple[str, str]]) -> list[float]:
        if log is not None:
            time.sleep(ANSWER_S)
            log.note({"paid": len(pairs)})
        return [len(set(query) & set(text)) + len(text) / 100 for query, text in pairs]

    return score_with(score, name="letters", max_batch=BATCH)


def build(path: Path, rows: Rows, log: Log | None) -> SearchIndex:
    """A build, or what is left of it."""
    return SearchIndex.build(
        path,
        records(rows),
        scorer=scorer(log),
        encoder="lsa",
        calls=CALLS,
        resume=True,
        progress=False,
    )


def work(op: str, path: Path, rows: Rows, log: Log, rng: random.Random) -> None:
    """What a child does until it is killed."""
    if op == "build":
        build(path, rows, log)
        log.note({"op": "build"})
        log.note("done")
        return
    index = SearchIndex.open(path, scorer=scorer(log))
    with index.snapshot() as snapshot:
        known = snapshot.ids(snapshot.all_keys)
    for turn in range(1_000_000):
        step: dict[str, Any] = {"op": op}
        if op == "add":
            step["rows"] = texts(f"{rng.getrandbits(40):x}-", rng.randint(1, 60), rng)
        elif op == "delete":
            step["ids"] = rng.sample(known, min(len(known), rng.randint(1, 8)))
        log.note(step)
        if op == "add":
            index.add(records(step["rows"]))
        elif op == "delete":
            index.delete(step["ids"])
            known = [id for id in known if id not in set(step["ids"])]
            if turn % 3 == 2:
                index.compact()
        else:
            index.calibrate(calls=20, seed=turn)
        log.note("done")


def killed(op: str, path: Path, rows: Rows, log: Log, rng: random.Random) -> bool:
    """Start a child and kill it; whether it was still at work."""
    seed = rng.getrandbits(40)
    child = os.fork()
    if child == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work(op, path, rows, log, random.Random(seed))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    time.sleep(rng.uniform(0.01, LONGEST_S[op]))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"The {op} failed by itself.")
    return os.WIFSIGNALED(status)


def held(path: Path) -> Rows:
    """What an index holds, all of it read and checked."""
    index = SearchIndex.open(path)
    index.check()
    with index.snapshot() as snapshot:
        keys = snapshot.all_keys
        found = dict(zip(snapshot.ids(keys), snapshot.texts(keys), strict=True))
    hits = index.query("common text", k=len(found) + 1, calls=0)
    if len(hits) != len(found):
        raise ShoestringError(f"{len(hits)} hits of {len(found)} texts")
    return found


def judge(
    op: str, path: Path, model: Rows, in_hand: dict[str, Any] | None, row: dict[str, Any]
) -> Rows:
    """Count what is wrong with an index after a kill; what it holds now."""
    try:
        found = held(path)
    except ShoestringError:
        row["damaged"] += 1
        return model
    wanted = [model]
    if in_hand is not None and op == "add":
        wanted.append(model | in_hand["rows"])
    elif in_hand is not None and op == "delete":
        wanted.append({id: text for id, text in model.items() if id not in set(in_hand["ids"])})
    if found not in wanted:
        row["lost" if not wanted[-1].items() <= found.items() else "half done"] += 1
    if SearchIndex.open(path).info()["records_without_vectors"]:
        row["half done"] += 1
    return found


def kill_changes(op: str, n_kills: int, folder: Path, rng: random.Random) -> dict[str, Any]:
    """Kills of adds, deletes or calibrations of one index."""
    row = {"operation": op, "kills": 0, "inside a step": 0, **dict.fromkeys(FAULTS, 0)}
    path, model = folder / op, texts("r", N_TEXTS, rng)
    build(path, model, None)
    n_before, n_paid = _n_kept(path), 0
    while row["kills"] < n_kills:
        log = Log(folder / f"{op}-{row['kills']}.log")
        if op == "delete" and len(model) < N_TEXTS // 2:
            more = texts(f"more{row['kills']}-", N_TEXTS, rng)
            SearchIndex.open(path).add(records(more))
            model |= more
        row["kills"] += killed(op, path, model, log, rng)
        done, in_hand = log.steps()
        row["inside a step"] += in_hand is not None
        for step in done:
            model = {**model, **step.get("rows", {})}
            gone = set(step.get("ids", ()))
            model = {id: text for id, text in model.items() if id not in gone}
        model = judge(op, path, model, in_hand, row)
        n_paid += log.n_paid()
    n_kept = _n_kept(path) - n_before
    row["paid twice"] += n_paid > n_kept + UNKEPT * row["kills"]
    return row


def kill_builds(n_kills: int, folder: Path, rng: random.Random) -> dict[str, Any]:
    """Kills of builds, each of which is gone on with until it has come to its end."""
    row = {"operation": "build", "kills": 0, "inside a step": 0, **dict.fromkeys(FAULTS, 0)}
    number = 0
    while row["kills"] < n_kills:
        number += 1
        path, rows = folder / f"build{number}", texts("r", N_TEXTS, rng)
        log, n_lives = Log(folder / f"build{number}.log"), rng.randint(1, 5)
        n_before = int(row["kills"])
        for _ in range(min(n_lives, n_kills - n_before)):
            row["kills"] += killed("build", path, rows, log, rng)
        row["inside a step"] = row["kills"]
        try:
            index = build(path, rows, log)
            if held(path) != rows or index.info()["records_without_vectors"]:
                row["lost"] += 1
        except ShoestringError:
            row["not resumed"] += 1
            continue
        n_kept, n_paid = _n_kept(path), log.n_paid()
        row["paid twice"] += n_paid > n_kept + UNKEPT * (row["kills"] - n_before)
    return row


def _n_kept(path: Path) -> int:
    with ScoreCache(path) as cache:
        return cache.count()


def run(quick: bool, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each operation: how many kills, and what they did."""
    LsaEncoder(2).fit(["scikit-learn is imported once", "and not in every child"])
    rng, rows = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op, n_kills in (N_KILLS_QUICK if quick else N_KILLS).items():
            if op == "build":
                rows.append(kill_builds(n_kills, Path(folder), rng))
            else:
                rows.append(kill_changes(op, n_kills, Path(folder), rng))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows
