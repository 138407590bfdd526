"""A narrow copy of a backbone: the same class of transformers, with 1 / r of its width.

No family is known by name here: the sizes that a configuration may have are divided.

Letters: D width, d = D / r, L layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from shoestring.errors import ParameterError

# Sizes that become d, and sizes that are divided where they are given:
WIDTHS = ("hidden_size", "embedding_size", "word_embed_proj_dim", "input_embedding_size")
PARTS = "intermediate_size", "hidden_dim", "n_inner", "head_dim", "ffn_dim", "ffn_hidden_size"
DROPOUTS = (  # each would keep as many numbers as it drops for backward
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout"),
)
SPECIAL_IDS = "pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"
LEAST_HEAD = 16


def side_network(config: Any, reduction: int, layers: Sequence[int]) -> Any:
    """The side network: a narrow copy with fresh weights, without pooling or word vectors.

    ``config`` is the backbone's; each of its ``layers``, from 0, gets a block. ParameterError if
    the width or the heads cannot be divided so.
    """
    from transformers import AutoModel

    side = AutoModel.from_config(narrowed(config, reduction, layers), dtype=torch.float32)
    if getattr(side, "pooler", None) is not None:
        side.pooler = None
    side.get_input_embeddings().requires_grad_(False)
    return side


def narrowed(config: Any, reduction: int, layers: Sequence[int]) -> Any:
    """The configuration of the side network; parameters and errors of :func:`side_network`."""
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    is_rotary = hasattr(config, "rope_parameters") or hasattr(config, "rope_theta")
    pair = 2 if is_rotary else 1  # rotary embeddings rotate channels in pairs
    head = int(getattr(config, "head_dim", None) or max(1, width // heads))

    def fits(r: int) -> bool:
        return width % (r * pair * heads) == 0 and head % (r * pair) == 0

    if not fits(reduction):
        even = " of even size" if is_rotary else ""
        want = f"a number by which {width} / {heads} heads{even} can be divided"
        hint = f"{', '.join(map(str, filter(fits, range(2, width))))} would do."
        raise ParameterError.of("reduction", "LadderConfig", want, reduction, hint)
    small = copy.deepcopy(config)
    # widths
    for name in WIDTHS:
        if hasattr(small, name):
            setattr(small, name, width // reduction)
    for name in PARTS:
        if getattr(small, name, None):
            with suppress(AttributeError):  # a property of other sizes
                setattr(small, name, max(1, getattr(config, name) // reduction))
    _merge_heads(small, heads, few_heads(config, reduction))
    for name in DROPOUTS:
        if hasattr(small, name):
            setattr(small, name, 0.0)
    # layers and positions
    small.num_hidden_layers = len(layers)
    if getattr(config, "max_position_embeddings", None):  # two texts may come, one after the other
        small.max_position_embeddings = 2 * config.max_position_embeddings
    if getattr(config, "layer_types", None):
        small.layer_types = [config.layer_types[i] for i in layers]
    # its inputs are states, never ids
    small.vocab_size = 2
    for name in SPECIAL_IDS:
        if getattr(small, name, None) is not None:
            setattr(small, name, 0)
    small.initializer_range = (0.4 / (width // reduction)) ** 0.5
    small.use_cache = False
    return small


def few_heads(config: Any, reduction: int) -> int:
    """The number of heads that leaves each at least 16 wide, or as wide as it can be.

    The time of attention grows with the number of heads, not with their width: MiniLM's twelve
    would be four numbers wide at r = 8, and a third of a step's time.
    """
    width, heads = config.hidden_size // reduction, config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    fitting = [n for n in range(1, heads + 1) if heads % n == 0 and key_heads % n == 0]
    return max((n for n in fitting if width // n >= LEAST_HEAD), default=1)


def _merge_heads(small: Any, heads: int, n_heads: int) -> None:
    """Merge the channels of all heads into fewer heads."""
    small.num_attention_heads = n_heads
    if getattr(small, "num_key_value_heads", None):
        small.num_key_value_heads = max(1, small.num_key_value_heads * n_heads // heads)
    if getattr(small, "head_dim", None):
        with suppress(AttributeError):
            small.head_dim = small.head_dim * heads // n_heads
