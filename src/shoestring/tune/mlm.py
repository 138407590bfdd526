"""Masked-language-model training of a BERT on one's own text, from nothing or going on.

A corpus in, a plain transformers folder out, for ``tune classify --backbone`` and for AutoModel.
While ``out`` is trained, ``out.tuning`` has the tokenizer, the token ids and the checkpoints; it
goes when the model is saved. How text becomes blocks and masks is in :mod:`mlm_data`.

The textbook (BERT, arXiv 1810.04805), but for: no next-sentence task and [SEP] between documents
(RoBERTa, arXiv 1907.11692); no dropout while training, which a short training does not need
(Cramming, arXiv 2212.14034), the folder says 0.1 for what is tuned later; logits of the masked
tokens alone, which gives the same loss in about two thirds of the time; weights begin with a
standard deviation of 0.02 at the width of 768 that BERT has, and of more where D is less, as
1 / sqrt(D): a narrow model with 0.02 stays long at what frequencies tell.

Letters: B blocks in a batch, T tokens, M masked tokens, D width, V vocabulary.

Not covered: other families than BERT, whole-word masking, more than one process. The pooler is not
trained: AutoModel makes one at random.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import BertConfig

from shoestring.artifacts import written_aside
from shoestring.errors import FormatError, ParameterError, ShoestringWarning
from shoestring.jobs import Clock
from shoestring.models.backbone import (
    load_tokenizer,
    own_length,
    quiet_loading,
    transformer_folder,
)
from shoestring.models.frozen import MINILM, multiplies_bfloat16
from shoestring.models.model_files import read_model_config, weights_digest
from shoestring.text.documents import text_files
from shoestring.tune.metrics import Memory, folder_bytes, trained_parameters
from shoestring.tune.mlm_data import Blocks, Corpus, sampled, write_ids
from shoestring.tune.mlm_folder import (
    begin,
    check_folder,
    only_run,
    place_in,
    restore,
    save,
    used_before,
)
from shoestring.tune.mlm_tokenizer import SPECIAL, n_ids, special_ids, train_tokenizer
from shoestring.tune.mlm_training import MaskedBert, train
from shoestring.tune.trainer import TrainSettings

HELD_OUT, MOST_HELD_OUT = 0.01, 200  # blocks
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
MOST_PIECES = 10**7
FRESH_RATE, GOING_ON_RATE = 1e-3, 1e-4
USUAL = {"layers": 4, "hidden": 256, "vocabulary": 8_000}
SHORTEST, MANY_UNKNOWN, WIDTH_OF_HEAD = 8, 0.01, 64


@dataclass(frozen=True)
class MlmJob:
    """What is trained.

    Parameters
    ----------
    corpus : Corpus
    settings : TrainSettings
        A batch is of blocks.
    layers, hidden, heads : int
        Of a fresh model.
    vocabulary : int
        Of a fresh tokenizer.
    lower_case : bool
    tokenizer : str, optional
        A model folder whose tokenizer is taken.
    backbone : str, optional
        "minilm" or a BERT's folder, to go on with; then it also has the tokenizer.
    max_length : int
        Tokens T of a block, and positions of a fresh model.
    minutes : float, optional
    resume : bool
    """

    corpus: Corpus
    settings: TrainSettings
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    vocabulary: int = 8_000
    lower_case: bool = False
    tokenizer: str | None = None
    backbone: str | None = None
    max_length: int = 128
    minutes: float | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        sizes = {"layers": self.layers, "hidden": self.hidden, "heads": self.heads}
        for name, size in sizes.items():
            if size < 1:
                raise _wrong(name, "an int of at least 1", size)
        if self.hidden % self.heads:
            raise _wrong("heads", f"a divisor of the width {self.hidden}", self.heads)
        if self.max_length < SHORTEST:
            raise _wrong("max_length", f"an int of at least {SHORTEST}", self.max_length)
        if not len(SPECIAL) < self.vocabulary <= MOST_PIECES:
            raise _wrong("vocabulary", f"an int from 6 to {MOST_PIECES:,}", self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint is of: the tokens, and the training."""
        folder = None if self.backbone is None else _folder(self.backbone)
        given = folder or (self.tokenizer and _folder(self.tokenizer))
        return {
            "tokens": {
                **self.corpus.to_dict(), "seed": self.settings.seed, "lower_case": self.lower_case,
                "vocabulary": self.vocabulary, "tokenizer": given and weights_digest(given),
            },
            "training": {
                "layers": self.layers, "hidden": self.hidden, "heads": self.heads,
                "max_length": self.max_length, "backbone": folder and weights_digest(folder),
                **asdict(self.settings),
            },
        }  # fmt: skip


