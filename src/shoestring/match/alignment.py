"""A new vocabulary for a masked-language model: its rows are mixtures of the old ones.

The new embedding rows and output biases (and output rows, where they are not tied to the embedding)
are W times the old ones. W (V, U) is sparse, each row of sum 1, or of zeros for a token that
nothing is known of, which gets the mean, as ``resize_token_embeddings`` of transformers has it but
for noise. By "name" a symbol has the row of the same symbol, or the mean of its pieces.
Pseudonymised symbols have those of public symbols: of the same "rank" by count (Su,
kexue.fm/archives/8213), of their decipherment ("decipher"), or "both": the identity where it is
likely, else a mixture of its candidates, else by rank. Controls: "resize", "random", and
"shuffled", the ranks in random order.

Left out of the post: counts of the public side are those of symbols, not of the model's pieces.

Letters: V new tokens, U old ones, P public symbols, D width.

Not covered: encoder-decoders, embeddings that are factorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array, vstack

from shoestring.match.symbols import SymbolVocabulary, count_symbols, unit_of
from shoestring.types import FloatArray

METHODS = ("both", "decipher", "rank", "name", "resize", "random", "shuffled")
WITHOUT_PUBLIC = ("name", "resize", "random")
LIKELY = 0.5  # confidence from which "both" takes an identity


def name_weights(symbols: Sequence[str], tokenizer: Any, n_rows: int, unit: str) -> csr_array:
    """The rows of symbols (P, U) by their names: a model's own pieces of each, equally."""
    lead = " " if unit == "words" else ""  # byte-level pieces begin with the blank
    no_piece = tokenizer.token_to_id("[UNK]"), tokenizer.token_to_id("<unk>")
    encodings = tokenizer.encode_batch([lead + s for s in symbols], add_special_tokens=False)
    pieces = [[i for i in e.ids if i < n_rows and i not in no_piece] for e in encodings]
    return _rows([[(i, 1 / len(each)) for i in each] for each in pieces], n_rows)


def alignment(
    vocabulary: SymbolVocabulary, tokenizer: Any, n_rows: int, method: str,
    texts: Sequence[str] = (), public: Sequence[str] = (), seed: int = 0,
) -> csr_array:  # fmt: skip
    """W (V, U) for the vocabulary of texts and a model's tokenizer.

    ``public`` texts are needed but for the methods in :data:`WITHOUT_PUBLIC`.
    """
    symbols, rng = vocabulary.symbols, np.random.default_rng(seed)
    mixed = csr_array((len(symbols), n_rows))
    if method == "name":
        mixed = name_weights(symbols, tokenizer, n_rows, vocabulary.unit)
    elif method not in WITHOUT_PUBLIC:
        unit = unit_of(public)
        counts = count_symbols(public, unit)
        ranked = list(counts)
        rng.shuffle(ranked)
        ranked.sort(key=counts.__getitem__, reverse=True)  # ties by the seed
        names = name_weights(ranked, tokenizer, n_rows, unit)
        known = names[np.flatnonzero(names.sum(axis=1))]
        mixed = known[: len(symbols)]
        mixed.resize((len(symbols), n_rows))
        if method == "shuffled":
            mixed = mixed[rng.permutation(len(symbols))]
        elif method != "rank":
            numbers = {symbol: number for number, symbol in enumerate(ranked)}
            by_name = _deciphered(symbols, numbers, method, texts, public, seed) @ names
            unknown = (by_name.sum(axis=1) == 0) & (method == "both")
            mixed = by_name + diags_array(unknown.astype(float)) @ mixed
    special = {token: special_id(tokenizer, token) for token in vocabulary.tokens[:7]}
    new = special["[UNK]"]  # what [NO] and [YES] start as
    ids = [new if i is None else i for i in special.values()]
    first = _rows([[] if i is None else [(i, 1.0)] for i in ids], n_rows)
    return csr_array(vstack([first, mixed]))


def _deciphered(
    symbols: Sequence[str], numbers: dict[str, int], method: str, secret: Sequence[str],
    public: Sequence[str], seed: int,
) -> csr_array:  # fmt: skip
    """Secret symbols as public ones (V - 7, P)."""
    from shoestring.match.audit import decipher_texts

    theirs, publics, found = decipher_texts(secret, public, seed=seed)
    mixtures: dict[str, list[tuple[int, float]]] = {}
    for row, symbol in enumerate(theirs):
        pairs = [(found.assignment[row], 1.0)]
        is_unsure = found.assignment[row] >= 0 and found.confidence[row] < LIKELY
        if method == "both" and is_unsure:
            pairs = list(zip(found.candidates[row], found.weights[row], strict=True))
        mixtures[symbol] = [(numbers[publics[i]], float(w)) for i, w in pairs if i >= 0]
    return _rows([mixtures.get(symbol, []) for symbol in symbols], len(numbers))


def _rows(rows: Sequence[Sequence[tuple[int, float]]], n_columns: int) -> csr_array:
    ends = np.cumsum([0, *map(len, rows)])
    pairs = np.array([pair for row in rows for pair in row], np.float64).reshape(-1, 2)
    return csr_array((pairs[:, 1], pairs[:, 0].astype(int), ends), (len(rows), n_columns))


def special_id(tokenizer: Any, token: str) -> int | None:
    """The id of BERT's special token or, by its place, RoBERTa's."""
    theirs = {"[CLS]": "<s>", "[SEP]": "</s>"}.get(token, f"<{token[1:-1].lower()}>")
    found: int | None = tokenizer.token_to_id(token)
    return found if found is not None else tokenizer.token_to_id(theirs)


def new_rows(
    weights: csr_array, rows: FloatArray, seed: int, scale: float | None = None
) -> FloatArray:
    """W times the rows of a model (V, D); rows that are not finite take no part.

    Tokens without weights get the mean of the rows, or normal numbers of the deviation ``scale``.
    """
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    weights = weights @ diags_array(finite.astype(float))
    sums = weights.sum(axis=1)[:, None]
    known = weights @ np.where(finite[:, None], rows, 0.0) / np.where(sums > 0, sums, 1.0)
    unknown = rows[finite].mean(axis=0)
    if scale is not None:
        unknown = np.random.default_rng(seed).normal(0.0, scale, known.shape)
    found: FloatArray = np.where(sums > 0, known, unknown)
    return found


def give_vocabulary(
    model: Any, weights: csr_array, vocabulary: SymbolVocabulary, seed: int, *, random: bool = False
) -> None:
    """Replace the vocabulary of a masked-language model of transformers, as W says."""
    import torch

    def parts() -> list[torch.Tensor]:
        inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
        return [t.data for t in (inputs.weight, outputs.weight, outputs.bias) if t is not None]

    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    rows = [part.double().numpy().reshape(len(part), -1) for part in parts()]
    model.resize_token_embeddings(len(vocabulary), mean_resizing=False)
    outputs = model.get_output_embeddings()
    if outputs.bias is not None and not is_tied:  # else save_pretrained leaves one of two out
        outputs.bias = torch.nn.Parameter(outputs.bias.detach().clone())
    scale = getattr(model.config, "initializer_range", 0.02) if random else None
    for part, old in zip(parts(), rows, strict=True):
        part.copy_(torch.from_numpy(new_rows(weights, old, seed, scale)).view_as(part))
    model.get_input_embeddings().padding_idx = vocabulary.ids["[PAD]"]
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "bos": "[CLS]", "eos": "[SEP]"}
    for name, token in names.items():
        setattr(model.config, f"{name}_token_id", vocabulary.ids[token])
