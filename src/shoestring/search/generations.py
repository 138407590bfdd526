"""Which segments of arrays are in force: publishing, reading and forgetting them.

The caller holds the writer lock, except for :func:`read_view`.

Letters: N live records that have arrays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shoestring.errors import ParameterError, ShapeError
from shoestring.search import schema
from shoestring.search.arrays import (
    KEYS,
    AnyArray,
    Manifest,
    Rows,
    Segment,
    open_segment,
    remove_files,
    segment_files,
    write_segment,
)
from shoestring.search.database import column, in_chunks, transaction
from shoestring.types import IntArray


@dataclass(frozen=True, slots=True)
class View:
    """What is in force, and stays in memory for as long as nothing is written.

    Parameters
    ----------
    uid : str
        Tells an index from one built later in the same place.
    revision : int
        How often the index has changed.
    generation : int
        How often its arrays have changed.
    attrs : dict
        What was published with the arrays.
    numbers : tuple of int
        Of the segments, oldest first.
    segments : tuple of Segment
    keys : int64 array (N,)
        The live keys of the segments, one after the other.
    pending_keys : int64 array
        The live keys without arrays, ascending.
    """

    uid: str
    revision: int
    generation: int
    attrs: dict[str, Any]
    numbers: tuple[int, ...]
    segments: tuple[Segment, ...]
    keys: IntArray
    pending_keys: IntArray


def read_view(connection: sqlite3.Connection, folder: Path, remembered: View | None) -> View:
    """What is in force in the transaction of ``connection``.

    From ``remembered``, an earlier view, comes what need not be read or mapped twice.

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
    named = schema.read_segments(connection)
    segments = [
        _without(mapped.get(number) or open_segment(folder, number, manifest), dead)
        for number, manifest in named
    ]
    keys = np.concatenate([np.empty(0, np.int64), *(segment.live_keys for segment in segments)])
    pending = column(connection, "SELECT key FROM pending")
    keys.flags.writeable = pending.flags.writeable = False
    numbers = tuple(number for number, _ in named)
    return View(*state, numbers, tuple(segments), keys, pending)


def _without(segment: Segment, dead: IntArray) -> Segment:
    is_dead = np.isin(segment.keys, dead)
    return replace(segment, alive=~is_dead if is_dead.any() else None)


def put_in_place_of_all(
    connection: sqlite3.Connection,
    folder: Path,
    keys: ArrayLike,
    arrays: Mapping[str, Rows],
    attrs: Mapping[str, Any],
) -> int:
    """Make one segment all that is in force; return the new generation."""
    rows = _checked_keys(connection, keys, "RecordStore.publish")
    if not len(rows):
        return clear(connection, attrs)
    live = column(connection, "SELECT key FROM records")
    written = _segment_written(connection, folder, rows, arrays)
    with written as (number, manifest), transaction(connection):
        schema.replace_keys(connection, "pending", np.setdiff1d(live, rows))
        schema.replace_keys(connection, "dead", np.setdiff1d(rows, live))
        generation = schema.begin_generation(connection, attrs)
        schema.retire_segments(connection, schema.read_segments(connection))
        schema.insert_segment(connection, number, manifest)
    return generation


def clear(connection: sqlite3.Connection, attrs: Mapping[str, Any]) -> int:
    """Leave no arrays in force, without opening those that are; return the new generation."""
    with transaction(connection):
        live = column(connection, "SELECT key FROM records")
        schema.replace_keys(connection, "pending", live)
        schema.replace_keys(connection, "dead", live[:0])
        generation = schema.begin_generation(connection, attrs)
        schema.retire_segments(connection, schema.read_segments(connection))
    return generation


def put_beside_others(
    connection: sqlite3.Connection,
    folder: Path,
    view: View,
    keys: ArrayLike,
    arrays: Mapping[str, Rows],
    attrs: Mapping[str, Any] | None,
) -> int:
    """Add a segment for records without arrays; return the new generation.

    The last segments are merged into it as in a binary counter, while they are no larger: there are
    never more than about log2(N) segments, and no row is written more often than that.
    """
    rows = _checked_keys(connection, keys, "RecordStore.append_segment")
    gone = _keys_deleted_meanwhile(connection, rows)
    named = schema.read_segments(connection)
    _check_names(arrays, named)
    n_kept = _first_to_merge(view.segments, len(rows))
    merged = view.segments[n_kept:]
    all_keys = np.concatenate([*(segment.live_keys for segment in merged), rows])
    written = _segment_written(connection, folder, all_keys, live_rows(merged, arrays))
    with written as (number, manifest):
        _check_row_shapes(manifest, named)
        with transaction(connection):
            schema.remove_keys(connection, "pending", rows)
            for segment in merged:
                schema.remove_keys(connection, "dead", segment.dead_keys)
            schema.insert_keys(connection, "dead", gone)
            generation = schema.begin_generation(connection, view.attrs if attrs is None else attrs)
            schema.retire_segments(connection, named[n_kept:])
            schema.insert_segment(connection, number, manifest)
    return generation


