"""Tiny masked-language models of several families, with the words that they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [
    *("open", "close", "read", "write", "file", "list", "word", "split", "join", "sort"),
    *("the", "a", "of", "in", "line", "key"),
]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ANGLES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
PADDED = 3  # rows more than tokens


def tokenizer_of(special: tuple[str, ...], words: list[str] = WORDS) -> Any:
    """Words by their numbers, special tokens first."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    unknown = "[UNK]" if "[UNK]" in special else "<unk>"
    ids = {token: number for number, token in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def save_base(
    folder: Path,
    family: str = "bert",
    words: list[str] = WORDS,
    n_rows: int | None = None,
    **changes: Any,
) -> Path:
    """A model with its tokenizer; biases are not 0, so that they count."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM
    from transformers.utils import logging

    special = ANGLES if family == "roberta" else SPECIAL
    pad = special.index("<pad>" if family == "roberta" else "[PAD]")
    sizes = {
        "vocab_size": len(special) + len(words) + PADDED if n_rows is None else n_rows,
        "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
        "intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": pad,
    }  # fmt: skip
    if family == "distilbert":
        sizes = {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 24, **sizes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **{**sizes, **changes})
        model = AutoModelForMaskedLM.from_config(config)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    logging.enable_progress_bar()
    tokenizer_of(special, words).save(str(folder / "tokenizer.json"))
    return folder
