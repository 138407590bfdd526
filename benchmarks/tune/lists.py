"""Lists that a scorer learns from: a question, its own text, and what is mistaken for it.

First sentences ask for the rest of them (``shoestring.text.known_items``): of the documentation of
packages whose licences allow it (BSD, MIT, Apache and their like), and of paragraphs of the English
Wikipedia (CC BY-SA). Wrong texts are some of the others that MiniLM's vectors have among their
first 30.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import CACHE, require
from shoestring.artifacts import written_aside

PACKAGES = (
    "PIL", "accelerate", "babel", "click", "datasets", "faiss", "fontTools", "fsspec",
    "huggingface_hub", "jinja2", "joblib", "matplotlib", "mpmath", "mypy", "narwhals", "networkx",
    "numba", "numpy", "packaging", "pandas", "peft", "polars", "pyarrow", "pydantic", "pygments",
    "ray", "rich", "scipy", "sentence_transformers", "sklearn", "sympy", "torch", "transformers",
    "urllib3",
)  # fmt: skip
DEPTH, FEW = 30, 2_000
DOCUMENTATION, WIKIPEDIA = "documentation", "wikipedia"
PARAGRAPHS, FEWEST_WORDS = 16_000, 40
FOLDER = CACHE / "tune" / "default-scorer"


@dataclass(frozen=True)
class Way:
    """How a scorer is trained.

    Parameters
    ----------
    method, pairs : str
        As ``shoestring tune score`` has them.
    limit : int or None
        Lists at most.
    epochs, rate, decay : float
    n_wrong : int
        Texts beside the right one in a list.
    all_questions : bool
        Lists of those whose own text is not among the first, too.
    sources : tuple of str
        Of lists, so many of each as the limit says.
    """

    method: str
    pairs: str
    limit: int | None = FEW
    epochs: float = 2.0
    rate: float = 2e-3
    decay: float = 0.01
    n_wrong: int = 3
    all_questions: bool = False
    sources: tuple[str, ...] = (DOCUMENTATION,)


def first_places(questions: list[str], texts: list[str]) -> np.ndarray:
    """The first texts by MiniLM's vectors (questions, DEPTH)."""
    from shoestring.models.token_encoder import SentenceEncoder

    encoder = SentenceEncoder()
    asked, kept = encoder.encode(questions), encoder.encode(texts)
    places = np.empty((len(questions), DEPTH), np.int64)
    for start in range(0, len(questions), 512):
        likeness = asked[start : start + 512] @ kept.T
        places[start : start + 512] = np.argsort(-likeness, axis=1, kind="stable")[:, :DEPTH]
    return places


def known_answers(packages: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Questions and their texts, of packages or (none) of the standard library."""
    from importlib.util import find_spec

    from shoestring.text.pydocs import docstrings, known_items, python_docs

    roots = ((Path(root), n) for n in packages for root in find_spec(n).submodule_search_locations)
    found = (record for root, name in roots for record in docstrings(root, name))
    items = list(known_items(found if packages else python_docs()))
    return [item.question for item in items], [item.record.text for item in items]


def wikipedia() -> tuple[list[str], list[str]]:
    """Questions and their texts, of paragraphs of the English Wikipedia drawn by the seed."""
    from shoestring.text import known_items, read_documents
    from shoestring.types import Record

    files = sorted(require("text/enwiki-part").glob("*.gz"))
    paragraphs = [
        paragraph
        for file in files
        for paragraphs in read_documents(file)
        for paragraph in paragraphs
        if len(paragraph.split()) >= FEWEST_WORDS
    ]
    drawn = np.random.default_rng(0).permutation(len(paragraphs))[:PARAGRAPHS]
    items = list(known_items(Record(str(i), paragraphs[i]) for i in drawn))
    return [item.question for item in items], [item.record.text for item in items]


@cache
def candidates(source: str) -> tuple[list[str], list[str], np.ndarray]:
    """Questions and texts that are learnt, and their first places; made once."""
    file = FOLDER / f"candidates-{source}.npz"
    questions, texts = wikipedia() if source == WIKIPEDIA else known_answers(PACKAGES)
    if file.exists():
        with np.load(file) as kept:
            if len(kept["places"]) == len(questions):
                return questions, texts, kept["places"]
    places = first_places(questions, texts)
    with written_aside(file) as out:
        np.savez(out, places=places)
    return questions, texts, places


def lists(way: Way, seed: int) -> Path:
    """Write the lists that a way learns from, once."""
    kind = "-".join(("all" if way.all_questions else "found", *way.sources))
    file = FOLDER / f"lists-{kind}-{way.limit}-{way.n_wrong}-{seed}.jsonl"
    if file.exists():
        return file
    rng = np.random.default_rng(seed)
    aside = file.with_suffix(".writing")
    with aside.open("w", encoding="utf-8") as out:
        for source in way.sources:
            for line in _lines(way, source, rng):
                out.write(json.dumps(line) + "\n")
    aside.rename(file)
    return file


def _lines(way: Way, source: str, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    questions, texts, places = candidates(source)
    n_left = way.limit or len(questions)
    for row in rng.permutation(len(questions)):
        wrong = places[row][places[row] != row]
        if n_left and (way.all_questions or len(wrong) < DEPTH):
            n_left -= 1
            rows = [(row, 1), *((i, 0) for i in rng.permutation(wrong)[: way.n_wrong])]
            for i, label in rows:
                yield {"a": questions[row], "b": texts[i], "label": label}
