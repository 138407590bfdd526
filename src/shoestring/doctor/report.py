"""A model or a config examined: what is predicted, what is measured, what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shoestring import checks
from shoestring.artifacts import make_folder, write_json, written_aside
from shoestring.doctor.families import FAMILIES, stacks_of, stacks_of_module
from shoestring.doctor.probe import measure
from shoestring.doctor.remedy import (
    LEARNING_RATE,
    OPTIMIZERS,
    Fault,
    Prescription,
    faults_of,
    prescription_of,
    warmup,
)
from shoestring.doctor.signal import Signal, Stack, through_stacks
from shoestring.errors import MissingExtraError, ParameterError
from shoestring.models.backbone import (
    LOCAL,
    load_tokenizer,
    n_positions,
    reading_model,
    transformer_folder,
)

LARGEST = 150_000_000  # parameters of a config that is built, to be measured
TEXTS, TOKENS, MOST_TOKENS = 2, 128, 512
WORDS = 5_000  # of the usual texts


@dataclass(frozen=True)
class Report:
    """What :func:`examine` found."""

    model: str
    is_trained: bool
    verdict: str
    predicted: Signal | None  # at initialisation; None for a family without a description
    measured: Signal | None  # None for a config that is too large to be built
    warmup_steps: int | None  # prescribed for these weights; None without a description
    faults: list[Fault]

    def rows(self) -> list[dict[str, Any]]:
        """A line for each sublayer: its place, and what is predicted and measured."""
        found: dict[str, dict[str, Any]] = {}
        for said, signal in (("predicted", self.predicted), ("measured", self.measured)):
            for row in signal.sublayers if signal else ():
                line = found.setdefault(row.place, {"place": row.place})
                line[said] = {n: v for n, v in asdict(row).items() if n != "place"}
        return list(found.values())

    def plot(self, path: str | Path) -> None:
        """Write a picture by depth: deviation, gradient, correlation, predicted over measured."""
        path = checks.checked_path("plot", path, "Report.plot")
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in ("png", "svg", "pdf"):
            raise ParameterError.of("plot", "Report.plot", "a .png, .svg or .pdf file", path)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("matplotlib", extra="plot", purpose="a picture") from error
        figure = Figure(figsize=(9, 3), layout="constrained")
        names = ("deviation", "gradient", "correlation")
        for axes, name in zip(figure.subplots(1, 3), names, strict=True):
            for said, signal in (("measured", self.measured), ("predicted", self.predicted)):
                for kind, line in (("attention", "o-"), ("feed-forward", "s--")):
                    rows = signal.sublayers if signal else ()
                    points = [(i, getattr(row, name)) for i, row in enumerate(rows)
                              if row.place.endswith(kind)]  # fmt: skip
                    color = "0.6" if said == "measured" else "C0"
                    axes.plot(*zip(*points, strict=True) if points else ((), ()), line, ms=3,
                              color=color, label=f"{said}, {kind}")  # fmt: skip
            axes.set(title=name, xlabel="sublayer")
        axes.legend(fontsize=6)
        make_folder(path.parent)
        with written_aside(path) as file:
            figure.savefig(file, format=suffix)


def predict(
    config: Any, texts: Sequence[Sequence[int]] | None = None, *, truncated: bool = False
) -> Signal:
    """Predict signal and gradient at initialisation, from a config alone.

    Parameters
    ----------
    config : transformers config, or torch.nn.Transformer
        Of BERT, RoBERTa, ELECTRA, GPT-2, T5, Llama, Mistral or Qwen2. Of torch's own layers the
        deviations of the weights are read.
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
    texts = _texts(texts)
    is_cut = checks.checked_bool("truncated", truncated, "predict")
    return through_stacks(_stacks(config, "predict", is_cut), texts)


