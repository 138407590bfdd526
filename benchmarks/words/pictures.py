"""The pictures of ``docs/words.md``: the circuit, and what its neurons have learnt.

``python -m benchmarks.words.pictures`` writes ``docs/words-circuit.svg`` and ``words-hashes.svg``,
four hashes as circuits (nothing is measured for either), and ``docs/words-neurons.svg``: the eight
words with the largest target activation of some neurons, from English and Chinese. The neurons are
chosen by a rule, not by hand: all that win words are ranked by cohesion, the mean cosine between
the activations of their eight words, and taken evenly from the best to the worst of them. Words
that occur fewer than :data:`LEAST` times are left out.

Chinese stays text in the file, with a list of fonts: any browser has one of them.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import ROOT
from benchmarks.words import models

N_TOKENS = 10_000_000  # of each language
N_SHOWN = 10  # neurons of each language
N_TOP = 8  # words of each neuron
LEAST = 100
LANGUAGES = {"en": "English", "zh": "Chinese"}
FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei"]
INK, MUTED, PALE, ACTIVE, TARGET = "#212121", "#616161", "#cfd8dc", "#00796b", "#d84315"
INHIBITS = "#c62828"
OPAQUE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}

SENTENCE = (
    *("after", "the", "storm", "the", "river"),
    "bank",
    *("was", "under", "water", "for", "days"),
)
N_CONTEXT, N_TARGET, N_CELLS = 13, 7, 17  # circles that stand for V, V and K
CODE = (6, 1, 9, 14)  # the active ones, first the winner


@dataclass(frozen=True)
class Neuron:
    """What a neuron has learnt."""

    number: int
    rank: int
    cohesion: float
    words: list[str]


def neurons(words: np.ndarray, counts: np.ndarray, targets: np.ndarray) -> tuple[list[Neuron], int]:
    """Those shown, the most coherent first, and how many there are; targets are (V, K)."""
    kept = counts >= LEAST
    words, targets = words[kept], targets[kept]
    units = targets / np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
    found = []
    for number in np.flatnonzero(np.bincount(targets.argmax(axis=1), minlength=targets.shape[1])):
        top = np.argsort(-targets[:, number], kind="stable")[:N_TOP]
        cosines = units[top] @ units[top].T
        cohesion = float((cosines.sum() - len(top)) / (len(top) * (len(top) - 1)))
        found.append((cohesion, int(number), words[top].tolist()))
    found.sort(reverse=True)
    ranks = np.linspace(0, len(found) - 1, N_SHOWN).round().astype(int)
    return [Neuron(found[r][1], int(r) + 1, found[r][0], found[r][2]) for r in ranks], len(found)


def draw_neurons(
    panels: dict[str, tuple[str, list[Neuron], int]], file: Path
) -> None:  # title, neurons, of how many
    """A panel for each language, a line for each neuron."""
    with svg_style() as plt:
        figure, axes = plt.subplots(1, len(panels), figsize=(11.5, 4.1), width_ratios=[3, 2])
        for axis, (title, shown, n_neurons) in zip(axes, panels.values(), strict=True):
            axis.set(xlim=(0, 1), ylim=(len(shown) + 0.2, -1.5))
            axis.axis("off")
            axis.text(0, -1.1, title, fontsize=11, fontweight="bold", color=INK)
            axis.text(0, -0.45, f"rank of {n_neurons}", fontsize=7.5, color=MUTED)
            for line, neuron in enumerate(shown):
                axis.axhline(line - 0.12, color=PALE, linewidth=0.6)
                y = line + 0.5
                axis.text(0, y, neuron.rank, fontsize=8, color=MUTED, va="center")
                words = "   ".join(neuron.words)
                axis.text(0.075, y, words, fontsize=9, color=INK, va="center")
        figure.subplots_adjust(0.015, 0.0, 0.99, 0.99, wspace=0.03)
        save(figure, file)


def draw_circuit(file: Path, seed: int) -> None:
    """Words, projection neurons in two blocks, Kenyon cells with one inhibitor, the code."""
    words = column(0.9, 5.4, 0.2, len(SENTENCE))
    context, target = column(3.6, 5.4, 2.3, N_CONTEXT), column(3.6, 1.3, 0.2, N_TARGET)
    cells, bits = column(6.9, 5.4, 0.2, N_CELLS), column(9.9, 5.4, 0.2, N_CELLS)
    middle, chosen = len(SENTENCE) // 2, _inputs(np.random.default_rng(seed))
    ends = [context[chosen[word]] for word in SENTENCE]
    ends[middle] = target[N_TARGET // 2]
    colours = [TARGET if i == middle else ACTIVE for i in range(len(SENTENCE))]
    lit = {tuple(end): colour for end, colour in zip(ends, colours, strict=True)}
    with svg_style() as plt:
        figure, axis = plt.subplots(figsize=(10, 5.4))
        axis.set(xlim=(-0.1, 10.9), ylim=(-1.55, 6.5))
        axis.axis("off")
        figure.subplots_adjust(0, 0, 1, 1)
        for place, word, end, colour in zip(words, SENTENCE, ends, colours, strict=True):
            box(axis, place, word, colour)
            wire(axis, place + np.array([0.55, 0]), end, colour, 1.1)
        for end in lit:
            for i, cell in enumerate(cells):
                wire(axis, end, cell, *((INK, 0.9) if i == CODE[0] else (PALE, 0.4)))
        for i, (cell, bit) in enumerate(zip(cells, bits, strict=True)):
            wire(axis, cell, bit, *((ACTIVE, 1.1) if i in CODE else (PALE, 0.4)))
            square(axis, bit, i in CODE)
        inhibitor(axis, cells)
        for block in (context, target):
            dots(axis, block, [lit.get(tuple(place), "white") for place in block])
        dots(axis, cells, [INK if i == CODE[0] else "white" for i in range(N_CELLS)])
        captions(axis)
        save(figure, file)


def _inputs(rng: np.random.Generator) -> dict[str, int]:
    """A circle of the context block for each different word."""
    different = list(dict.fromkeys(SENTENCE))
    return dict(zip(different, rng.permutation(N_CONTEXT)[: len(different)], strict=True))


def captions(axis: Any) -> None:
    """What each column is."""
    heads = {0.9: "window", 3.6: "projection neurons", 6.9: "Kenyon cells", 9.9: "code"}
    for x, text in heads.items():
        axis.text(x, 6.05, text, ha="center", fontsize=11, fontweight="bold", color=INK)
    blocks = {5.68: ("context block", ACTIVE), 1.6: ("target block", TARGET)}
    for y, (text, colour) in blocks.items():
        style = {"ha": "center", "va": "center", "fontsize": 8.5, "color": colour}
        axis.text(3.6, y, text, bbox=OPAQUE, zorder=3, **style)
    axis.text(8.0, -0.2, "one inhibitory neuron", va="center", fontsize=8.5, color=INHIBITS)
    feet = {
        0.9: "11 words,\nthe target in the middle",
        3.6: "one for each word of the vocabulary\nin each block",
        6.9: "learning: the most active one wins (black);\nits weights move towards the window",
        9.9: "the k most active\ncells are the 1 bits",
    }
    for x, text in feet.items():
        axis.text(x, -0.75, text, ha="center", va="top", fontsize=8.5, color=MUTED)


def draw_hashes(file: Path, seed: int) -> None:
    """Random hyperplanes, the random expansion, the learnt one, and that on words."""
    steps = {
        "1. SignHash": "random weights;\nabove 0 is active",
        "2. FlyHash": "many more neurons, each of a tenth\nof the features; the largest are active",
        "3. BioHash": "learnt: the nearest neuron (black)\nmoves towards the sample",
        "4. words": "the same on windows: one block for\nthe context, one for the word",
    }
    rng, n_inputs = np.random.default_rng(seed), 8
    with svg_style() as plt:
        figure, axes = plt.subplots(1, 4, figsize=(11, 3.6))
        for step, (axis, (title, text)) in enumerate(zip(axes, steps.items(), strict=True)):
            axis.set(xlim=(-0.4, 2.4), ylim=(-1.5, 6.4))
            axis.axis("off")
            inputs = column(0, 5.4, 0, n_inputs)
            inputs[n_inputs // 2 :, 1] -= 0.4 * (step == 3)  # the block of the word itself
            cells = column(2, 5.4, -0.4 * (step == 3), 4 if step == 0 else N_CELLS)
            active = (0, 2) if step == 0 else CODE
            for i, cell in enumerate(cells):
                drawn = range(n_inputs) if step != 1 else rng.permutation(n_inputs)[:1]
                won = step > 1 and i == CODE[0]
                for j in drawn:
                    wire(axis, inputs[j], cell, *((INK, 1.1) if won else (PALE, 0.5 + (step == 1))))
            fills = [ACTIVE if i in active else "white" for i in range(len(cells))]
            if step > 1:
                fills[CODE[0]] = INK
            blocks = [
                TARGET if step == 3 and j >= n_inputs // 2 else MUTED for j in range(n_inputs)
            ]
            dots(axis, inputs, blocks)
            dots(axis, cells, fills)
            axis.text(1, 6.0, title, ha="center", fontsize=11, fontweight="bold", color=INK)
            axis.text(1, -0.75, text, ha="center", va="top", fontsize=8, color=MUTED)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.1)
        save(figure, file)


def column(x: float, top: float, bottom: float, n: int) -> np.ndarray:
    """Places (n, 2) from top to bottom."""
    return np.column_stack([np.full(n, x), np.linspace(top, bottom, n)])


def wire(
    axis: Any, start: Sequence[float], end: Sequence[float], colour: str, width: float
) -> None:
    axis.plot(*zip(start, end, strict=True), color=colour, linewidth=width, zorder=1 + width)


def dots(axis: Any, places: np.ndarray, fills: list[str]) -> None:
    edges = [MUTED if fill == "white" else fill for fill in fills]
    axis.scatter(*places.T, s=62, c=fills, edgecolors=edges, linewidths=0.9, zorder=3)


def box(axis: Any, place: np.ndarray, word: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": colour}
    axis.text(*place, word, ha="center", va="center", fontsize=9, color=INK, bbox=style, zorder=3)


def square(axis: Any, place: np.ndarray, active: bool) -> None:
    fill, colour = (ACTIVE, "white") if active else ("white", MUTED)
    axis.scatter(*place, marker="s", s=150, c=fill, edgecolors=MUTED, linewidths=0.8, zorder=3)
    style = {"ha": "center", "va": "center_baseline", "fontsize": 7.5, "color": colour}
    axis.text(*place, str(int(active)), zorder=4, **style)


def inhibitor(axis: Any, cells: np.ndarray) -> None:
    """The one neuron that all cells excite and that holds all of them down."""
    place = (7.8, -0.2)
    for cell in cells:
        wire(axis, cell, place, INHIBITS, 0.35)
    axis.scatter(*place, marker="D", s=90, color=INHIBITS, zorder=3)


@contextmanager
def svg_style() -> Iterator[Any]:
    """matplotlib set to small, reproducible files with text as text, on an opaque white page."""
    import matplotlib as mpl

    mpl.use("Agg")
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # fonts of others
    settings = {
        "svg.hashsalt": "shoestring",
        "svg.fonttype": "none",
        "font.family": [*FONTS, "sans-serif"],
        "savefig.facecolor": "white",
    }
    with mpl.rc_context(settings):
        from matplotlib import pyplot as plt

        yield plt


def save(figure: Any, file: Path) -> None:
    """Write it; glyphs that this machine's fonts lack are the browser's to draw."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, **({"metadata": {"Date": None}} if file.suffix == ".svg" else {}))


