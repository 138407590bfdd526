"""Values of every kind, sensible and not, for tests/test_fuzz.py."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from scipy import sparse

TEXTS = [
    "red shoes for the winter", "blue shoes for the summer", "a red hat of warm wool",
    "a warm coat for the cold winter", "the hat is blue and the coat is red",
    "红色 的 鞋 很 好看", "蓝色的鞋子很好看", "冬天的大衣很暖和", "这顶帽子是红色的",
    "how do I wash a coat of wool?", "list[int] is a type", "naïve café — 100 %",
]  # fmt: skip
LABELS = ["shoes", "shoes", "hat", "coat", "hat", "shoes", "shoes", "coat", "hat", "coat", "x", "x"]
WORDS = ["red", "blue", "hat", "coat", "winter", "红色", "鞋"]
N_BITS = 40


class TheirError(Exception):
    """Raised by an object of the caller in its own code: may come out as it is."""


class Hostile:
    """An object whose every method raises: the caller's error, but never from a message."""

    def _raise(self, *_: object) -> Any:
        raise TheirError

    __len__ = __iter__ = __getitem__ = __bool__ = __float__ = __index__ = __fspath__ = _raise
    __array__ = __contains__ = __call__ = predict = encode = _raise


class Unprintable:
    """Its repr raises: a message must not."""

    def __repr__(self) -> str:
        raise RuntimeError("a message called repr")

    __str__ = __repr__


class LongText(str):
    """A kind of str of one's own."""


def _numpy_values() -> list[Any]:
    nan = np.float32("nan")
    return [
        np.int64(3), np.uint8(200), np.int8(-1), np.float32(0.5), nan, np.bool_(True),
        np.str_("red"),
        np.datetime64("2020-01-01"), np.array(3), np.array("red"), np.zeros(0), np.zeros((0, 3)),
        np.zeros((2, 0)), np.ones((2, 3)), np.ones((3, 2, 2)), np.full((2, 3), np.nan),
        np.full((2, 3), 1e308), np.full((12, 3), 1e200), np.eye(12, 3, dtype=np.float16),
        np.ones((12, 3), np.complex64), np.ones((12, 3), bool), np.zeros((2, 5), np.uint8),
        np.arange(-2, 4), np.array([1 << 62, 5]), np.array(["red", "鞋"]), np.array([b"a", b"b"]),
        np.array(["a", None, 3.5], object), np.array([[1, 2], [3]], object), np.array(None),
        np.array([("a", 1)], [("t", "U1"), ("n", "i4")]), np.ma.masked_array([1.0, 2.0], [0, 1]),
        np.array(["2020", "NaT"], "datetime64[D]"), np.ones((1, 1)),
    ]  # fmt: skip


def _frames() -> list[Any]:
    twice = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    mixed = pd.DataFrame({"text": ["a", None, "c"], "id": [1, 2.5, "x"], "label": [pd.NA, 1, "y"]})
    return [
        twice, mixed, pd.DataFrame(), pd.Series(["a", None], dtype=object), pd.Series(["red",
        "hat"]),
        pd.Series([1.0, np.nan]), pd.NA, pd.NaT, pd.DataFrame({"text": ["red shoes"]}),
        pd.DataFrame({("a", 1): [1]}), pl.DataFrame({"text": ["a", None]}), pl.Series(["a"]),
        pl.DataFrame({"text": ["red"], "id": [b"1"]}).lazy(), pl.DataFrame({"text": [["a"]]}),
        sparse.csr_array(np.eye(3)), sparse.csr_array((12, 3)), sparse.coo_array(np.eye(12, 3)),
    ]  # fmt: skip


def _odd_objects() -> list[Any]:
    ring: list[Any] = ["a"]
    ring.append(ring)
    deep: Any = "red"
    for _ in range(200):
        deep = [deep]
    return [
        Hostile(), Unprintable(), [Unprintable()], ring, deep, object(), int, len, json, Ellipsis,
        NotImplemented, KeyError("x"), LongText("red"), range(3), slice(2), memoryview(b"ab"),
        bytearray(b"ab"), datetime.date(2020, 1, 1), decimal.Decimal("1.5"), decimal.Decimal("NaN"),
        1j, 10**400, -(10**400), 1 << 31, 1 << 32, 1 << 63, 1 << 64, lambda *_: None,
        lambda pairs: [math.nan] * len(pairs), lambda pairs: [-1e300] * len(pairs),
        Path("missing"), Path("a\0b"), Path(), io.BytesIO(b"ab"), io.StringIO("ab"), {"a", "b"},
        frozenset("ab"), {"text": "red"}, {"text": None}, {1: 2}, [{"text": "red", "id": []}],
        [{"text": "a", "label": ["x", "y"]}], [("a", "b")], [("a", "b", "c")], ["ab", "cd"],
        [["a", "b"], "cd"], [None], [math.nan], [[]], [b"red"], [True], [1, "a"], [["red", None]],
    ]  # fmt: skip


