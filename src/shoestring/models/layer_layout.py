"""What the axes of each tensor of a family stand for: another family is a table of twenty lines.

A line of a table is a pattern of names, without the number of the layer, and what each axis of the
weight is; a bias has the one that is not read.

    stream          is added to the residual stream; embedding: that of tokens
    <normed         reads the normalised stream
    query, key, value, <context, neurons, <neurons, heads
    norm            of the stream; "last" where a head follows that may be the embedding
    head_norm       of queries or keys, within a head
    vocabulary, positions, and _ for what does not grow

``+`` joins sections of a fused axis. What a whole family has in common is in :class:`Family`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Family:
    """A table, and what its models have in common."""

    table: str
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
        for line in filter(str.strip, (self.table + _HEADS).splitlines()):
            pattern, *axes = line.split()
            if fnmatchcase(parts, pattern):
                if name.endswith(".bias"):
                    written = next(axis for axis in axes if axis[0] != "<")
                    axes = [written + "_bias" * written.endswith("norm")]
                return [axis.split("+") for axis in axes]
        return None


_HEADS = """
    *classifier.out_proj.*              _ <normed
    *classifier.dense.*                 stream <normed
    *classifier.*                       _ <normed
    *qa_outputs.*                       _ <normed
    *score.weight                       _ <normed
"""

_BERT = Family(
    """
    *word_embeddings.weight             vocabulary embedding
    *position_embeddings.weight         positions stream
    *token_type_embeddings.weight       _ stream
    *predictions.transform.LayerNorm.*  last_norm
    lm_head.layer_norm.*                last_norm
    *LayerNorm.*                        norm
    *query.*                            query <normed
    *key.*                              key <normed
    *value.*                            value <normed
    *attention.output.dense.*           stream <context
    *intermediate.dense.*               neurons <normed
    *output.dense.*                     stream <neurons
    *predictions.decoder.*              vocabulary <normed
    *predictions.bias                   vocabulary
    lm_head.decoder.*                   vocabulary <normed
    lm_head.bias                        vocabulary
    cls.seq_relationship.*              _ <normed
    *pooler.dense.*                     stream <normed
    *transform.dense.*                  stream <normed
    lm_head.dense.*                     stream <normed
    discriminator_predictions.dense.*   stream <normed
    *dense_prediction.*                 _ <normed
""",
    is_post_norm=True,
)

_ELECTRA = replace(
    _BERT,
    table="""
    *embeddings.LayerNorm.*             _
    *word_embeddings.weight             vocabulary _
    *position_embeddings.weight         positions _
    *token_type_embeddings.weight       _ _
    *embeddings_project.*               stream _
    generator_predictions.LayerNorm.*   _
    generator_predictions.dense.*       _ <normed
    generator_lm_head.*                 vocabulary _
"""
    + _BERT.table,
)

_GPT2 = Family(
    """
    *wte.weight                         vocabulary embedding
    *wpe.weight                         positions stream
    *ln_f.*                             last_norm
    *ln_?.*                             norm
    *attn.c_attn.*                      <normed query+key+value
    *attn.c_proj.*                      <context stream
    *mlp.c_fc.*                         <normed neurons
    *mlp.c_proj.*                       <neurons stream
    lm_head.weight                      vocabulary <normed
""",
    epsilon="layer_norm_epsilon",
    neurons="n_inner",
)

_T5 = Family(
    """
    *shared.weight                      vocabulary embedding
    *embed_tokens.weight                vocabulary embedding
    *relative_attention_bias.weight     _ heads
    decoder.final_layer_norm.weight     last_norm
    *layer_norm.weight                  norm
    *q.weight                           query <normed
    *k.weight                           key <normed
    *v.weight                           value <normed
    *wi*.weight                         neurons <normed
    *wo.weight                          stream <neurons
    *o.weight                           stream <context
    lm_head.weight                      vocabulary <normed
""",
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
    *q_proj.*                           query <normed
    *k_proj.*                           key <normed
    *v_proj.*                           value <normed
    *q_norm.weight                      query_head_norm
    *k_norm.weight                      key_head_norm
    *o_proj.*                           stream <context
    *gate_proj.*                        neurons <normed
    *up_proj.*                          neurons <normed
    *down_proj.*                        stream <neurons
    *layernorm.weight                   norm
    *norm.weight                        last_norm
    lm_head.weight                      vocabulary <normed
""",
    norm="rms",
    epsilon="rms_norm_eps",
    is_rotary=True,
    free_head_size=True,
)

_MODERNBERT = Family(
    """
    *tok_embeddings.weight              vocabulary embedding
    head.norm.*                         last_norm
    *norm.*                             norm
    *Wqkv.*                             query+key+value <normed
    *attn.Wo.*                          stream <context
    *mlp.Wi.*                           neurons+neurons <normed
    *mlp.Wo.*                           stream <neurons
    head.dense.*                        stream <normed
    decoder.*                           vocabulary <normed
""",
    epsilon="norm_eps",
    is_rotary=True,
    first_layer_differs=True,
    writes_first_norm=True,
)

FAMILIES = {
    "bert": _BERT, "roberta": _BERT, "electra": _ELECTRA, "gpt2": _GPT2, "t5": _T5,
    "llama": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA,
    "gemma": replace(_LLAMA, one_plus_gamma=True, scales_embedding=True),
    "modernbert": _MODERNBERT,
}  # fmt: skip
