"""Folders of masked-language modelling: the one that is made, and the one aside while it is.

``out`` is a plain transformers folder; its config.json says who made these weights, so that it is
replaced by the next training and nothing else is. ``out.tuning`` has how.json, the tokenizer, the
token ids and the checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tokenizers import Tokenizer
from transformers import BertForMaskedLM

from shoestring.artifacts import sync_folder, written_aside, written_by
from shoestring.errors import FormatError, ParameterError, StorageError
from shoestring.jobs import RUN
from shoestring.models.backbone import quiet_loading
from shoestring.models.model_files import read_model_config
from shoestring.tune.mlm_data import IDS
from shoestring.tune.mlm_tokenizer import ROLES, SPECIAL

MADE_BY = "shoestring tune mlm"
MARK, WEIGHTS = "made_by", "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")


def begin(folder: Path, how: dict[str, Any], *, resume: bool) -> None:
    """Make the folder, or see what an interrupted training left: tokens stay if they fit.

    Raises
    ------
    ParameterError
        If there is a checkpoint and nobody asked for it, or it is of other text or settings.
    """
    check_place(folder)
    file, how, known = folder / HOW, json.loads(json.dumps(how)), {}
    with suppress(OSError, ValueError):
        known = json.loads(file.read_bytes())
    if any(folder.glob("checkpoint-*")):
        if not resume:
            raise ParameterError(
                f"An interrupted training is in {folder}. Go on with it (--resume), or remove "
                "that folder to begin anew."
            )
        if known != how:
            raise ParameterError(
                f"The interrupted training in {folder} was of other texts or settings. Pass the "
                "same, or remove that folder to begin anew."
            )
    elif known.get("tokens") != how["tokens"]:
        shutil.rmtree(folder, ignore_errors=True)
    write_how(folder, json.dumps(how))


@contextmanager
def place_in(folder: Path) -> Iterator[None]:
    """Leave nothing behind where something is wrong with what came, and no token is kept."""
    try:
        yield
    except (ParameterError, FormatError):
        if not (folder / IDS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def check_folder(out: Path) -> None:
    """See that a folder is new, empty, or was made here; nothing is written."""
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    ours = set(names) <= set(FILES) and {"config.json", WEIGHTS} <= set(names)
    if out.is_file() or (names and not (ours and read_model_config(out).get(MARK) == _mark(out))):
        raise ParameterError.of(
            "out", "tune mlm", "a new or empty folder, or one that tune mlm made", str(out),
            "Choose another.",
        )  # fmt: skip


def _mark(folder: Path) -> str:
    """Who made the weights of a folder: a model that learnt more after it has other ones."""
    with (folder / WEIGHTS).open("rb") as file:
        return f"{MADE_BY} {hashlib.file_digest(file, 'blake2b').hexdigest()[:12]}"


def restore(aside: Path, out: Path) -> None:
    """Put back what was about to be replaced when somebody pulled the plug."""
    if (aside / "replaced").exists() and not out.exists():
        (aside / "replaced").rename(out)


def save(model: Any, tokenizer: Tokenizer, aside: Path, out: Path) -> None:
    """Write the folder aside and put it in its place."""
    new, old = aside / "model", aside / "replaced"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    plain = BertForMaskedLM(model.config)
    plain.load_state_dict(model.state_dict())
    with quiet_loading():
        written_by(plain.save_pretrained, new)
    (new / "generation_config.json").unlink(missing_ok=True)
    config = {**read_model_config(new), MARK: _mark(new)}
    with written_aside(new / "config.json") as file:
        file.write(json.dumps(config, indent=2).encode() + b"\n")
    with written_aside(new / "tokenizer.json") as file:
        file.write(tokenizer.to_str(pretty=True).encode())
    document = {
        "tokenizer_class": "PreTrainedTokenizerFast", **dict(zip(ROLES, SPECIAL, strict=True)),
        "model_max_length": model.config.max_position_embeddings,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }  # fmt: skip
    with written_aside(new / "tokenizer_config.json") as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")
    if out.exists():
        out.rename(old)
    new.rename(out)
    sync_folder(out.parent)
    shutil.rmtree(aside, ignore_errors=True)


# until RunFolder takes their place

HOW = "how.json"


def check_place(folder: Path) -> None:
    """See that a folder is new, empty, or one in which a training has kept its place."""
    if folder.is_file():
        raise ParameterError(f"{folder} is where training would keep its place, and is a file.")
    if folder.exists() and not (folder / HOW).exists() and any(folder.iterdir()):
        raise ParameterError(
            f"{folder} is where training would keep its place, and holds other files. Move them, "
            "or choose another --out."
        )


def write_how(folder: Path, document: str) -> None:
    """Make the folder, and note of what training it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error
    with written_aside(folder / HOW) as out:
        out.write(document.encode())


def locked(file: Path) -> BinaryIO | None:
    """A file's lock, until it is closed; None if another has it. OSError if it cannot be made."""
    lock = file.open("wb")
    try:
        import fcntl
    except ImportError:  # Windows: there is none, and none is held
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
            return lock
    except OSError:
        pass
    lock.close()  # another has it, or has just removed it
    return None


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Be the only run that trains a folder.

    Raises
    ------
    ParameterError
        If another does.
    StorageError
        If nothing can be written beside it.
    """
    file = out.with_name(out.name + ".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = locked(file)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}.") from error
    if lock is None:
        raise ParameterError(
            f"Another run is training {out}. Wait for it, or choose another --out."
        )
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        lock.close()


def used_before(folder: Path) -> float:
    """Seconds that an interrupted training had used."""
    file = folder / RUN
    try:
        return float(json.loads(file.read_bytes())["used_s"]) if file.exists() else 0.0
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror or error}.") from error
