"""A model or a config examined: what is predicted, what is measured, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shoestring import checks
from shoestring.artifacts import make_folder, write_json, written_aside
from shoestring.doctor import remedy
from shoestring.doctor.families import FAMILIES, scaled, stacks_of
from shoestring.doctor.probe import measure
from shoestring.doctor.signal import TRUNCATED, Signal, through_stacks
from shoestring.errors import ParameterError
from shoestring.lazy import require
from shoestring.models import backbone
from shoestring.plan.job import class_and_config
from shoestring.text import tokenize

LARGEST = 150_000_000  # parameters of a config that is built, to be measured
TEXTS, TOKENS, MOST_TOKENS = 2, 128, 512
WORDS = 5_000  # of the usual texts


@dataclass(frozen=True)
class Report:
    """What :func:`examine` found."""

    is_trained: bool
    verdict: str
    predicted: Signal | None  # at initialisation; None for a family without a description
    measured: Signal | None  # None for a config that is too large to be built
    faults: list[remedy.Fault]

    @property
    def signals(self) -> dict[str, Signal]:
        """What is predicted and what is measured, by that name, where it is."""
        both = {"predicted": self.predicted, "measured": self.measured}
        return {name: signal for name, signal in both.items() if signal}

    def rows(self) -> list[dict[str, Any]]:
        """A line for each sublayer: its place, and what is predicted and measured."""
        return [
            {"place": each[0].place, **dict(zip(self.signals, map(asdict, each), strict=True))}
            for each in zip(*(s.sublayers for s in self.signals.values()), strict=True)
        ]

    def plot(self, path: str | Path) -> None:
        """Write a picture by depth: deviation, gradient, correlation, predicted over measured."""
        path = checks.checked_path("plot", path, "Report.plot")
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in ("png", "svg", "pdf"):
            raise ParameterError.of("plot", "Report.plot", "a .png, .svg or .pdf file", path)
        require("a picture", "plot", "matplotlib")
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3), layout="constrained")
        marks = {"predicted": "x", "measured": "o"}
        names = ("deviation", "gradient", "correlation")
        for axes, name in zip(figure.subplots(1, 3), names, strict=True):
            for said, signal in reversed(self.signals.items()):
                values = [getattr(row, name) for row in signal.sublayers]
                axes.plot(values, marks[said], markersize=3, label=said)
            axes.set(title=name, xlabel="sublayer")
        axes.legend()
        make_folder(path.parent)
        with written_aside(path) as file:
            figure.savefig(file, format=suffix)


def predict(
    config: Any, texts: Sequence[Sequence[int]] | None = None, *, truncated: bool = False
) -> Signal:
    """Predict signal and gradient at initialisation, from a config alone.

    Parameters
    ----------
    config : transformers config
        Of BERT, RoBERTa, ELECTRA, GPT-2, T5, Llama, Mistral or Qwen2.
    texts : sequence of sequence of int, optional
        Ids of tokens, of which it matters which are equal; by default words repeat as in prose.
    truncated : bool
        Whether the normal numbers are cut at two deviations, as in Google's BERT.

    Raises
    ------
    ParameterError
        If the family has no description here, or a size or text is none.

    Examples
    --------
    >>> from transformers import BertConfig
    >>> found = predict(BertConfig())
    >>> found.sublayers[-1].place, round(found.gain, 1), round(found.correlation, 1)
    ('11.feed-forward', 0.4, 0.6)
    """
    want, owner = f"texts of 2 to {MOST_TOKENS} ids each", "predict"
    given = [_usual()] if texts is None else checks.checked_items("texts", texts, owner, want)
    ids = [
        [checks.checked_int("texts", number, 0, None, owner) for number in text]
        for text in (checks.checked_items("texts", text, owner, want) for text in given)
    ]
    if not ids or not all(2 <= len(text) <= MOST_TOKENS for text in ids):
        raise ParameterError.of("texts", owner, want, texts)
    stacks = stacks_of(config, owner)
    if checks.checked_bool("truncated", truncated, owner):
        stacks = scaled(stacks, TRUNCATED)
    return through_stacks(stacks, ids)


def examine(
    model: Any,
    texts: Sequence[str] | None = None,
    *,
    warmup_steps: int | None = None,
    learning_rate: float = remedy.LEARNING_RATE,
    optimizer: str = "adamw",
    seed: int = 0,
) -> Report:
    """Predict, measure, and name what is wrong.

    Parameters
    ----------
    model : str, Path, torch.nn.Module or transformers config
        A folder, a config.json, "minilm", or a model; a config is built where it is small.
    texts : sequence of str, optional
        What is measured on; by default words that repeat as in prose.
    warmup_steps : int, optional
        Of the training that is planned; judged where given.
    learning_rate, optimizer : float and str
        Of that training; adamw, adam, lion, adafactor or sgd.
    seed : int
        Of the weights of a config, and of the gradient.

    Returns
    -------
    Report
        Predicted and measured signal, and the faults.

    Raises
    ------
    StorageError, FormatError, ParameterError, ShoestringError
        If there is no such model, it has no sublayers that can be told, or does not run.
    """
    owner = "examine"
    seed = checks.checked_seed("seed", seed, owner)
    optimizer = checks.checked_choice("optimizer", optimizer, list(remedy.OPTIMIZERS), owner)
    if warmup_steps is not None:
        warmup_steps = checks.checked_int("warmup_steps", warmup_steps, 0, None, owner)
    rate = checks.checked_number("learning_rate", learning_rate, owner, "a number above 0", 0.0)
    module, config, folder = _opened(model, seed)
    stacks = stacks_of(config) if getattr(config, "model_type", "") in FAMILIES else []
    if module is None and not stacks:
        want = f"of at most {LARGEST:,} parameters, or of {', '.join(FAMILIES)}"
        raise ParameterError.of("model", owner, want, config.model_type)
    ids = _ids(texts, folder, config)
    predicted = through_stacks(stacks, ids) if stacks else None
    measured, is_trained, last_gain, is_post_norm = None, False, 0.0, False
    if module is not None:
        measured = measure(module, _inputs(module, config, ids, seed), seed)
        is_trained, last_gain = _norms(module)
        is_trained |= folder is not None and (folder / "certificate.json").exists()  # grown
        if predicted and len(predicted.sublayers) != len(measured.sublayers):
            stacks, predicted = [], None  # unlike its family
        # torch's own layers say where their norms are
        is_post_norm = any(not getattr(m, "norm_first", True) for m in module.modules())
    faults = remedy.faults_of(
        stacks, predicted, measured, is_trained=is_trained, last_gain=last_gain,
        is_post_norm=stacks[-1].is_post_norm if stacks else is_post_norm,
        warmup_steps=warmup_steps, learning_rate=rate, optimizer=optimizer,
    )  # fmt: skip
    end = next(signal for signal in (measured, predicted) if signal)
    verdict = f"{', '.join(fault.name for fault in faults) or 'sound'}: last hidden state with "
    verdict += f"gain {end.gain:.2g}, correlation {end.correlation:.2g}{' (trained)' * is_trained}"
    return Report(is_trained, verdict, predicted, measured, faults)


def prescribe(
    config: Any, out: str | Path | None = None, *, learning_rate: float = remedy.LEARNING_RATE
) -> remedy.Prescription:
    """What makes a stack learn: deviation of the weights, and warm-up.

    Parameters
    ----------
    config : transformers config, folder or config.json
        Of a family as for :func:`predict`.
    out : str or Path, optional
        Folder to write: the mended config.json, and prescription.json.
    learning_rate : float
        Of Adam; the warm-up depends on it.

    Raises
    ------
    StorageError, FormatError, ParameterError
        If there is no such config or no description of its family, or something is at ``out``.
    """
    owner = "prescribe"
    rate = checks.checked_number("learning_rate", learning_rate, owner, "a number above 0", 0.0)
    _, config = class_and_config(config, owner)
    found = remedy.prescription_of(stacks_of(config, owner), [_usual()], rate)
    if out is not None:
        folder = checks.checked_path("out", out, owner)
        if folder.exists():
            raise ParameterError.of("out", owner, "a folder that is not there yet", folder)
        if found.factor != 1.0:
            config.initializer_range *= found.factor
        make_folder(folder)
        write_json(folder / "prescription.json", asdict(found))
        write_json(folder / "config.json", config.to_dict())
    return found


def _opened(model: Any, seed: int) -> tuple[nn.Module | None, Any, Path | None]:
    """The module, its config and its folder; None for what there is not."""
    if isinstance(model, nn.Module):
        return model, getattr(model, "config", None), None
    kind, config = class_and_config(model, "examine")
    folder = None
    if isinstance(model, str | Path) and not Path(model).is_file():
        folder = backbone.transformer_folder(None if str(model) == "minilm" else model)
    with backbone.reading_model(folder or Path(kind.__name__)):
        if folder and any((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
            module = kind.from_pretrained(
                folder, dtype="float32", weights_only=True, **backbone.LOCAL
            )
            return module, config, folder
        with torch.device("meta"):
            size = sum(weight.numel() for weight in kind(config).parameters())
        if size > LARGEST:
            return None, config, folder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(config), config, folder


def _norms(module: nn.Module) -> tuple[bool, float]:
    """Whether a model's norms are trained, and the last one's gamma over that of the others."""
    norms = [m for m in module.modules() if "Norm" in type(m).__name__]
    gammas = [m.weight.detach().double() for m in norms if getattr(m, "weight", None) is not None]
    if len(gammas) < 3:
        return False, 0.0
    *others, last = (float(g.square().mean().sqrt()) for g in gammas)
    is_trained = any(float(g.std()) > 1e-6 for g in gammas)
    return is_trained, last / max(float(np.median(others)), 1e-30)


# ---- texts


def _usual() -> list[int]:
    """Ranks of the words of a text by Zipf's law, of which 1.5 % of pairs agree."""
    share = 1 / (np.arange(WORDS) + 1.3)
    draws = np.random.default_rng(0)
    ranks: list[int] = draws.choice(WORDS, TOKENS, p=share / share.sum()).tolist()
    return ranks


