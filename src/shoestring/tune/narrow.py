"""A narrow copy of a backbone: the same class of transformers, with 1 / r of its width.

Nothing here knows a family by name: the sizes that a configuration may have are divided, its layers
are the one list of modules that has as many entries as the configuration has layers.

Letters: D width, d = D / r, L layers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from shoestring.errors import ParameterError

# Sizes that become d, and sizes that are divided where they are given:
WIDTHS = ("hidden_size", "embedding_size", "word_embed_proj_dim", "input_embedding_size")
PARTS = (
    "intermediate_size", "hidden_dim", "n_inner", "head_dim", "ffn_dim", "ffn_hidden_size",
)  # fmt: skip
DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout",
)  # fmt: skip
LEAST_HEAD = 16
_OWNER = "LadderConfig"


def base_of(model: Any) -> Any:
    """The Transformer without a head."""
    return getattr(model, "base_model", model)


def layers_of(model: Any) -> nn.ModuleList:
    """The layers of a Transformer.

    Raises
    ------
    ParameterError
        If no list of modules, or more than one, is as long as the configuration says.
    """
    n = model.config.num_hidden_layers
    lists = [m for m in base_of(model).modules() if isinstance(m, nn.ModuleList) and len(m) == n]
    kinds = [found for found in lists if len({type(layer) for layer in found}) == 1]
    outer = [found for found in kinds if not any(_is_inside(found, other) for other in kinds)]
    if len(outer) != 1:
        raise ParameterError.of(
            "backbone", "Ladder", f"a Transformer with one list of its {n} layers",
            type(model).__name__, "Encoders and decoders of transformers have one.",
        )  # fmt: skip
    return outer[0]


def _is_inside(inner: nn.ModuleList, outer: nn.ModuleList) -> bool:
    return outer is not inner and any(inner is module for module in outer.modules())


def narrowed(
    config: Any, reduction: int, layers: Sequence[int], n_heads: int | None = None
) -> Any:  # fmt: skip
    """The configuration of the side network.

    Parameters
    ----------
    config : transformers.PretrainedConfig
        Of the backbone.
    reduction : int
        r.
    layers : sequence of int
        Which of the backbone's layers it has a block for, from 0.
    n_heads : int, optional
        A divisor of the backbone's; by default as many.

    Raises
    ------
    ParameterError
        If the width or the heads cannot be divided so.
    """
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    turns = hasattr(config, "rope_parameters") or hasattr(config, "rope_theta")
    pair = 2 if turns else 1  # rotary embeddings turn channels in pairs
    head = int(getattr(config, "head_dim", None) or max(1, width // heads))

    def fits(r: int) -> bool:
        return width % (r * pair * heads) == 0 and head % (r * pair) == 0

    if not fits(reduction):
        even = " of even size" if turns else ""
        fitting = filter(fits, range(2, width))
        hint = f"{', '.join(map(str, fitting))} would do."
        raise ParameterError.of(
            "reduction", _OWNER, f"a number by which {width} / {heads} heads{even} can be divided",
            reduction, hint,
        )  # fmt: skip
    small = copy.deepcopy(config)
    for name in WIDTHS:
        if hasattr(small, name):
            setattr(small, name, width // reduction)
    for name in PARTS:
        if getattr(small, name, None):
            with suppress(AttributeError):  # what follows from other sizes
                setattr(small, name, max(1, getattr(config, name) // reduction))
    if n_heads is not None:
        _give_heads(small, heads, n_heads)
    for name in DROPOUTS:  # each would keep as many numbers as it drops for backward
        if hasattr(small, name):
            setattr(small, name, 0.0)
    small.num_hidden_layers = len(layers)
    if getattr(config, "max_position_embeddings", None):  # two texts may come, one after the other
        small.max_position_embeddings = 2 * config.max_position_embeddings
    if getattr(config, "layer_types", None):
        small.layer_types = [config.layer_types[i] for i in layers]
    small.vocab_size = 2  # states come in, never ids
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(small, name, None) is not None:
            setattr(small, name, 0)
    small.initializer_range = (0.4 / (width // reduction)) ** 0.5
    small.use_cache = False
    return small


def few_heads(config: Any, reduction: int) -> int:
    """How many heads leave each at least 16 numbers wide, or as wide as it can be.

    The time of attention grows with the number of heads, not with their width: MiniLM's twelve
    would be four numbers wide at r = 8, and a third of a step's time.
    """
    width, heads = config.hidden_size // reduction, config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    fitting = [n for n in range(1, heads + 1) if heads % n == 0 and key_heads % n == 0]
    return max((n for n in fitting if width // n >= LEAST_HEAD), default=1)


def _give_heads(small: Any, heads: int, n_heads: int) -> None:
    """Put the channels of all heads into fewer ones."""
    small.num_attention_heads = n_heads
    if getattr(small, "num_key_value_heads", None):
        small.num_key_value_heads = max(1, small.num_key_value_heads * n_heads // heads)
    if getattr(small, "head_dim", None):
        with suppress(AttributeError):
            small.head_dim = small.head_dim * heads // n_heads


def side_network(
    config: Any, reduction: int, layers: Sequence[int], n_heads: int | None = None
) -> Any:  # fmt: skip
    """The side network: a narrow copy with fresh weights, without pooling or word vectors."""
    from transformers import AutoModel

    small = narrowed(config, reduction, layers, n_heads)
    side = AutoModel.from_config(small, dtype=torch.float32)
    if getattr(side, "pooler", None) is not None:
        side.pooler = None
    side.get_input_embeddings().requires_grad_(False)
    return side
