"""Growing a checkpoint folder, tensor by tensor: one old and one new tensor in memory at a time.

The tensors are written one after the other in the format of safetensors, in shards; the folder gets
its name when the certificate holds. Tokenizer and other files are copied, and a pooling module of
sentence-transformers learns the new width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shoestring import checks
from shoestring.artifacts import make_folder, refused, write_json, written_by
from shoestring.errors import FormatError, ParameterError
from shoestring.grow.certificate import MOST_TOKENS, TEXTS, Certificate, certify, empty
from shoestring.grow.growth import Growth, Weights
from shoestring.grow.sizes import OWNER
from shoestring.models.backbone import model_folder, reading_model, transformer_folder
from shoestring.models.model_files import read_json

SHARD = 4_000_000_000  # bytes
INDEX = "model.safetensors.index.json"
NOT_COPIED = ("*.safetensors", "*.index.json", "*.bin", "*.h5", "*.msgpack", "onnx", "openvino")
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
OF_FILES = {theirs: getattr(torch, ours) for ours, theirs in TYPES.items()}
BUFFERS = ("position_ids", "rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")  # once saved
HEADS = ("lm_head.weight", "decoder.weight")  # names of matrices that may be the embedding


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
    batches: int = 4, seed: int = 0, sizes: Mapping[str, int | None],
) -> Certificate:  # fmt: skip
    """Grow the checkpoint in a folder into another; see :func:`shoestring.grow.grow`.

    Parameters
    ----------
    folder : str or Path
        Of transformers or sentence-transformers, with safetensors.
    out : str or Path
        A folder that does not exist yet, or is empty.
    sizes : mapping of str to int
        As the arguments of ``grow``.
    dtype : {"float32", "float16", "bfloat16", "float64"}, optional
        Of the large model's tensors; that of the small one's by default.

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
    growth, rules, weights, kind, type_ = opened(folder, dtype, sizes, stack, seed)
    disk = _plan(growth, rules, kind, type_).disk
    make_folder(out.parent)
    if disk > (free := shutil.disk_usage(out.parent).free):
        raise refused(out, f"{disk:,} bytes are needed and {free:,} are free")
    certificate = certify(growth, weights, kind, type_, rules, batches=batches)
    inside = transformer_folder(folder).resolve().relative_to(root)
    aside = out.with_name(f"{out.name}.{os.getpid()}.part")

    def write(place: Path) -> None:
        shutil.copytree(root, place, ignore=shutil.ignore_patterns(*NOT_COPIED))
        _write_tensors(place / inside, growth.weights(weights), growth, kind, type_)
        config = growth.new_config()
        config.dtype = type_
        config.save_pretrained(place / inside)
        write_json(place / "certificate.json", asdict(certificate))
        for file in place.glob("*_Pooling/config.json"):
            pooling = read_json(file)
            write_json(file, pooling | {"word_embedding_dimension": growth.new.hidden})

    written_by(write, aside)
    aside.rename(out)
    return certificate


def plan_checkpoint(
    folder: str | Path | None, *, dtype: str | None = None, stack: bool = False,
    sizes: Mapping[str, int | None],
) -> Plan:  # fmt: skip
    """What :func:`grow_checkpoint` would do; errors alike."""
    growth, rules, _, kind, type_ = opened(folder, dtype, sizes, stack, 0)
    return _plan(growth, rules, kind, type_)


def opened(
    folder: str | Path | None, dtype: str | None, sizes: Mapping[str, int | None], stack: bool,
    seed: int,
) -> tuple[Growth, dict[str, str], Weights, type, torch.dtype]:  # fmt: skip
    """The growth of a folder, its rules, its tensors by name, its class and the type to write."""
    import transformers

    if dtype is not None:
        checks.checked_choice("dtype", dtype, tuple(TYPES), OWNER)
    root = model_folder(folder)
    folder = transformer_folder(folder)
    if others := [p.name for p in root.glob("*_Dense")]:
        hint = "Grow the Transformer inside alone."
        raise FormatError(f"has a module after pooling ({others[0]}). {hint}", file=root)
    with reading_model(folder):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    if kind is None:
        want = "its config.json must name the model's class (architectures)"
        raise FormatError(f"{want}; save it again with transformers.", file=folder)
    files = sorted(folder.glob("*.safetensors"))
    index = read_json(folder / INDEX, default={}).get("weight_map", {})
    if not files or {*index.values()} - {file.name for file in files}:
        want = "has no safetensors, or not all of its shards"
        raise FormatError(f"{want}; save it again with transformers.", file=folder)
    weights: dict[str, Any] = {}
    types: set[Any] = set()
    try:
        for file in files:
            tensors: Any = safe_open(file, "pt")
            for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                if not name.endswith(BUFFERS):
                    weights[name] = partial(tensors.get_tensor, name)
                    types.add(OF_FILES.get(tensors.get_slice(name).get_dtype()))
    except (SafetensorError, OSError) as error:
        raise FormatError(f"cannot be read ({error}); save it again.", file=file) from error
    if None in types:
        raise FormatError("is quantised. Grow the model as it was before.", file=folder)
    type_ = getattr(torch, dtype) if dtype else max(types, key=lambda t: t.itemsize)
    small = empty(kind, config)
    weights = _own(weights, small, config, folder)
    is_tied = small.get_output_embeddings() is not None and not any(
        n.endswith(HEADS) for n in weights
    )
    names = list(weights)
    growth, rules = Growth.of(
        config, names, is_tied, sizes, is_stacked=stack, seed=seed, file=str(folder)
    )
    return growth, rules, weights, kind, type_


