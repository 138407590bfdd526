"""Training a model on examples by the plain ``Trainer``, within minutes, resumable.

What is trained, and on what, comes from outside; here are the settings of the Trainer, its
callbacks and what is reported in the end.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Sampler

from shoestring.artifacts import libraries_writing, written_aside
from shoestring.errors import ParameterError, ShoestringError, ShoestringWarning, StorageError
from shoestring.models.backbone import quiet_loading
from shoestring.tune.budget import Bar, Budget, Clock, KeepPlace, schedule
from shoestring.tune.examples import Examples
from shoestring.tune.measures import (
    BEST,
    NAMES,
    can_be_told,
    quality,
    saved_bytes,
    trained_parameters,
)

HOW = "how.json"
RESERVE_S = 1.0  # to save the model
EVALUATION_OF_STEP = 0.5  # of a step's time, until it is known
UNKEPT_OF_STEP = 1.25  # where the backbone's outputs are computed every time


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained.

    Parameters
    ----------
    epochs : float
        At the most.
    batch_size : int
        Examples in a step; queries, where pairs come by their queries.
    learning_rate : float
    weight_decay : float
    warmup : float
        Share of the steps in which the learning rate rises.
    seed : int
        Of the order of the examples and of dropout.
    bfloat16 : bool
        Compute in bfloat16 where torch thinks it right (autocast).
    """

    epochs: float = 10.0
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    seed: int = 0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        for name, most in (("epochs", 1e6), ("learning_rate", math.inf)):
            value = getattr(self, name)
            if not (0 < value <= most and math.isfinite(value)):
                want = f"above 0 and {'finite' if most == math.inf else f'at most {most:,.0f}'}"
                raise ParameterError.of(name, "tune", want, value)
        if self.batch_size < 1:
            raise ParameterError.of("batch_size", "tune", "an int of at least 1", self.batch_size)
        if not 0 <= self.seed < 2**32:
            raise ParameterError.of("seed", "tune", "an int from 0 to 4294967295", self.seed)


@dataclass(frozen=True)
class Measure:
    """What is measured on held-out examples, and by which the best epoch is chosen.

    Parameters
    ----------
    best : str
    greater_is_better : bool
    of : callable
        Figures by their names of predictions and labels, as the Trainer has them.
    """

    best: str
    greater_is_better: bool
    of: Callable[[Any], dict[str, float]]


@dataclass(frozen=True)
class Fitted:
    """What came of training."""

    trainer: Any
    held_out: dict[str, float]  # with "loss"; of the best epoch, whose weights the model has
    epochs: float
    step_s: float  # median

    @property
    def steps(self) -> int:
        """Since the beginning, before an interruption too."""
        return int(self.trainer.state.global_step)

    def report(self, names: Iterable[str]) -> dict[str, Any]:
        """Figures of these names on what was held out, and how long it took."""
        return {
            "held_out": {name: _figure(self.held_out[name]) for name in names},
            "epochs": self.epochs, "steps": self.steps, "step_ms": round(1000 * self.step_s, 1),
        }  # fmt: skip


