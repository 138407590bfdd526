"""The folder of an index and its ``config.json``: format version and settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoestring.artifacts import CONFIG, written_aside
from shoestring.errors import ParameterError, StorageError
from shoestring.text.numbered import checked_config

FORMAT_VERSION = 1
_FORMAT = "shoestring-search-index"
_OURS = (
    CONFIG,
    "records.sqlite",
    "scores.sqlite",
    "arrays",
    "writer.",
    "encoder",
    "token-table",
)


def claim_folder(folder: Path) -> None:
    """Make the folder of a new index; one that a killed process had begun will do.

    Raises
    ------
    ParameterError
        If it holds an index already, or files that are none of ours.
    StorageError
        If it cannot be made.
    """
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in names if not name.startswith(_OURS)]
    if CONFIG in names or strange or folder.is_file():
        hint = "It holds an index: go on with it (--resume, resume=True) or choose another folder."
        if strange:
            hint = f"It holds {strange[0]!r}, for example; choose another folder."
        want = "a new or empty folder"
        raise ParameterError.of("path", "RecordStore.create", want, str(folder), hint)
    try:
        (folder / "arrays").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}.") from error


def release_folder(folder: Path) -> None:
    """Leave nothing of an index that was begun and refused, but for scores that were paid for."""
    (folder / CONFIG).unlink(missing_ok=True)  # first: from here on it is no index
    for path in folder.iterdir():
        if path.is_dir() and path.name.startswith(_OURS):
            shutil.rmtree(path)
        elif path.name.startswith(_OURS) and not path.name.startswith("scores."):
            path.unlink()


def write_config(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, whole or not at all."""
    document = {"format": _FORMAT, "format_version": FORMAT_VERSION, "settings": dict(settings)}
    try:
        text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        want = f"made of what JSON can say ({error})"
        raise ParameterError.of("settings", "RecordStore", want, settings) from error
    with written_aside(folder / CONFIG) as file:
        file.write((text + "\n").encode())


def read_config(folder: Path) -> dict[str, Any]:
    """Read the settings.

    Raises
    ------
    ParameterError
        If the folder is no index.
    FormatError
        If another version of shoestring wrote it in a way that this one cannot read.
    IntegrityError
        If the file is damaged.
    """
    hint = "Build one: shoestring search build ... --out FOLDER"
    want = "the folder of an index"
    document = checked_config(
        folder, _FORMAT, (FORMAT_VERSION,), what="a search index", remedy="Build the index again.",
        missing=ParameterError.of("path", "RecordStore.open", want, str(folder), hint),
    )  # fmt: skip
    settings: dict[str, Any] = document.get("settings", {})
    return settings
