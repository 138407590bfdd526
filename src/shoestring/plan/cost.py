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
products for two.

Where we leave the post: the head size d is never D / H by assumption; masked products are counted,
as kernels on a CPU compute them (a causal mask or a window saves nothing).

Not covered: what :mod:`shoestring.plan.families` does not describe, and training of some weights
alone (LoRA, a head) or with checkpoints: operators count those.
"""

from __future__ import annotations

from shoestring.plan.families import Description

COMPONENTS = ("projections", "attention", "feed-forward", "embeddings", "logits")


def macs(
    model: Description, batch: int, length: int, *, cached: int = 0,
    is_trained: bool = False, is_fused: bool = True,
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """Multiply-adds forward and backward, by component; twice that are the FLOPs.

    ``cached``: tokens of a decoder whose keys and values are kept from before. ``is_trained``:
    whether all weights are; ``is_fused``: whether attention is then one kernel.
    """
    rows = batch * length
    forward = dict.fromkeys(COMPONENTS, 0)
    forward["embeddings"] = rows * model.embedding
    forward["logits"] = rows * model.token_head + batch * model.text_head
    for stack in model.stacks:
        scores = (1 + stack.crosses) * batch * stack.heads * length * (cached + length)
        forward["projections"] += stack.layers * rows * stack.projections
        forward["attention"] += stack.layers * 2 * scores * stack.head_size
        forward["feed-forward"] += stack.layers * rows * stack.feed_forward
    backward = {part: 2 * n if is_trained else 0 for part, n in forward.items()}
    if is_fused:
        backward["attention"] = backward["attention"] * 5 // 4
    return {part: (n, backward[part]) for part, n in forward.items()}


def weights(model: Description) -> dict[str, int]:
    """Elements of the matrices, by component: all experts, no biases, norms or lookup tables."""
    sums = {part: forward for part, (forward, _) in macs(model, 1, 1).items()} | {"attention": 0}
    sums["feed-forward"] += sum(stack.layers * stack.idle for stack in model.stacks)
    return sums