def _figure(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def fit(
    model: nn.Module, train_data: Any, eval_data: Any, collate: Callable[..., Any],
    settings: TrainSettings, clock: Clock, folder: Path, measure: Measure, *,
    by_length: bool = True, evaluation_of_step: float = EVALUATION_OF_STEP,
    callbacks: Sequence[Any] = (), progress: bool = True,
) -> Fitted:  # fmt: skip
    """Train a model by the plain ``Trainer``; it has its best weights afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        ``model(**batch)`` gives loss and logits.
    train_data, eval_data : datasets
    collate : callable
        Items to a batch.
    settings : TrainSettings
    clock : Clock
    folder : Path
        For checkpoints; if there is one, training goes on from it.
    measure : Measure
    by_length : bool
        Batch examples of like length; they are items with "input_ids".
    evaluation_of_step : float
        What a batch of an evaluation takes, in steps, until it is known.
    callbacks : sequence of transformers.TrainerCallback
    progress : bool

    Raises
    ------
    BudgetError
        If the minutes are too few for an epoch.
    ParameterError
        If the loss became infinite or NaN.
    StorageError
        If there is no room for a checkpoint.
    KeyboardInterrupt
        At Ctrl-C, after a checkpoint.
    """
    from transformers import PrinterCallback, Trainer

    per_epoch = -(-len(train_data) // settings.batch_size)
    n_steps = max(1, round(settings.epochs * per_epoch))
    evaluation_steps = len(eval_data) / settings.batch_size * evaluation_of_step
    budget = Budget(clock, len(train_data), RESERVE_S, evaluation_steps)
    place = KeepPlace(clock)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    trainer = Trainer(
        model=model, args=_arguments(measure, settings, folder),
        train_dataset=train_data, eval_dataset=eval_data, data_collator=collate,
        optimizers=(optimizer, schedule(optimizer, n_steps, budget, settings.warmup)),
        compute_metrics=measure.of,
        callbacks=[budget, place, *callbacks, *([Bar(budget)] if progress else [])],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    if by_length:
        order = ByLength(train_data, settings.batch_size, settings.seed)
        trainer._get_train_sampler = lambda *_: order
    writing = libraries_writing(folder)
    with clock.phase("training"), place.watching(), quiet_loading(), writing:
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    with clock.phase("evaluation"):
        held_out = _best(trainer, measure) or trainer.evaluate(eval_data)
    held_out = {name.removeprefix("eval_"): value for name, value in held_out.items()}
    if not math.isfinite(held_out["loss"]) or not all(p.isfinite().all() for p in weights):
        for checkpoint in folder.glob("checkpoint-*"):  # nobody would go on from these
            shutil.rmtree(checkpoint)
        raise ParameterError.of(
            "learning_rate", "tune", "small enough for training not to diverge",
            settings.learning_rate, "Pass a third of it.",
        )  # fmt: skip
    epochs = round(trainer.state.global_step / per_epoch, 2)
    return Fitted(trainer, held_out, epochs, statistics.median(budget.step_s or [0.0]))


def train(
    model: nn.Module, task: str, train_data: Examples, eval_data: Examples,
    collate: Callable[..., Any], settings: TrainSettings, clock: Clock, folder: Path, *,
    evaluation_of_step: float = EVALUATION_OF_STEP, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train on a task as :func:`fit` does.

    Returns
    -------
    dict
        Quality on the held-out examples, of the best epoch; parameters, steps, memory that autograd
        keeps.
    """
    of = partial(_quality, task)
    measure = Measure(BEST[task], True, of)
    labels = [eval_data.labels[row] for unit in eval_data.units for row in unit]
    if task in ("score", "regress") and not can_be_told(task, np.array(labels)):
        kind = "right or all wrong" if task == "score" else "the same"
        warnings.warn(
            f"The labels that are held out are all {kind}: how good answers are cannot be told, "
            "and the epoch of the least loss is kept. Hold out others (--eval).",
            ShoestringWarning,
            stacklevel=3,
        )
        measure = Measure("loss", False, of)
    fitted = fit(
        model, train_data, eval_data, collate, settings, clock, folder, measure,
        evaluation_of_step=evaluation_of_step, progress=progress,
    )  # fmt: skip
    saved = _saved(fitted.trainer, train_data, settings)
    return {
        **fitted.report(("loss", *NAMES[task])),
        "trained_parameters": trained_parameters(model),
        "saved_for_backward_mib": round(saved / 2**20, 1),
    }


def _quality(task: str, found: Any) -> dict[str, float]:
    return quality(task, found.predictions, found.label_ids)


def _best(trainer: Any, measure: Measure) -> dict[str, float] | None:
    """The figures of the evaluation whose weights were kept."""
    name, best = f"eval_{measure.best}", trainer.state.best_metric
    found = [row for row in trainer.state.log_history if best is not None and row.get(name) == best]
    return dict(found[0]) if found else None


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; those that a kill cut off are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            json.loads((path / "trainer_state.json").read_bytes())  # what is written last
            for file in path.glob("*.safetensors"):
                load_file(file)
            for file in path.glob("*.pt*"):
                with ZipFile(file) as parts:
                    if parts.testzip() is not None:
                        raise BadZipFile
        except (OSError, ValueError, SafetensorError, BadZipFile):
            shutil.rmtree(path, ignore_errors=True)
        else:
            return str(path)
    return None


def _arguments(measure: Measure, settings: TrainSettings, folder: Path) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        learning_rate=settings.learning_rate, eval_strategy="epoch", save_strategy="epoch",
        save_total_limit=2, load_best_model_at_end=True, metric_for_best_model=measure.best,
        greater_is_better=measure.greater_is_better, logging_strategy="no", report_to=[],
        disable_tqdm=True, remove_unused_columns=False,
        dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
        bf16=settings.bfloat16, seed=settings.seed, data_seed=settings.seed,
    )  # fmt: skip


class ByLength(Sampler[int]):  # type: ignore[misc]
    """Examples of like lengths together, in an order of each epoch's own.

    An epoch that is gone on with has the order in which it began, which those that draw from
    torch's own generator have not.
    """

    def __init__(self, data: Any, batch_size: int, seed: int) -> None:
        self.lengths = [len(data[i]["input_ids"]) for i in range(len(data))]
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Tell which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        yield from get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)


def _saved(trainer: Any, data: Any, settings: TrainSettings) -> int:
    """Bytes that autograd keeps of a batch."""
    items = [data[i] for i in range(min(len(data), settings.batch_size))]
    batch = trainer._prepare_inputs(trainer.data_collator(items))
    trainer.model.train()
    with trainer.compute_loss_context_manager():
        kept = saved_bytes(trainer.model, batch)
    trainer.model.eval()
    return kept


def begin(folder: Path, how: dict[str, Any], settings: TrainSettings, *, resume: bool) -> None:
    """See whether an interrupted training waits in a folder, and make the folder.

    Raises
    ------
    ParameterError
        If there is one and nobody asked for it, or it is of other texts or settings; if the folder
        is somebody else's.
    StorageError
        If it cannot be made.
    """
    file = folder / HOW
    document = json.dumps({**how, **asdict(settings)}, sort_keys=True, default=str)
    check_place(folder)
    if not any(folder.glob("checkpoint-*")):
        shutil.rmtree(folder, ignore_errors=True)
    elif not resume:
        raise ParameterError(
            f"An interrupted training is in {folder}. Go on with it (--resume), or remove that "
            "folder to begin anew."
        )
    elif file.read_text("utf-8") != document:
        raise ParameterError(
            f"The interrupted training in {folder} was of other texts or settings. Pass the same, "
            "or remove that folder to begin anew."
        )
    write_how(folder, document)


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


@contextmanager
def place_in(folder: Path) -> Iterator[None]:
    """Leave nothing behind where training fails before its first whole checkpoint."""
    try:
        yield
    except ShoestringError:
        if last_checkpoint(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
