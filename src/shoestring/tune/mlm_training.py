"""Masked-language-model training on blocks by the plain ``Trainer``, within minutes, resumable.

Letters: B blocks in a batch, T tokens, M masked tokens, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertForMaskedLM, TrainerCallback

from shoestring.jobs import Clock, RunFolder
from shoestring.tune.metrics import trained_parameters
from shoestring.tune.mlm_data import Blocks, Masking, Numbers
from shoestring.tune.mlm_tokenizer import ROLES, SPECIAL
from shoestring.tune.trainer import Measure, TrainSettings, fit

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
    from transformers import PreTrainedTokenizerFast

    data = Numbers(np.setdiff1d(np.arange(len(blocks)), held_out))
    times = np.arange(-(-LEAST_ASKED // len(held_out)))
    eval_data = Numbers(np.add.outer(times * len(blocks), held_out).ravel())
    names = dict(zip(ROLES, SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    masking = Masking(blocks, wrapped, held_out.tolist(), settings.seed)
    fitted = fit(
        model, data, eval_data, masking, settings, clock, RunFolder(aside, {}, {}),
        Measure("masked_loss", False, held_out_figures),
        callbacks=[NewMasks(masking)], progress=progress,
    )  # fmt: skip
    tokens_in_step = min(settings.batch_size, len(data)) * blocks.length
    return {
        **fitted.report(("masked_loss", "perplexity", "accuracy")),
        "parameters": trained_parameters(model),
        "tokens_per_second": round(tokens_in_step / fitted.step_s) if fitted.step_s else None,
    }