def pretrain(
    job: MlmJob, out: Path, *, progress: bool = True, began: float | None = None
) -> dict[str, Any]:
    """Train and save a folder.

    Parameters
    ----------
    job : MlmJob
    out : Path
        New, empty, or one that this function made, which is replaced.
    progress : bool
    began : float, optional
        From when the minutes count (``time.monotonic()``); by default from now.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ParameterError, FormatError, BudgetError, StorageError
        If something cannot be; nothing is left half-written.
    """
    out = out.resolve()
    aside = out.with_name(out.name + ".tuning")
    check_folder(out)
    Clock(job.minutes)
    with only_run(out):
        restore(aside, out)
        begin(aside, job.to_dict(), resume=job.resume)
        return _pretrained(job, out, aside, progress, began)


def _pretrained(
    job: MlmJob, out: Path, aside: Path, progress: bool, began: float | None
) -> dict[str, Any]:
    clock, memory = Clock(job.minutes, used_before(aside), began=began), Memory()
    _say(f"{job.corpus.n_bytes / 1e6:,.1f} MB to read", progress)
    with memory.watched(), place_in(aside):
        tokenizer = _tokenizer(job, aside, clock, progress)
        model, dropouts = _model(job, tokenizer)
        blocks, figures = _blocks(job, tokenizer, aside, clock, progress)
        held_out = _held_out(len(blocks), job)
        _say(
            f"{len(blocks.ids):,} tokens in {len(blocks):,} blocks; a BERT of "
            f"{trained_parameters(model) / 1e6:.1f} M parameters", progress,
        )  # fmt: skip
        with quiet_loading():
            found = train(
                model, blocks, held_out, tokenizer, job.settings, clock, aside, progress=progress
            )
    for name, value in dropouts.items():
        setattr(model.config, name, value)
    save(model, tokenizer, aside, out)
    return {
        "folder": str(out), "tokens": len(blocks.ids), "vocabulary": tokenizer.get_vocab_size(),
        **figures, "train_blocks": len(blocks) - len(held_out),
        "held_out_blocks": len(held_out), **found,
        "peak_memory_mib": round((memory.peak - memory.at_first) / 2**20, 1),
        "checkpoint_mib": round(folder_bytes(out) / 2**20, 2),
        "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
    }  # fmt: skip


def _tokenizer(job: MlmJob, aside: Path, clock: Clock, progress: bool) -> Tokenizer:
    file = aside / "tokenizer.json"
    with clock.phase("tokenizer"):
        if file.exists():
            return load_tokenizer(aside)
        given = job.backbone or job.tokenizer
        if given is not None:
            tokenizer = load_tokenizer(_folder(given))
        else:
            with _bar(job, "vocabulary", progress) as bar:
                texts = sampled(job.corpus, job.settings.seed, clock, bar)
            if not texts:
                raise _wrong("corpus", "files with text in them", str(job.corpus.files[0]))
            tokenizer = train_tokenizer(texts, job.vocabulary, lower_case=job.lower_case)
        special_ids(tokenizer, file if given is None else _folder(given))
        with written_aside(file) as out:
            out.write(tokenizer.to_str().encode())
        return tokenizer


def _blocks(
    job: MlmJob, tokenizer: Tokenizer, aside: Path, clock: Clock, progress: bool
) -> tuple[Blocks, dict[str, float]]:
    """Blocks of the corpus; the share of unknown tokens, the loss of guessing by frequency."""
    with clock.phase("tokens"), _bar(job, "tokens", progress) as bar:
        ids = write_ids(job.corpus, tokenizer, aside, clock, bar)
        special = special_ids(tokenizer, aside)
        blocks = Blocks(ids, job.max_length, special["[CLS]"], special["[SEP]"])
        counts = blocks.counts(n_ids(tokenizer))
    if len(blocks) < 2:
        shutil.rmtree(aside, ignore_errors=True)
        raise _wrong(
            "corpus", f"of at least {2 * (job.max_length - 2)} tokens, to train and to measure on",
            f"{len(ids)} tokens", "Pass more text or a smaller --max-length.",
        )  # fmt: skip
    unknown = float(counts[special["[UNK]"]] / len(ids))
    if unknown > MANY_UNKNOWN:
        warnings.warn(
            f"{unknown:.1%} of the tokens are unknown to the tokenizer. Pass a larger --vocabulary "
            "or another tokenizer.",
            ShoestringWarning,
            stacklevel=3,
        )
    p = np.delete(counts, sorted(special.values())) / len(ids)
    p = p[p > 0] / p.sum()
    return blocks, {
        "unknown_share": round(unknown, 6), "frequency_loss": round(-float(p @ np.log(p)), 5),
    }  # fmt: skip


def _held_out(n_blocks: int, job: MlmJob) -> NDArray[np.int64]:
    n = min(MOST_HELD_OUT, max(1, int(HELD_OUT * n_blocks)))
    chosen = np.random.default_rng(job.settings.seed).choice(n_blocks, n, replace=False)
    return np.sort(chosen).astype(np.int64)


