"""Segments of an overlap index: rows that were added together, in memory and as files.

A segment is a set of posting lists with what has been deleted since. On disk it is one ``.npy``
file for each array, in an artifact folder: a save keeps the files of the segments that are in force
there already, and who reads an older index keeps its files mapped.

Not covered: bit rot inside a file of the right size; two processes that save to one folder at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import Artifact, ArtifactKind
from shoestring.overlap.codes import Codes
from shoestring.overlap.postings import Postings, build_postings, codes_of
from shoestring.types import IntArray

KIND = ArtifactKind(
    format="shoestring-overlap-index",
    what="an overlap index",
    owner="OverlapIndex.save",
    remedy="Save the index again, or build it from the codes and save it.",
)

AnyArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Posting lists of N rows, and which of the rows have been deleted."""

    postings: Postings
    by_id: IntArray  # rows (N,) in the order of their ids; empty where the ids are ascending
    deleted: NDArray[np.bool_]  # (N,)
    n_deleted: int = 0
    saved_as: dict[str, Any] = field(default_factory=dict)  # its files, as the config lists them

    @property
    def n_live(self) -> int:
        """Rows that have not been deleted."""
        return len(self.deleted) - self.n_deleted

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays, the mapped ones included."""
        return sum(array.nbytes for array in (*self.postings, self.by_id, self.deleted))

    def rows_of(self, ids: IntArray) -> IntArray:
        """The row of each id that is live here, -1 for the others."""
        known, order = self.postings.ids, self.by_id if len(self.by_id) else None
        rows = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
        if order is not None:
            rows = order[rows]
        return np.where((known[rows] == ids) & ~self.deleted[rows], rows, -1)

    def without(self, rows: IntArray) -> Segment:
        """The same segment with some rows deleted; this one stays as it is."""
        deleted = self.deleted.copy()
        deleted[rows] = True
        return replace(self, deleted=deleted, n_deleted=int(np.count_nonzero(deleted)))


def make_segment(codes: Codes, ids: IntArray) -> Segment:
    """A segment of at least one code."""
    postings = build_postings(codes, ids)
    is_ascending = bool((postings.ids[1:] > postings.ids[:-1]).all())
    by_id = np.empty(0, np.int64) if is_ascending else np.argsort(postings.ids)
    return Segment(postings, by_id, np.zeros(len(ids), np.bool_))


def live_codes(segments: Sequence[Segment], n_bits: int) -> tuple[list[Codes], list[IntArray]]:
    """The codes and ids of the rows of some segments that have not been deleted."""
    codes = [codes_of(segment.postings, n_bits, ~segment.deleted) for segment in segments]
    return codes, [segment.postings.ids[~segment.deleted] for segment in segments]


def save_segments(
    segments: Sequence[Segment], settings: dict[str, Any], folder: Path
) -> tuple[Segment, ...]:
    """Save segments to a folder and return them; what is there already is not written again."""
    saved, entries = [], []
    with KIND.saving(folder) as writer:
        in_force = writer.before.get("files", {})
        number = int(writer.before.get("next_segment", 0))
        for segment in segments:
            arrays: dict[str, AnyArray] = {**segment.postings._asdict(), "by_id": segment.by_id}
            is_there = segment.saved_as and all(
                in_force.get(name) == entry and (folder / entry["file"]).exists()
                for name, entry in segment.saved_as.items()
            )
            if is_there:
                for name in segment.saved_as:
                    writer.keep(name)
                prefix = next(iter(segment.saved_as)).partition("_")[0]
            else:
                prefix, number = f"segment{number}", number + 1
                for name, array in arrays.items():
                    writer.array(f"{prefix}_{name}.npy", array)
            names = [f"{prefix}_{name}.npy" for name in arrays]
            saved.append(replace(segment, saved_as={name: writer.files[name] for name in names}))
            shapes = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
            entries.append({"prefix": prefix, "arrays": shapes, "n_deleted": segment.n_deleted})
            if segment.n_deleted:
                writer.array(f"{prefix}_deleted.npy", segment.deleted)
        writer.config |= {**settings, "next_segment": number, "segments": entries}
    return tuple(saved)


def open_segment(artifact: Artifact, entry: dict[str, Any]) -> Segment:
    """Map the files of a segment; what is deleted is read into memory."""
    names = {name: f"{entry['prefix']}_{name}.npy" for name in entry["arrays"]}
    arrays = {
        name: _mapped(artifact, names[name], dtype, tuple(shape))
        for name, (dtype, shape) in entry["arrays"].items()
    }
    by_id = arrays.pop("by_id")
    postings = Postings(**arrays)
    deleted = np.zeros(len(postings.ids), np.bool_)
    if entry["n_deleted"]:
        deleted |= _mapped(artifact, f"{entry['prefix']}_deleted.npy", "|b1", deleted.shape)
    saved_as = {name: artifact.config["files"][name] for name in names.values()}
    return Segment(postings, by_id, deleted, int(np.count_nonzero(deleted)), saved_as)


def _mapped(artifact: Artifact, name: str, dtype: str, shape: tuple[int, ...]) -> AnyArray:
    return np.asarray(artifact.array(name, dtype, shape, mode="c"))  # none is written to
