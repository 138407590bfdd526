"""The store beside a dict: whatever the order of the steps, both hold the same."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoestring.errors import ParameterError
from shoestring.search.store import AddReport, RecordStore
from shoestring.text.tokens import tokenize
from shoestring.types import IntArray, Record

pytestmark = pytest.mark.usefixtures("no_fsync")

IDS = st.sampled_from(["a", "b", "c", "d", "é", "编号", "with space", "A"])
WORDS = st.sampled_from(["list", "List", "sort", "12", "列表", "排序", "naïve", '"', "OR", "\0"])
TEXTS = st.lists(WORDS, max_size=5).map(" ".join) | st.text(max_size=8)
FIELDS = st.dictionaries(st.sampled_from(["a", "列"]), TEXTS | st.integers(-9, 9), max_size=2)
RECORDS = st.lists(st.builds(Record, IDS, TEXTS, st.none(), FIELDS), max_size=6)


def vectors(keys: IntArray) -> np.ndarray:
    return np.stack([keys, -keys], axis=1)


class StoreBesideADict(RuleBasedStateMachine):
    """Records, fields and who has arrays, checked after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = RecordStore.create(self.folder / "index")
        self.model: dict[str, Record] = {}
        self.with_arrays: set[str] = set()

    def teardown(self) -> None:
        self.store.verify()
        shutil.rmtree(self.folder)

    @rule(records=RECORDS, batch_size=st.integers(1, 3))
    def add_new(self, records: list[Record], batch_size: int) -> None:
        ids = [record.id for record in records]
        if len(set(ids)) < len(ids) or set(ids) & self.model.keys():
            with pytest.raises(ParameterError, match="whose ids are new"):
                self.store.add(records, batch_size=batch_size)
        else:
            report = self.store.add(iter(records), batch_size=batch_size)
            assert report == AddReport(added=len(records))
            self.model.update(zip(ids, records, strict=True))

    @rule(records=RECORDS, batch_size=st.integers(1, 3))
    def add_or_replace(self, records: list[Record], batch_size: int) -> None:
        n_new = len({record.id for record in records} - self.model.keys())
        report = self.store.add(records, on_duplicate="replace", batch_size=batch_size)
        assert report == AddReport(added=n_new, replaced=len(records) - n_new)
        for record in records:
            self.model[record.id] = record
            self.with_arrays.discard(record.id)

    @rule(records=RECORDS, batch_size=st.integers(1, 3))
    def add_or_skip(self, records: list[Record], batch_size: int) -> None:
        report = self.store.add(records, on_duplicate="skip", batch_size=batch_size)
        n_before = len(self.model)
        for record in records:
            self.model.setdefault(record.id, record)
        n_new = len(self.model) - n_before
        assert report == AddReport(added=n_new, skipped=len(records) - n_new)

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        present = set(ids) & self.model.keys()
        if present != set(ids):
            with pytest.raises(ParameterError, match="ids of the index"):
                self.store.delete(ids)
            return
        assert self.store.delete(ids) == len(present)
        for id in present:
            del self.model[id]
        self.with_arrays -= present

    @rule(scale=st.integers(2, 9))
    def replace_arrays(self, scale: int) -> None:
        with self.store.snapshot() as snapshot:
            rows = scale * vectors(snapshot.view.row_keys)
        self.store.replace({"v": rows}, attrs={"scale": scale})

    @rule(n=st.integers(0, 3))
    def append(self, n: int) -> None:
        with self.store.snapshot() as snapshot:
            keys = snapshot.pending_keys[:n]
            self.with_arrays |= set(snapshot.ids(keys))
            scale = snapshot.view.attrs.get("scale", 1)
        if len(keys):
            self.store.append(keys, {"v": scale * vectors(keys)})

    @rule()
    def discard_arrays(self) -> None:
        self.store.discard_arrays()
        self.with_arrays = set()

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def open_again(self) -> None:
        self.store = RecordStore.open(self.store.path)

    @rule(query=TEXTS, limit=st.integers(1, 9))
    def find(self, query: str, limit: int) -> None:
        asked = set(tokenize(query))
        want = {id for id, record in self.model.items() if asked & set(tokenize(record.text))}
        with self.store.snapshot() as snapshot:
            keys, scores = snapshot.candidates(tokenize(query), limit)
            found = snapshot.ids(keys)
        assert len(found) == min(limit, len(want)) and set(found) <= want
        order = list(zip(-scores, keys, strict=True))
        assert order == sorted(order)

    @invariant()
    def both_hold_the_same(self) -> None:
        with self.store.snapshot() as snapshot:
            assert len(snapshot) == len(self.model)
            assert set(snapshot.ids(snapshot.keys)) == self.with_arrays
            keys = snapshot.all_keys
            assert {record.id: record for record in snapshot.records(keys)} == self.model
            rows = list(snapshot.view.live_rows("v")) if self.with_arrays else []
            if rows:
                want = snapshot.view.attrs.get("scale", 1) * vectors(snapshot.keys)
                np.testing.assert_array_equal(np.concatenate(rows), want)


TestStoreBesideADict = StoreBesideADict.TestCase
TestStoreBesideADict.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, print_blob=True
)
