"""What the axes of each tensor of a family stand for: another family is a table of twenty lines.

A line of a table is a pattern of names, without the number of the layer, and what each axis is:

    stream          is added to the residual stream (its bias too); embedding: that of tokens
    <normed         reads the normalised stream
    query, key, value, <context, neurons, <neurons, heads, <head channels> of norms within a head
    gamma, beta     of a norm of the stream; "last" ones come before a head that may be tied
    vocabulary, positions, and _ for what does not grow

``+`` joins sections of a fused axis. What a whole family has in common is in :class:`Family`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from shoestring.errors import FormatError, ParameterError


@dataclass(frozen=True)
class Family:
    """A table, and what its models have in common."""

    table: str
    layers: str = "layer"  # name of the list of layers
    norm: str = "layer"  # or "rms"
    epsilon: str = "layer_norm_eps"  # field of the config
    neurons: str = "intermediate_size"  # field of the config
    is_post_norm: bool = False
    is_rotary: bool = False
    free_head_size: bool = False  # else it is the width over the heads
    scales_scores: bool = True  # by the root of the head size
    first_layer_differs: bool = False
    writes_first_norm: bool = False  # whether a norm's output is the stream
    one_plus_gamma: bool = False
    scales_embedding: bool = False  # by the root of the width

    def axes(self, name: str) -> list[list[str]] | None:
        """For each axis the sections that it has; None for a tensor that is not in the table."""
        parts = ".".join(part for part in name.split(".") if not part.isdigit())
        for line in filter(str.strip, self.table.splitlines()):
            pattern, *axes = line.split()
            if fnmatchcase(parts, pattern):
                return [axis.split("+") for axis in axes]
        return None


_HEADS = """
    *classifier.weight                  _ <normed
    *classifier.bias                    _
    *qa_outputs.weight                  _ <normed
    *qa_outputs.bias                    _
    *score.weight                       _ <normed
"""

_BERT = Family(
    """
    *word_embeddings.weight             vocabulary embedding
    *position_embeddings.weight         positions stream
    *token_type_embeddings.weight       _ stream
    *predictions.transform.LayerNorm.weight  last_gamma
    *predictions.transform.LayerNorm.bias    last_beta
    lm_head.layer_norm.weight           last_gamma
    lm_head.layer_norm.bias             last_beta
    *LayerNorm.weight                   gamma
    *LayerNorm.bias                     beta
    *query.weight                       query <normed
    *query.bias                         query
    *key.weight                         key <normed
    *key.bias                           key
    *value.weight                       value <normed
    *value.bias                         value
    *attention.output.dense.weight      stream <context
    *attention.output.dense.bias        stream
    *intermediate.dense.weight          neurons <normed
    *intermediate.dense.bias            neurons
    *output.dense.weight                stream <neurons
    *output.dense.bias                  stream
    *predictions.decoder.weight         vocabulary <last
    *predictions.decoder.bias           vocabulary
    *predictions.bias                   vocabulary
    lm_head.decoder.weight              vocabulary <last
    lm_head.decoder.bias                vocabulary
    lm_head.bias                        vocabulary
    cls.seq_relationship.weight         _ <normed
    cls.seq_relationship.bias           _
    classifier.out_proj.weight          _ <normed
    classifier.out_proj.bias            _
    *dense.weight                       stream <normed
    *dense.bias                         stream
"""
    + _HEADS,
    is_post_norm=True,
)

_ELECTRA = replace(
    _BERT,
    table="""
    *embeddings.LayerNorm.*             _
    *embeddings.word_embeddings.weight  vocabulary _
    *embeddings.position_embeddings.weight   positions _
    *embeddings.token_type_embeddings.weight _ _
    *embeddings_project.weight          stream _
    *embeddings_project.bias            stream
    generator_predictions.LayerNorm.*   _
    generator_predictions.dense.weight  _ <normed
    generator_predictions.dense.bias    _
    generator_lm_head.weight            vocabulary _
    generator_lm_head.bias              vocabulary
    *dense_prediction.weight            _ <normed
    *dense_prediction.bias              _
