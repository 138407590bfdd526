"""What a job with a model costs: FLOPs, parameters, bytes, seconds, and what to do about it.

The closed form says what is what, the operators of a run without numbers prove it each time, and
stand alone where there is no description or a config does what its family's does not.
"""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from shoestring import checks
from shoestring.errors import FormatError, MissingExtraError, ParameterError, ShoestringError
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    n_positions,
    quiet_loading,
    reading_model,
    transformer_folder,
)
from shoestring.plan import cost
from shoestring.plan.families import Description, describe
from shoestring.plan.machine import DTYPES, Machine, checked_machine, measure_machine
from shoestring.plan.trace import Run, run_without_numbers
from shoestring.text import read_records

OWNER = "plan"
ATTENTIONS = ("sdpa", "eager")
HEADS = ("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM")  # transformers' names of classes
ADAPTED = {  # by LoRA: modules of queries and values, or of both and keys
    *("query", "query_proj", "q_proj", "q_lin", "q", "value", "value_proj", "v_proj", "v_lin", "v"),
    *("c_attn", "Wqkv"),
}
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
    model: Any, *, length: int = 128, batch: int = 32, train: str | None = None,
    decode: bool = False, checkpointing: bool = False, attention: str = "sdpa",
    dtype: str = "float32", on: Machine | None = None,
) -> Estimate:  # fmt: skip
    """Say what one batch costs, from the config alone: no weights are read or made.

    Parameters
    ----------
    model : str, Path, config or model of transformers
        A folder, a config.json or "minilm"; or an object.
    length, batch : int
        Tokens of a text, padding included, and texts.
    train : {"full", "lora", "head"}, optional
        What is trained, with AdamW; by default nothing: a forward pass.
    decode : bool
        One more token after ``length``, whose keys and values are cached.
    checkpointing : bool
        Whether layers are computed again going backward, and not kept.
    attention : {"sdpa", "eager"}
    dtype : {"float32", "bfloat16"}
    on : Machine, optional
        By default this one, which is measured the first time (60 s at most).

    Raises
    ------
    ParameterError
        For a length beyond the positions, no such choice, or what is no model.
    StorageError, FormatError
        If there is no folder, no readable config in it, or no way to count the model.

    Examples
    --------
    >>> from transformers import BertConfig
    >>> found = estimate(BertConfig(), length=128, batch=1)  # doctest: +SKIP
    >>> found.macs["forward"]  # doctest: +SKIP
    11174215680
    """
    kind, config = class_and_config(model)
    length = checks.checked_int("length", length, 1, n_positions(config.to_dict()), OWNER)
    batch = checks.checked_int("batch", batch, 1, 1 << 20, OWNER)
    if train is not None:
        train = checks.checked_choice("train", train, cost.METHODS, OWNER)
    config._attn_implementation = checks.checked_choice("attention", attention, ATTENTIONS, OWNER)
    dtype = checks.checked_choice("dtype", dtype, DTYPES, OWNER)
    checkpointing = checks.checked_bool("checkpointing", checkpointing, OWNER)
    cached = length if checks.checked_bool("decode", decode, OWNER) else 0
    if decode and (train or config.is_encoder_decoder or not hasattr(config, "use_cache")):
        raise ParameterError.of("decode", OWNER, "False, but for a decoder's answers", decode)
    on = checked_machine(on, OWNER)
    job = cost.Job(batch, 1 if cached else length, train, True, cached, checkpointing)
    head = _has_head(kind)
    described = None if head is None else describe(config, head)
    found, problem = _run(kind, config, job, dtype)
    if found is None and described is None:
        hint = "Name the text model that it contains."
        message = f"its operators cannot be counted: {problem}. {hint}"
        raise FormatError(message, file=kind.__name__)
    is_fused = (found.attention if found else attention) == "sdpa"
    is_fused = is_fused and (not train or bool(described and described.fuses))
    of_run = [found.trace.flops[phase] // 2 for phase in ("forward", "backward")] if found else []
    for skips_last in (False, True):
        job = replace(job, is_fused=is_fused, skips_last=skips_last)
        sums = cost.macs(cost.products(described, job)) if described else {}
        totals = [sum(pair[i] for pair in sums.values()) for i in (0, 1)]
        if totals == of_run:
            break
    counted = "closed form"
    if found is not None:
        counted = "closed form, equal to the operators"
        if of_run != totals:
            why = "differs from its description here" if described else "has no description"
            counted, sums, totals = f"by operators: {kind.__name__} {why}", {}, of_run
    components = {name: {"forward": 2 * a, "backward": 2 * b} for name, (a, b) in sums.items()}
    both = dict(zip(("forward", "backward"), totals, strict=True))
    flops = {phase: 2 * total for phase, total in both.items()} | {"components": components}
    of_bytes = _bytes(described, job, found, dtype) if found else {}
    return Estimate(
        kind.__name__, counted, flops, both, _parameters(described, job, found), of_bytes,
        _seconds(found, job, on or measure_machine()) if found else {},
        _advice(described, job, sums, of_bytes),
    )  # fmt: skip


def class_and_config(model: Any) -> tuple[Any, Any]:
    """The class of transformers, and a config that may be changed, of what a user named."""
    import transformers
    from transformers import AutoConfig, AutoModel

    if isinstance(model, transformers.PreTrainedModel):
        return type(model), copy.deepcopy(model.config)
    if isinstance(model, str | Path):
        path = checks.checked_path("model", model, OWNER)
        if not path.is_file():
            path = transformer_folder(None if str(model) == "minilm" else model)
        with reading_model(path):
            config = AutoConfig.from_pretrained(path, **LOCAL)
    elif isinstance(model, transformers.PreTrainedConfig):
        config = copy.deepcopy(model)
    else:
        want = "a folder, a config.json, or a config or model of transformers"
        raise ParameterError.of("model", OWNER, want, model)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    kind = kind or AutoModel._model_mapping.get(type(config), None)
    if kind is None:
        want = "of a family that transformers has a text model of"
        raise ParameterError.of("model", OWNER, want, config.model_type)
    return (kind[0] if isinstance(kind, tuple) else kind), config


def _has_head(kind: Any) -> bool | None:
    """Whether a class predicts tokens; None for one that is neither that nor a base model."""
    from transformers.models.auto import modeling_auto as auto

    names = [getattr(auto, f"MODEL_FOR_{head}_MAPPING_NAMES").values() for head in HEADS]
    if any(kind.__name__ in values for values in names):
        return True
    return False if kind.__name__ in auto.MODEL_MAPPING_NAMES.values() else None


def _run(kind: Any, config: Any, job: cost.Job, dtype: str) -> tuple[Run | None, str]:
    """The operators of a job, or why they cannot be had."""
    prepare = {"lora": _with_lora, "head": _but_the_head}.get(job.method or "", lambda model: model)
    try:
        with quiet_loading():
            found = run_without_numbers(
                kind, config, job.batch, job.length, is_trained=job.method is not None, dtype=dtype,
                cached=job.cached, prepare=prepare, checkpointing=job.checkpointing,
            )  # fmt: skip
    except ShoestringError:
        raise
    except Exception as error:  # a model raises anything
        return None, (str(error).splitlines() or [type(error).__name__])[0]
    return found, ""


def _with_lora(model: Any) -> Any:
    if find_spec("peft") is None:
        raise MissingExtraError("peft", extra="tune", purpose="the cost of LoRA")
    from peft import LoraConfig, get_peft_model

    adapted = ADAPTED & {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if not adapted:
        raise ParameterError.of("train", OWNER, "full or head for this model", "lora")
    config = LoraConfig(r=cost.LORA_RANK, target_modules=sorted(adapted))
    return get_peft_model(model, config).base_model.model


def _but_the_head(model: Any) -> Any:
    model.base_model.requires_grad_(False)
    if not any(value.requires_grad for value in model.parameters()):
        hint = "It has no head, or one that is its embedding."
        raise ParameterError.of("train", OWNER, "full or lora for this model", "head", hint)
    return model


def _parameters(described: Description | None, job: cost.Job, found: Run | None) -> dict[str, int]:
    known = cost.weights(described) if described else {}
    if found is None:
        return known
    counts = {"total": found.parameters, "trained": found.trained * bool(job.method), **known}
    if known:
        rest = found.parameters - sum(known.values()) - found.embedding
        counts |= {"lookup tables": found.embedding, "biases and norms": rest}
    return counts


def _bytes(described: Description | None, job: cost.Job, found: Run, dtype: str) -> dict[str, int]:
    size = 4 if dtype == "float32" else 2
    trained = size * found.trained * bool(job.method)
    cache = 0
    if job.cached and described:
        stack = described.stacks[0]
        cache = 2 * stack.layers * stack.key_heads * stack.head_size * job.batch * job.cached * size
    step = trained + 2 * size * found.largest if job.method else 0  # gradients, AdamW's own
    comes_and_goes = max(found.trace.peak, step)
    peak = size * found.parameters + 2 * trained + comes_and_goes
    own = 0
    with suppress(OSError, ValueError):  # of this process, in which torch is loaded as in the job's
        own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    own += min(64 << 20, comes_and_goes) + found.trace.peak // 4 + trained // 2  # kept by malloc
    return {
        "parameters": size * found.parameters, "gradients": trained, "optimizer": 2 * trained,
        "activations": found.kept if job.method else found.trace.peak, "cache": cache,
        "peak": peak, "resident": peak + own,
    }  # fmt: skip


def _seconds(found: Run, job: cost.Job, on: Machine) -> dict[str, float]:
    operators, is_trained = found.trace.operators, job.method is not None
    parts = {p: on.seconds(operators.get(p, {}), is_trained) for p in ("forward", "backward")}
    parts["optimizer"] = on.adamw_s * found.trained * is_trained
    return {**parts, "batch": sum(parts.values()), "error": on.error}


def _advice(
    described: Description | None, job: cost.Job, sums: dict[str, Any], of_bytes: dict[str, int]
) -> str:
    """What helps, or what cannot."""
    free, peak = _free_bytes(), of_bytes.get("peak", 0)
    if peak > free:
        fixed = sum(of_bytes[name] for name in ("parameters", "gradients", "optimizer"))
        n_texts = int(job.batch * max(0, free - fixed) / (peak - fixed))
        what = f"a batch of {n_texts} would fit" if n_texts else "not even one text would fit"
        return f"It needs {peak / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free: {what}."
    total, n = sum(map(sum, sums.values())), job.cached + job.length
    if described is None or not total:
        return "Its components are not known: compare the totals of models that you consider."
    share = sum(sums["attention"]) / total
    if share > 0.2:
        return (
            f"The attention matrix is {share:.1%} of the work at {n:,} tokens: shoestring plan "
            "attention says what a linear one would save, and from which length."
        )
    half = cost.macs(cost.products(described.of_half_width(), job))
    return (
        f"The attention matrix is {share:.1%} of the work at {n:,} tokens: changing it cannot "
        f"help; a model of half the width has {sum(map(sum, half.values())) / total:.0%} of it."
    )


def _free_bytes() -> int:
    with suppress(OSError):
        if found := re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text()):
            return int(found[1]) * 1024
    return 1 << 62


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
        of a batch are about as long): "padding", its share of what is read, "flops", "seconds".

    Raises
    ------
    ParameterError, StorageError, FormatError
        As :func:`estimate`; for no texts.
    """
    given = checks.checked_items("lengths", lengths, OWNER, "tokens of at least one text")
    most = n_positions(class_and_config(model)[1].to_dict()) or 1 << 20
    most = most if length is None else checks.checked_int("length", length, 1, most, OWNER)
    cut = [min(checks.checked_int("lengths", n, 1, None, OWNER), most) for n in given]
    batch = checks.checked_int("batch", batch, 1, 1 << 20, OWNER)
    if not cut:
        raise ParameterError.of("lengths", OWNER, "tokens of at least one text", lengths)
    at = sorted({int(n) for n in np.linspace(min(cut), max(cut), LENGTHS)})
    found = [estimate(model, length=n, batch=batch, **settings) for n in at]
    costs = {
        "flops": [one.flops["forward"] + one.flops["backward"] for one in found],
        "seconds": [one.seconds.get("batch", math.nan) for one in found],
    }
    curves = {what: np.polyfit(at, values, min(2, len(at) - 1)) for what, values in costs.items()}
    priced: dict[str, Any] = {"texts": len(cut), "tokens": sum(cut), "longest": max(cut)}
    for name, order in (("as they come", cut), ("by length", sorted(cut))):
        parts = [order[first : first + batch] for first in range(0, len(order), batch)]
        n_read = [(max(part), len(part)) for part in parts]
        padding = 1 - sum(cut) / sum(longest * size for longest, size in n_read)
        priced[name] = {"padding": padding} | {
            what: float(sum(np.polyval(curve, longest) * size / batch for longest, size in n_read))
            for what, curve in curves.items()
        }
    return priced


def fits(minutes: float, found: Estimate, batch: int, priced: dict[str, Any] | None) -> Any:
    """Texts that some minutes are enough for, or epochs of texts that were priced."""
    seconds = 60 * checks.checked_number("minutes", minutes, OWNER, "a number above 0", 0.0)
    if priced is not None:
        names = ("as they come", "by length")
        return {f"epochs, {name}": seconds / priced[name]["seconds"] for name in names}
    return {"texts": int(batch * seconds / found.seconds["batch"]) if found.seconds else None}