def _ids(texts: Sequence[str] | None, folder: Path | None, config: Any) -> list[list[int]]:
    """Ids of a model's own tokens, of equal length."""
    known = config.to_dict() if config is not None else {}
    length = min(TOKENS, backbone.n_positions(known) or TOKENS)
    read = None if texts is None else checks.checked_texts("texts", texts, "examine")
    files = ("tokenizer.json", "vocab.txt")
    if read and folder and any((folder / file).exists() for file in files):
        encoded = backbone.load_tokenizer(folder).encode_batch(read, add_special_tokens=False)
        flat = [i for one in encoded for i in one.ids]
    else:  # which are equal is all that matters to fresh weights
        special = [v for name, v in known.items() if name.endswith("token_id")]
        free = [i for i in range(known.get("vocab_size") or WORDS) if i not in special]
        words: list[Any] = _usual() if read is None else [w for t in read for w in tokenize(t)]
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        flat = [free[numbers[word] % len(free)] for word in words]
    if len(flat) < 2:
        raise ParameterError.of("texts", "examine", "texts of two tokens or more", texts)
    n = max(1, min(TEXTS, len(flat) // length))
    return [flat[i * length : (i + 1) * length] for i in range(n)]


def _inputs(module: nn.Module, config: Any, ids: list[list[int]], seed: int) -> dict[str, Tensor]:
    """What a module is called with: ids, or for torch's own layers a random vector for each."""
    batch = torch.tensor(ids)
    if config is not None:
        given = {"input_ids": batch}
        if getattr(config, "is_encoder_decoder", False):
            given["decoder_input_ids"] = batch
        return given
    attention = next((m for m in module.modules() if isinstance(m, nn.MultiheadAttention)), None)
    if attention is None:
        want = "a Transformer of transformers, nn.Transformer or nn.TransformerEncoder"
        raise ParameterError.of("model", "examine", want, type(module).__name__)
    draws = torch.Generator().manual_seed(seed)
    vectors = torch.randn(WORDS, attention.embed_dim, generator=draws)[batch % WORDS]
    vectors = vectors if attention.batch_first else vectors.transpose(0, 1)
    both = isinstance(module, nn.Transformer)
    return {"src": vectors, "tgt": vectors} if both else {"src": vectors}