def _own(weights: dict[str, Any], small: Any, config: Any, folder: Path) -> dict[str, Any]:
    """The tensors by the names of the model, each once: a head that is the embedding left out."""
    shapes = {name: value.shape for name, value in small.state_dict().items()}
    prefix = small.base_model_prefix + "."
    named = {
        name if name in shapes else prefix + name if prefix + name in shapes else name: read
        for name, read in weights.items()
    }
    for name, read in named.items():
        tensor = read()
        if name in shapes and tensor.shape != shapes[name]:
            has = f"{tuple(tensor.shape)}, not {tuple(shapes[name])} as its config has it"
            raise FormatError(f"{name} is {has}; save it again.", file=folder)
        if not bool(tensor.isfinite().all()):
            raise FormatError(
                f"{name} has numbers that are not finite; train it anew.", file=folder
            )
    tied = small.get_expanded_tied_weights_keys(all_submodels=True)
    for copy, original in tied.items():
        if copy not in named or original not in named:
            continue
        if torch.equal(named[copy](), named[original]()):
            del named[copy]
        elif config.model_type != "t5":  # which says "tied" of all
            hint = "Set tie_word_embeddings to false in its config.json."
            raise FormatError(
                f"its config ties {copy} to {original}, which differ. {hint}", file=folder
            )
    known = {*named} | {*tied} | {*tied.values()}
    if missing := [name for name in shapes if name not in known]:
        raise FormatError(f"has no tensor {missing[0]}; save the whole model.", file=folder)
    return named


def _plan(growth: Growth, rules: dict[str, str], kind: type, dtype: torch.dtype) -> Plan:
    models = [empty(kind, config) for config in (growth.config, growth.new_config())]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    flops = []
    for model in models:
        looked_up = model.get_input_embeddings().weight
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embeddings" not in n]
        head = model.get_output_embeddings()
        own = sum(p.numel() for p in matrices if p is not looked_up)
        flops.append(2 * (own + (looked_up.numel() if head and head.weight is looked_up else 0)))
    old, new = asdict(growth.old), asdict(growth.new)
    disk = sizes[1] * dtype.itemsize
    activations = 40 * MOST_TOKENS * TEXTS * max(new["hidden"], new["vocab"])
    return Plan(
        rules,
        {axis: (old[axis], new[axis]) for axis in rules},
        (sizes[0], sizes[1]),
        (flops[0], flops[1]),
        disk,
        min(8 * sum(sizes), 8 * sum(sizes) // growth.old.layers + disk // 4) + activations,
        growth.old.hidden / growth.new.hidden,
    )


def _write_tensors(
    folder: Path, weights: Weights, growth: Growth, kind: type, dtype: torch.dtype
) -> None:
    """Stream tensors into shards, each grown when its turn comes."""
    shapes = {n: list(t.shape) for n, t in empty(kind, growth.new_config()).state_dict().items()}
    shards: list[dict[str, Any]] = [{}]
    end = 0
    for name in weights:
        size = dtype.itemsize * torch.Size(shapes[name]).numel()
        if end + size > SHARD and shards[-1]:
            shards.append({})
            end = 0
        offsets, code = [end, end + size], TYPES[str(dtype)[6:]]
        shards[-1][name] = {"dtype": code, "shape": shapes[name], "data_offsets": offsets}
        end += size
    files, index = list[Path](), dict[str, str]()
    for i, shard in enumerate(shards, start=1):
        several = f"-{i:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        files.append(folder / f"model{several}.safetensors")
        index |= dict.fromkeys(shard, files[-1].name)
        header = json.dumps({"__metadata__": {"format": "pt"}, **shard}).encode()
        header += b" " * (-len(header) % 8)
        with files[-1].open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for name in shard:
                _write(file, weights[name]().to(dtype), shapes[name], name)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {}, "weight_map": index})


def _write(file: Any, tensor: Tensor, shape: list[int], name: str) -> None:
    assert list(tensor.shape) == shape, name
    file.write(tensor.contiguous().view(torch.uint8).numpy().data)
