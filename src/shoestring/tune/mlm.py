"""Masked-language-model training of a new BERT on one's own text.

A corpus in, a plain transformers folder out, for ``tune classify --backbone`` and for AutoModel.
The run folder has the tokenizer, the token ids and the checkpoints; before the first checkpoint
nothing is kept. How text becomes blocks and masks is in :mod:`mlm_data`.

The textbook (BERT, arXiv 1810.04805), but for: no next-sentence task and [SEP] between documents
(RoBERTa, arXiv 1907.11692); no dropout while training, which a short training does not need
(Cramming, arXiv 2212.14034), the folder says 0.1 for later tuning; logits of the masked tokens
alone, which gives the same loss in about two thirds of the time; weights begin with a standard
deviation of 0.02 at BERT's width of 768, and of more where D is less, as 1 / sqrt(D): with 0.02 a
narrow model long predicts little but frequencies.

Letters: B blocks in a batch, T tokens, M masked tokens, D width, V vocabulary.

Not covered: other families than BERT, whole-word masking, more than one process. The pooler is not
trained: AutoModel makes one at random.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from shoestring.artifacts import (
    libraries_writing,
    map_array,
    sync_folder,
    written_aside,
    written_whole,
)
from shoestring.checks import checked_int, checked_items, checked_path
from shoestring.errors import ParameterError
from shoestring.jobs import Clock, RunFolder
from shoestring.models.backbone import load_tokenizer, quiet_loading
from shoestring.models.frozen import multiplies_bfloat16
from shoestring.progress import Progress
from shoestring.text.corpus import Corpus
from shoestring.text.documents import text_files
from shoestring.tune.metrics import trained_parameters
from shoestring.tune.mlm_data import (
    SPECIAL,
    SPECIAL_IDS,
    Blocks,
    MaskingCollator,
    sample_texts,
    train_tokenizer,
    write_ids,
)
from shoestring.tune.trainer import Measure, TrainSettings, fit

HELD_OUT, MAX_HELD_OUT = 0.01, 200  # blocks
MIN_MASKINGS = 64  # held-out blocks; fewer are masked several times over
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
MIN_LENGTH, HEAD_WIDTH, MAX_PIECES = 8, 64, 10**7
MAX_LENGTH, MAX_WIDTH, MAX_LAYERS = 1 << 16, 8_192, 128
OWNER = "tune mlm"


def pretrain(
    texts: Iterable[str | Path],
    out: Path,
    *,
    text: str = "text",
    layers: int = 4,
    hidden: int = 256,
    vocabulary: int = 8_000,
    lower_case: bool = False,
    max_length: int = 128,
    epochs: float = 10.0,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    clock: Clock | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a BERT on running text, save its folder, and report loss, sizes and times.

    The parameters are the options of ``shoestring tune mlm``. ``out`` is new or empty. BudgetError
    if there is too little time to read some of the text, or for some steps.
    """
    out, clock = checked_path("out", out, OWNER).resolve(), clock or Clock()
    # Check all of what is asked for; nothing is written before.
    named = checked_items("texts", texts, OWNER, "paths of files and folders")
    paths = [checked_path("texts", path, OWNER) for path in named]
    max_length = checked_int("max_length", max_length, MIN_LENGTH, MAX_LENGTH, OWNER)
    config = new_config(max_length, layers, hidden)
    vocabulary = checked_int("vocabulary", vocabulary, len(SPECIAL) + 1, MAX_PIECES, OWNER)
    settings = TrainSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        bfloat16=multiplies_bfloat16(),
    )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        want = "a new or empty folder"
        raise ParameterError.of("out", OWNER, want, str(out), "Choose another.")
    # Files that an interrupted training into this folder wrote may lie beside the text.
    work = out.with_name(out.name + ".run")
    files = (file for file in text_files(paths) if not file.resolve().is_relative_to(work))
    corpus = Corpus(tuple(files), text)
    identity = {  # what a run to be resumed must have had
        **corpus.identity(),
        "vocabulary": vocabulary,
        "lower_case": lower_case,
        "layers": layers,
        "hidden": hidden,
        "max_length": max_length,
        **asdict(settings),
    }
    with RunFolder.open(out, identity, resume=resume, what="training") as run:
        clock.add_used(run.used_s)
        if progress:
            Progress.write(f"{corpus.n_bytes / 1e6:,.1f} MB to read", file=sys.stderr)
        with clock.phase("tokenizer"):
            if run.progress:
                pieces = load_tokenizer(run.path)
            else:
                sample = sample_texts(corpus, seed, clock, progress=progress)
                pieces = train_tokenizer(sample, vocabulary, lower_case=lower_case)
        config.vocab_size, config.pad_token_id = pieces.get_vocab_size(), SPECIAL_IDS["[PAD]"]
        torch.manual_seed(seed)
        model = MaskedBert(config)
        with clock.phase("tokens"):
            blocks = _blocks(corpus, pieces, max_length, run, clock, seed, progress)
        if progress:
            size = f"a BERT of {trained_parameters(model) / 1e6:.1f} M parameters"
            sizes = f"{len(blocks.ids):,} tokens in {len(blocks):,} blocks; {size}"
            Progress.write(sizes, file=sys.stderr)
        # Train, and put the folder in its place.
        found = _train(model, blocks, pieces, settings, run, clock, progress)
        _save(model, pieces, run, out)
    return {
        "folder": str(out),
        "tokens": len(blocks.ids),
        "vocabulary": pieces.get_vocab_size(),
        **found,
        "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
    }


