"""Tuning a model on a file: labelled texts in, a folder and a report out.

While ``out`` is trained, ``out.run`` beside it keeps the checkpoints.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, Unpack

from shoestring.checks import checked_choice, checked_path
from shoestring.errors import ParameterError
from shoestring.jobs import Clock, RunFolder, too_short
from shoestring.models.frozen import multiplies_bfloat16, return_freed_memory
from shoestring.progress import Progress
from shoestring.text.corpus import note_share
from shoestring.text.records import Reading, read_labelled
from shoestring.tune.baselines import BACKPROPAGATED, LEARNING_RATES, make_model
from shoestring.tune.cache import OutputCache
from shoestring.tune.config import LADDER, LadderConfig
from shoestring.tune.examples import (
    Collate,
    Examples,
    drawn,
    examples_of,
    label_numbers,
    split,
)
from shoestring.tune.ladder import Ladder, check_is_outside
from shoestring.tune.metrics import trained_parameters
from shoestring.tune.trainer import TrainSettings, fit, measure_of

CACHE_BYTES = 8 * 2**30
FOR_OUTPUTS = 0.5  # of the time left: the rest is for training
LEAST_TIMED = 20_000  # tokens; fewer are read at once
_OF_TRAINING = ("epochs", "batch_size")


@dataclass(frozen=True)
class Job:
    """What is tuned, and how."""

    method: str  # "ladder", "head", "lora" or "full"
    backbone: str  # "minilm" or a folder
    config: LadderConfig  # its task says what labels are: names, or numbers
    settings: TrainSettings
    cache_bytes: int = CACHE_BYTES  # disk space for the outputs of a frozen backbone

    @classmethod
    def of(
        cls, method: str = "ladder", backbone: str = "minilm", *, task: str = "classify",
        pairs: str = "none", learning_rate: float | None = None, seed: int = 0, **options: Any,
    ) -> Self:  # fmt: skip
        """A job from its options, with the defaults of its method filled in.

        ``pairs`` is "" where the method decides; the other options are those of
        :class:`LadderConfig` and :class:`TrainSettings`. ParameterError if a value is out of range,
        or two do not go together.
        """
        checked_choice("method", method, tuple(LEARNING_RATES), "tune")
        if task != "classify" and pairs == "none":
            raise ParameterError.of("pairs", "tune score", "apart, late or joint", pairs)
        trained = method in BACKPROPAGATED
        of_training = {name: options.pop(name) for name in _OF_TRAINING if name in options}
        pairs = pairs or ("joint" if trained else "apart")
        config = LadderConfig(task=task, pairs=pairs, seed=seed, **options)
        settings = TrainSettings(
            learning_rate=LEARNING_RATES[method] if learning_rate is None else learning_rate,
            bfloat16=trained and multiplies_bfloat16(),
            seed=seed,
            **of_training,
        )
        return cls(method, backbone, config, settings)


def tune(
    job: Job, source: Any, out: Path, held_out: Any = None, *, second: str | None = None,
    clock: Clock | None = None, resume: bool = False, progress: bool = True,
    write: Callable[[Path], object] | None = None, **reading: Unpack[Reading],
) -> dict[str, Any]:  # fmt: skip
    """Train on labelled texts or pairs, a file or records, save a folder, and report.

    ``out`` is new, empty, or a saved ladder, which is replaced. It is measured on ``held_out``, a
    file like the first, or on a tenth of the first, at random. ``second`` is the column of the
    second texts of pairs; ``write`` puts the backbone of a ladder into a folder, to be kept in
    ``out``; ``reading`` are settings of :func:`~shoestring.read_records`.
    """
    out, clock = checked_path("out", out, "tune").resolve(), clock or Clock()
    LADDER.check(out)
    # texts and labels
    label = reading.get("label") or "label"
    files = [name for name in (source, held_out) if name is not None]
    with clock.phase("reading"):
        parts = [read_labelled(name, second, **reading) for name in files]
        config, labels = label_numbers(job.config, label, *zip(files, parts, strict=True))
    # the model, and the texts as it reads them
    with clock.phase("loading"):
        model = make_model(job.method, job.backbone, config)
        check_is_outside(out, model.backbone)
        data, n_train = parts[0] if held_out is None else parts[0] + parts[1], len(parts[0])
        examples = examples_of(data, n_train, labels, model.backbone, model.settings)
        halves = split(examples, n_train, held_out is not None, job.settings.seed)
    # training
    settings = {
        "method": job.method,
        "backbone": model.backbone.digest,
        "texts": [part.digest for part in parts],
        **asdict(config),
        **vars(job.settings),
    }
    with RunFolder.open(out, settings, resume=resume, what="training") as run:
        clock.add_used(run.used_s)
        found = trained(job, model, examples, halves, clock, run, progress=progress)
        model.save_pretrained(out, write=write)
    return {
        "folder": str(out),
        "method": job.method,
        "backbone": job.backbone,
        **found,
        "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
    }


def trained(
    job: Job, model: Ladder, examples: Examples, halves: tuple[Examples, Examples], clock: Clock,
    run: RunFolder, *, progress: bool,
) -> dict[str, Any]:  # fmt: skip
    """Compute the backbone's outputs, where it is frozen, and train the model.

    Where the minutes are too few for that it is on a random share of the examples, with a note.
    """
    cache, share = None, 1.0
    if model.model is None:
        with clock.phase("outputs"):
            new_cache = partial(OutputCache, model.backbone, model.layers)
            cache = new_cache(examples.texts(), job.cache_bytes)
            least = max(job.settings.batch_size, 2 * model.settings.n_labels)
            share = run.progress.get("share") or share_in_time(cache, len(halves[0]), least, clock)
            if share < 1:
                n, seed = len(halves[0]), job.settings.seed
                halves = drawn(halves[0], share, seed), drawn(halves[1], share, seed)
                note_share(len(halves[0]) / n, "the examples were used")
                cache = new_cache(halves[0].texts() + halves[1].texts(), job.cache_bytes)
            _fill(cache, clock, progress)
    task, (train, held_out) = job.config.task, halves
    collate = Collate(examples, task, cache, model.backbone.padding_id)
    measure = measure_of(task, [examples.labels[row] for rows in held_out.groups for row in rows])
    report = fit(
        *(model, train, held_out, collate, job.settings, clock, run, measure),
        lengths=train.lengths,
        share=share,
        progress=progress,
    )
    kind = "lists" if train.are_lists else "examples"
    counts = {f"train_{kind}": len(train), f"held_out_{kind}": len(held_out)}
    return {**counts, **report, "trained_parameters": trained_parameters(model)}


def share_in_time(cache: OutputCache, n: int, least: int, clock: Clock) -> float:
    """The share of n examples whose outputs take half of the time left; BudgetError below least."""
    if clock.seconds == math.inf or cache.missing_bytes < LEAST_TIMED * cache.bytes_per_token:
        return 1.0
    byte_s = cache.byte_s(clock.now)
    missing_s, all_s = byte_s * cache.missing_bytes, byte_s * cache.n_bytes
    fits_s = FOR_OUTPUTS * clock.left_s
    if missing_s <= fits_s:
        return 1.0
    share = fits_s / all_s
    if share * n < min(least, n):
        least_s = all_s * min(least, n) / n
        what, needed_s = f"Reading {min(least, n):,} of {n:,} examples", 1.1 * least_s / FOR_OUTPUTS
        raise too_short(what, least_s, clock.used_s + needed_s, "or shorter texts")
    # in steps, so that another run within the same minutes finds the outputs of this one
    return math.floor(20 * share) / 20 or share


def _fill(cache: OutputCache, clock: Clock, progress: bool) -> None:
    """Compute the backbone's outputs once; those for which there is no time when they are read."""
    left_s, missing = clock.left_s, cache.n_fitting - cache.n_kept
    if progress and cache.file is not None:
        size = f"outputs of {cache.n_fitting:,} texts: {cache.n_bytes / 2**20:,.0f} MiB"
        Progress.write(f"{size} in {cache.file.parent}", file=sys.stderr)
    off = None if progress else True
    with Progress(total=missing, desc="outputs", unit="text", disable=off) as bar:
        for n in cache.fill():
            bar.update(n)
            if clock.left_s < 0.5 * FOR_OUTPUTS * left_s:  # slower than was foreseen
                break
    return_freed_memory()
