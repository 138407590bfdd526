"""A matcher of pairs of short texts: trained from nothing, or from any masked-language model.

Plain and pseudonymised text go the same way: symbols by count (:mod:`symbols`), a model that is
given them (:mod:`alignment`), labels and text as one objective (:mod:`label_token`), or plain
fine-tuning of the same start (:mod:`shoestring.tune`).

Letters: B pairs.

Not covered: several models of folds, other labels than 0 and 1.
"""

from __future__ import annotations

import math
import shutil
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForMaskedLM, BertForMaskedLM, PreTrainedTokenizerFast

from shoestring import checks
from shoestring.artifacts import ArtifactKind, digest
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder
from shoestring.match.alignment import (
    METHODS,
    WITHOUT_PUBLIC,
    alignment,
    give_vocabulary,
    special_id,
)
from shoestring.match.evaluate import split_by_components
from shoestring.match.label_token import JointBatches, with_label_token
from shoestring.match.pairs import Pairs, read_public
from shoestring.match.symbols import SymbolVocabulary, unit_of
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    own_length,
    quiet_loading,
    reading_model,
    shown_name,
    transformer_folder,
    unknown_share,
)
from shoestring.models.frozen import MINILM, digest_of
from shoestring.models.model_files import weights_digest
from shoestring.models.token_encoder import batches_by_length
from shoestring.tune import LadderScorer
from shoestring.tune.config import LADDER
from shoestring.tune.job import Job, tune
from shoestring.tune.metrics import NAMES, can_be_told, quality
from shoestring.tune.mlm import DROPOUTS, NewMasks, new_config
from shoestring.tune.mlm_data import SPECIAL
from shoestring.tune.trainer import Measure, TrainSettings, fit

MATCHER = ArtifactKind(
    *("shoestring-matcher", "a matcher", "PairMatcher.save_pretrained"),
    "Train it again (shoestring match train).",
)
INSIDE, OWNER = "model", "PairMatcher.train"
HELD_OUT = 0.1
TOKENS_AT_ONCE = 8_192
NEW_RATE, ALIGNED_RATE = 1e-3, 3e-4  # for a width of 256
RANDOM_LOSS, SENTENCES, SENTENCE_TOKENS = 0.8, 200, 64  # of ln V; that are looked at
MANY_UNKNOWN, MOSTLY_UNKNOWN = 0.05, 0.5  # of symbols of pairs; of a text, to a base model
LABELLED = 3  # pairs without a label for one with: labelled ones are repeated up to that


