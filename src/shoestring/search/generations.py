"""Which segments of arrays are in force: publishing, reading and forgetting them.

The caller holds the writer lock, except for :func:`read_view`.

Letters: N rows of a segment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shoestring.errors import IntegrityError, ParameterError, ShapeError
from shoestring.search import schema
from shoestring.search.arrays import (
    Manifest,
    Rows,
    Segment,
    open_segment,
    remove_files,
    segment_files,
    write_segment,
)
from shoestring.search.database import column, in_chunks, transaction
from shoestring.search.snapshot import View
from shoestring.types import IntArray


def put_in_place_of_all(
    connection: sqlite3.Connection,
    folder: Path,
    keys: ArrayLike,
    arrays: Mapping[str, Rows],
    attrs: Mapping[str, Any],
) -> int:
    """Make one segment all that is in force; return the new generation."""
    rows = _checked_keys(connection, keys, "RecordStore.publish")
    live = column(connection, "SELECT key FROM records")
    number = schema.next_number(connection, "segments")
    manifest = write_segment(folder, number, rows, arrays)
    try:
        with transaction(connection):
            schema.replace_keys(connection, "pending", np.setdiff1d(live, rows))
            schema.replace_keys(connection, "dead", np.setdiff1d(rows, live))
            schema.retire_segments(connection)
            return schema.enforce_segment(connection, number, manifest, attrs)
    except BaseException:
        _remove_unless_named(connection, folder, number, manifest)
        raise


def put_beside_others(
    connection: sqlite3.Connection,
    folder: Path,
    keys: ArrayLike,
    arrays: Mapping[str, Rows],
    attrs: Mapping[str, Any] | None,
) -> int:
    """Add a segment for records without arrays; return the new generation."""
    rows = _checked_keys(connection, keys, "RecordStore.append_segment")
    gone = _keys_deleted_meanwhile(connection, rows)
    if attrs is None:
        attrs = schema.read_state(connection).attrs
    number = schema.next_number(connection, "segments")
    manifest = write_segment(folder, number, rows, arrays)
    try:
        _check_fits(manifest, schema.read_segments(connection))
        with transaction(connection):
            schema.remove_keys(connection, "pending", rows)
            schema.insert_keys(connection, "dead", gone)
            return schema.enforce_segment(connection, number, manifest, attrs)
    except BaseException:
        _remove_unless_named(connection, folder, number, manifest)
        raise


def _checked_keys(connection: sqlite3.Connection, keys: ArrayLike, owner: str) -> IntArray:
    rows = np.asarray(keys)
    if rows.size == 0:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) < len(rows):
        raise ParameterError.of("keys", owner, "distinct integers in one dimension", rows)
    bound = schema.next_number(connection, "records")
    if rows.min() < 1 or rows.max() >= bound:
        raise ParameterError.of("keys", owner, f"keys of this index, below {bound}", rows.max())
    return rows.astype(np.int64)


def _keys_deleted_meanwhile(connection: sqlite3.Connection, rows: IntArray) -> IntArray:
    others = np.setdiff1d(rows, column(connection, "SELECT key FROM pending"))
    values = others.tolist()
    for table in ("records", "dead"):  # both mean: in a segment already
        sql = f"SELECT key FROM {table} WHERE key IN ({{}})"
        for (key,) in in_chunks(connection, sql, values):
            want = "keys of records without arrays"
            raise ParameterError.of("keys", "RecordStore.append_segment", want, key)
    return others


def _check_fits(manifest: Manifest, others: Iterable[tuple[int, Manifest]]) -> None:
    new = {name: (dtype, shape[1:]) for name, (dtype, shape) in manifest.items()}
    for _, other in others:
        old = {name: (dtype, shape[1:]) for name, (dtype, shape) in other.items()}
        if new != old:
            raise ShapeError(
                f"The arrays of a new segment must be like those of the others, {old}. "
                f"Got {new} instead; publish all arrays to change them."
            )


def _remove_unless_named(
    connection: sqlite3.Connection, folder: Path, number: int, manifest: Manifest
) -> None:
    """Remove what a failure left, but not if an interrupt came right after the commit."""
    named = connection.execute("SELECT 1 FROM segments WHERE number = ?", (number,)).fetchone()
    if named is None:
        remove_files(segment_files(folder, number, manifest).values())


def forget_old(connection: sqlite3.Connection, folder: Path) -> None:
    """Remove files that neither this generation nor the one before it names."""
    with transaction(connection):
        segments = schema.forget_segments(connection)
    named = {
        path
        for number, manifest in segments
        for path in segment_files(folder, number, manifest).values()
    }
    remove_files(path for path in folder.iterdir() if path not in named)


def read_view(connection: sqlite3.Connection, folder: Path, remembered: View | None) -> View:
    """What is in force in the transaction of ``connection``.

    From the view ``remembered``, an earlier one, comes what need not be read or mapped twice.

    Raises
    ------
    FileNotFoundError
        If an array is gone, as when the generation has been forgotten in the meantime.
    IntegrityError
        If an array is damaged.
    """
    state = schema.read_state(connection)
    if remembered is not None and remembered.uid != state.uid:
        remembered = None
    if remembered is not None and remembered.revision == state.revision:
        return remembered
    mapped: dict[int, Segment] = {}
    if remembered is not None:
        mapped = dict(zip(remembered.numbers, remembered.segments, strict=True))
    dead = column(connection, "SELECT key FROM dead")
    numbers, segments = [], []
    for number, manifest in schema.read_segments(connection):
        segment = mapped.get(number) or open_segment(folder, number, manifest)
        numbers.append(number)
        segments.append(_without(segment, dead))
    keys = np.concatenate([np.empty(0, np.int64), *(segment.live_keys for segment in segments)])
    pending = column(connection, "SELECT key FROM pending")
    keys.flags.writeable = pending.flags.writeable = False
    return View(
        state.uid,
        state.revision,
        state.generation,
        state.attrs,
        tuple(numbers),
        tuple(segments),
        keys,
        pending,
    )


def _without(segment: Segment, dead: IntArray) -> Segment:
    is_dead = np.isin(segment.keys, dead)
    return replace(segment, alive=~is_dead if is_dead.any() else None)


def live_rows(view: View) -> dict[str, Rows]:
    """Every array of a view, its live rows piece by piece in the order of ``view.keys``."""
    names = view.segments[0].arrays if view.segments else ()
    return {
        name: chain.from_iterable(segment.live_chunks(name) for segment in view.segments)
        for name in names
    }


def find_damage(connection: sqlite3.Connection, folder: Path) -> None:
    """Check everything that can be checked.

    Raises
    ------
    IntegrityError
        If the database and the full-text index are damaged or do not agree with each other.
    """
    complaints = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    connection.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
    for sql, complaint in schema.CONTRADICTIONS:
        if (found := connection.execute(sql).fetchone()) is not None:
            complaints.append(f"{complaint} (key {found[0]})")
    view = read_view(connection, folder, None)
    live = column(connection, "SELECT key FROM records")
    if not np.array_equal(np.sort(np.concatenate([view.keys, view.pending_keys])), np.sort(live)):
        complaints.append("the arrays do not cover the records")
    if complaints != ["ok"]:
        raise IntegrityError("; ".join(complaints))
