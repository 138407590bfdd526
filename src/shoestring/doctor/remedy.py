"""Named faults, their thresholds, and the prescription that mends them.

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
from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.doctor.families import scaled
from shoestring.doctor.signal import Signal, Stack, through_stacks

WANTED_GAIN = 0.9
LEARNING_RATE = 1e-4
FIRST_MOVE = 0.1  # of the last hidden state, by a step of Adam that needs no warm-up

# Of the last hidden state of a post-norm stack
GAIN = 0.1  # below it less than 1 % of its variance is the input's: deviation too large
SMALL = 0.01  # all sublayers together move it by less: deviation too small
COLLAPSE = 0.95  # the mean cosine of two tokens, also of a pre-norm stack: token collapse
# Over what the config says
SCORES, USUAL_SCORES = 2.0, 1.5  # missing scale: deviation of scores; where the config says nothing
RATIO, ATTENTION = 1.5, 2.5  # double initialisation: how many times larger or smaller outputs are;
# one draw of weights tells less of an attention
LOGITS = 2.0  # their deviation, a first loss of log V + 2 or more: untied scale
LAST_GAIN = 2.0  # last norm's gamma over the median: it carries the scale of logits without a head
RELATIVE_STEP = 0.1  # a step of Adam over a weight's deviation: learning rate
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


def prescription_of(
    stacks: Sequence[Stack], texts: Sequence[Sequence[int]], learning_rate: float
) -> Prescription:
    """The factor with the wanted gain, by bisection."""
    before = now = through_stacks(stacks, texts)
    factor = 1.0
    if stacks[-1].is_post_norm and (now.gain < WANTED_GAIN or moved(now) < SMALL):
        low, high = -6.0, 6.0  # of its logarithm
        while high - low > 0.01:
            middle = (low + high) / 2
            factor = math.exp(middle)
            now = through_stacks(scaled(stacks, factor), [texts[0][:64]])
            low, high = (middle, high) if now.gain > WANTED_GAIN else (low, middle)
    steps = warmup(scaled(stacks, factor), now, learning_rate)
    return Prescription(factor, before.gain, now.gain, before.correlation, now.correlation, steps)


def moved(signal: Signal) -> float:
    """By how much all sublayers together move the last hidden state."""
    return math.sqrt(sum((s.deviation * s.gradient) ** 2 for s in signal.sublayers))


def first_move(stacks: Sequence[Stack], signal: Signal, learning_rate: float) -> float:
    """By how much the first step of Adam moves the last hidden state, relative to it."""
    each = [(s, part) for s in stacks for _ in range(s.layers) for part in s.parts]
    total = 0.0
    for (s, part), row in zip(each, signal.sublayers, strict=True):
        inner, last = s.heads * s.head_size, s.output
        if part == "feed-forward":
            inner, last = s.neurons, s.write
        relative = math.sqrt(s.width) / s.read + math.sqrt(inner) / last
        total += row.deviation * row.gradient * relative
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
    is_post_norm: bool,
    is_trained: bool,
    last_gain: float,
    warmup_steps: int | None,
    learning_rate: float,
    optimizer: str,
) -> list[Fault]:
    """All that is wrong with what is predicted and measured, and with how it is to be trained."""
    fresh = [s for s in (predicted, None if is_trained else measured) if s is not None]
    end, scale = "last hidden state", "Scale the weights: shoestring doctor prescribe."
    below: list[Fault] = []  # faults if their numbers are below their thresholds
    if fresh and is_post_norm:
        gain, move = min(abs(s.gain) for s in fresh), moved(fresh[0])
        advice = f"{scale} Or pre-norm layers."
        below.append(Fault("deviation too large", end, gain, GAIN, advice))
        below.append(Fault("deviation too small", end, move, SMALL, scale))
    if predicted and warmup_steps is not None:
        steps = warmup(stacks, predicted, learning_rate)
        advice = f"Warm up for {steps} steps. Or scale the weights, and for fewer."
        below.append(Fault("no warm-up", "training", warmup_steps, steps, advice))
    alike = max(s.correlation for s in (predicted, measured) if s is not None)
    above = [Fault("token collapse", end, alike, COLLAPSE, f"Tokens become equal. {scale}")]
    if measured and not is_trained:
        above += _unlike(measured, predicted)
    if logits := max((s.logits or 0.0 for s in fresh), default=0.0):
        advice = f"Multiply the logits by {1 / logits:.2g}, or the head's weights."
        above.append(Fault("untied scale", "logits", logits, LOGITS, advice))
    advice = "Give the head a dense layer and a norm of its own, as BERT's has."
    above.append(Fault("last gain", "last norm", last_gain, LAST_GAIN, advice))
    if stacks:
        weight = stacks[-1].read
        step = learning_rate * OPTIMIZERS[optimizer] / weight
        advice = f"Pass at most {RELATIVE_STEP * weight:.1g}."
        above.append(Fault("learning rate", "training", step, RELATIVE_STEP, advice))
    return [
        *(fault for fault in below if fault.number < fault.threshold),
        *(fault for fault in above if fault.number > fault.threshold),
    ]


def _unlike(measured: Signal, predicted: Signal | None) -> list[Fault]:
    """How far fresh weights are from what the config says: the worst sublayer of each kind."""
    root = "Divide the scores by the root of the head size, or initialise queries smaller."
    once = "Initialise these weights once, as the config says."
    sharp, off = [], []
    for row, said in zip(measured.sublayers, (predicted or measured).sublayers, strict=True):
        if row.scores and said.scores:
            number = row.scores / (said.scores if predicted else USUAL_SCORES)
            sharp.append(Fault("missing attention scale", row.place, number, SCORES, root))
        ratio = row.deviation / said.deviation
        number, bar = max(ratio, 1 / max(ratio, 1e-9)), RATIO if row.scores is None else ATTENTION
        off.append(Fault("double initialisation", row.place, number, bar, once))
    return [max(each, key=lambda f: f.number / f.threshold) for each in (sharp, off) if each]
