"""What the tests of both rules' trainings share: a corpus, and a process that trains on it."""

import subprocess
import sys
from pathlib import Path

import numpy as np

_PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[2])]


def two_topics(n_words, n_sentences, seed):
    """Sentences of 20 words over two topics, as ids, offsets and counts; some words are skipped."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(2, size=(n_sentences, 1))
    words = 2 * rng.integers(n_words // 2, size=(n_sentences, 20)) + topics
    words[rng.random(words.shape) < 0.05] = -1
    ids = words.astype(np.int32).ravel()
    return ids, np.arange(0, len(ids) + 1, 20), np.bincount(ids[ids >= 0], minlength=n_words)


def damaged_in_turn(folder):
    """Give the name of each array of a folder in turn while it is gone, cut off or changed."""
    for file in sorted(folder.glob("*/*.npy")):
        whole = file.read_bytes()
        for damage in (None, whole[:-9], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
            file.unlink()  # others may have it mapped
            if damage is not None:
                file.write_bytes(damage)
            yield file.stem
            file.write_bytes(whole)


def started(program):
    """A process that runs a program, in which the test modules can be imported by their names."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {_PATHS!r}\n{program}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
