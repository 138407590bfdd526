"""The folder of a ladder: config.json, and the side network's weights beside it.

Beside them lies what was trained of the backbone, if anything: a LoRA adapter, or all of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised

from shoestring.artifacts import CONFIG, sync_folder, written_aside, written_by
from shoestring.errors import IntegrityError, ParameterError
from shoestring.models.adapter import Adapter
from shoestring.models.frozen import FrozenBackbone
from shoestring.models.model_files import weights_digest
from shoestring.text.numbered import NumberedFolder, checked_config
from shoestring.tune.config import FORMAT, VERSIONS, LadderConfig

if TYPE_CHECKING:
    from shoestring.tune.ladder import Ladder

INSIDE, ADAPTER = "backbone", "adapter"  # folders beside the weights, of what was trained
ENTRIES = {"backbone", "backbone_digest", "with_side", "weights", "ladder"}
_REMEDY = "Save the ladder again, or train it again."
L = TypeVar("L", bound="Ladder")


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a ladder's folder; the errors of :func:`checked_config`."""
    missing = ParameterError.of(
        "folder", "Ladder.from_pretrained", "a folder that Ladder.save_pretrained wrote",
        str(folder), "There is no config.json in it.",
    )  # fmt: skip
    return checked_config(
        folder, FORMAT, VERSIONS, what="a ladder", remedy=_REMEDY, missing=missing
    )


FOLDER = NumberedFolder(
    ("side.safetensors", INSIDE, ADAPTER), "a ladder", "Ladder.save_pretrained", read_config
)


def save(
    folder: Path, ladder: Ladder, write: Callable[[Path], None] | None = None, kind: str = INSIDE
) -> None:
    """Write the weights of a new number, then the config that names them.

    Parameters
    ----------
    folder : Path
    ladder : Ladder
    write : callable, optional
        Writes what was trained of the backbone into a folder.
    kind : {"backbone", "adapter"}
        Whether that is all of it; by default the frozen one is named.

    Raises
    ------
    ParameterError, StorageError
        As :meth:`Ladder.save_pretrained`.
    """
    backbone = ladder.backbone
    if not backbone.name:
        raise ParameterError(
            "The backbone of this ladder was given as a model, so that it could not be found "
            "again. Save it with its tokenizer, and make the ladder from that folder."
        )
    if write is None and backbone.adapter is not None:
        write, kind = partial(shutil.copytree, backbone.adapter.folder), ADAPTER
    FOLDER.check(folder)
    check_backbone(folder, backbone)
    number = FOLDER.claim(folder)
    name, inside = f"side-{number}.safetensors", f"{kind}-{number}"
    weights = {key: value.detach().cpu().contiguous() for key, value in ladder.state_dict().items()}
    if write is not None:
        written_by(write, folder / inside)
    with written_aside(folder / name) as file:
        file.write(serialised(weights))
    document = {
        "format": FORMAT,
        "format_version": VERSIONS[0],
        "backbone": backbone.name,
        "backbone_digest": backbone.own_digest,
        "with_side": ladder.side is not None,
        "weights": name,
        "ladder": ladder.settings.to_dict(),
    }
    if backbone.adapter is None and write is None:
        document["values_digest"] = backbone.values_digest
    if write is not None:
        if kind == ADAPTER:
            document |= {"format_version": VERSIONS[1], ADAPTER: inside}
        else:
            document |= {"backbone": inside, "backbone_digest": weights_digest(folder / inside)}
    with written_aside(folder / CONFIG) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
    sync_folder(folder)
    FOLDER.drop_others(folder, {name} if write is None else {name, inside})


def check_backbone(folder: Path, backbone: FrozenBackbone) -> None:
    """See that a backbone is not in the folder that is to be replaced: it would be deleted."""
    if backbone.folder is not None and backbone.folder.resolve().is_relative_to(folder.resolve()):
        raise ParameterError.of(
            "backbone", FOLDER.owner, f"outside of {folder}, which is replaced",
            str(backbone.folder), "Choose another folder.",
        )  # fmt: skip


def load(cls: type[L], folder: Path, backbone: Any, dtype: str) -> L:
    """Open a folder; see :meth:`Ladder.from_pretrained`."""
    document = read_config(folder)
    lacking = ENTRIES - document.keys()
    if lacking:
        raise IntegrityError(f"{folder / CONFIG} lacks {min(lacking)!r}. {_REMEDY}")
    if backbone is None:
        backbone = document["backbone"]
        if FOLDER.number_of(backbone) is not None:
            backbone = folder / backbone
    adapter = document.get(ADAPTER)
    frozen = FrozenBackbone.load(
        backbone, dtype, None if adapter is None else Adapter.load(folder / adapter)
    )
    of, is_now = document["backbone_digest"], frozen.own_digest
    if frozen.folder is None:  # a model that was given
        of = document.get("values_digest")
        is_now = frozen.values_digest
    if of not in (None, is_now):  # None: saved before it was kept
        raise IntegrityError(
            f"The ladder in {folder} was trained on the backbone {of}; "
            f"{frozen.folder or 'the model that was given'} is {is_now}. Name the folder of the "
            "first one: Ladder.from_pretrained(folder, backbone=...)."
        )
    ladder = cls(LadderConfig.from_dict(document["ladder"]), frozen, document["with_side"])
    file = folder / str(document["weights"])
    try:
        weights = load_file(file)
        ladder.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise IntegrityError(f"{file} cannot be read: {reason}. {_REMEDY}") from error
    missing = set(ladder.state_dict()) - set(weights)
    if missing:
        raise IntegrityError(f"{file} lacks {min(missing)}. {_REMEDY}")
    ladder.eval()
    return ladder
