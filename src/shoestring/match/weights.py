"""What a scorer is called: a digest of its weights, so that other weights are another scorer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


def cross_encoder_name(model: Any) -> str:
    """Name a sentence-transformers ``CrossEncoder``: model, digest of weights, length, activation.

    Parameters
    ----------
    model : CrossEncoder
        Loaded.

    Returns
    -------
    str
    """
    digest = hashlib.blake2b(digest_size=6)
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    path = Path(str(getattr(model.config, "_name_or_path", "") or "model")).name
    length = getattr(model, "max_seq_length", None) or getattr(model, "max_length", None)
    activation = type(model.activation_fn).__name__
    return f"cross-encoder:{path}:{digest.hexdigest()}:{length}:{activation}"
