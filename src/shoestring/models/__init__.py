"""What runs or describes a Transformer, and LSA: models in, vectors out.

Importing this package loads no heavy library: torch, transformers and scikit-learn come in where
they are used. :mod:`~shoestring.models.frozen` is torch's own.
"""

from __future__ import annotations

from shoestring.models.backbone import load_backbone, unknown_share, why_not_minilm
from shoestring.models.lsa import LsaEncoder
from shoestring.models.token_encoder import SentenceEncoder

__all__ = [
    "LsaEncoder",
    "SentenceEncoder",
    "load_backbone",
    "unknown_share",
    "why_not_minilm",
]
