"""The documentation of the Python at hand as a corpus: real texts that need no download.

Docstrings are parsed from the source files with ``ast``; nothing is imported, so nothing runs.

Not covered: modules written in C (builtins, itertools, math), private names, functions inside
functions, docstrings that are assigned at run time.
"""

from __future__ import annotations

import ast
import inspect
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shoestring.checks import checked_items
from shoestring.errors import FormatError, ParameterError
from shoestring.text.sentences import split_first_sentence
from shoestring.types import Record

MIN_WORDS = 4
MIN_QUESTION_WORDS = 4
MIN_REST_WORDS = 8

_SKIPPED = frozenset(
    (
        *("test", "tests", "testing", "idlelib", "lib2to3", "turtledemo"),
        *("site-packages", "dist-packages", "lib-dynload"),
    )
)
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = ast.Module | ast.ClassDef | _FUNCTIONS


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A question with a known answer: a docstring's first sentence, and the rest of it."""

    question: str
    record: Record


def python_docs() -> Iterator[Record]:
    """The docstrings of the standard library's modules, classes, functions and methods.

    Yields
    ------
    Record
        The id is the dotted name, the text the docstring without its indentation; at least
        :data:`MIN_WORDS` words. Modules in alphabetical order, each in the order of its source; the
        first definition of a name counts. About 5,200 texts for Python 3.11.

    Raises
    ------
    FormatError
        If this Python comes without the source of its library.

    Examples
    --------
    >>> record = next(r for r in python_docs() if r.id == "argparse.ArgumentParser")
    >>> record.text.splitlines()[0]
    'Object for parsing command line strings into Python objects.'
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    record = None
    for record in docstrings(stdlib):
        yield record
    if record is None:
        raise FormatError(
            "no docstrings: this Python comes without the source of its library. Use another one.",
            file=stdlib,
        )


def known_items(records: Iterable[Record]) -> Iterator[KnownItem]:
    """Questions with known answers: the first sentence asks, the rest of the text answers.

    Parameters
    ----------
    records : iterable of Record
        Held in memory, as a question must be unique among them.

    Yields
    ------
    KnownItem
        A question of at least :data:`MIN_QUESTION_WORDS` words; its record has the id and the rest
        of the text, at least :data:`MIN_REST_WORDS` words. In the order of the records; about
        2,100 for the standard library of Python 3.11.

    Examples
    --------
    >>> text = "Return the middle value. The mean of the two middle values if their number is even."
    >>> next(known_items([Record("median", text)])).question
    'Return the middle value.'
    """
    found = checked_items("records", records, "known_items", "a list of records")
    for record in found:
        if not isinstance(record, Record):
            raise ParameterError.of("records", "known_items", "a list of records", record)
    split = [(record, *split_first_sentence(record.text)) for record in found]
    asked = Counter(question.casefold() for _, question, _ in split)
    for record, question, rest in split:
        long_enough = _n_words(question) >= MIN_QUESTION_WORDS and _n_words(rest) >= MIN_REST_WORDS
        if long_enough and asked[question.casefold()] == 1 and question not in rest:
            yield KnownItem(question, Record(record.id, rest, record.label))


def _n_words(text: str) -> int:
    return len(text.split())


def docstrings(root: Path, package: str = "") -> Iterator[Record]:
    """Those of the modules below a folder, which is that of a package if one is named."""
    seen: set[str] = set()
    for module, path in sorted(_modules(root, package)):
        for name, text in _docstrings(module, path):
            if name not in seen and _n_words(text) >= MIN_WORDS and "\0" not in text:
                seen.add(name)
                yield Record(name, text)


def _modules(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Dotted names and files of the public modules below a folder."""
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        private = any(part.startswith("_") or not part.isidentifier() for part in parts)
        if not private and _SKIPPED.isdisjoint(parts) and (parts or package):
            yield ".".join((package, *parts) if package else parts), path


def _docstrings(module: str, path: Path) -> Iterator[tuple[str, str]]:
    """Dotted names and cleaned docstrings of one file; none if it does not parse."""
    try:
        with tokenize.open(path) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    yield from _walk(tree, module)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """The docstring of a definition, and those in it; what is under ``if`` and ``try``, too."""
    if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node, clean=False)):
        yield name, inspect.cleandoc(docstring).strip()
    if isinstance(node, _FUNCTIONS):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | _FUNCTIONS):
            if not child.name.startswith("_"):
                yield from _walk(child, f"{name}.{child.name}")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _walk(child, name)
