"""The command refuses what is not safe or not whole, with one sentence."""

import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from tests.serve.conftest import KEY, RECORDS

from shoestring import SearchIndex


@pytest.fixture
def folder(tmp_path):
    SearchIndex.build(tmp_path / "i", RECORDS, scorer=None, encoder="lsa", progress=False)
    return tmp_path / "i"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "Name an index or --demo"),
        (["INDEX", "--demo"], "Name an index or --demo"),
        (["INDEX", "--host", "0.0.0.0"], "--api-key-file"),
        (["INDEX", "--host", "192.168.1.5"], "--insecure"),
        (["INDEX", "--host", "example.org"], "--insecure"),
        (["INDEX", "--api-key-file", "nowhere"], "nowhere"),
        (["nowhere"], "nowhere"),
        (["INDEX", "--classifier", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_exit_code_2(run_command, folder, given, what):
    given = [folder if word == "INDEX" else word for word in given]
    code, _, said = run_command("serve", *given)
    assert code == 2 and what in said and said.count("\n") == 1


@pytest.mark.parametrize("keys", ["", "short", f"{KEY}\nshort"])
def test_a_key_file_must_have_keys_and_they_are_not_shown(run_command, folder, tmp_path, keys):
    (tmp_path / "keys").write_text(keys, encoding="utf-8")
    code, out, said = run_command("serve", folder, "--api-key-file", tmp_path / "keys")
    assert code == 2 and "16 characters" in said and KEY not in out + said


def test_a_server_starts_answers_and_ends_with_ctrl_c(folder):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    port = free_port()
    command = [sys.executable, "-m", "shoestring.cli", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", env=os.environ)
    try:
        assert f"http://127.0.0.1:{port}" in server.stderr.readline()
        while server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
                    assert b'"records":4' in answer.read()
                    break
            except OSError:
                continue
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode in (0, 130)


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
