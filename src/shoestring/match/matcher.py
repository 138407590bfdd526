"""A matcher of pairs of short texts: trained from nothing, or from any masked-language model.

Plain and pseudonymised text go the same way: symbols by count (:mod:`vocabulary`), a model that is
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
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from shoestring.artifacts import ArtifactKind, digest, write_json
from shoestring.checks import (
    checked_bool,
    checked_choice,
    checked_int,
    checked_items,
    checked_pairs,
    checked_path,
    checked_seed,
    checked_texts,
)
from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder
from shoestring.match import alignment
from shoestring.match.evaluate import split_by_components
from shoestring.match.label_token import JointBatches, batch_of, joined, with_label_token
from shoestring.match.pairs import Pairs, read_public
from shoestring.match.symbols import unit_of
from shoestring.match.vocabulary import SymbolVocabulary
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    own_length,
    quiet_loading,
    reading_model,
    shown_name,
    transformer_folder,
)
from shoestring.models.frozen import MINILM, digest_of, multiplies_bfloat16
from shoestring.models.model_files import weights_digest
from shoestring.models.throughput import Timed
from shoestring.models.token_encoder import batches_by_length
from shoestring.text.labelled import Labelled
from shoestring.tune.baselines import ladder_of, make_model
from shoestring.tune.config import LADDER
from shoestring.tune.data import examples_of, split
from shoestring.tune.job import Job, load, trained
from shoestring.tune.ladder import Ladder, save_ladder
from shoestring.tune.metrics import can_be_told, quality
from shoestring.tune.mlm import DROPOUTS, NewMasks, new_config
from shoestring.tune.trainer import Measure, TrainSettings, fit
from shoestring.tune.wordpiece import SPECIAL

MATCHER = ArtifactKind(
    "shoestring-matcher",
    "a matcher",
    "PairMatcher.save_pretrained",
    "Train it again (shoestring match train).",
)
OBJECTIVES = ("joint", "classify")
INSIDE = "model"
HELD_OUT = 0.1
TOKENS_AT_ONCE = 8_192
NEW_RATE, ALIGNED_RATE = 1e-3, 3e-4
RANDOM_LOSS, SENTENCES, SENTENCE_TOKENS = 0.8, 200, 64  # of ln V; looked at
MANY_UNKNOWN = 0.05
OWNER = "PairMatcher.train"


class PairMatcher(Timed):
    """A pair scorer for short texts, plain or pseudonymised.

    Made by :meth:`train` or :meth:`load`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A masked-language model with the vocabulary.
    vocabulary : SymbolVocabulary
    max_length : int
        Tokens of a pair that are read.

    Attributes
    ----------
    name : str
        Kind, digest of weights and vocabulary, ``max_length``.
    report : dict
        Of its training: figures on what was held out, steps, seconds.

    Examples
    --------
    >>> pairs = [("turn it on", "switch it on", 1), ("turn it on", "turn it off", 0), ...]
    ... # doctest: +SKIP
    >>> matcher = PairMatcher.train(pairs, init="minilm")  # doctest: +SKIP
    >>> matcher.predict([("turn it on", "put it on")])  # doctest: +SKIP
    array([2.31], dtype=float32)
    """

    def __init__(self, model: Any, vocabulary: SymbolVocabulary, max_length: int = 32) -> None:
        self.model = with_label_token(model).eval()
        self.vocabulary, self.max_length = vocabulary, max_length
        tokens = digest(*vocabulary.tokens)
        self.name = f"matcher:{digest_of(self.model.state_dict(), tokens)}:{max_length}"
        self.report: dict[str, Any] = {}
        self._one, self._has_told = threading.Lock(), False

    @classmethod
    def train(
        cls,
        pairs: Any,
        unlabelled: Any = None,
        *,
        out: str | Path | None = None,
        public: Any = None,
        **options: Any,
    ) -> Any:
        """Train on pairs with labels.

        Parameters
        ----------
        pairs : Pairs or sequence of tuples (text, text, label)
            Labels 0 or 1; NaN or None for none.
        unlabelled : Pairs or sequence of tuples (text, text), optional
            More text of the same kind, without labels.
        init : str or Path, optional
            Folder of a masked-language model of transformers to start from, or "minilm"; without
            it a new model of 4 layers, 256 wide.
        anonymous : bool
            Whether the texts are pseudonymised: what a symbol stands for is found by ``align``.
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
        minutes, resume, epochs, batch_size, learning_rate, max_length, ngrams, seed, progress
            As in ``shoestring match train``; ``ngrams`` masks spans of up to three symbols.

        Returns
        -------
        PairMatcher, or LadderScorer of "classify"
            With its ``report``.

        Raises
        ------
        ParameterError, BudgetError, FormatError
            If there are no labels of both kinds, options that do not go together, no such model.
        """
        from shoestring.match.scorer import load_scorer

        if isinstance(public, str | Path):
            public = read_public(public)
        more = None if unlabelled is None else as_pairs("unlabelled", unlabelled)
        options = {"progress": False, "public": public, **options}
        with TemporaryDirectory() as kept:
            folder = Path(kept) / "matcher" if out is None else checked_path("out", out, OWNER)
            report = train_matcher(as_pairs("pairs", pairs), folder, more, **options)
            found: Any = load_scorer(folder)
            if not isinstance(found, cls):
                assert found.ladder.backbone.tokenizer  # is read while the folder is there
        found.report = report
        return found

    @torch.inference_mode()
    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Score B pairs: (B,) float32, the log-odds of a match, the same in either order.

        Symbols that were not seen in training are read as [UNK], with one note.
        """
        pairs = checked_pairs("pairs", pairs, "PairMatcher.predict")
        ids, padding = self.vocabulary.ids, self.vocabulary.ids["[PAD]"]
        with self.timing(len(pairs)), self._one:
            a, b = (
                self.vocabulary.encode(side)
                for side in ([p[0] for p in pairs], [p[1] for p in pairs])
            )
            self._tell_unknown([*a, *b])
            both = [*zip(a, b, strict=True), *zip(b, a, strict=True)]
            rows = [joined(x, y, ids, self.max_length) for x, y in both]
            scores = np.empty(len(rows), np.float32)
            for batch in batches_by_length(list(map(len, rows)), TOKENS_AT_ONCE):
                inputs = batch_of([rows[i] for i in batch], padding)
                inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
                scores[batch] = self.model.scores(**inputs).cpu().numpy()
        return (scores[: len(pairs)] + scores[len(pairs) :]) / np.float32(2)

    def _tell_unknown(self, texts: list[list[int]]) -> None:
        unknown = self.vocabulary.ids["[UNK]"]
        n, n_unknown = sum(map(len, texts)), sum(text.count(unknown) for text in texts)
        if n_unknown > MANY_UNKNOWN * n and not self._has_told:
            self._has_told = True
            message = f"{n_unknown / n:.0%} of the symbols were not seen in training (5 times)"
            hint = "they are all read as one. Train with such texts as unlabelled pairs."
            warnings.warn(f"{message}: {hint}", ShoestringWarning, stacklevel=3)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save it; the folder inside is a plain one of transformers."""
        with MATCHER.saving(checked_path("folder", folder, MATCHER.owner)) as writer:
            writer.library(INSIDE, partial(write_model, self.model, self.vocabulary))
            writer.config |= {"unit": self.vocabulary.unit, "max_length": self.max_length}

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open what :meth:`save_pretrained` wrote.

        Raises
        ------
        ParameterError, FormatError, IntegrityError
            If there is no matcher, of another version, or a file is damaged.
        """
        artifact = MATCHER.read(checked_path("folder", folder, "PairMatcher.load"))
        inside = artifact.verified(INSIDE)
        with artifact.decoding():
            unit, max_length = str(artifact.config["unit"]), int(artifact.config["max_length"])
        ids = load_tokenizer(inside).get_vocab(with_added_tokens=True)
        vocabulary = SymbolVocabulary(sorted(ids, key=ids.__getitem__), unit)
        model, _ = load_masked(inside)
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"), vocabulary, max_length)

    def __repr__(self) -> str:
        return f"PairMatcher({self.name!r})"