ODD_TEXTS = [
    "", " ", "\n", "\0", "a\0b", "\ud83d", "bad \udcff", "\ufeffred", "مرحبا بالعالم",
    "\u202eabc", "红色的鞋",
    "🎉👩‍👩‍👧", "e\u0301" * 50, "[/INST]", "\x1b[31mred", "a" * 100_000, "红" * 30_000,
    "red " * 5_000, "NaN",
    "-1", "1e999", "../..", "a/b", ".", "..", "-", "--help", "x" * 300, "auto", "lsa", "words",
    "no/such",
    "\t", "\r\n", "a\tb", 'a"b', "a,b", "%s %d", "{0}", "red AND NOT (", '"red', "NEAR(", "*",
    "^", "col:x",
    "٣", "²", "İI", "ß", "ﬁ", "\u2028", "\x85", "1_0", "null", "{", "[", "<doc>",
]  # fmt: skip

WILD_TEXT = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=30).map(lambda text: text.lstrip("/~")),
    st.sampled_from(TEXTS),
)
_INT = st.one_of(st.integers(-3, 60), st.integers(), st.sampled_from([1 << 20, 10**9, -(1 << 40)]))
FLOAT = st.one_of(st.floats(), st.sampled_from([0.5, -0.0, 1e-320, 1e39, math.nan, math.inf]))
_SCALAR = st.one_of(st.none(), st.booleans(), _INT, FLOAT, WILD_TEXT, st.binary(max_size=9))
_ODD = [*_numpy_values(), *_frames(), *_odd_objects()]
ANYTHING: SearchStrategy[Any] = st.one_of(
    _SCALAR,
    st.sampled_from(range(len(_ODD))).map(_ODD.__getitem__),
    st.sampled_from(range(len(_ODD))).map(_ODD.__getitem__),
    st.recursive(
        _SCALAR,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.tuples(inner, inner),
            st.dictionaries(st.one_of(WILD_TEXT, st.integers()), inner, max_size=3),
            st.lists(inner, max_size=3).map(lambda items: (item for item in items)),
        ),
        max_leaves=8,
    ),
)
"""Nothing here is infinite, and no path in it is absolute: what is written stays in one folder."""

TEXT = st.one_of(st.sampled_from(TEXTS), WILD_TEXT)
WORD = st.one_of(st.sampled_from(WORDS), WILD_TEXT)
LIST_OF_TEXTS = st.one_of(
    st.lists(TEXT, max_size=6),
    st.just(TEXTS),
    st.just(np.array(TEXTS)),
    st.just(pd.Series(TEXTS)),
    st.just(tuple(TEXTS)),
)
N_TEXTS = st.just(TEXTS)
SMALL = st.integers(1, 12)
COUNT = st.one_of(st.integers(0, 20), st.just(np.int64(3)))
SEED = st.integers(0, 9)
FLAG = st.booleans()
MAYBE_MINUTES = st.one_of(st.none(), st.sampled_from([0.001, 0.01, 1, 1.0]))
OUT = st.sampled_from(["out", Path("out"), "新的", "a b"])
DUPLICATE = st.sampled_from(["error", "replace", "skip"])
COLUMN = st.sampled_from(["text", "id", "label"])
MAYBE_COLUMN = st.one_of(st.none(), COLUMN)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=4)
RECORDS = st.one_of(
    LIST_OF_TEXTS,
    st.lists(
        st.fixed_dictionaries({"text": TEXT}, optional={"id": st.one_of(TEXT, COUNT)}), max_size=4
    ),
    st.just(pd.DataFrame({"text": TEXTS, "id": range(100, 112)})),
)
ROWS = st.one_of(
    st.integers(0, 3).map(lambda seed: np.random.default_rng(seed).normal(size=(12, 4))),
    st.just(np.ones((12, 4), np.float32)),
    st.lists(st.lists(FLOAT, min_size=4, max_size=4), max_size=4),
    st.lists(st.lists(st.floats(-9, 9), min_size=4, max_size=4), min_size=12, max_size=12),
)
TARGETS = st.one_of(
    st.just(LABELS),
    st.just(np.arange(12) % 3),
    st.lists(st.one_of(st.integers(0, 2), TEXT), min_size=12, max_size=12),
    st.lists(st.sampled_from("ab"), min_size=12, max_size=12),
)
CODES = st.one_of(
    st.lists(st.lists(st.integers(0, N_BITS - 1), unique=True, max_size=5), max_size=4),
    st.lists(st.lists(st.integers(-2, N_BITS + 2), max_size=5), max_size=4),
    st.just(np.eye(3, N_BITS, dtype=bool)),
    st.just(sparse.csr_array(np.eye(3, N_BITS))),
    st.lists(st.binary(min_size=5, max_size=5), max_size=3).map(
        lambda rows: np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 5)
    ),
)
IDS = st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4))
TOKENS = st.one_of(TEXT, st.lists(WORD, max_size=5))