def _blocks(
    corpus: Corpus, tokenizer: Tokenizer, length: int, run: RunFolder, clock: Clock, seed: int,
    progress: bool,
) -> Blocks:  # fmt: skip
    """Text as blocks of token ids, which the run folder keeps, with the tokenizer."""
    file = run.path / "ids.npy"
    if not run.progress:
        with written_aside(run.path / "tokenizer.json") as out_file:
            out_file.write(tokenizer.to_str().encode())
        write_ids(corpus, tokenizer, file, clock, seed, progress=progress)
    blocks = Blocks(map_array(file, "<i4", None, "Remove that folder and train again."), length)
    if len(blocks) < 2:
        want = f"of at least {2 * (length - 2)} tokens, to train and to measure on"
        hint = "Pass more text or a smaller --max-length."
        raise ParameterError.of("corpus", OWNER, want, f"{len(blocks.ids)} tokens", hint)
    return blocks


# ---- the model


class LogitsOfSome:
    """Mixed into a masked-language model of transformers, of any family."""

    base_model: Any

    def logits_at(self, chosen: Any, **inputs: Any) -> Any:
        """Logits (M, V), float32, of the M tokens that are ``chosen`` (B, T): no others' are made.

        Not for several threads at once.
        """

        def choose(_: Any, __: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[chosen][None]
            return output

        hook = self.base_model.register_forward_hook(choose)
        try:
            return super().forward(**inputs).logits[0].float()  # type: ignore[misc]
        finally:
            hook.remove()


class MaskedBert(LogitsOfSome, BertForMaskedLM):  # type: ignore[misc]
    """BERT that computes the logits of masked tokens only."""

    def forward(self, input_ids: Any, labels: Any) -> dict[str, Any]:
        """The loss of a batch; in evaluation also loss, hits and number of each block (B, 3)."""
        masked = labels != -100  # (B, T)
        logits = self.logits_at(masked, input_ids=input_ids)  # (M, V)
        each = functional.cross_entropy(logits, labels[masked], reduction="none")
        loss = each.sum() / max(1, len(each))
        if self.training:
            return {"loss": loss}
        right = (logits.argmax(-1) == labels[masked]).float()
        sums = torch.zeros(len(labels), 3, device=each.device)
        found = torch.stack([each, right, torch.ones_like(each)], dim=1)
        return {"loss": loss, "logits": sums.index_add(0, masked.nonzero()[:, 0], found)}


def new_config(max_length: int, layers: int = 4, hidden: int = 256) -> BertConfig:
    """The config of a new BERT without dropout; a head for about 64 of the width."""
    hidden = checked_int("hidden", hidden, 1, MAX_WIDTH, OWNER)
    layers = checked_int("layers", layers, 1, MAX_LAYERS, OWNER)
    heads = max(n for n in range(1, max(1, hidden // HEAD_WIDTH) + 1) if hidden % n == 0)
    return BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=max_length,
        initializer_range=0.02 * (768 / hidden) ** 0.5,
        **dict.fromkeys(DROPOUTS, 0.0),
    )


# ---- training


class NewMasks(TrainerCallback):  # type: ignore[misc]
    """Draws new masks at the start of every epoch."""

    def __init__(self, collator: Any) -> None:  # with an ``epoch``
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the epoch, a fraction when training continues within one."""
        self.collator.epoch = int((state.epoch or 0) + 1e-6)


def _train(
    model: MaskedBert,
    blocks: Blocks,
    tokenizer: Tokenizer,
    settings: TrainSettings,
    run: RunFolder,
    clock: Clock,
    progress: bool,
) -> dict[str, Any]:
    """Train; the model has its best weights afterwards."""
    n_held_out = min(MAX_HELD_OUT, max(1, int(HELD_OUT * len(blocks))))
    order = np.random.default_rng(settings.seed)
    held_out = np.sort(order.choice(len(blocks), n_held_out, replace=False))
    data = np.setdiff1d(np.arange(len(blocks)), held_out).tolist()
    # Few held-out blocks are asked about several times, with other masks.
    times = np.arange(-(-MIN_MASKINGS // n_held_out))
    eval_data = np.add.outer(times * len(blocks), held_out).ravel().tolist()
    collator = MaskingCollator(blocks, tokenizer, held_out.tolist(), settings.seed)
    names = ("masked_loss", "perplexity", "accuracy")
    measure = Measure(names, "masked_loss", held_out_figures)
    report = fit(
        *(model, data, eval_data, collator, settings, clock, run, measure),
        callbacks=[NewMasks(collator)],
        progress=progress,
    )
    tokens_in_step = min(settings.batch_size, len(data)) * blocks.length
    step_s = report["step_ms"] / 1000
    return {
        "train_blocks": len(data),
        "held_out_blocks": n_held_out,
        **report,
        "parameters": trained_parameters(model),
        "tokens_per_second": round(tokens_in_step / step_s) if step_s else None,
    }


def held_out_figures(found: Any) -> dict[str, float]:
    """Masked-token loss (nats), perplexity and accuracy from the sums of blocks."""
    loss, right, n = np.asarray(found.predictions, np.float64).sum(axis=0)
    loss /= max(1.0, n)
    perplexity = float(np.exp(min(loss, 700.0)))
    return {"masked_loss": loss, "perplexity": perplexity, "accuracy": right / max(1.0, n)}


# ---- the folder


def _save(model: MaskedBert, tokenizer: Tokenizer, run: RunFolder, out: Path) -> None:
    """Write the folder aside, then put it in its place; it says dropout, for later tuning."""
    new, config = run.path / "model", model.config
    shutil.rmtree(new, ignore_errors=True)
    pieces = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )

    with quiet_loading(), written_whole(new):
        model.save_pretrained(new)
        (new / "generation_config.json").unlink(missing_ok=True)
        config.architectures = ["BertForMaskedLM"]
        config.update(dict.fromkeys(DROPOUTS, 0.1))
        config.save_pretrained(new)
        pieces.save_pretrained(new)
    with libraries_writing(out):
        if out.exists():
            out.rmdir()
        new.rename(out)
        sync_folder(out.parent)
