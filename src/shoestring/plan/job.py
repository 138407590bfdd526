"""What a job with a model costs: FLOPs, parameters, bytes, seconds, and what to do about it.

The closed form says what is what, the operators of a run without numbers prove it each time, and
stand alone where there is no description or a config does what its family's does not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shoestring import checks
from shoestring.errors import ParameterError
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    n_positions,
    reading_model,
    transformer_folder,
)
from shoestring.plan.cost import Description, describe, macs, weights
from shoestring.plan.machine import DTYPES, measure_machine
from shoestring.plan.trace import Run, run_once, run_without_numbers
from shoestring.text import read_records

OWNER = "plan"
PHASES = ("forward", "backward")
ORDERS = ("as they come", "by length")
LENGTHS = 4  # at which a length distribution is priced, with a parabola between


@dataclass(frozen=True)
class Estimate:
    """What a batch costs.

    Attributes
    ----------
    model, counted : str
        Class of transformers; how the products were counted.
    flops : dict
        "forward" and "backward", and both by name of component in "components"; int.
    macs : dict
        Multiply-adds, "forward" and "backward": half as many.
    parameters : dict
        "total", "trained", those of matrices by component, "lookup tables", "biases and norms".
    bytes : dict
        "parameters", "gradients", "optimizer", "activations" (what backward needs; without it the
        most that lives at a time), "cache" of keys and values, "peak" of all tensors at a time,
        "resident" of the process.
    seconds : dict
        "forward", "backward", "optimizer", "batch", and "error", relative, which nine of ten
        checks of the machine stayed within.
    advice : str
        One sentence.
    """

    model: str
    counted: str
    flops: dict[str, Any]
    macs: dict[str, int]
    parameters: dict[str, int]
    bytes: dict[str, int]
    seconds: dict[str, float]
    advice: str


def estimate(
    model: Any, *, length: int = 128, batch: int = 32, train: bool = False, decode: bool = False,
    checkpointing: bool = False, dtype: str = "float32",
) -> Estimate:  # fmt: skip
    """Say what one batch costs, from the config alone: no weights are read or made.

    The first time the machine is measured, which takes 60 s at most.

    Parameters
    ----------
    model : str, Path, config, model of transformers, of PEFT, or a Ladder
        A folder, a config.json or "minilm"; or an object, whose frozen weights are not trained. One
        with frozen weights, adapters or a ladder is run once, and left as it was.
    length, batch : int
        Tokens of a text, padding included, and texts.
    train : bool
        Whether weights are trained, with AdamW, or there is a forward pass alone.
    decode : bool
        One more token after ``length``, whose keys and values are cached.
    checkpointing : bool
        Whether layers are computed again going backward, and not kept.
    dtype : {"float32", "bfloat16"}
        Of the weights; this, ``decode`` and ``checkpointing`` are for what is not run.

    Raises
    ------
    ParameterError
        For a length beyond the positions, no such choice, or what is no model.
    StorageError, FormatError
        If there is no folder, no readable config in it, or no way to count the model.
    """
    stands = _is_run(model)
    kind, config = (type(model), model.config) if stands else class_and_config(model, OWNER)
    length = checks.checked_int("length", length, 1, n_positions(config.to_dict()), OWNER)
    batch = checks.checked_int("batch", batch, 1, 1 << 20, OWNER)
    train = checks.checked_bool("train", train, OWNER)
    dtype = checks.checked_choice("dtype", dtype, DTYPES, OWNER)
    cached = length if checks.checked_bool("decode", decode, OWNER) else 0
    if decode and (train or config.is_encoder_decoder or not hasattr(config, "use_cache")):
        raise ParameterError.of("decode", OWNER, "False, but for a decoder's answers", decode)
    checkpointing = checks.checked_bool("checkpointing", checkpointing, OWNER)
    if stands and (decode or checkpointing or dtype != DTYPES[0]):
        want = "a config or folder, for decode, checkpointing and dtype; a module is run as it is"
        raise ParameterError.of("model", OWNER, want, kind.__name__)
    n_read = 1 if cached else length
    with reading_model(Path(kind.__name__)):  # a model raises anything
        run = run_once(model, batch, length, is_trained=train) if stands else run_without_numbers(
            kind, config, batch, n_read, is_trained=train, dtype=dtype, cached=cached,
            checkpointing=checkpointing,
        )  # fmt: skip
    totals = {phase: run.trace.flops[phase] // 2 for phase in PHASES}
    counted = f"by operators: no closed form fits {kind.__name__} here"
    parameters = {"total": run.parameters, "trained": run.trained}
    described, sums = _closed_form(config, run, batch, n_read, cached=cached, is_trained=train)
    if described:
        counted, known = "closed form, equal to the operators", weights(described)
        rest = run.parameters - run.embedding - sum(known.values())
        if rest >= 0:  # but in ALBERT, whose layers share their weights
            parameters |= known | {"lookup tables": run.embedding, "biases and norms": rest}
    components = {name: {"forward": 2 * a, "backward": 2 * b} for name, (a, b) in sums.items()}
    flops = {phase: 2 * total for phase, total in totals.items()} | {"components": components}
    on = measure_machine()
    seconds = {phase: on.seconds(run.trace.operators[phase], train) for phase in PHASES}
    seconds["optimizer"] = on.adamw_s * run.trained
    seconds |= {"batch": sum(seconds.values()), "error": on.error}
    return Estimate(
        kind.__name__, counted, flops, totals, parameters,
        _bytes(run, 4 if dtype == "float32" else 2), seconds, _advice(sums, cached + n_read),
    )  # fmt: skip


def _closed_form(
    config: Any, run: Run, batch: int, length: int, **job: Any
) -> tuple[Description | None, dict[str, tuple[int, int]]]:
    """Sizes and multiply-adds, with or without a head, that equal the operators of a run."""
    counted = [run.trace.flops[phase] // 2 for phase in PHASES]
    for has_head in (False, True):
        if described := describe(config, has_head):
            sums = macs(described, batch, length, is_fused=run.is_fused, **job)
            if [sum(phase) for phase in zip(*sums.values(), strict=True)] == counted:
                return described, sums
    return None, {}


def _is_run(model: Any) -> bool:
    """Whether an object is more than its class and config say: a part is frozen or was added."""
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

    if not isinstance(model, torch.nn.Module) or not isinstance(
        getattr(model, "config", None), PreTrainedConfig
    ):
        return False
    is_whole = isinstance(model, PreTrainedModel) and not hasattr(model, "peft_config")
    return not (is_whole and all(part.requires_grad for part in model.parameters()))


def class_and_config(model: Any, owner: str) -> tuple[Any, Any]:
    """The class of transformers, and a config that may be changed, of what a user named."""
    import transformers
    from transformers import AutoConfig, AutoModel

    if isinstance(model, transformers.PreTrainedModel):
        return type(model), copy.deepcopy(model.config)
    if isinstance(model, transformers.PreTrainedConfig):
        config = copy.deepcopy(model)
    else:
        path = checks.checked_path("model", model, owner)
        if not path.is_file():
            path = transformer_folder(None if str(model) == "minilm" else model)
        with reading_model(path):
            config = AutoConfig.from_pretrained(path, **LOCAL)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    kind = kind or AutoModel._model_mapping.get(type(config), None)
    if kind is None:
        want = "of a family that transformers has a text model of"
        raise ParameterError.of("model", owner, want, config.model_type)
    return (kind[0] if isinstance(kind, tuple) else kind), config


def _bytes(run: Run, size: int) -> dict[str, int]:
    """Bytes of what is held, at ``size`` of an element."""
    parameters, gradients = size * run.parameters, size * run.trained
    comes_and_goes = max(run.trace.peak, gradients + 2 * size * run.largest)  # the latter of AdamW
    peak = parameters + 2 * gradients + comes_and_goes
    own = 0
    with suppress(OSError, ValueError):  # of this process, in which torch is loaded as in the job's
        own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    own += run.trace.peak // 4 + gradients // 2  # kept by malloc
    return {
        "parameters": parameters, "gradients": gradients, "optimizer": 2 * gradients,
        "activations": run.activations, "cache": run.cache, "peak": peak, "resident": peak + own,
    }  # fmt: skip


def _advice(sums: dict[str, tuple[int, int]], n: int) -> str:
    """What helps, or what cannot."""
    if not sums:
        return "Its components are not known: compare the totals of models that you consider."
    work = {name: sum(phases) for name, phases in sums.items()}
    total, attention = sum(work.values()), work["attention"]
    says = f"The attention matrix is {attention / total:.1%} of the work at {n:,} tokens: "
    if attention > 0.2 * total:
        return says + (
            "shoestring plan attention says what a linear one would save, and from which length."
        )
    # Of half as many heads half the scores; of matrices that are half as wide and high a quarter
    linear = attention + work["embeddings"] + work["logits"]
    half = (linear / 2 + (total - linear) / 4) / total
    return says + f"changing it cannot help; a model of half the width has {half:.0%} of it."


def token_lengths(model: str, texts: Any, **reading: Any) -> list[int]:
    """Tokens of each text of a file, by the tokenizer of a model's folder.

    Errors as those of :func:`~shoestring.text.read_records`; FormatError without a tokenizer.
    """
    folder = Path(model).parent if Path(model).is_file() else None
    tokenizer = load_tokenizer(folder or transformer_folder(None if model == "minilm" else model))
    read = [record.text for record in read_records(texts, **reading)]
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(read)]


def price_texts(
    model: Any, lengths: Sequence[int], *, length: int | None = None, batch: int = 32,
    **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """Price an epoch over texts, each padded to the longest of its batch.

    Parameters
    ----------
    model, batch, **settings
        As those of :func:`estimate`.
    lengths : sequence of int
        Tokens of each text.
    length : int, optional
        Where texts are cut: by default the positions that the model has.

    Returns
    -------
    dict
        "texts", "tokens", "longest", and for "as they come" and "by length" (sorted, so that texts
        of a batch are about as long): "padding", its share of what is read, and "seconds".

    Raises
    ------
    ParameterError, StorageError, FormatError
        As :func:`estimate`; for no texts.
    """
    given = checks.checked_items("lengths", lengths, OWNER, "tokens of at least one text")
    most = n_positions(class_and_config(model, OWNER)[1].to_dict()) or 1 << 20
    most = most if length is None else checks.checked_int("length", length, 1, most, OWNER)
    cut = [min(checks.checked_int("lengths", n, 1, None, OWNER), most) for n in given]
    if not cut:
        raise ParameterError.of("lengths", OWNER, "tokens of at least one text", lengths)
    at = sorted({int(n) for n in np.linspace(min(cut), max(cut), LENGTHS)})
    took = [estimate(model, length=n, batch=batch, **settings).seconds["batch"] for n in at]
    curve = np.polyfit(at, took, min(2, len(at) - 1))
    priced: dict[str, Any] = {"texts": len(cut), "tokens": sum(cut), "longest": max(cut)}
    for order, texts in zip(ORDERS, (cut, sorted(cut)), strict=True):
        parts = [texts[first : first + batch] for first in range(0, len(cut), batch)]
        longest, sizes = [max(part) for part in parts], [len(part) for part in parts]
        priced[order] = {
            "padding": 1 - sum(cut) / int(np.dot(longest, sizes)),
            "seconds": float(np.dot(np.polyval(curve, longest), sizes)) / batch,
        }
    return priced


def fits(minutes: float, found: Estimate, batch: int, priced: dict[str, Any] | None) -> Any:
    """Texts that some minutes are enough for, or epochs of texts that were priced."""
    seconds = 60 * checks.checked_number("minutes", minutes, OWNER, "a number above 0", 0.0)
    if priced is None:
        return {"texts": int(batch * seconds / found.seconds["batch"])}
    return {f"epochs, {order}": seconds / priced[order]["seconds"] for order in ORDERS}