"""
    + _BERT.table,
)

_GPT2 = Family(
    """
    *wte.weight                         vocabulary embedding
    *wpe.weight                         positions stream
    *ln_f.weight                        last_gamma
    *ln_f.bias                          last_beta
    *ln_?.weight                        gamma
    *ln_?.bias                          beta
    *attn.c_attn.weight                 <normed query+key+value
    *attn.c_attn.bias                   query+key+value
    *attn.c_proj.weight                 <context stream
    *attn.c_proj.bias                   stream
    *mlp.c_fc.weight                    <normed neurons
    *mlp.c_fc.bias                      neurons
    *mlp.c_proj.weight                  <neurons stream
    *mlp.c_proj.bias                    stream
    lm_head.weight                      vocabulary <last
"""
    + _HEADS,
    layers="h",
    epsilon="layer_norm_epsilon",
    neurons="n_inner",
)

_T5 = Family(
    """
    *shared.weight                      vocabulary embedding
    *embed_tokens.weight                vocabulary embedding
    *relative_attention_bias.weight     _ heads
    decoder.final_layer_norm.weight     last_gamma
    *layer_norm.weight                  gamma
    *q.weight                           query <normed
    *k.weight                           key <normed
    *v.weight                           value <normed
    *wi*.weight                         neurons <normed
    *wo.weight                          stream <neurons
    *o.weight                           stream <context
    lm_head.weight                      vocabulary <last
"""
    + _HEADS,
    layers="block",
    norm="rms",
    epsilon="layer_norm_epsilon",
    neurons="d_ff",
    free_head_size=True,
    scales_scores=False,
    first_layer_differs=True,
)

_LLAMA = Family(
    """
    *embed_tokens.weight                vocabulary embedding
    *q_proj.weight                      query <normed
    *q_proj.bias                        query
    *k_proj.weight                      key <normed
    *k_proj.bias                        key
    *v_proj.weight                      value <normed
    *v_proj.bias                        value
    *q_norm.weight                      query_gamma
    *k_norm.weight                      key_gamma
    *o_proj.weight                      stream <context
    *o_proj.bias                        stream
    *gate_proj.weight                   neurons <normed
    *gate_proj.bias                     neurons
    *up_proj.weight                     neurons <normed
    *up_proj.bias                       neurons
    *down_proj.weight                   stream <neurons
    *down_proj.bias                     stream
    *layernorm.weight                   gamma
    *norm.weight                        last_gamma
    lm_head.weight                      vocabulary <last
"""
    + _HEADS,
    layers="layers",
    norm="rms",
    epsilon="rms_norm_eps",
    is_rotary=True,
    free_head_size=True,
)

_MODERNBERT = Family(
    """
    *tok_embeddings.weight              vocabulary embedding
    head.norm.weight                    last_gamma
    head.norm.bias                      last_beta
    *norm.weight                        gamma
    *norm.bias                          beta
    *Wqkv.weight                        query+key+value <normed
    *Wqkv.bias                          query+key+value
    *attn.Wo.weight                     stream <context
    *attn.Wo.bias                       stream
    *mlp.Wi.weight                      neurons+neurons <normed
    *mlp.Wi.bias                        neurons+neurons
    *mlp.Wo.weight                      stream <neurons
    *mlp.Wo.bias                        stream
    head.dense.weight                   stream <normed
    head.dense.bias                     stream
    decoder.weight                      vocabulary <last
    decoder.bias                        vocabulary
"""
    + _HEADS,
    layers="layers",
    epsilon="norm_eps",
    is_rotary=True,
    first_layer_differs=True,
    writes_first_norm=True,
)

FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _ELECTRA,
    "gpt2": _GPT2,
    "t5": _T5,
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": replace(_LLAMA, one_plus_gamma=True, scales_embedding=True),
    "modernbert": _MODERNBERT,
}


def family_of(config: Any) -> Family:
    """The family of a model's config; ParameterError for one that is not known."""
    kind = getattr(config, "model_type", None)
    if kind not in FAMILIES:
        want = f"a model of one of the families {', '.join(FAMILIES)}"
        raise ParameterError.of("model", "grow", want, kind)
    return FAMILIES[kind]


def checked_names(family: Family, names: list[str], file: str = "") -> None:
    """FormatError that names the tensors which the family's table does not have."""
    if unknown := [name for name in names if family.axes(name) is None]:
        shown = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
        raise FormatError(
            f"{len(unknown)} tensors that no growth is known for: {shown}. "
            "Remove them, or grow the model that they were added to.",
            file=file,
        )
