"""kill -9 under load with writers: every write that was acknowledged is there."""

import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from tests.serve.conftest import KEY, RECORDS
from tests.serve.test_serve_command import free_port

from shoestring import SearchIndex

N_KILLS, N_WRITERS = 10, 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_acknowledged_writes_survive_kills(tmp_path):
    folder, keys = tmp_path / "i", tmp_path / "keys"
    SearchIndex.build(folder, RECORDS, scorer=None, encoder="lsa", progress=False)
    keys.write_text(KEY, encoding="utf-8")
    rng, acknowledged, numbers = random.Random(0), [], itertools.count()
    for kill in range(N_KILLS):
        port = free_port()
        command = ["serve", str(folder), "--port", str(port), "--api-key-file", str(keys)]
        server = subprocess.Popen(
            [sys.executable, "-m", "shoestring.cli", *command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        before = len(acknowledged)
        writers = [
            threading.Thread(target=write, args=(port, server, numbers, acknowledged))
            for _ in range(N_WRITERS)
        ]
        for writer in writers:
            writer.start()
        while len(acknowledged) < before + 5:
            assert server.poll() is None
            time.sleep(0.01)
        time.sleep(rng.random())
        server.kill()
        for writer in writers:
            writer.join()
        server.wait()
        index = SearchIndex.open(folder)
        assert len(index.get(acknowledged)) == len(acknowledged), f"after kill {kill}"
        index.check()
    assert len(acknowledged) >= 5 * N_KILLS


def write(port, server, numbers, acknowledged):
    """Add records one after the other until the server is gone; note those it acknowledged."""
    while server.poll() is None:
        id = f"new-{next(numbers)}"
        record = {"id": id, "text": f"warm socks number {id} 暖袜"}
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/records",
            json.dumps({"records": [record]}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                if json.load(answer)["added"] == 1:
                    acknowledged.append(id)
        except urllib.error.HTTPError as error:
            error.close()  # busy
        except (OSError, ValueError, http.client.HTTPException):  # not yet there, or killed
            time.sleep(0.05)
