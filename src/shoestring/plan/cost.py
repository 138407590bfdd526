"""What a Transformer multiplies, in closed form, from the sizes of its config alone.

A product of m x k and k x n has m k n multiply-adds (MACs) and 2 m k n FLOPs; both are integers
here, and named. All else that a model computes (norms, softmax, activations) is no product: it
takes time, which :mod:`shoestring.plan.machine` predicts, and no FLOPs by the common definition.

For B texts of n tokens, width D, H heads of size d, G heads of keys and values, F neurons, a layer
has, in multiply-adds:

    projections    B n D (H d + 2 G d) + B n H d D
    attention      2 B H n m d            m keys: n itself, the encoder's tokens, or the cache
    feed-forward   2 B n D F, or 3 B n D F where it is gated; of experts the active ones

so 12 n D^2 + 2 n^2 D where H d = D and F = 4 D: the attention matrix is n / (n + 6 D) of the layer
(Su, https://kexue.fm/archives/8610). Backward, y = x W costs a product for the gradient of x and
one for that of W, each as large as forward; a fused attention kernel computes the scores anew, five
products for two. What needs no gradient is not computed: W where it is frozen, and the input of the
first layer where nothing below it is trained. Checkpointing repeats the layers' forward pass.

Where we leave the post: the head size d is never D / H by assumption; masked products are counted,
as kernels on a CPU compute them (a causal mask or a window saves nothing).

Not covered: what :mod:`shoestring.plan.families` does not describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from shoestring.plan.families import Description, Stack

COMPONENTS = ("projections", "attention", "feed-forward", "embeddings", "logits")
METHODS = ("full", "lora", "head")
LORA_RANK = 8


@dataclass(frozen=True)
class Product:
    """Matrix products of one shape, and how many of the same size backward has for each."""

    component: str
    times: int
    m: int
    k: int
    n: int
    backward: int

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass."""
        return self.times * self.m * self.k * self.n


@dataclass(frozen=True)
class Job:
    """What is done with a model.

    ``method``: what is trained, "full", "lora" (rank 8 in queries and values) or "head" (the
    matrices after the layers); None for a forward pass alone. ``is_fused``: whether attention is
    one kernel (sdpa). ``cached``: tokens of a decoder whose keys and values are kept from before.
    ``checkpointing``: whether layers are computed again going backward, ``skips_last`` without
    their last product: torch stops at the last tensor that backward needs, and where neither a norm
    nor dropout follows that is the product's input.
    """

    batch: int
    length: int
    method: str | None = None
    is_fused: bool = True
    cached: int = 0
    checkpointing: bool = False
    skips_last: bool = False

    def backward(self, has_input_gradient: bool = True) -> int:
        """Products that backward has for one with a weight of the model's."""
        trains = {"full": 1 + has_input_gradient, "lora": has_input_gradient}
        return int(trains.get(self.method or "", 0))


def products(model: Description, job: Job) -> Iterator[Product]:
    """List all matrix products of a forward pass, each with what backward adds."""
    rows, is_full = job.batch * job.length, job.method == "full"
    for k, n in model.embedding:
        yield Product("embeddings", 1, rows, k, n, job.backward(is_full))
    for stack in model.stacks:
        # Where the embedding is frozen, the first layer's input needs no gradient
        parts = ((stack.layers, True),) if is_full else ((1, False), (stack.layers - 1, True))
        for layers, has_input_gradient in parts:
            found = list(_layer(replace(stack, layers=layers), model, job, has_input_gradient))
            if job.checkpointing:
                again = [1] * (len(found) - 1) + [1 - job.skips_last]
                both = zip(found, again, strict=True)
                found = [replace(product, backward=product.backward + n) for product, n in both]
            yield from found
    is_first = True
    for shapes, n_rows in ((model.token_head, rows), (model.text_head, job.batch)):
        for k, n in shapes:
            of_head = 2 - is_first if job.method == "head" else job.backward()
            yield Product("logits", 1, n_rows, k, n, of_head)
            is_first = False


def _layer(
    stack: Stack, model: Description, job: Job, has_input_gradient: bool
) -> Iterator[Product]:
    """The products of equal layers; backward of what reads their input depends on the flag."""
    rows, inner = job.batch * job.length, stack.heads * stack.head_size
    keys, is_lora = stack.key_heads * stack.head_size, job.method == "lora"
    reads = [(stack.width, job.cached + job.length, has_input_gradient)]
    reads += [(stack.cross_width, job.length, True)] * bool(stack.cross_width)
    for number, (width, n_keys, has_gradient) in enumerate(reads):
        of_queries = has_input_gradient if not number else True
        part = "projections"
        yield Product(part, stack.layers, rows, stack.width, inner, job.backward(of_queries))
        yield Product(part, 2 * stack.layers, rows, width, keys, job.backward(has_gradient))
        yield Product(part, stack.layers, rows, inner, stack.width, job.backward())
        if is_lora:
            adapted = [(stack.width, inner, of_queries), (width, keys, has_gradient)]
            if model.lora == "joint":
                adapted = [(stack.width, inner + 2 * keys, of_queries)]
            for k, n, needed in adapted:
                yield Product(part, stack.layers, rows, k, LORA_RANK, 1 + needed)
                yield Product(part, stack.layers, rows, LORA_RANK, n, 2)
        # Gradients of the queries, and of the keys; the fused kernel always has both
        n_scores = 1 + (not is_lora or has_gradient or model.lora == "joint")
        n_scores, mixed = (3, 2) if job.is_fused else (n_scores, 2)
        if job.method in (None, "head"):
            n_scores = mixed = 0
        times, size = stack.layers * job.batch * stack.heads, stack.head_size
        yield Product("attention", times, job.length, size, n_keys, n_scores)
        yield Product("attention", times, job.length, n_keys, size, mixed)
    yield from _feed_forward(stack, rows, job.backward())


def _feed_forward(stack: Stack, rows: int, backward: int) -> Iterator[Product]:
    part, layers, width = "feed-forward", stack.layers, stack.width
    read = rows * stack.active if stack.experts else rows
    if stack.experts:
        yield Product(part, layers, rows, width, stack.experts, backward)
    if stack.shared_neurons:
        yield Product(part, 2 * layers, rows, width, stack.shared_neurons, backward)
        yield Product(part, layers, rows, stack.shared_neurons, width, backward)
        yield Product(part, layers, rows, width, 1, backward)
    yield Product(part, (1 + stack.gated) * layers, read, width, stack.neurons, backward)
    yield Product(part, layers, read, stack.neurons, width, backward)


def macs(found: Iterable[Product]) -> dict[str, tuple[int, int]]:
    """Multiply-adds forward and backward, by component; twice that are the FLOPs."""
    sums = dict.fromkeys(COMPONENTS, (0, 0))
    for product in found:
        forward, backward = sums[product.component]
        more = product.backward * product.macs
        sums[product.component] = (forward + product.macs, backward + more)
    return sums


def weights(model: Description) -> dict[str, int]:
    """Elements of the matrices, by component: all experts, no biases, norms or lookup tables."""
    sums = dict.fromkeys(COMPONENTS, 0)
    for product in products(model, Job(1, 1)):
        if product.component != "attention":
            size = product.times * product.k * product.n
            sums[product.component] += size
    for stack in model.stacks:
        if stack.experts:
            expert = (2 + stack.gated) * stack.width * stack.neurons * stack.layers
            sums["feed-forward"] += (stack.experts - 1) * expert
    return sums