def learnt(options: argparse.Namespace) -> dict[str, tuple[str, list[Neuron], int]]:
    """The panels, from vectors that are trained if they are not there yet."""
    panels = {}
    for language, name in LANGUAGES.items():
        text = models.corpus(language, options.tokens)
        vectors = models.ours(text, options.rule, 400, options.seed, 15)
        words = np.array(text.encoded.words, dtype=object)
        shown, n = neurons(words, text.encoded.counts, vectors.activations_[-len(words) :])
        title = f"{name}, {text.encoded.n_tokens / models.M:.1f} M tokens"
        panels[language] = title, shown, n
        print(f"\n{title}, rule of {options.rule}")
        for neuron in shown:
            print(f"{neuron.rank:>4} {neuron.cohesion:.2f}  {' '.join(neuron.words)}")
    return panels


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=N_TOKENS, help="of each language")
    parser.add_argument("--rule", default="counts", choices=["counts", "published"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs")
    parser.add_argument("--format", default="svg", choices=["svg", "png"])
    options = parser.parse_args()
    pictures: dict[str, Callable[[Path], None]] = {
        "words-circuit": lambda file: draw_circuit(file, options.seed),
        "words-hashes": lambda file: draw_hashes(file, options.seed),
        "words-neurons": lambda file: draw_neurons(learnt(options), file),
    }
    for name, draw in pictures.items():
        draw(options.folder / f"{name}.{options.format}")


if __name__ == "__main__":
    main()
