"""Masked-language-model training of a BERT on one's own text, new or continued.

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

import hashlib
import shutil
import sys
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, TrainerCallback

from shoestring.artifacts import sync_folder, write_json, written_aside, written_by
from shoestring.checks import checked_int, checked_items, checked_path
from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    own_length,
    quiet_loading,
    reading_model,
    transformer_folder,
)
from shoestring.models.frozen import MINILM, multiplies_bfloat16
from shoestring.models.model_files import read_json, weights_digest
from shoestring.progress import Progress
from shoestring.text.corpus import Corpus
from shoestring.text.documents import text_files
from shoestring.tune.metrics import Memory, folder_bytes, trained_parameters
from shoestring.tune.mlm_data import Blocks, MaskingCollator, map_ids, sample_texts, write_ids
from shoestring.tune.trainer import Measure, TrainSettings, fit
from shoestring.tune.wordpiece import SPECIAL, n_ids, special_ids, train_tokenizer

HELD_OUT, MAX_HELD_OUT = 0.01, 200  # blocks
MIN_MASKINGS = 64  # held-out blocks; fewer are masked several times over
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
NEW_RATE, CONTINUED_RATE = 1e-3, 1e-4
MIN_LENGTH, HEAD_WIDTH, MAX_PIECES = 8, 64, 10**7
MAX_LENGTH, MAX_WIDTH, MAX_LAYERS = 1 << 16, 8_192, 128
OWNER = "tune mlm"
MANY_UNKNOWN = 0.01

MADE_BY = "shoestring tune mlm"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def pretrain(
    texts: Iterable[str | Path],
    out: Path,
    *,
    text: str = "text",
    wrapped: bool = False,
    layers: int | None = None,
    hidden: int | None = None,
    heads: int | None = None,
    vocabulary: int | None = None,
    lower_case: bool = False,
    tokenizer: str | None = None,
    backbone: str | None = None,
    max_length: int = 128,
    epochs: float = 10.0,
    batch_size: int = 32,
    learning_rate: float | None = None,
    seed: int = 0,
    clock: Clock | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a BERT on running text, save its folder, and report loss, sizes and times.

    The parameters are the options of ``shoestring tune mlm``. ``out`` is new, empty, or a folder
    that this function made, which is replaced. BudgetError if there is too little time to read some
    of the text, or for some steps.
    """
    out, clock = checked_path("out", out, OWNER).resolve(), clock or Clock()
    work = out.with_name(out.name + ".run")
    # Check all of what is asked for; nothing is written before.
    one_or_more = [texts] if isinstance(texts, str | Path) else texts
    one_or_more = checked_items("texts", one_or_more, OWNER, "paths of files and folders")
    paths = [checked_path("texts", path, OWNER) for path in one_or_more]
    kind, given = ("tokenizer", tokenizer) if backbone is None else ("backbone", backbone)
    settled: dict[str, Any] = {"vocabulary": vocabulary, "lower_case": lower_case or None}
    if backbone is not None:
        settled |= {"layers": layers, "hidden": hidden, "heads": heads, "tokenizer": tokenizer}
    for name, value in settled.items():
        if given is not None and value is not None:
            raise _wrong(name, f"left out where a {kind} is given", value)
    max_length = checked_int("max_length", max_length, MIN_LENGTH, MAX_LENGTH, OWNER)
    config = new_config(layers, hidden, heads, max_length) if backbone is None else None
    if vocabulary is not None:
        vocabulary = checked_int("vocabulary", vocabulary, len(SPECIAL) + 1, MAX_PIECES, OWNER)
    rate = NEW_RATE if backbone is None else CONTINUED_RATE
    settings = TrainSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate if learning_rate is None else learning_rate,
        seed=seed,
        bfloat16=multiplies_bfloat16(),
    )
    _check_replaceable(out)
    folder = None if given is None else _bert_folder(given)
    # Files that a training into this folder wrote may lie beside the text.
    files = (f for f in text_files(paths) if not any(map(f.resolve().is_relative_to, (out, work))))
    corpus = Corpus(tuple(files), text, wrapped)
    identity = {  # what a run to be resumed must have had
        **corpus.identity(),
        "vocabulary": vocabulary,
        "lower_case": lower_case,
        "tokenizer": folder and weights_digest(folder),
        "backbone": backbone is not None,
        "layers": config and config.num_hidden_layers,
        "hidden": config and config.hidden_size,
        "heads": config and config.num_attention_heads,
        "max_length": max_length,
        **asdict(settings),
    }
    if (replaced := work / "replaced").exists() and not out.exists():  # a kill cut _save() short
        replaced.rename(out)
    memory = Memory()
    with RunFolder.open(out, identity, resume=resume, what="training") as run, memory.watched():
        clock.add_used(run.used_s)
        if progress:
            Progress.write(f"{corpus.n_bytes / 1e6:,.1f} MB to read", file=sys.stderr)
        with clock.phase("tokenizer"):
            if run.progress or folder is not None:
                pieces = load_tokenizer(run.path if run.progress else folder or run.path)
            else:
                sample = sample_texts(corpus, seed, clock, progress=progress)
                pieces = train_tokenizer(sample, vocabulary or 8_000, lower_case=lower_case)
            special = special_ids(pieces, folder or run.path)
        model, dropout = _model(config, folder, max_length, pieces, seed)
        with clock.phase("tokens"):
            blocks = _blocks(corpus, pieces, max_length, special, run, clock, seed, progress)
            figures = _frequencies(blocks, pieces, special)
        if progress:
            size = f"a BERT of {trained_parameters(model) / 1e6:.1f} M parameters"
            sizes = f"{len(blocks.ids):,} tokens in {len(blocks):,} blocks; {size}"
            Progress.write(sizes, file=sys.stderr)
        # Train, and put the folder in its place.
        found = _train(model, blocks, pieces, settings, run, clock, progress)
        _save(model, pieces, dropout, run, out)
    return {
        "folder": str(out),
        "tokens": len(blocks.ids),
        "vocabulary": pieces.get_vocab_size(),
        **figures,
        **found,
        "peak_memory_mib": round((memory.peak - memory.at_first) / 2**20, 1),
        "checkpoint_mib": round(folder_bytes(out) / 2**20, 2),
        "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
    }


