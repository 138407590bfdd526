"""Tuning from the command line: files in, a folder and a report out.

While ``out`` is trained, ``out.tuning`` has its checkpoints; it goes when the model is saved.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from tqdm import tqdm

from shoestring.errors import BudgetError, FormatError, ParameterError
from shoestring.models.frozen import (
    FrozenBackbone,
    keep_few_kernels,
    multiplies_bfloat16,
    return_freed_memory,
)
from shoestring.tune import artifact, training
from shoestring.tune.answering import Answers
from shoestring.tune.budget import Clock, in_minutes, used_before
from shoestring.tune.cache import OutputCache
from shoestring.tune.config import LadderConfig
from shoestring.tune.examples import Collate, Examples
from shoestring.tune.ladder import Ladder
from shoestring.tune.locking import only_run
from shoestring.tune.measures import Memory, folder_bytes
from shoestring.tune.methods import LEARNING_RATES, ladder_of, make_model
from shoestring.tune.rows import (
    Rows,
    Source,
    digest_of,
    examples_of,
    numbers_of,
    read_pairs,
    read_rows,
    split,
)
from shoestring.tune.side import inference_overhead
from shoestring.tune.starting import start_from_backbone
from shoestring.tune.training import EVALUATION_OF_STEP, UNKEPT_OF_STEP, TrainSettings

BATCH = 1_024  # texts of a file that are answered at a time
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Job:
    """How a model is tuned.

    Parameters
    ----------
    method : {"ladder", "head", "lora", "full"}
    backbone : str
        "minilm" or a folder.
    config : LadderConfig
    settings : TrainSettings
    minutes : float, optional
        For all of it.
    cache_bytes : int
        For outputs of a frozen backbone on the disk.
    cache_kind : {"bfloat16", "int8"}
    cache_folder : Path, optional
    resume : bool
    """

    method: str
    backbone: str
    config: LadderConfig
    settings: TrainSettings
    minutes: float | None = None
    cache_bytes: int = 8 * 2**30
    cache_kind: str = "bfloat16"
    cache_folder: Path | None = None
    resume: bool = False


def checked_bytes(size: str) -> int:
    """Bytes of "8GB", "500 MB" or "0".

    Examples
    --------
    >>> checked_bytes("8GB"), checked_bytes("0")
    (8589934592, 0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?\s*", size.upper())
    if match is None:
        raise ParameterError.of("cache", "tune", "a size such as 8GB, 500MB or 0", size)
    return int(float(match[1]) * UNITS[match[2]])


def tune(
    job: Job, source: Source, out: Path, held_out: str | None = None, *, progress: bool = True,
    began: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train on a file and save a folder.

    Parameters
    ----------
    job : Job
        ``config.task`` says what labels are: names, or numbers.
    source : Source
    out : Path
        New, empty, or a saved ladder, which is replaced.
    held_out : str, optional
        A file like the first, to measure on; by default a tenth of the first, at random.
    progress : bool
    began : float, optional
        From when the minutes count (``time.monotonic()``); by default from now.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ParameterError, FormatError, BudgetError, ...
        If something cannot be; nothing is left half-written.
    """
    out = out.resolve()
    artifact.FOLDER.check(out)
    aside = out.with_name(out.name + ".tuning")
    clock = Clock(job.minutes, used_before(aside), began)
    with clock.phase("reading"):
        train_rows = read_rows(source)
        eval_source = None if held_out is None else replace(source, file=held_out)
        eval_rows = None if eval_source is None else read_rows(eval_source)
        config, labels = _settled(job.config, source, train_rows, eval_source, eval_rows)
    if job.method in ("ladder", "head"):
        keep_few_kernels()
    with clock.phase("loading"):
        frozen = FrozenBackbone.load(
            job.backbone, "float32" if job.method in ("lora", "full") else "auto"
        )
        artifact.check_backbone(out, frozen)
        model = make_model(job.method, frozen, config)
        cache = None
        if isinstance(model, Ladder):
            cache = OutputCache(
                frozen, model.layers, job.cache_folder, job.cache_bytes, job.cache_kind
            )
        rows = train_rows if eval_rows is None else train_rows + eval_rows
        n = len(train_rows.labels)
        examples = examples_of(rows, n, labels, frozen, ladder_of(model).settings)
        parts = split(examples, n, eval_rows is not None, job.settings.seed)
    how = {
        "method": job.method, "backbone": frozen.digest, "config": config.to_dict(),
        "outputs": None if cache is None else cache.kind,
        "rows": digest_of(train_rows), "held_out": eval_rows and digest_of(eval_rows),
    }  # fmt: skip
    with only_run(out):
        training.begin(aside, how, job.settings, resume=job.resume)
        memory = Memory()
        with training.place_in(aside), memory.watched():
            if cache is not None and isinstance(model, Ladder):
                with clock.phase("outputs"):
                    _fill(cache, examples, clock, progress)
                if config.init == "fisher" and job.method == "ladder" and not used_before(aside):
                    with clock.phase("start"):
                        start_from_backbone(model, parts[0], cache, clock, progress=progress)
            collate = Collate(examples, config.task, cache, frozen.padding_id)
            kept = cache is None or all(text in cache for text in examples.texts())
            report = training.train(
                model, config.task, *parts, collate, job.settings, clock, aside,
                evaluation_of_step=EVALUATION_OF_STEP if kept else UNKEPT_OF_STEP,
                progress=progress,
            )  # fmt: skip
        if cache is not None:
            cache.close()
        model.save_pretrained(out)
        shutil.rmtree(aside, ignore_errors=True)
    return _report(job, model, frozen, out, parts, report, clock, memory)


def _report(
    job: Job, model: Any, frozen: FrozenBackbone, out: Path, parts: Sequence[Examples],
    found: dict[str, Any], clock: Clock, memory: Memory,
) -> dict[str, Any]:  # fmt: skip
    ladder = ladder_of(model)
    overhead = None
    if ladder.side is not None:
        feed = getattr(frozen.config, "intermediate_size", None) or 4 * frozen.width
        overhead = inference_overhead(
            ladder.settings.reduction, len(ladder.layers), frozen.n_layers, feed / frozen.width
        )
    return {
        "folder": str(out), "method": job.method, "backbone": job.backbone,
        "train_examples": len(parts[0]), "held_out_examples": len(parts[1]), **found,
        "peak_memory_mib": round((memory.peak - memory.at_first) / 2**20, 1),
        "checkpoint_mib": round(folder_bytes(out) / 2**20, 2),
        "inference_overhead": overhead,
        "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
    }  # fmt: skip


def _settled(
    config: LadderConfig, source: Source, rows: Rows, eval_source: Source | None,
    eval_rows: Rows | None,
) -> tuple[LadderConfig, list[Any]]:  # fmt: skip
    """The configuration with its classes, and all labels as numbers."""
    parts = [(rows, source)]
    if eval_rows is not None and eval_source is not None:
        parts.append((eval_rows, eval_source))
    if config.task in ("regress", "score"):
        numbers = [_checked_numbers(config.task, *part) for part in parts]
        if min(numbers[0]) == max(numbers[0]):
            raise FormatError(
                f"all labels are {numbers[0][0]:g}: there is nothing to learn. Add others.",
                file=source.file,
            )
        return config, [number for part in numbers for number in part]
    classes = sorted(set(rows.labels))
    if len(classes) < 2:
        raise ParameterError.of("label", "tune", "a column of at least two classes", classes)
    places = {label: place for place, label in enumerate(classes)}
    for part, its_source in parts[1:]:
        for number, label in enumerate(part.labels, start=1):
            if label not in places:
                raise FormatError(
                    f"record {number} has the held-out label {label!r}, which is not among the "
                    f"{len(classes)} that are trained on. Add texts of it to {source.file}, or "
                    "leave it out.",
                    file=its_source.file,
                )
    config = replace(config, n_labels=len(classes), labels=tuple(classes))
    return config, [places[label] for part, _ in parts for label in part.labels]


def _checked_numbers(task: str, rows: Rows, source: Source) -> list[float]:
    numbers = numbers_of(rows, source)
    if task == "score" and not 0 <= min(numbers) <= max(numbers) <= 1:
        raise FormatError(
            f"the column {source.label!r} has numbers from {min(numbers):g} to {max(numbers):g}; "
            "how well a pair fits is from 0 to 1. Divide them, or pass --task regress.",
            file=source.file,
        )
    return numbers


def _fill(cache: OutputCache, examples: Examples, clock: Clock, progress: bool) -> None:
    """Compute the backbone's outputs once; BudgetError if that takes the time by itself."""
    texts = examples.texts()
    began, done = clock.used_s, 0
    size = sum(len(text.ids) for text in set_of(texts)) * cache.bytes_per_token
    if progress and cache.budget_bytes:
        tqdm.write(f"outputs of {len(texts):,} texts: {size / 2**20:,.0f} MiB", file=sys.stderr)
    with tqdm(
        total=len(texts), desc="outputs", unit="text", disable=None if progress else True
    ) as bar:
        for n in cache.fill(texts):
            done += n
            bar.update(n)
            if clock.left_s < 0:
                needed = in_minutes(2 * (clock.used_s - began) * len(texts) / done)
                raise BudgetError(
                    f"The minutes are over with the backbone's outputs of {done:,} of "
                    f"{len(texts):,} texts, which are kept. Pass about {needed} minutes, "
                    "or fewer texts."
                )
    return_freed_memory()


def set_of(texts: Sequence[Any]) -> list[Any]:
    """Each text once."""
    return list({tuple(text.ids): text for text in texts}.values())


def tune_from_options(
    source: str, out: Path, held_out: str | None = None, *, text: str, second: str | None,
    label: str, on_empty: str, task: str, pairs: str, backbone: str, method: str,
    minutes: float | None, epochs: float, batch_size: int, learning_rate: float | None,
    reduction: int, layers: str | None, init: str, max_length: int, cache: str, cache_kind: str,
    cache_folder: Path | None, resume: bool, seed: int,
    began: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """:func:`tune` from what the command line has."""
    if method not in LEARNING_RATES:
        raise ParameterError.of("method", "tune", " or ".join(map(repr, LEARNING_RATES)), method)
    rate = LEARNING_RATES[method] if learning_rate is None else learning_rate
    if task != "classify" and pairs == "none":
        raise ParameterError.of("pairs", "tune score", "apart, late or joint", pairs)
    trained = method in ("lora", "full")
    config = LadderConfig(
        reduction=reduction, task=task, layers=_numbers(layers), init=init,
        pairs=pairs or ("joint" if trained else "apart"), max_length=max_length, seed=seed,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=epochs, batch_size=batch_size, seed=seed, bfloat16=trained and multiplies_bfloat16(),
        learning_rate=rate,
    )  # fmt: skip
    job = Job(
        method, backbone, config, settings, minutes, checked_bytes(cache), cache_kind, cache_folder,
        resume,
    )  # fmt: skip
    return tune(job, Source(source, text, label, second, on_empty), out, held_out, began=began)


def _numbers(layers: str | None) -> tuple[int, ...] | None:
    if layers is None:
        return None
    try:
        return tuple(int(number) for number in layers.split(","))
    except ValueError:
        want = "numbers with commas, such as 1,3,5"
        raise ParameterError.of("layers", "tune", want, layers) from None


def predictions(
    folder: Path, source: str, *, text: str, second: str | None, on_empty: str = "error"
) -> Iterator[dict[str, Any]]:
    """The answers of a tuned model to a file, as they are found."""
    ladder = Ladder.from_pretrained(folder)
    settings = ladder.settings
    if (settings.pairs == "none") != (second is None):
        want = "left out for a model of single texts" if second else "the column of second texts"
        raise ParameterError.of("second", "tune predict", want, second)
    answer = Answers(ladder)
    records = read_pairs(source, text, second, on_empty)
    while batch := list(islice(records, BATCH)):
        others = None if second is None else [b for _, _, b in batch if b is not None]
        logits = answer.logits([a for _, a, _ in batch], others)
        for (key, _, _), row in zip(batch, logits, strict=True):
            yield {"id": key, **_answer(settings, row)}


def _answer(settings: LadderConfig, logits: NDArray[np.float32]) -> dict[str, Any]:
    if settings.n_labels == 1:
        return {"score": float(logits)}
    p = softmax(logits.astype(np.float64))
    best = int(p.argmax())
    label = settings.labels[best] if settings.labels else str(best)
    return {"label": label, "probability": round(float(p[best]), 6)}
