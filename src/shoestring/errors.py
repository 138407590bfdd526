"""Every error that shoestring raises on purpose.

::

    ShoestringError
    ├── ParameterError (ValueError)        a parameter has a value it cannot have
    ├── ShapeError (ValueError)            arrays do not fit together
    ├── FormatError (ValueError)           a file or record cannot be read: file, line, column
    ├── ScorerError (RuntimeError)         a pair scorer raised, or answered NaN or the wrong length
    │   └── DeadlineError                  the time for an answer ended first: it is partial
    ├── NotFittedError (ValueError, AttributeError)
    ├── UnknownWordError (KeyError)        a word without a vector: the nearest spellings
    ├── MissingExtraError (ImportError)    an optional dependency is absent: prints the install line
    ├── BudgetError (ValueError)           the budget cannot be kept: says what would fit
    ├── BusyError (RuntimeError)           another process is writing
    ├── StorageError (OSError)             the disk is full or read-only, a file cannot be opened
    └── IntegrityError (RuntimeError)      an artifact is damaged: which file, how to rebuild

    ShoestringWarning (UserWarning)        to be known, not to stop for

Each message is one sentence or two: the value that came, what it must be, the next step. The
command line prints it and exits with 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


class ShoestringError(Exception):
    """The root of the tree: catch this to catch them all."""


class ParameterError(ShoestringError, ValueError):
    """A parameter has a value it cannot have.

    Attributes
    ----------
    got : str
        The value as the sentence shows it, by which the command line finds its flag; empty where
        the error was not made by :meth:`of`.

    Examples
    --------
    >>> raise ParameterError.of("k", "SearchIndex.query", "an int of at least 1", 0)
    Traceback (most recent call last):
        ...
    shoestring.errors.ParameterError: The 'k' parameter of SearchIndex.query must be an int of at
    least 1. Got 0 instead.
    """

    got = ""

    @classmethod
    def of(cls, name: str, owner: str, want: str, got: object, hint: str = "") -> ParameterError:
        """Build the one sentence that every parameter error uses."""
        sentence = f"must be {want}. Got {short(got)} instead. {hint}".rstrip()
        error = cls(f"The {name!r} parameter of {owner} {sentence}")
        error.got = short(got)  # not the value: it may be large, or not to be pickled
        return error


def short(value: object) -> str:
    """A value as it is shown in a message: a path as its text, a long one cut.

    Examples
    --------
    >>> short("a" * 1_000_000)[:4], len(short("a" * 1_000_000)) < 130
    ("'aaa", True)
    """
    if isinstance(value, Path):
        value = str(value)
    elif getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    try:
        return _SHORT.repr(value)
    except Exception:  # an int of 5,000 digits, a repr that raises
        return f"a value of type {type(value).__name__}"


class ShapeError(ShoestringError, ValueError):
    """Arrays do not fit together."""


class FormatError(ShoestringError, ValueError):
    """An input file or record cannot be read.

    Parameters
    ----------
    message : str
        What was found, what it must be, the next step.
    file : str or Path, optional
        Where; ``line`` and ``column`` count from 1 and are put in front of the message.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        self.file, self.line, self.column = file, line, column
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)


class ScorerError(ShoestringError, RuntimeError):
    """A pair scorer raised, or answered NaN or the wrong number of scores."""

    scores: Any = None  # of its pairs where it answered for some of them; NaN for the others


class DeadlineError(ScorerError):
    """The time for an answer ended before the scorer had answered: what is known is ranked."""


class NotFittedError(ShoestringError, ValueError, AttributeError):
    """An estimator was used before it was fitted."""


class UnknownWordError(ShoestringError, KeyError):
    """A word that has no vector; the message names the nearest spellings."""

    __str__ = Exception.__str__  # KeyError's shows the message in quotes


class MissingExtraError(ShoestringError, ImportError):
    """An optional dependency is absent.

    Examples
    --------
    >>> str(MissingExtraError("torch", extra="torch", purpose="the MiniLM scorer"))
    "the MiniLM scorer needs the package 'torch'. Install it: pip install 'shoestring[torch]'"
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, extra, purpose)  # as it is pickled

    def __str__(self) -> str:
        package, extra, purpose = self.args
        install = f"Install it: pip install 'shoestring[{extra}]'"
        return f"{purpose} needs the package {package!r}. {install}"


class BudgetError(ShoestringError, ValueError):
    """A budget that cannot be kept; the message says what would fit."""


class BusyError(ShoestringError, RuntimeError):
    """Another process is writing to the same artifact."""


class StorageError(ShoestringError, OSError):
    """The disk is full or read-only, or a file cannot be opened."""


class IntegrityError(ShoestringError, RuntimeError):
    """An artifact is damaged; the message names the file and says how to rebuild it."""


class ShoestringWarning(UserWarning):
    """Something that the user should know and need not stop for."""
