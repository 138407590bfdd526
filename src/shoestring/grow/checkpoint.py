"""Growing a checkpoint folder: its tensors stay on the disk until they are read.

The large model's tensors are made and written one after the other in the format of safetensors, in
shards; the folder gets its name when the certificate holds. Tokenizer and other files are copied,
and a pooling module of sentence-transformers learns the new width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from shoestring import checks
from shoestring.artifacts import make_folder, refused, write_json, written_whole
from shoestring.errors import FormatError, ParameterError
from shoestring.grow.certificate import MOST_TOKENS, TEXTS, Certificate, certify, empty
from shoestring.grow.growth import Growth
from shoestring.grow.sizes import OWNER, family_of
from shoestring.models.backbone import LOCAL, model_folder, reading_model, transformer_folder
from shoestring.models.model_files import read_json
from shoestring.plan.cost import describe
from shoestring.plan.cost import weights as weights_of
from shoestring.plan.job import class_and_config

SHARD = 4_000_000_000  # bytes
NOT_COPIED = ("*.safetensors", "*.index.json", "*.bin", "*.h5", "*.msgpack", "onnx", "openvino")
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


@dataclass(frozen=True)
class Plan:
    """What a growth will be, before anything is written; bytes and FLOPs as numbers."""

    rules: dict[str, str]  # of each axis that grows
    sizes: dict[str, tuple[int, int]]  # before and after
    parameters: tuple[int, int]
    flops_a_token: tuple[int, int]  # forward: two for each weight of a matrix that is multiplied
    disk: int  # bytes to write
    memory: int  # bytes at most, with the certificate
    learning_rate: float  # to go on with, as a share of the last one


def grow_checkpoint(
    folder: str | Path | None, out: str | Path, *, dtype: str | None = None, stack: bool = False,
    batches: int = 4, seed: int = 0, **sizes: int | None,
) -> Certificate:  # fmt: skip
    """Grow the checkpoint in a folder into another; see :func:`shoestring.grow.grow`.

    Parameters
    ----------
    folder : str or Path
        Of transformers or sentence-transformers.
    out : str or Path
        A folder that does not exist yet, or is empty.
    dtype : {"float32", "float16", "bfloat16", "float64"}, optional
        Of the large model's tensors; that of the small one's by default.
    stack, batches, seed, **sizes
        As the arguments of ``grow``.

    Raises
    ------
    ParameterError, FormatError, StorageError, ShoestringError
        As :func:`~shoestring.grow.grow`, for files that cannot be read, a disk that is too small.
    """
    out, root = checks.checked_path("out", out, OWNER).resolve(), model_folder(folder).resolve()
    is_taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if is_taken or root in (out, *out.parents):
        want = "a new folder, outside of the small model's"
        raise ParameterError.of("out", OWNER, want, out, "Name another one.")
    growth, type_ = opened(folder, sizes, dtype=dtype, stack=stack, seed=seed)
    disk = _plan(growth, type_).disk
    make_folder(out.parent)
    if disk > (free := shutil.disk_usage(out.parent).free):
        raise refused(out, f"{disk:,} bytes are needed and {free:,} are free")
    certificate = certify(growth, type_, batches)
    inside = transformer_folder(folder).resolve().relative_to(root)
    aside = out.with_name(f"{out.name}.{os.getpid()}.part")
    with written_whole(aside):
        shutil.copytree(root, aside, ignore=shutil.ignore_patterns(*NOT_COPIED))
        write_tensors(aside / inside, growth, type_)
        config = growth.new_config()
        config.dtype = type_
        config.save_pretrained(aside / inside)
        write_json(aside / "certificate.json", asdict(certificate))
        for file in aside.glob("*_Pooling/config.json"):
            pooling = read_json(file)
            write_json(file, pooling | {"word_embedding_dimension": growth.new.hidden})
    aside.rename(out)
    return certificate


def plan_checkpoint(
    folder: str | Path | None, *, dtype: str | None = None, stack: bool = False,
    **sizes: int | None,
) -> Plan:  # fmt: skip
    """What :func:`grow_checkpoint` would do; errors alike."""
    return _plan(*opened(folder, sizes, dtype=dtype, stack=stack))


def opened(
    folder: str | Path | None, sizes: Mapping[str, int | None], *, dtype: str | None = None,
    stack: bool = False, seed: int = 0,
) -> tuple[Growth, torch.dtype]:  # fmt: skip
    """The growth of a folder, and the type to write."""
    if dtype is not None:
        checks.checked_choice("dtype", dtype, tuple(TYPES), OWNER)
    model = _loaded(model_folder(folder), transformer_folder(folder))
    type_ = getattr(torch, dtype) if dtype else model.dtype
    return Growth.of(model, sizes, stack=stack, seed=seed), type_


def _loaded(root: Path, folder: Path) -> Any:
    """The model of a folder, all of whose tensors are its own and no others there."""
    if others := [p.name for p in root.glob("*_Dense")]:
        hint = "Grow the Transformer inside alone."
        raise FormatError(f"has a module after pooling ({others[0]}). {hint}", file=root)
    kind, config = class_and_config(folder, OWNER)
    family_of(config)
    with reading_model(folder):
        model, found = kind.from_pretrained(
            folder, dtype="auto", weights_only=True, ignore_mismatched_sizes=True,
            output_loading_info=True, **LOCAL,
        )  # fmt: skip
    for name, held, own in sorted(found["mismatched_keys"]):
        has = f"{tuple(held)}, not {tuple(own)} as its config has it"
        raise FormatError(f"{name} is {has}; save it again.", file=folder)
    for has in ("missing", "unexpected"):
        if names := found[f"{has}_keys"]:
            raise FormatError(f"{has} tensor {min(names)}; save the whole model.", file=folder)
    for copy, original in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        is_tied = model.get_parameter(copy) is model.get_parameter(original)
        if not is_tied and config.model_type != "t5":  # which says "tied" of all
            hint = "Set tie_word_embeddings to false in its config.json."
            message = f"its config ties {copy} to {original}, which differ. {hint}"
            raise FormatError(message, file=folder)
    return model


def _plan(growth: Growth, dtype: torch.dtype) -> Plan:
    has_head = growth.model.get_output_embeddings() is not None
    parameters, flops = [], []
    for config in (growth.model.config, growth.new_config()):
        parameters.append(empty(type(growth.model), config).num_parameters())
        described = describe(config, has_head)
        flops.append(2 * sum(weights_of(described).values()) if described else 0)
    old, new = asdict(growth.old), asdict(growth.new)
    disk = parameters[1] * dtype.itemsize
    activations = 40 * MOST_TOKENS * TEXTS * max(new["hidden"], new["vocab"])
    whole = 8 * sum(parameters)
    return Plan(
        growth.rules,
        {axis: (old[axis], new[axis]) for axis in growth.rules},
        (parameters[0], parameters[1]),
        (flops[0], flops[1]),
        disk,
        min(whole, whole // growth.old.layers + disk // 4) + activations,
        growth.old.hidden / growth.new.hidden,
    )


def write_tensors(folder: Path, growth: Growth, dtype: torch.dtype) -> None:
    """Write the large model's tensors in shards, each grown when its turn comes."""
    from huggingface_hub import split_torch_state_dict_into_shards

    weights = growth.weights(dtype)
    large = empty(type(growth.model), growth.new_config(), dtype=dtype).state_dict()
    split = split_torch_state_dict_into_shards(
        {name: large[name] for name in weights}, max_shard_size=SHARD,
        filename_pattern="model{suffix}.safetensors",
    )  # fmt: skip
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(folder / "model.safetensors.index.json", index)
    for file, names in split.filename_to_tensors.items():
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in names:
            begin, end = end, end + large[name].nbytes
            kind, shape = TYPES[str(dtype)[6:]], [*large[name].shape]
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                tensor = weights[name]().contiguous()
                assert tensor.shape == large[name].shape, name
                stream.write(tensor.view(torch.uint8).numpy().data)