class PairMatcher:
    """A pair scorer for short texts, plain or pseudonymised; made by :meth:`train` or :meth:`load`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A masked-language model with the vocabulary.
    vocabulary : SymbolVocabulary
    max_length : int
        Tokens of a pair that are read.

    Attributes
    ----------
    report : dict
        Of its training: figures on the pairs that were held out, steps, seconds.

    Examples
    --------
    >>> matcher = PairMatcher.train(pairs, init="minilm")  # doctest: +SKIP
    >>> matcher.predict([("turn it on", "switch it on")])  # doctest: +SKIP
    array([2.31], dtype=float32)
    """

    def __init__(self, model: Any, vocabulary: SymbolVocabulary, max_length: int = 32) -> None:
        self.model = with_label_token(model).eval()
        self.vocabulary, self.max_length = vocabulary, max_length
        self.report: dict[str, Any] = {}
        self._one, self._has_told = threading.Lock(), False

    @cached_property
    def name(self) -> str:
        """Kind, digest of weights and vocabulary, ``max_length``."""
        state, tokens = self.model.state_dict(), digest(*self.vocabulary.tokens)
        return f"matcher:{digest_of(state, tokens)}:{self.max_length}"

    @classmethod
    def train(
        cls, pairs: Any, unlabelled: Any = None, *, init: str | Path | None = None,
        anonymous: bool = False, public: Any = None, align: str = "both", objective: str = "joint",
        method: str = "full", out: str | Path | None = None, epochs: float = 10.0,
        batch_size: int = 64, learning_rate: float | None = None, max_length: int = 32,
        ngrams: bool = False, seed: int = 0, minutes: float | None = None,
        clock: Clock | None = None, resume: bool = False, progress: bool = False,
    ) -> Any:  # fmt: skip
        """Train on pairs with labels; a tenth, of other texts, says which epoch is the best.

        The result is a PairMatcher, or of "classify" a LadderScorer, with a ``report``.
        ParameterError, BudgetError or FormatError if there are no labels of both kinds, options
        that do not go together, no such model.

        Parameters
        ----------
        pairs, unlabelled : Pairs or sequence of tuples (text, text, label)
            Labels 0 or 1, or None or left out for none.
        init : str or Path, optional
            Folder of a masked-language model of transformers or of a matcher to start from, or
            "minilm"; without it a new model of 4 layers, 256 wide.
        anonymous : bool
            Whether the texts are pseudonymised: numbers between blanks.
        public : path, or sequence of str, optional
            Plain text of the same language, for ``align``.
        align : {"both", "decipher", "rank", "resize", "random", "shuffled"}
            What a pseudonymised symbol begins as; see :mod:`shoestring.match.alignment`.
        objective : {"joint", "classify"}
            "classify": plain fine-tuning, for comparison.
        method : {"full", "ladder"}
            What of the model is trained; a ladder by "classify" only.
        out : path, optional
            Folder to save it in; a run that was interrupted can be resumed there.
        epochs, batch_size, learning_rate, max_length, ngrams, seed, minutes, resume
            As in ``shoestring match train``.
        """
        # options and texts
        clock = clock or Clock(minutes)
        checks.checked_choice("objective", objective, ("joint", "classify"), OWNER)
        is_joint = objective == "joint"
        if is_joint and method != "full":
            raise ParameterError.of("method", OWNER, "'full' with the joint objective", method)
        max_length = checks.checked_int("max_length", max_length, 8, 512, OWNER)
        ngrams = checks.checked_bool("ngrams", ngrams, OWNER)
        job = Job.of(
            *(method, ""), task="score", pairs="joint", max_length=max_length, epochs=epochs,
            batch_size=batch_size, learning_rate=learning_rate, seed=seed,
        )  # fmt: skip
        settings, folder = job.settings, _base_folder(init)
        every, more = as_pairs("pairs", pairs), as_pairs("unlabelled", unlabelled)
        anonymous = checks.checked_bool("anonymous", anonymous, OWNER)
        unit = "integers" if anonymous else unit_of(every.a)
        align, public = _checked_alignment(unit, init, anonymous, public, align)
        train, held_out, more = _split(every, more, settings.seed)
        texts = [*train.a, *train.b, *more.a, *more.b]  # what is held out is not counted
        with TemporaryDirectory() as kept:
            out = Path(kept) / "matcher" if out is None else checks.checked_path("out", out, OWNER)
            (MATCHER if is_joint else LADDER).check(out := out.resolve())
            # the model that is trained
            with clock.phase("vocabulary"), torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                start = start_model(texts, unit, folder, align, public, max_length, settings.seed)
            # training
            scorer: Any = cls(*start, max_length)
            if is_joint:
                if learning_rate is None:
                    width = scorer.model.config.hidden_size
                    rate = (ALIGNED_RATE if init else NEW_RATE) * 256 / width
                    settings = replace(settings, learning_rate=rate)
                identity = {
                    "texts": [*(half.digest for half in (train, held_out, more)), digest(*public)],
                    "init": folder and weights_digest(folder),
                    "align": align,
                    "ngrams": ngrams,
                    "max_length": max_length,
                    **vars(settings),
                }
                with RunFolder.open(out, identity, resume=resume, what="training") as run:
                    clock.add_used(run.used_s)
                    parts = train, held_out, more
                    found = scorer._fit(*parts, ngrams, settings, clock, run, progress)
                    scorer.model.eval()
                    scorer.save_pretrained(out)
            else:
                write_model(*start, base := Path(kept) / "base")
                job = replace(job, backbone=str(base))
                scorer, found = _tuned(job, train, held_out, out, clock, resume, progress)
        scorer.report = {
            "folder": str(out),
            "align": align if init else None,
            "vocabulary": len(start[1]),
            "train_pairs": len(train),
            "held_out_pairs": len(held_out),
            "unlabelled_pairs": len(more),
            **found,
            "seconds": {name: round(value, 2) for name, value in clock.phases.items()},
        }
        return scorer

    def _fit(
        self, train: Pairs, held_out: Pairs, more: Pairs, ngrams: bool, settings: TrainSettings,
        clock: Clock, run: RunFolder, progress: bool,
    ) -> dict[str, Any]:  # fmt: skip
        """Train by the joint objective; the model has its best weights afterwards."""
        every, n = train + more + held_out, len(train) + len(more)
        times = max(1, len(more) // (LABELLED * len(train)))
        items = [*range(len(train))] * times + [*range(len(train), n)]
        a, b = self.vocabulary.encode(every.a), self.vocabulary.encode(every.b)
        asked, told = range(n, len(every)), can_be_told("score", held_out.labels)
        given = (a, b, every.labels, self.vocabulary.ids, self.max_length)
        batches = JointBatches(*given, held_out=asked, seed=settings.seed, ngrams=ngrams)
        measure = Measure(
            ("loss", *NAMES["score"]),
            "auc" if told else "loss",
            lambda found: quality("score", found.predictions, held_out.labels),
        )
        return fit(
            *(self.model, items, list(asked), batches, settings, clock, run, measure),
            lengths=[batches.lengths[i] for i in items],
            callbacks=[NewMasks(batches)],
            progress=progress,
        )

    @torch.inference_mode()
    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32, the log-odds of a match, the same in either order.

        Symbols that were not seen in training are read as [UNK], with one note.
        """
        pairs = checks.checked_pairs("pairs", pairs, "PairMatcher.predict")
        n, ids = len(pairs), self.vocabulary.ids
        with self._one:
            a, b = (self.vocabulary.encode(pair[side] for pair in pairs) for side in (0, 1))
            size = sum(map(len, a + b))
            unknown = sum(text.count(ids["[UNK]"]) for text in a + b)
            if unknown > MANY_UNKNOWN * size and not self._has_told:
                self._has_told = True
                message = f"{unknown / size:.0%} of the symbols were not seen in training (5 times)"
                hint = "all are read as [UNK]. Train with such texts as unlabelled pairs."
                warnings.warn(f"{message}: {hint}", ShoestringWarning, stacklevel=3)
            asked = range(2 * n)  # both orders
            given = (a + b, b + a, np.ones(2 * n), ids, self.max_length)
            batches = JointBatches(*given, held_out=asked)
            scores = np.empty(2 * n, np.float32)
            for batch in batches_by_length(batches.lengths, TOKENS_AT_ONCE):
                inputs = {k: v.to(self.model.device) for k, v in batches(batch).items()}
                scores[batch] = self.model(**inputs)["logits"].cpu().numpy()
        found: NDArray[np.float32] = scores.reshape(2, n).mean(axis=0)
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Save it; the folder inside is a plain one of transformers.

        ParameterError if ``folder`` is not new, empty or that of a matcher.
        """
        with MATCHER.saving(checks.checked_path("folder", folder, MATCHER.owner)) as writer:
            write_model(self.model, self.vocabulary, writer.folder / INSIDE)
            writer.config |= {"unit": self.vocabulary.unit, "max_length": self.max_length}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open what :meth:`save_pretrained` wrote.

        ParameterError, FormatError or IntegrityError if there is no matcher, one of another
        version, or a file is damaged.
        """
        artifact = MATCHER.read(checks.checked_path("folder", folder, "PairMatcher.load"))
        inside = artifact.verified(INSIDE)
        with artifact.decoding():
            unit, max_length = str(artifact.config["unit"]), int(artifact.config["max_length"])
        ids = load_tokenizer(inside).get_vocab(with_added_tokens=True)
        vocabulary = SymbolVocabulary(sorted(ids, key=ids.__getitem__), unit)
        model = load_masked(inside)[0].to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(model, vocabulary, max_length)


def as_pairs(name: str, value: Any) -> Pairs:
    """Pairs, or tuples of two texts and maybe a label, checked; of None no pairs."""
    if isinstance(value, Pairs):
        return value
    want = "Pairs, or tuples (text, text) or (text, text, label) with labels 0 and 1"
    rows = checks.checked_items(name, () if value is None else value, OWNER, want)
    for row in rows:
        is_row = isinstance(row, Sequence) and len(row) in (2, 3)
        label = row[2] if is_row and len(row) == 3 and row[2] is not None else math.nan
        is_label = isinstance(label, Real) and (label in (0, 1) or math.isnan(label))
        if not is_row or not is_label:
            raise ParameterError.of(name, OWNER, want, row)
    checks.checked_pairs(name, [row[:2] for row in rows], OWNER)
    return Pairs.of(rows)


def _split(every: Pairs, more: Pairs, seed: int) -> tuple[Pairs, Pairs, Pairs]:
    """Pairs with labels to train on, those that are held out, and pairs without a label."""
    known = ~np.isnan(every.labels)
    labelled, more = every[known], every[~known] + more
    if not can_be_told("score", labelled.labels):
        want, got = "pairs with the labels 0 and 1", f"{len(labelled)} labels"
        raise ParameterError.of("pairs", OWNER, want, got)
    train, held_out = split_by_components(labelled, HELD_OUT, seed)
    if not can_be_told("score", train.labels) or not len(held_out):
        want = "more pairs of both labels, that do not all share a text"
        raise ParameterError.of("pairs", OWNER, want, len(labelled))
    return train, held_out, more


def _base_folder(init: str | Path | None) -> Path | None:
    """The folder of the model to start from, also of the one inside a matcher."""
    if init is None:
        return None
    folder = transformer_folder(None if str(init) in MINILM else init)
    return MATCHER.read(folder).verified(INSIDE) if MATCHER.is_saved(folder) else folder


def _checked_alignment(
    unit: str, init: Any, anonymous: bool, public: Any, align: str
) -> tuple[str, list[str]]:
    """How symbols get their rows, by name where the text is plain; the public text for it."""
    checks.checked_choice("align", align, METHODS, OWNER)
    if unit == "integers" and init is not None and not anonymous:
        raise ParameterError.of("anonymous", OWNER, "True where texts are integers", anonymous)
    if init is None or not anonymous or align in WITHOUT_PUBLIC:
        return align if anonymous else "name", []
    texts = read_public([public]) if isinstance(public, str | Path) else public
    texts = checks.checked_texts("public", () if texts is None else texts, OWNER)
    if not any(map(str.strip, texts)):
        want = f"plain text of the same language, to align by {align!r}"
        hint = "Or align without it: 'resize' or 'random'."
        raise ParameterError.of("public", OWNER, want, public, hint)
    return align, texts


def start_model(
    texts: Sequence[str], unit: str, folder: Path | None, align: str, public: Sequence[str],
    max_length: int, seed: int,
) -> tuple[Any, SymbolVocabulary]:  # fmt: skip
    """A new model with the vocabulary of texts, or the one of a folder, aligned to it."""
    if folder is None:
        vocabulary = SymbolVocabulary.of(texts, unit)
        config = new_config(max_length)
        config.update({"vocab_size": len(vocabulary), **dict.fromkeys(DROPOUTS, 0.1)})
        return BertForMaskedLM(config), vocabulary
    model, is_new = load_masked(folder)
    tokenizer, n_rows = load_tokenizer(folder), model.get_input_embeddings().num_embeddings
    name, most = shown_name(folder), own_length(folder, model.config.to_dict())
    if max_length > most:
        raise ParameterError.of("max_length", OWNER, f"at most {most}, what init reads", max_length)
    note, plain, chance = "", texts if align == "name" else public, math.log(n_rows)
    if is_new:
        note = f"{name} has no masked-language head: it gets a new one on its embeddings."
    elif (unknown := unknown_share(plain, folder)) > MOSTLY_UNKNOWN:
        what = "the public text" if public else "these texts"
        note = (
            f"{name} does not know {unknown:.0%} of {what}: it is of another script, and helps "
            "little. Name a base model that reads them."
        )
    elif plain and (loss := head_loss(model, tokenizer, plain, seed)) > RANDOM_LOSS * chance:
        note = (
            f"The masked-language head of {name} is little better than chance here (a loss of "
            f"{loss:.2f}, guessing {chance:.2f}): it may never have been trained, or not on this "
            "language. Name another base model, or train for longer."
        )
    if note:
        warnings.warn(note, ShoestringWarning, stacklevel=3)
    pad = model.config.pad_token_id  # from which some families count positions
    known = tokenizer if align == "name" else None
    vocabulary = SymbolVocabulary.of(texts, unit, pad if pad in range(5) else 0, known)
    weights = alignment(vocabulary, tokenizer, n_rows, align, texts, public, seed)
    give_vocabulary(model, weights, vocabulary, seed, random=align == "random")
    return model, vocabulary


def load_masked(folder: Path) -> tuple[Any, bool]:
    """A masked-language model of any family, in float32, and whether its head is a new one."""
    options = {"dtype": "float32", "weights_only": True, "output_loading_info": True, **LOCAL}
    with reading_model(folder):
        model, info = AutoModelForMaskedLM.from_pretrained(folder, **options)
    prefix = model.base_model_prefix + "."
    return model.eval(), any(not name.startswith(prefix) for name in info["missing_keys"])


@torch.no_grad()
def head_loss(model: Any, tokenizer: Any, texts: Sequence[str], seed: int = 0) -> float:
    """Mean loss (nats) of the masks in some sentences, in pairs; 0 without a token for masks."""
    ids: dict[str, Any] = {token: special_id(tokenizer, token) for token in SPECIAL.values()}
    if None in ids.values():
        return 0.0
    n, n_rows = min(SENTENCES, len(texts)), model.get_input_embeddings().num_embeddings
    chosen = np.random.default_rng(seed).choice(len(texts), n, replace=False)
    read = tokenizer.encode_batch([texts[i][:1_000] for i in chosen], add_special_tokens=False)
    a = [[i for i in one.ids if i < n_rows] for one in read]
    batches = JointBatches(a, a[::-1], np.full(n, np.nan), ids, SENTENCE_TOKENS, seed=seed)
    batch = batches(range(n))
    del batch["token_type_ids"]  # these are two texts that have nothing to do with each other
    return float(with_label_token(model)(**batch)["loss"])


def _tuned(
    job: Job, train: Pairs, held_out: Pairs, out: Path, clock: Clock, resume: bool, progress: bool
) -> tuple[LadderScorer, dict[str, Any]]:
    """Plain fine-tuning of the backbone of a job, or a ladder beside it that has it inside."""
    files = [
        [{"text": a, "b": b, "label": str(y)} for a, b, y in zip(p.a, p.b, p.labels, strict=True)]
        for p in (train, held_out)
    ]
    options: Any = {"second": "b", "clock": clock, "resume": resume, "progress": progress}
    if job.method == "ladder":
        options["write"] = partial(shutil.copytree, job.backbone)
    found = tune(job, files[0], out, files[1], **options)
    del found["backbone"]  # is the start that was made here
    scorer = LadderScorer(out)
    assert scorer.ladder.backbone.tokenizer  # is read while the folder is there
    return scorer, found


def write_model(model: Any, vocabulary: SymbolVocabulary, folder: Path) -> None:
    """A plain folder of transformers: weights, config, tokenizer."""
    with quiet_loading():
        model.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary.tokenizer(), **SPECIAL)
        tokenizer.save_pretrained(folder)
