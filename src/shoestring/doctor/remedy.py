"""Named faults, their thresholds, and the prescription that mends them.

    deviation too large     the gain of a post-norm stack is below 0.1: less than 1 % of the
                            variance of the last hidden state is the input's
    deviation too small     all sublayers of a post-norm stack together move the last hidden state
                            by less than 1 %
    token collapse          the mean cosine of two last hidden states is above 0.95
    double initialisation   a feed-forward part deviates 1.5 times as much as the config says, or an
                            attention, which one draw of weights tells less of, 2.5 times; or less
                            by as much
    missing attention scale scores deviate twice as much as the config says; 3 where it says nothing
    untied scale            logits deviate by more than 2: the first loss is log V + 2 or more
    no warm-up              fewer steps than are prescribed for a post-norm stack
    learning rate           a step of Adam moves a weight by more than a tenth of its deviation
    last gain               the last norm's gamma is twice the median of the others: it carries the
                            scale of the logits, as there is no dense layer and norm before them

The first step of Adam moves every weight by the learning rate, all along the gradient,
so a matrix of deviation w that reads n channels moves its output by 0.8 lr sqrt(n) / w of its size.
Weighed by the sublayers' deviations and gradients this sums up to the move of the last hidden state
(measured at 1e-5 and 1e-4: within 1.6 times, but for collapsed stacks). We warm up for as many
steps as make the first move a tenth, over the gain: 10 move / gain, if the gain is below 0.9.

The prescription multiplies the deviation of all matrices in the layers by one factor, such that the
predicted gain is 0.9: what trains without warm-up (docs/doctor.md). Pre-norm stacks keep theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.doctor.families import scaled
from shoestring.doctor.signal import Attention, Signal, Stack, through_stacks
from shoestring.errors import ParameterError

GAIN, WANTED_GAIN = 0.1, 0.9
SMALL = 0.01
COLLAPSE = 0.95
RATIO, RATIO_OF_ATTENTION = 1.5, 2.5
SCORES, SCORES_ALONE = 2.0, 3.0
LOGITS = 2.0
FIRST_MOVE = 0.1  # of the last hidden state
RELATIVE_STEP = 0.1  # of a weight
LAST_GAIN = 2.0
LEARNING_RATE = 1e-4
OPTIMIZERS = {"adamw": 1.0, "adam": 1.0, "lion": 1.0, "adafactor": 0.0, "sgd": 0.0}  # lr a step


@dataclass(frozen=True)
class Fault:
    """What is wrong, where, by which number, and what to do."""

    name: str
    place: str
    number: float
    threshold: float
    prescription: str


@dataclass(frozen=True)
class Prescription:
    """What makes a stack of layers learn."""

    factor: float  # for the deviation of all matrices in the layers; 1 where nothing need change
    gain: float  # predicted: as it is, and with the factor
    new_gain: float
    correlation: float  # of tokens in the last hidden state: as it is, and with the factor
    new_correlation: float
    warmup_steps: int  # with the factor
    residual_alpha: float | None  # instead, of post-norm layers: DeepNorm's norm(alpha x + F(x)),
    residual_beta: float | None  # with the matrices of F times beta, but for queries and keys

    def apply(self, model: Any) -> None:
        """Multiply the matrices and biases of all layers of a fresh module, in place."""
        if not hasattr(model, "named_parameters"):
            raise ParameterError.of("model", "Prescription.apply", "a torch.nn.Module", model)
        for name, weight in model.named_parameters():
            is_of_matrix = weight.ndim == 2 or name.endswith("bias")
            if is_of_matrix and re.search(r"\b\d+\.", name):
                weight.data *= self.factor


def prescription_of(
    stacks: Sequence[Stack], texts: Sequence[Sequence[int]], learning_rate: float
) -> Prescription:
    """The factor with the wanted gain, by bisection."""
    before = now = through_stacks(stacks, texts)
    factor, is_post_norm, n = 1.0, stacks[-1].is_post_norm, stacks[-1].layers
    if is_post_norm and (now.gain < WANTED_GAIN or moved(now) < SMALL):
        low, high = -6.0, 6.0  # of its logarithm
        while high - low > 0.01:
            factor = math.exp((low + high) / 2)
            now = through_stacks([scaled(s, factor) for s in stacks], [texts[0][:64]])
            if now.gain > WANTED_GAIN:
                low = math.log(factor)
            else:
                high = math.log(factor)
    steps = warmup([scaled(s, factor) for s in stacks], now, learning_rate)
    alpha, beta = ((2 * n) ** 0.25, (8 * n) ** -0.25) if is_post_norm else (None, None)
    return Prescription(
        factor, before.gain, now.gain, before.correlation, now.correlation, steps, alpha, beta
    )


def moved(signal: Signal) -> float:
    """By how much all sublayers together move the last hidden state."""
    return math.sqrt(sum((s.deviation * s.gradient) ** 2 for s in signal.sublayers))


def first_move(stacks: Sequence[Stack], signal: Signal, learning_rate: float) -> float:
    """By how much the first step of Adam moves the last hidden state, relative to it."""
    parts = [(s.width, part) for s in stacks for _ in range(s.layers) for part in s.parts]
    total = 0.0
    for (width, part), row in zip(parts, signal.sublayers, strict=True):
        if isinstance(part, Attention):
            inner, read, write = part.heads * part.head_size, part.value, part.output
        else:
            inner, read, write = part.neurons, part.read, part.write
        total += row.deviation * row.gradient * (math.sqrt(width) / read + math.sqrt(inner) / write)
    return 0.8 * learning_rate * total


def warmup(stacks: Sequence[Stack], signal: Signal, learning_rate: float) -> int:
    """Steps of linear warm-up."""
    if not stacks[-1].is_post_norm or signal.gain > 0.99 * WANTED_GAIN:
        return 0
    steps = first_move(stacks, signal, learning_rate) / FIRST_MOVE / max(signal.gain, 1e-3)
    return math.ceil(steps)


def faults_of(
    stacks: Sequence[Stack],
    predicted: Signal | None,
    measured: Signal | None,
    *,
    is_trained: bool = False,
    last_gain: float | None = None,
    warmup_steps: int | None = None,
    learning_rate: float | None = None,
    optimizer: str = "adamw",
) -> list[Fault]:
    """All that is wrong with what is predicted and measured, and with how it is to be trained."""
    found: list[Fault] = []

    def check(name: str, place: str, number: float, bar: float, wrong: bool, advice: str) -> None:
        if wrong:
            found.append(Fault(name, place, number, bar, advice))

    fresh = [s for s in (predicted, None if is_trained else measured) if s is not None]
    all_signals = [s for s in (predicted, measured) if s is not None]
    end, scale = (
        "last hidden state",
        "Scale the weights of the layers: shoestring doctor prescribe.",
    )
    if fresh and stacks and stacks[-1].is_post_norm:
        gain, move = min(abs(s.gain) for s in fresh), moved(fresh[0])
        check("deviation too large", end, gain, GAIN, gain < GAIN, f"{scale} Or pre-norm layers.")
        check("deviation too small", end, move, SMALL, move < SMALL, scale)
        steps, given = warmup(stacks, fresh[0], learning_rate or LEARNING_RATE), warmup_steps
        advice = f"Warm up for {steps} steps. Or scale the weights of the layers, and for fewer."
        check(
            "no warm-up", "training", given or 0, steps, given is not None and given < steps, advice
        )
    alike = max(s.correlation for s in all_signals)
    check("token collapse", end, alike, COLLAPSE, alike > COLLAPSE, f"Tokens become equal. {scale}")
    if measured and not is_trained:
        found += _unlike(measured, predicted)
    logits = max((s.logits or 0.0 for s in fresh), default=0.0)
    advice = f"Multiply the logits by {1 / max(logits, 1.0):.2g}, or the head's weights."
    check("untied scale", "logits", logits, LOGITS, logits > LOGITS, advice)
    gamma = last_gain or 0.0
    advice = "Give the head a dense layer and a norm of its own, as BERT's has."
    check("last gain", "last norm", gamma, LAST_GAIN, gamma > LAST_GAIN, advice)
    if stacks and learning_rate is not None:
        part = stacks[-1].parts[0]
        weight = part.value if isinstance(part, Attention) else part.read
        step, bar = learning_rate * OPTIMIZERS[optimizer] / weight, RELATIVE_STEP
        check(
            "learning rate", "training", step, bar, step > bar, f"Pass at most {bar * weight:.1g}."
        )
    return found


def _unlike(measured: Signal, predicted: Signal | None) -> list[Fault]:
    """Where fresh weights do not do what the config says: the worst sublayer of each kind."""
    rows, found = measured.sublayers, []
    said = predicted.sublayers if predicted else rows
    bar = SCORES if predicted else SCORES_ALONE
    scores = [(a.scores / (b.scores if predicted else 1.0), a.place)
              for a, b in zip(rows, said, strict=True) if a.scores and b.scores]  # fmt: skip
    if scores and max(scores)[0] > bar:
        advice = "Divide the scores by the root of the head size, or initialise queries smaller."
        number, place = max(scores)
        found.append(Fault("missing attention scale", place, number, bar, advice))
    off = []  # how far beyond its bar, the number, the bar, the place
    for a, b in zip(rows, said, strict=True):
        bar = RATIO_OF_ATTENTION if a.place.endswith("attention") else RATIO
        number = a.deviation / b.deviation
        off.append((abs(math.log(max(number, 1e-9))) / math.log(bar), number, bar, a.place))
    beyond, number, bar, place = max(off)
    if beyond > 1:
        advice = "Initialise these weights once, as the config says."
        found.append(Fault("double initialisation", place, number, bar, advice))
    return found