def _model(job: MlmJob, tokenizer: Tokenizer) -> tuple[Any, dict[str, float]]:
    """The model without dropout, and what its dropout will be."""
    torch.manual_seed(job.settings.seed)
    if job.backbone is None:
        config = BertConfig(
            vocab_size=n_ids(tokenizer), hidden_size=job.hidden,
            num_hidden_layers=job.layers, num_attention_heads=job.heads,
            intermediate_size=4 * job.hidden, max_position_embeddings=job.max_length,
            pad_token_id=tokenizer.token_to_id("[PAD]"),
            initializer_range=0.02 * (768 / job.hidden) ** 0.5, **dict.fromkeys(DROPOUTS, 0.0),
        )  # fmt: skip
        return MaskedBert(config), dict.fromkeys(DROPOUTS, 0.1)
    folder = _folder(job.backbone)
    config = read_model_config(folder)
    longest = own_length(folder, config)
    if job.max_length > longest:
        raise _wrong("max_length", f"at most {longest}, what the backbone reads", job.max_length)
    try:
        with quiet_loading():
            model = MaskedBert.from_pretrained(
                folder, local_files_only=True, dtype="float32", **dict.fromkeys(DROPOUTS, 0.0)
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"no readable BERT ({reason}). Name a folder that transformers saved."
        raise FormatError(message, file=folder) from error
    if model.config.vocab_size < n_ids(tokenizer):
        raise FormatError("its tokenizer has more tokens than its model.", file=folder)
    return model, {name: config.get(name, 0.1) for name in DROPOUTS}


def _folder(name: str) -> Path:
    """The folder of a BERT; FormatError if it is of another family."""
    folder = transformer_folder(None if name in MINILM else name)
    if not (folder / "config.json").exists():
        raise FormatError("no model: there is no config.json. Name a BERT's folder.", file=folder)
    family = read_model_config(folder).get("model_type")
    if family != "bert":
        raise FormatError(
            f"a model of the family {family!r}; tune mlm goes on with BERTs. Name a BERT's folder.",
            file=folder,
        )
    return folder


def _bar(job: MlmJob, name: str, progress: bool) -> Any:
    return tqdm(
        total=job.corpus.n_bytes, desc=name, unit="B", unit_scale=True,
        disable=None if progress else True,
    )  # fmt: skip


def _say(sentence: str, progress: bool) -> None:
    if progress:
        tqdm.write(sentence, file=sys.stderr)


def _wrong(name: str, want: str, got: object, hint: str = "") -> ParameterError:
    return ParameterError.of(name, "tune mlm", want, got, hint)


def mlm_from_options(
    sources: list[Path], out: Path, *, text: str, wrapped: bool, layers: int | None,
    hidden: int | None, heads: int | None, vocabulary: int | None, lower_case: bool,
    tokenizer: str | None, backbone: str | None, max_length: int, minutes: float | None,
    epochs: float, batch_size: int, learning_rate: float | None, resume: bool, seed: int,
    began: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """:func:`pretrain` from what the command line has."""
    sizes = {"layers": layers, "hidden": hidden, "heads": heads}
    of_tokenizer = {"vocabulary": vocabulary, "lower_case": lower_case or None}
    if backbone is not None:
        _left_out({**sizes, **of_tokenizer, "tokenizer": tokenizer}, "a backbone")
    if tokenizer is not None:
        _left_out(of_tokenizer, "a tokenizer")
    rate = FRESH_RATE if backbone is None else GOING_ON_RATE
    settings = TrainSettings(
        epochs=epochs, batch_size=batch_size, seed=seed, bfloat16=multiplies_bfloat16(),
        learning_rate=rate if learning_rate is None else learning_rate,
    )  # fmt: skip
    width = USUAL["hidden"] if hidden is None else hidden
    job = MlmJob(
        Corpus(tuple(_without(out, text_files(sources))), text, wrapped), settings,
        USUAL["layers"] if layers is None else layers, width,
        max(1, width // WIDTH_OF_HEAD) if heads is None else heads,
        USUAL["vocabulary"] if vocabulary is None else vocabulary,
        lower_case, tokenizer, backbone, max_length, minutes, resume,
    )  # fmt: skip
    return pretrain(job, out, began=began)


def _without(out: Path, files: Iterable[Path]) -> Iterator[Path]:
    """All but what a training into ``out`` writes, which may be beside the text."""
    ours = [out.resolve().with_name(out.name + ending) for ending in ("", ".tuning", ".lock")]
    for file in files:
        if not any(file.resolve().is_relative_to(path) for path in ours):
            yield file


def _left_out(options: dict[str, Any], owner: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise _wrong(name, f"left out where {owner} is given", value)