def examine(
    model: Any,
    texts: Sequence[str] | None = None,
    *,
    warmup_steps: int | None = None,
    learning_rate: float | None = None,
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
    warmup_steps, learning_rate : int and float, optional
        How it is to be trained; judged where given.
    optimizer : str
        adamw, adam, lion, adafactor or sgd.
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
    optimizer = checks.checked_choice("optimizer", optimizer, list(OPTIMIZERS), owner)
    if warmup_steps is not None:
        warmup_steps = checks.checked_int("warmup_steps", warmup_steps, 0, None, owner)
    if learning_rate is not None:
        learning_rate = _rate(learning_rate, owner)
    module, config, folder, name = _opened(model, seed)
    stacks = stacks_of(config) or stacks_of_module(module)
    if module is None and not stacks:
        want = f"of at most {LARGEST:,} parameters, or of {', '.join(FAMILIES)}"
        raise ParameterError.of("model", owner, want, name)
    ids = _ids(texts, folder, config)
    predicted = through_stacks(stacks, ids) if stacks else None
    measured, trained, last_gain = None, False, None
    if module is not None:
        measured = measure(module, _inputs(module, config, ids, seed), seed)
        trained, last_gain = _norms(module)
        trained |= folder is not None and (folder / "certificate.json").exists()  # grown
        if predicted and len(predicted.sublayers) != len(measured.sublayers):
            stacks, predicted = [], None  # unlike its family
    found = faults_of(
        stacks, predicted, measured, is_trained=trained, last_gain=last_gain,
        warmup_steps=warmup_steps, learning_rate=learning_rate, optimizer=optimizer,
    )  # fmt: skip
    rate = learning_rate or LEARNING_RATE
    steps = warmup(stacks, predicted, rate) if predicted else None
    names = ", ".join(dict.fromkeys(fault.name for fault in found)) or "sound"
    shown = measured or predicted
    numbers = f"gain {shown.gain:.2g}, correlation {shown.correlation:.2g}" if shown else ""
    verdict = f"{names}: last hidden state with {numbers}" + " (trained)" * trained
    return Report(name, trained, verdict, predicted, measured, steps, found)


def prescribe(
    config: Any, out: str | Path | None = None, *, learning_rate: float = LEARNING_RATE
) -> Prescription:
    """What makes a stack learn: deviation of the weights, warm-up, DeepNorm's factors.

    Parameters
    ----------
    config : transformers config, folder, config.json, or torch.nn.Transformer
        As for :func:`predict`.
    out : str or Path, optional
        Folder to write: the mended config.json, and prescription.json.
    learning_rate : float
        Of Adam; the warm-up depends on it.

    Raises
    ------
    StorageError, FormatError, ParameterError
        If there is no such config or no description of its family, or something is at ``out``.
    """
    rate = _rate(learning_rate, "prescribe")
    if not isinstance(config, nn.Module) and not hasattr(config, "model_type"):
        config = _config(_path(config))
    found = prescription_of(_stacks(config, "prescribe"), _texts(None), rate)
    if out is not None:
        folder = checks.checked_path("out", out, "prescribe")
        if isinstance(config, nn.Module) or folder.exists():
            want = "a folder that is not there yet, for a config"
            raise ParameterError.of("out", "prescribe", want, folder)
        mended = copy.deepcopy(config)
        if found.factor != 1.0:
            mended.initializer_range *= found.factor
        make_folder(folder)
        write_json(folder / "prescription.json", asdict(found))
        write_json(folder / "config.json", mended.to_dict())
    return found


def _rate(value: object, owner: str) -> float:
    return checks.checked_number("learning_rate", value, owner, "a number above 0", above=0.0)


def _stacks(config: Any, owner: str, truncated: bool = False) -> list[Stack]:
    if found := stacks_of(config, truncated) or stacks_of_module(config):
        return found
    got = getattr(config, "model_type", type(config).__name__)
    raise ParameterError.of("config", owner, f"one of {', '.join(FAMILIES)}", got)


# ---- models


def _path(source: Any) -> Path:
    if source is None or source == "minilm":
        return transformer_folder(None)
    path = checks.checked_path("model", source, "doctor")
    return path if path.is_file() else transformer_folder(path)


def _config(path: Path) -> Any:
    from transformers import AutoConfig

    with reading_model(path):
        return AutoConfig.from_pretrained(path, **LOCAL)


def _opened(model: Any, seed: int) -> tuple[nn.Module | None, Any, Path | None, str]:
    """The module, its config and its folder, None for what there is not; and a name."""
    if isinstance(model, nn.Module):
        return model, getattr(model, "config", None), None, type(model).__name__
    import transformers

    folder = None if hasattr(model, "model_type") else _path(model)
    config = model if folder is None else _config(folder)
    name = type(model).__name__ if folder is None else str(model)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    with reading_model(folder or Path(name)):
        if folder and any((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
            load = kind or transformers.AutoModel
            module = load.from_pretrained(folder, dtype="float32", weights_only=True, **LOCAL)
            return module, config, folder, name

        def build() -> Any:
            return kind(config) if kind else transformers.AutoModel.from_config(config)

        with torch.device("meta"):
            size = sum(p.numel() for p in build().parameters())
        if size > LARGEST:
            return None, config, folder, name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(), config, folder, name


def _norms(module: nn.Module) -> tuple[bool, float | None]:
    """Whether a model's norms are trained, and the last one's gamma over that of the others."""
    norms = [m for m in module.modules() if "Norm" in type(m).__name__]
    gammas = [m.weight.detach().double() for m in norms if getattr(m, "weight", None) is not None]
    if len(gammas) < 3:
        return False, None
    *others, last = (float(g.square().mean().sqrt()) for g in gammas)
    is_trained = any(float(g.std()) > 1e-6 for g in gammas)
    return is_trained, last / max(float(np.median(others)), 1e-30)


# ---- texts


def _texts(texts: Sequence[Sequence[int]] | None) -> list[list[int]]:
    """Ids of each text; by default ranks of words by Zipf's law, of which 1.5 % of pairs agree."""
    if texts is None:
        share = 1 / (np.arange(WORDS) + 1.3)
        draws = np.random.default_rng(0)
        return [draws.choice(WORDS, TOKENS, p=share / share.sum()).tolist()]
    want = f"texts of 2 to {MOST_TOKENS} ids each"
    found = [checks.checked_items("texts", text, "predict", want)
             for text in checks.checked_items("texts", texts, "predict", want)]  # fmt: skip
    if not found or not all(2 <= len(text) <= MOST_TOKENS for text in found):
        raise ParameterError.of("texts", "predict", want, texts)
    return [[checks.checked_int("texts", i, 0, None, "predict") for i in text] for text in found]


def _ids(texts: Sequence[str] | None, folder: Path | None, config: Any) -> list[list[int]]:
    """Ids of a model's own tokens, of equal length."""
    known = config.to_dict() if config is not None else {}
    length = min(TOKENS, n_positions(known) or TOKENS)
    read = None if texts is None else checks.checked_texts("texts", texts, "examine")
    files = ("tokenizer.json", "vocab.txt")
    if read and folder and any((folder / file).exists() for file in files):
        encoded = load_tokenizer(folder).encode_batch(read, add_special_tokens=False)
        flat = [i for one in encoded for i in one.ids]
    else:  # which are equal is all that matters to fresh weights
        special = [v for name, v in known.items() if name.endswith("token_id")]
        free = [i for i in range(known.get("vocab_size") or WORDS) if i not in special]
        words = _texts(None) if read is None else [text.split() for text in read]
        numbers: dict[Any, int] = {}
        flat = [free[numbers.setdefault(w, len(numbers)) % len(free)] for t in words for w in t]
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
