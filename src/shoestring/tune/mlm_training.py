"""Masked-language-model training on blocks by the plain ``Trainer``, within minutes, resumable.

Letters: B blocks in a batch, T tokens, M masked tokens, V vocabulary.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertForMaskedLM, TrainerCallback

from shoestring.tune.budget import Bar, Budget, Clock, KeepPlace, schedule
from shoestring.tune.measures import trained_parameters
from shoestring.tune.mlm_data import Blocks, Masking, Numbers
from shoestring.tune.mlm_tokenizer import ROLES, SPECIAL
from shoestring.tune.training import RESERVE_S, TrainSettings

LEAST_ASKED = 64  # blocks; fewer that are held out are asked again with other masks


class MaskedBert(BertForMaskedLM):  # type: ignore[misc]
    """BERT whose logits are those of the masked tokens alone."""

    def forward(self, input_ids: Any, labels: Any) -> dict[str, Any]:
        """The loss of a batch; in evaluation also sums for each block (B, 3)."""
        asked = labels != -100  # (B, T)
        logits = self.cls(self.bert(input_ids)[0][asked]).float()  # (M, V)
        each = functional.cross_entropy(logits, labels[asked], reduction="none")
        loss = each.sum() / max(1, len(each))
        if self.training:
            return {"loss": loss}
        right = (logits.argmax(-1) == labels[asked]).float()
        sums = torch.zeros(len(labels), 3, device=each.device)
        found = torch.stack([each, right, torch.ones_like(each)], dim=1)
        return {"loss": loss, "logits": sums.index_add(0, asked.nonzero()[:, 0], found)}


def held_out_figures(found: Any) -> dict[str, float]:
    """Masked-token loss (nats), perplexity and accuracy from the sums of blocks."""
    loss, right, n = np.asarray(found.predictions, np.float64).sum(axis=0)
    loss /= max(1.0, n)
    perplexity = float(np.exp(min(loss, 700.0)))
    return {"masked_loss": loss, "perplexity": perplexity, "accuracy": right / max(1.0, n)}


class NewMasks(TrainerCallback):  # type: ignore[misc]
    """Others in each epoch."""

    def __init__(self, masking: Masking) -> None:
        self.masking = masking

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the epoch, which is a fraction when training goes on within one."""
        self.masking.epoch = int((state.epoch or 0) + 1e-6)


def train(
    model: Any, blocks: Blocks, held_out: NDArray[np.int64], tokenizer: Tokenizer,
    settings: TrainSettings, clock: Clock, aside: Path, *, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train; the model has its best weights afterwards."""
    from transformers import PreTrainedTokenizerFast, PrinterCallback, Trainer
    from transformers.trainer_utils import get_last_checkpoint

    data = Numbers(np.setdiff1d(np.arange(len(blocks)), held_out))
    times = np.arange(-(-LEAST_ASKED // len(held_out)))
    eval_data = Numbers(np.add.outer(times * len(blocks), held_out).ravel())
    per_epoch = -(-len(data) // settings.batch_size)
    n_steps = max(1, round(settings.epochs * per_epoch))
    budget, place = Budget(clock, len(data), RESERVE_S), KeepPlace(clock)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    names = dict(zip(ROLES, SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    masking = Masking(blocks, wrapped, held_out.tolist(), settings.seed)
    trainer = Trainer(
        model=model, args=_arguments(settings, aside), train_dataset=data, eval_dataset=eval_data,
        data_collator=masking, compute_metrics=held_out_figures,
        optimizers=(optimizer, schedule(optimizer, n_steps, budget, settings.warmup)),
        callbacks=[budget, place, NewMasks(masking), *([Bar(budget)] if progress else [])],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    with clock.phase("training"), place.watching():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(aside)))
    with clock.phase("evaluation"):
        metrics = trainer.evaluate(eval_data)
    step_s = statistics.median(budget.step_s or [0.0])
    tokens_in_step = min(settings.batch_size, len(data)) * blocks.length
    figures = ("masked_loss", "perplexity", "accuracy")
    return {
        "held_out": {name: round(float(metrics[f"eval_{name}"]), 5) for name in figures},
        "epochs": round(trainer.state.global_step / per_epoch, 2),
        "steps": trainer.state.global_step, "parameters": trained_parameters(model),
        "step_ms": round(1000 * step_s, 1),
        "tokens_per_second": round(tokens_in_step / step_s) if step_s else None,
    }  # fmt: skip


def _arguments(settings: TrainSettings, folder: Path) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size, learning_rate=settings.learning_rate,
        eval_strategy="epoch", save_strategy="epoch", save_total_limit=2,
        load_best_model_at_end=True, metric_for_best_model="masked_loss", greater_is_better=False,
        logging_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
        dataloader_pin_memory=False, use_cpu=not torch.cuda.is_available(),
        bf16=settings.bfloat16, seed=settings.seed, data_seed=settings.seed,
    )  # fmt: skip