def _wrong(name: str, want: str, got: object, hint: str = "") -> ParameterError:
    return ParameterError.of(name, OWNER, want, got, hint)


def _blocks(
    corpus: Corpus, tokenizer: Tokenizer, length: int, special: dict[str, int], run: RunFolder,
    clock: Clock, seed: int, progress: bool,
) -> Blocks:  # fmt: skip
    """Text as blocks of token ids, which the run folder keeps, with the tokenizer."""
    file = run.path / "ids.npy"
    if not run.progress:
        with written_aside(run.path / "tokenizer.json") as out_file:
            out_file.write(tokenizer.to_str().encode())
        write_ids(corpus, tokenizer, file, clock, seed, progress=progress)
    return Blocks(map_ids(file, tokenizer), length, special)


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


def new_config(
    layers: int | None, hidden: int | None, heads: int | None, max_length: int
) -> BertConfig:
    """The config of a new BERT without dropout, 4 layers of 256 by default."""
    hidden = checked_int("hidden", 256 if hidden is None else hidden, 1, MAX_WIDTH, OWNER)
    heads = max(1, hidden // HEAD_WIDTH) if heads is None else heads
    heads = checked_int("heads", heads, 1, hidden, OWNER)
    layers = checked_int("layers", 4 if layers is None else layers, 1, MAX_LAYERS, OWNER)
    if hidden % heads:
        raise _wrong("heads", f"a divisor of the width {hidden}", heads)
    return BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=max_length,
        initializer_range=0.02 * (768 / hidden) ** 0.5,
        **dict.fromkeys(DROPOUTS, 0.0),
    )


def _model(
    config: BertConfig | None, folder: Path | None, max_length: int, tokenizer: Tokenizer, seed: int
) -> tuple[MaskedBert, dict[str, float]]:
    """A new model, or the one of a folder, without dropout; the dropout that it will have."""
    if config is not None:
        config.vocab_size, config.pad_token_id = n_ids(tokenizer), tokenizer.token_to_id("[PAD]")
        torch.manual_seed(seed)
        return MaskedBert(config), dict.fromkeys(DROPOUTS, 0.1)
    assert folder is not None
    before = read_json(folder / "config.json")
    longest = own_length(folder, before)
    if max_length > longest:
        raise _wrong("max_length", f"at most {longest}, what the backbone reads", max_length)
    options = {"dtype": "float32", "weights_only": True, **dict.fromkeys(DROPOUTS, 0.0), **LOCAL}
    with reading_model(folder):
        model = MaskedBert.from_pretrained(folder, **options)
    if model.config.vocab_size < n_ids(tokenizer):
        raise FormatError("its tokenizer has more tokens than its model.", file=folder)
    return model, {name: before.get(name, 0.1) for name in DROPOUTS}