def _first_to_merge(segments: Sequence[Segment], n_rows: int) -> int:
    first = len(segments)
    while first > 0 and len(segments[first - 1].live_keys) <= n_rows:
        first -= 1
        n_rows += len(segments[first].live_keys)
    return first


def live_rows(segments: Sequence[Segment], then: Mapping[str, Rows]) -> dict[str, Rows]:
    """The live rows of every array, piece by piece, and below them those of ``then``."""
    return {name: _pieces(segments, name, rows) for name, rows in then.items()}


def _pieces(segments: Sequence[Segment], name: str, rows: Rows) -> Iterator[AnyArray]:
    for segment in segments:
        yield from segment.live_chunks(name)
    yield from [rows] if isinstance(rows, np.ndarray) else rows


def _checked_keys(connection: sqlite3.Connection, keys: ArrayLike, owner: str) -> IntArray:
    rows = np.asarray(keys)
    if rows.size == 0:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) < len(rows):
        raise ParameterError.of("keys", owner, "distinct integers in one dimension", rows)
    bound = schema.next_number(connection, "records")
    if rows.min() < 1 or rows.max() >= bound:
        want = f"keys of this index, from 1 to {bound - 1}"
        raise ParameterError.of("keys", owner, want, rows)
    return rows.astype(np.int64)


def _keys_deleted_meanwhile(connection: sqlite3.Connection, rows: IntArray) -> IntArray:
    others = np.setdiff1d(rows, column(connection, "SELECT key FROM pending"))
    for table in ("records", "dead"):  # both mean: in a segment already
        sql = f"SELECT key FROM {table} WHERE key IN ({{}})"
        for (key,) in in_chunks(connection, sql, others.tolist()):
            want = "keys of records without arrays"
            raise ParameterError.of("keys", "RecordStore.append_segment", want, key)
    return others


def _check_names(arrays: Mapping[str, Rows], named: Sequence[tuple[int, Manifest]]) -> None:
    for _, manifest in named[:1]:
        if manifest.keys() - {KEYS} != arrays.keys():
            raise ParameterError.of(
                "arrays",
                "RecordStore.append_segment",
                f"those that are in force, {sorted(manifest.keys() - {KEYS})}",
                sorted(arrays),
            )


def _check_row_shapes(manifest: Manifest, named: Sequence[tuple[int, Manifest]]) -> None:
    for _, other in named[:1]:
        for name, (dtype, shape) in other.items():
            if (dtype, shape[1:]) != (manifest[name][0], manifest[name][1][1:]):
                raise ShapeError(
                    f"A row of array {name!r} must be {dtype} {shape[1:]} as in the other segments."
                    f" Got {manifest[name][0]} {manifest[name][1][1:]} instead."
                )


@contextmanager
def _segment_written(
    connection: sqlite3.Connection, folder: Path, keys: IntArray, arrays: Mapping[str, Rows]
) -> Iterator[tuple[int, Manifest]]:
    """Write a segment for the block to put in force, and remove it if that fails."""
    number = schema.next_number(connection, "segments")
    manifest = write_segment(folder, number, keys, arrays)
    try:
        yield number, manifest
    except BaseException:
        sql = "SELECT 1 FROM segments WHERE number = ?"
        if connection.execute(sql, (number,)).fetchone() is None:  # not interrupted after COMMIT
            remove_files(segment_files(folder, number, manifest).values())
        raise


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


def find_damage(connection: sqlite3.Connection, folder: Path) -> list[str]:
    """Read everything; say what is damaged or does not agree.

    Raises
    ------
    sqlite3.DatabaseError, FileNotFoundError, IntegrityError
        If a file is damaged so that it cannot be read on.
    """
    rows = connection.execute("PRAGMA integrity_check(3)")
    complaints = [row[0] for row in rows if row[0] != "ok"]
    connection.execute("INSERT INTO fulltext (fulltext) VALUES ('integrity-check')")
    for sql, complaint in schema.CONTRADICTIONS:
        if (found := connection.execute(sql).fetchone()) is not None:
            complaints.append(f"{complaint} (key {found[0]})")
    view = read_view(connection, folder, None)
    live = column(connection, "SELECT key FROM records ORDER BY key")
    if not np.array_equal(np.sort(np.concatenate([view.keys, view.pending_keys])), live):
        complaints.append("the arrays and the records without arrays are not all records")
    dead = column(connection, "SELECT key FROM dead ORDER BY key")
    in_arrays = np.concatenate([dead[:0], *(segment.dead_keys for segment in view.segments)])
    if not np.array_equal(np.sort(in_arrays), dead):
        complaints.append("a key counts as dead that no array holds")
    return complaints
