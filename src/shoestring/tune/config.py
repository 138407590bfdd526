"""Settings of a ladder, checked, and the kind of folder that it is saved to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shoestring.artifacts import ArtifactKind
from shoestring.checks import checked_choice, checked_int, checked_items, checked_texts
from shoestring.errors import ParameterError

LADDER = ArtifactKind(
    "shoestring-ladder",
    "a ladder",
    "Ladder.save_pretrained",
    "Tune it again (shoestring tune).",
    version=3,
)
SIDE, ADAPTER, INSIDE = "side.safetensors", "adapter", "backbone"  # its files and folders
TASKS = ("classify", "regress", "score")
PAIRS = ("none", "joint", "apart", "late")
EVERY = 3  # one layer in three has a block
MOST = (1 << 32) - 1  # that torch and NumPy take as a seed
_OWNER = "LadderConfig"


@dataclass(frozen=True)
class LadderConfig:
    """Settings of a :class:`~shoestring.tune.ladder.Ladder`.

    Parameters
    ----------
    reduction : int
        r: the side network is 1 / r as wide as the backbone.
    task : {"classify", "regress", "score"}
        A class of a text (or pair), a number, or how well a pair fits together (a pair scorer).
    n_labels : int
        Classes; 1 where the answer is a number.
    labels : tuple of str
        Their names; by default their numbers.
    layers : tuple of int, optional
        Layers of the backbone that get a block beside them, from 0, the last one included. Every
        third by default: few wide blocks learn more than many narrow ones of the same cost.
    pairs : {"none", "joint", "apart", "late"}
        How two texts are read. "joint": as one text, by the backbone too. "apart": the backbone
        reads each alone, as bi-encoders are trained to, once per text; the side network reads both
        together. "late": the side network reads each alone too, and changes the token vectors that
        are compared and the weight of each token of the first text.
    dropout : float
        Before and after the side network; the backbone never has any.
    max_length : int
        Tokens that are read of a text, special tokens included.
    seed : int
        Of the side network's weights.
    """

    reduction: int = 4
    task: str = "classify"
    n_labels: int = 2
    labels: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    pairs: str = "none"
    dropout: float = 0.1
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        checked_choice("task", self.task, TASKS, _OWNER)
        checked_choice("pairs", self.pairs, PAIRS, _OWNER)
        for name, least in (("reduction", 2), ("n_labels", 1), ("max_length", 4)):
            number = checked_int(name, getattr(self, name), least, None, _OWNER)
            object.__setattr__(self, name, min(number, MOST))
        object.__setattr__(self, "seed", checked_int("seed", self.seed, 0, MOST, _OWNER))
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ParameterError.of("dropout", _OWNER, "in [0, 1)", self.dropout)
        if self.task in ("regress", "score") and self.n_labels != 1:
            object.__setattr__(self, "n_labels", 1)
        elif self.task == "classify" and self.n_labels < 2:
            raise ParameterError.of("n_labels", _OWNER, "at least 2 classes", self.n_labels)
        if self.layers is not None:
            each = checked_items("layers", self.layers, _OWNER, "a sequence of ints")
            layers = tuple(checked_int("layers", n, 0, MOST, _OWNER) for n in each)
            object.__setattr__(self, "layers", layers)
        names = tuple(checked_texts("labels", self.labels, _OWNER))
        object.__setattr__(self, "labels", names)
        if names and len(names) != self.n_labels:
            want = f"{self.n_labels} names, one for each class"
            raise ParameterError.of("labels", _OWNER, want, self.labels)
        if self.task == "score" and self.pairs == "none":
            object.__setattr__(self, "pairs", "apart")
        if self.pairs == "late" and self.task != "score":
            raise ParameterError.of("pairs", _OWNER, "'joint' or 'apart' but for scores", "late")

    def of_backbone(self, n_layers: int) -> LadderConfig:
        """Return a copy with the layers of a backbone filled in.

        ParameterError if a layer does not exist, or the last one is left out.
        """
        every = range((n_layers - 1) % EVERY, n_layers, EVERY)
        layers = tuple(every if self.layers is None else self.layers)
        if layers != tuple(sorted({*layers})) or layers[-1:] != (n_layers - 1,):
            last = n_layers - 1
            want = f"ascending numbers from 0 to {last}, with the last one, {last}, among them"
            raise ParameterError.of("layers", _OWNER, want, self.layers)
        return replace(self, layers=layers)