def as_pairs(name: str, value: Any) -> Pairs:
    """Pairs, or tuples of two texts and maybe a label, checked."""
    if isinstance(value, Pairs):
        return value
    want = "Pairs, or a list of (text, text) or (text, text, label)"
    rows = checked_items(name, value, OWNER, want)
    is_row = [isinstance(row, Sequence) and len(row) in (2, 3) for row in rows]
    if not all(is_row):
        raise ParameterError.of(name, OWNER, want, rows[is_row.index(False)])
    found = []
    for text, other, *label in rows:
        one = math.nan if not label or label[0] is None else label[0]
        is_label = isinstance(one, int | float | np.number) and (one in (0, 1) or math.isnan(one))
        if not is_label:
            raise ParameterError.of(name, OWNER, "pairs with labels 0 and 1", one)
        found.append((text, other, float(one)))
    checked_pairs(name, [row[:2] for row in found], OWNER)
    return Pairs.of(found)


# ---- training


def train_matcher(
    pairs: Pairs,
    out: str | Path,
    unlabelled: Pairs | None = None,
    *,
    init: str | Path | None = None,
    anonymous: bool = False,
    public: Sequence[str] | None = None,
    align: str = "both",
    objective: str = "joint",
    method: str = "full",
    epochs: float = 10.0,
    batch_size: int = 64,
    learning_rate: float | None = None,
    max_length: int = 32,
    ngrams: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    clock: Clock | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train, save and report; the parameters are those of :meth:`PairMatcher.train`."""
    out, clock = checked_path("out", out, OWNER).resolve(), clock or Clock(minutes)
    checked_choice("objective", objective, OBJECTIVES, OWNER)
    checked_choice("method", method, ("full", "ladder"), OWNER)
    is_joint, max_length = (
        objective == "joint",
        checked_int("max_length", max_length, 8, 512, OWNER),
    )
    if is_joint and method != "full":
        raise ParameterError.of("method", OWNER, "'full' where the objective is 'joint'", method)
    rate = ALIGNED_RATE if init is not None else NEW_RATE
    settings = TrainSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate if learning_rate is None else learning_rate,
        seed=checked_seed("seed", seed, OWNER),
        bfloat16=multiplies_bfloat16(),
    )
    anonymous = checked_bool("anonymous", anonymous, OWNER)
    unit = "integers" if anonymous else unit_of([*pairs.a, *pairs.b])
    align = _checked_alignment(unit, init, anonymous, public, align)
    known = ~np.isnan(pairs.labels)
    if not can_be_told("score", pairs.labels[known]):
        want, got = "pairs with the labels 0 and 1", f"{known.sum()} labels"
        raise ParameterError.of("pairs", OWNER, want, got)
    train, held_out = split_by_components(pairs[known], HELD_OUT, seed)
    if not len(train) or not len(held_out):
        raise ParameterError.of("pairs", OWNER, "pairs that do not all share a text", len(pairs))
    more = pairs[~known] + (unlabelled or Pairs.of([]))
    (MATCHER if is_joint else LADDER).check(out)
    folder = None if init is None else transformer_folder(None if init in MINILM else init)
    identity = {
        "pairs": pairs.digest,
        "unlabelled": more.digest,
        "align": align,
        "ngrams": ngrams,
        "init": folder and weights_digest(folder),
        "public": digest(*(public or ())),
        "objective": objective,
        "method": method,
        "max_length": max_length,
        **vars(settings),
    }
    with RunFolder.open(out, identity, resume=resume, what="training") as run:
        clock.add_used(run.used_s)
        texts = [*train.a, *train.b, *more.a, *more.b]  # what is held out is not counted
        with clock.phase("vocabulary"):
            model, vocabulary = start_model(
                texts, unit, folder, align, public or (), max_length, seed
            )
        counted = {
            "train_pairs": len(train),
            "held_out_pairs": len(held_out),
            "unlabelled_pairs": len(more),
        }
        if is_joint:
            parts = (train, held_out, more)
            found = _fit(
                model, vocabulary, parts, max_length, ngrams, settings, clock, run, progress
            )
            PairMatcher(model, vocabulary, max_length).save_pretrained(out)
        else:
            start = run.path / "model"
            if not start.exists():
                write_model(model, vocabulary, start)
            job = Job.of(
                method, str(start), task="score", pairs="joint", max_length=max_length,
                epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
            )  # fmt: skip
            found = _tuned(job, train, held_out, out, clock, run, progress)
    seconds = {name: round(value, 2) for name, value in clock.phases.items()}
    how = {"folder": str(out), "align": align if folder else None, "vocabulary": len(vocabulary)}
    return {**how, **counted, **found, "seconds": seconds}


def _checked_alignment(
    unit: str, init: Any, anonymous: bool, public: Sequence[str] | None, align: str
) -> str:
    """How symbols get their rows: by name, where the text is plain."""
    checked_choice("align", align, alignment.METHODS, OWNER)
    if not anonymous:
        if unit == "integers" and init is not None:
            hint = "These texts are integers."
            raise ParameterError.of("anonymous", OWNER, "True with init", anonymous, hint)
        return "name"
    texts = [] if public is None else checked_texts("public", public, OWNER)
    if (
        init is not None
        and align not in alignment.WITHOUT_PUBLIC
        and not any(map(str.strip, texts))
    ):
        hint = "Or align without it: 'resize' or 'random'."
        want = f"plain text of the same language, to align by {align!r}"
        raise ParameterError.of("public", OWNER, want, public and "no text", hint)
    return align


def start_model(
    texts: Sequence[str], unit: str, folder: Path | None, align: str = "name",
    public: Sequence[str] = (), max_length: int = 32, seed: int = 0,
) -> tuple[Any, SymbolVocabulary]:  # fmt: skip
    """A model that is to be trained, with the vocabulary of the texts.

    ShoestringWarning if the model of the folder has no masked-language head, or one that was never
    trained.
    """
    if folder is None:
        vocabulary = SymbolVocabulary.of(texts, unit)
        config = new_config(None, None, None, max_length)
        config.update({"vocab_size": len(vocabulary), **dict.fromkeys(DROPOUTS, 0.1)})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return with_label_token(BertForMaskedLM(config)), vocabulary
    most = own_length(folder, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, is_new = load_masked(folder)
    tokenizer, n_rows = load_tokenizer(folder), model.get_input_embeddings().num_embeddings
    most = min(most, own_length(folder, model.config.to_dict()))
    if max_length > most:
        raise ParameterError.of("max_length", OWNER, f"at most {most}, what init reads", max_length)
    plain = texts if align == "name" else public
    if is_new:
        _tell(f"{shown_name(folder)} has no masked-language head: a new one is on its embeddings.")
    elif plain:
        loss, share = head_loss(model, tokenizer, plain, seed), math.log(n_rows)
        if loss > RANDOM_LOSS * share:
            _tell(
                f"The masked-language head of {shown_name(folder)} predicts this text no better "
                f"than chance (a loss of {loss:.2f} where guessing has {share:.2f}): it may never "
                "have been trained. Name another base model, or expect longer training."
            )
    if n_rows < tokenizer.get_vocab_size():
        _tell(
            f"{shown_name(folder)} has {n_rows:,} rows for {tokenizer.get_vocab_size():,} tokens."
        )
    pad = model.config.pad_token_id  # from which some families count positions
    vocabulary = SymbolVocabulary.of(texts, unit, pad if pad in range(5) else 0)
    weights = alignment.alignment(vocabulary, tokenizer, n_rows, align, texts, public, seed)
    alignment.give_vocabulary(model, weights, vocabulary, seed, random=align == "random")
    return with_label_token(model), vocabulary


def _tell(message: str) -> None:
    warnings.warn(message, ShoestringWarning, stacklevel=4)


def load_masked(folder: Path) -> tuple[Any, bool]:
    """A masked-language model of any family, in float32, and whether its head is a new one."""
    options = {"dtype": "float32", "weights_only": True, "output_loading_info": True, **LOCAL}
    with reading_model(folder):
        model, info = AutoModelForMaskedLM.from_pretrained(folder, **options)
    prefix = model.base_model_prefix + "."
    return model, any(not name.startswith(prefix) for name in info["missing_keys"])


@torch.no_grad()
def head_loss(model: Any, tokenizer: Any, texts: Sequence[str], seed: int = 0) -> float:
    """Mean loss (nats) of a model's own masked tokens in some sentences."""
    rng, mask = np.random.default_rng(seed), tokenizer.token_to_id("[MASK]")
    mask = tokenizer.token_to_id("<mask>") if mask is None else mask
    chosen = rng.choice(len(texts), min(SENTENCES, len(texts)), replace=False)
    losses, n = 0.0, 0
    for encoding in tokenizer.encode_batch([texts[i][:1_000] for i in chosen]):
        ids = torch.tensor([encoding.ids[:SENTENCE_TOKENS]])
        ordinary = 1 - np.array([encoding.special_tokens_mask[:SENTENCE_TOKENS]])
        asked = torch.from_numpy((rng.random(ids.shape) < 0.15) & (ordinary > 0))
        if mask is not None and asked.any():
            logits = model(input_ids=ids.masked_fill(asked, mask)).logits[asked]
            losses += float(functional.cross_entropy(logits, ids[asked], reduction="sum"))
            n += len(logits)
    return losses / max(1, n)


def _fit(
    model: Any, vocabulary: SymbolVocabulary, parts: tuple[Pairs, Pairs, Pairs], max_length: int,
    ngrams: bool, settings: TrainSettings, clock: Clock, run: RunFolder, progress: bool,
) -> dict[str, Any]:  # fmt: skip
    """Train by the joint objective; the model has its best weights afterwards."""
    train, held_out, more = parts
    every = train + more + held_out
    a, b = vocabulary.encode(every.a), vocabulary.encode(every.b)
    n = len(train) + len(more)
    asked = range(n, len(every))
    batches = JointBatches(
        *(a, b, every.labels, vocabulary.ids, max_length),
        held_out=asked, seed=settings.seed, ngrams=checked_bool("ngrams", ngrams, OWNER),
    )  # fmt: skip
    names, can_tell = (
        ("auc", "average_precision", "accuracy"),
        can_be_told("score", held_out.labels),
    )
    measure = Measure(
        names[0] if can_tell else "loss",
        can_tell,
        lambda found: quality("score", found.predictions, held_out.labels),
    )
    lengths = [
        len(joined(x, y, vocabulary.ids, max_length)) for x, y in zip(a[:n], b[:n], strict=True)
    ]
    fitted = fit(
        *(model, list(range(n)), list(asked), batches, settings, clock, run, measure),
        lengths=lengths, callbacks=[NewMasks(batches)], progress=progress,
    )  # fmt: skip
    return fitted.report(("loss", *names))


def _tuned(
    job: Job, train: Pairs, held_out: Pairs, out: Path, clock: Clock, run: RunFolder, progress: bool
) -> dict[str, Any]:
    """Plain fine-tuning of the start, or a ladder beside it; what ``load_scorer`` takes."""
    every, n = train + held_out, len(train)
    backbone = load(job)
    tuned = make_model(job.method, backbone, job.config)
    data, labels = Labelled(every.a, [], every.b), every.labels.tolist()
    examples = examples_of(data, n, labels, backbone, ladder_of(tuned).settings)
    halves = split(examples, n, True, job.settings.seed)
    found = trained(job, tuned, examples, halves, clock, run, progress=progress)
    if isinstance(tuned, Ladder):
        save_ladder(out, tuned, partial(shutil.copytree, backbone.folder))
    else:
        tuned.save_pretrained(out)
    return found


def write_model(model: Any, vocabulary: SymbolVocabulary, folder: Path) -> None:
    """A plain folder of transformers: weights, config, tokenizer."""
    with quiet_loading():
        model.save_pretrained(folder)
    vocabulary.tokenizer().save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    write_json(folder / "tokenizer_config.json", about)
