"""kill -9 at random moments of changes to records and arrays: nothing is lost.

Run as a program this file forks writers and kills them; as a test it runs that program.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring.search import database
from shoestring.search.store import RecordStore
from shoestring.types import IntArray, Record

N_KILLS = 30
BATCH = 20
OPS = ["add", "add", "replace", "delete", "append", "append", "replace arrays", "compact"]
LONGEST_LIFE_S = 0.5


def vectors(keys: IntArray, tag: int) -> np.ndarray:
    """Rows (N, 50) that say whose they are and of which publication."""
    return np.multiply.outer(keys * tag, np.arange(1, 51)).astype(np.float64)


def write_until_killed(path: Path, log: int, rng: random.Random) -> None:
    """Change the index at random; note each step before and after in the log."""
    if rng.random() < 0.5:  # more steps in a life; a kill loses nothing that was not synced
        database.SYNCHRONOUS = "OFF"
        os.fsync = lambda descriptor: None
    store = RecordStore.open(path)
    with store.snapshot() as snapshot:
        known = snapshot.ids(snapshot.all_keys)
    while True:
        op = rng.choice(OPS)
        step: dict[str, Any] = {"op": op}
        if op == "add":
            ids = [f"r{rng.getrandbits(60):x}" for _ in range(rng.randint(1, 5 * BATCH))]
            step["texts"] = {id: f"common w{rng.getrandbits(60):x} 词" for id in ids}
        elif op == "replace":
            ids = rng.sample(known, min(len(known), rng.randint(1, 3 * BATCH)))
            step["texts"] = {id: f"common w{rng.getrandbits(60):x} 新" for id in ids}
        elif op == "delete":
            step["ids"] = rng.sample(known, min(len(known), rng.randint(1, 3 * BATCH)))
        os.write(log, (json.dumps(step) + "\n").encode())
        if op in ("add", "replace"):
            texts = [Record(id, text) for id, text in step["texts"].items()]
            store.add(texts, on_duplicate="error" if op == "add" else "replace", batch_size=BATCH)
            known += [id for id in step["texts"] if op == "add"]
        elif op == "delete":
            store.delete(step["ids"])
            known = [id for id in known if id not in set(step["ids"])]
        else:
            put_arrays(store, op, rng)
        os.write(log, b"done\n")


def put_arrays(store: RecordStore, op: str, rng: random.Random) -> None:
    with store.snapshot() as snapshot:
        keys, pending = snapshot.view.row_keys, snapshot.pending_keys
        tag = snapshot.view.attrs.get("tag", 1)
    if op == "replace arrays":
        tag = rng.randint(2, 1_000_000)
        store.replace({"v": vectors(keys, tag)}, attrs={"tag": tag})
    elif op == "compact":
        store.compact()
    else:
        batch = pending[: rng.randint(1, 2 * BATCH)]
        store.append(batch, {"v": vectors(batch, tag)})


def replay(model: dict[str, str], steps: list[dict[str, Any]]) -> None:
    for step in steps:
        model.update(step.get("texts", {}))
        for id in step.get("ids", []):
            del model[id]


def check(path: Path, model: dict[str, str], in_hand: dict[str, Any] | None) -> None:
    """The index is whole, and holds the model and perhaps some batches of the step in hand."""
    store = RecordStore.open(path)
    store.verify()
    with store.snapshot() as snapshot:
        keys = snapshot.all_keys
        held = dict(zip(snapshot.ids(keys), snapshot.texts(keys), strict=True))
        allowed = [dict(model)]
        if in_hand is not None and "texts" in in_hand:
            new = list(in_hand["texts"].items())
            ends = range(BATCH, len(new) + BATCH, BATCH)
            allowed += [{**model, **dict(new[:end])} for end in ends]
        elif in_hand is not None and "ids" in in_hand:
            allowed.append({id: model[id] for id in model if id not in set(in_hand["ids"])})
        assert held in allowed, "more than the batch in hand was lost, or less than a batch kept"
        for id in random.Random(0).sample(sorted(held), min(20, len(held))):
            found, _ = snapshot.candidates([held[id].split()[1]], 5)
            assert snapshot.ids(found) == [id]
        assert len(snapshot.candidates(["common"], 1_000_000)[0]) == len(held)
        if "v" in snapshot.view.arrays:
            want = vectors(snapshot.view.row_keys, snapshot.view.attrs.get("tag", 1))
            assert np.array_equal(snapshot.view.arrays["v"], want), "a mixture of moments"
    model.clear()
    model.update(held)


def kill_writers(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    RecordStore.create(path)
    model: dict[str, str] = {}
    interrupted: Counter[str] = Counter()
    for i in range(N_KILLS):
        log_path = path.parent / f"log{i}"
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        child = os.fork()
        if child == 0:
            try:
                write_until_killed(path, log, random.Random(f"{seed} {i}"))
            except BaseException:
                traceback.print_exc()
            os._exit(1)  # only an error ends a writer
        time.sleep(rng.uniform(0.02, LONGEST_LIFE_S))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(log)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        lines = log_path.read_text().splitlines()
        steps = [json.loads(line) for line in lines if line != "done"]
        in_hand = steps.pop() if steps and lines[-1] != "done" else None
        interrupted[in_hand["op"] if in_hand else "between"] += 1
        replay(model, steps)
        check(path, model, in_hand)
    store = RecordStore.open(path)
    store.compact()
    check(path, model, None)
    assert len(list((path / "arrays").iterdir())) == 2
    print(f"{sum(interrupted.values())} killed in {dict(interrupted)}, {len(model)} records")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the writers that it kills")
def test_writers_killed_at_random_moments_lose_at_most_the_batch_in_hand(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path / "index"), "20240229"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{N_KILLS} killed in ")


if __name__ == "__main__":
    kill_writers(Path(sys.argv[1]), int(sys.argv[2]))