def _bert_folder(name: str) -> Path:
    """The folder of a BERT; FormatError if it is of another family."""
    folder = transformer_folder(None if name in MINILM else name)
    if not (folder / "config.json").exists():
        raise FormatError("no model: there is no config.json. Name a BERT's folder.", file=folder)
    family = read_json(folder / "config.json").get("model_type")
    if family != "bert":
        raise FormatError(
            f"a model of the family {family!r}; tune mlm trains BERTs. Name a BERT's folder.",
            file=folder,
        )
    return folder


# ---- training


def _frequencies(blocks: Blocks, tokenizer: Tokenizer, special: dict[str, int]) -> dict[str, float]:
    """The share of unknown tokens, and the loss of guessing by frequency (nats)."""
    n_tokens = len(blocks.ids)
    if len(blocks) < 2:
        want = f"of at least {2 * (blocks.length - 2)} tokens, to train and to measure on"
        hint = "Pass more text or a smaller --max-length."
        raise _wrong("corpus", want, f"{n_tokens} tokens", hint)
    counts = blocks.counts(n_ids(tokenizer))
    unknown = float(counts[special["[UNK]"]] / n_tokens)
    if unknown > MANY_UNKNOWN:
        warnings.warn(
            f"{unknown:.1%} of the tokens are unknown to the tokenizer. Pass a larger --vocabulary "
            "or another tokenizer.",
            ShoestringWarning,
            stacklevel=3,
        )
    p = np.delete(counts, sorted(special.values())) / n_tokens
    p = p[p > 0] / p.sum()
    return {"unknown_share": round(unknown, 6), "frequency_loss": round(-float(p @ np.log(p)), 5)}


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
    measure = Measure("masked_loss", False, held_out_figures)
    fitted = fit(
        *(model, data, eval_data, collator, settings, clock, run, measure),
        callbacks=[NewMasks(collator)],
        progress=progress,
    )
    tokens_in_step = min(settings.batch_size, len(data)) * blocks.length
    return {
        "train_blocks": len(data),
        "held_out_blocks": n_held_out,
        **fitted.report(("masked_loss", "perplexity", "accuracy")),
        "parameters": trained_parameters(model),
        "tokens_per_second": round(tokens_in_step / fitted.step_s) if fitted.step_s else None,
    }


def held_out_figures(found: Any) -> dict[str, float]:
    """Masked-token loss (nats), perplexity and accuracy from the sums of blocks."""
    loss, right, n = np.asarray(found.predictions, np.float64).sum(axis=0)
    loss /= max(1.0, n)
    perplexity = float(np.exp(min(loss, 700.0)))
    return {"masked_loss": loss, "perplexity": perplexity, "accuracy": right / max(1.0, n)}


# ---- the folder


def _check_replaceable(out: Path) -> None:
    """Check that a folder is new, empty, or was made here and not trained since."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    ours = {"config.json", "model.safetensors"} <= names <= set(FILES)
    if out.is_file() or (
        names and not (ours and read_json(out / "config.json").get("made_by") == _made_by(out))
    ):
        want = "a new or empty folder, or one that tune mlm made"
        raise _wrong("out", want, str(out), "Choose another.")


def _made_by(folder: Path) -> str:
    """Who made the weights of a folder: a model that was trained further has other weights."""
    with (folder / "model.safetensors").open("rb") as file:
        return f"{MADE_BY} {hashlib.file_digest(file, 'blake2b').hexdigest()[:12]}"


def _save(
    model: MaskedBert, tokenizer: Tokenizer, dropout: dict[str, float], run: RunFolder, out: Path
) -> None:
    """Write the folder aside, then put it in the place of the one before."""
    new, replaced = run.path / "model", run.path / "replaced"
    for folder in (new, replaced):
        shutil.rmtree(folder, ignore_errors=True)
    with quiet_loading():
        written_by(model.save_pretrained, new)
    (new / "generation_config.json").unlink(missing_ok=True)
    ours = {"architectures": ["BertForMaskedLM"], "made_by": _made_by(new)}
    write_json(new / "config.json", {**read_json(new / "config.json"), **dropout, **ours})
    with written_aside(new / "tokenizer.json") as file:
        file.write(tokenizer.to_str(pretty=True).encode())
    document = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **SPECIAL,
        "model_max_length": model.config.max_position_embeddings,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    write_json(new / "tokenizer_config.json", document)
    _check_replaceable(out)  # again: hours have passed
    if out.exists():
        out.rename(replaced)
    new.rename(out)
    sync_folder(out.parent)
