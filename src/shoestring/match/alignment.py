"""A new vocabulary for a masked-language model: its rows are mixtures of the old ones.

The new embedding rows and output biases (and output rows, where they are not tied to the embedding)
are W times the old ones. W (V, U) is sparse, each row of sum 1, or of zeros for a token that
nothing is known of, which gets the mean as ``resize_token_embeddings`` of transformers has it. By
"name" a symbol has the row of the same symbol, or the mean of its pieces. Pseudonymised symbols
have those of public symbols: of the same "rank" by count (Su, kexue.fm/archives/8213), of their
decipherment ("decipher"), or "both": the identity where it is likely, else a mixture of its
candidates, else by rank. Controls: "resize", "random", and "shuffled", the ranks in random order.

Left out of the post: counts of the public side are those of symbols, not of the model's pieces.

Letters: V new tokens, U old ones, P public symbols, D width.

Not covered: encoder-decoders, embeddings that are factorised.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array, vstack

from shoestring.errors import ShoestringWarning
from shoestring.match.symbols import unit_of
from shoestring.match.vocabulary import SymbolVocabulary, count_symbols
from shoestring.types import FloatArray

METHODS = ("both", "decipher", "rank", "name", "resize", "random", "shuffled")
WITHOUT_PUBLIC = ("name", "resize", "random")
LIKELY = 0.5  # confidence from which "both" takes an identity
MOSTLY = 0.5  # share of the symbols of text that a model should know


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

    ``public`` texts are needed but for the methods in :data:`WITHOUT_PUBLIC`. ShoestringWarning if
    the model knows few of the symbols of the public texts, or by "name" of the texts.
    """
    symbols, rng = vocabulary.symbols, np.random.default_rng(seed)
    mixed = csr_array((len(symbols), n_rows))
    if method == "name":
        mixed = name_weights(symbols, tokenizer, n_rows, vocabulary.unit)
        counts = count_symbols(texts, vocabulary.unit)
        _check_known(np.array([counts[s] for s in symbols]), mixed, "these texts")
    elif method not in WITHOUT_PUBLIC:
        counts, unit = count_symbols(public, unit_of(public)), unit_of(public)
        order = np.lexsort((rng.permutation(len(counts)), -np.array(list(counts.values()))))
        ranked = np.array(list(counts), object)[order].tolist()  # ties by the seed
        names = name_weights(ranked, tokenizer, n_rows, unit)
        _check_known(np.array([counts[s] for s in ranked]), names, "the public text")
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
    place = {symbol: number for number, symbol in enumerate(theirs)}
    rows: list[list[tuple[int, float]]] = []
    for row in (place.get(symbol, -1) for symbol in symbols):
        pairs: list[tuple[int, float]] = []
        if row >= 0 and found.assignment[row] >= 0:
            pairs = [(int(found.assignment[row]), 1.0)]
            if method == "both" and found.confidence[row] < LIKELY and found.weights[row].any():
                pairs = list(zip(found.candidates[row], found.weights[row], strict=True))
        rows.append([(numbers[publics[i]], float(w)) for i, w in pairs if i >= 0])
    return _rows(rows, len(numbers))


def _rows(rows: Sequence[Sequence[tuple[int, float]]], n_columns: int) -> csr_array:
    ends = np.cumsum([0, *map(len, rows)])
    pairs = np.array([pair for row in rows for pair in row], np.float64).reshape(-1, 2)
    return csr_array((pairs[:, 1], pairs[:, 0].astype(int), ends), (len(rows), n_columns))


def special_id(tokenizer: Any, token: str) -> int | None:
    """The id of BERT's special token or, by its place, RoBERTa's."""
    theirs = {"[CLS]": "<s>", "[SEP]": "</s>"}.get(token, f"<{token[1:-1].lower()}>")
    found: int | None = tokenizer.token_to_id(token)
    return found if found is not None else tokenizer.token_to_id(theirs)


def _check_known(counts: FloatArray, names: csr_array, what: str) -> None:
    known = counts[names.sum(axis=1) > 0].sum() / max(1, counts.sum())
    if counts.any() and known < MOSTLY:
        message = (
            f"The base model knows {known:.0%} of the symbols of {what}: it is of another script "
            "or tokenizer, and aligning to it helps little. Name a base model that reads them."
        )
        warnings.warn(message, ShoestringWarning, stacklevel=3)


def new_rows(
    weights: csr_array, rows: FloatArray, seed: int, scale: float | None = None
) -> FloatArray:
    """W times the rows of a model (V, D); rows that are not finite take no part.

    Tokens without weights get the mean of the rows, with their covariance times 1e-9 around it
    (transformers' ``mean_resizing``), or with a ``scale`` normal numbers of that deviation.
    """
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    weights = weights @ diags_array(finite.astype(float))
    sums = weights.sum(axis=1)
    found: FloatArray = weights @ np.where(finite[:, None], rows, 0.0)
    found /= np.where(sums > 0, sums, 1.0)[:, None]
    rng, n_new = np.random.default_rng(seed), int((sums == 0).sum())
    if scale is not None:
        found[sums == 0] = rng.normal(0.0, scale, (n_new, rows.shape[1]))
    else:
        mean, spread = rows[finite].mean(axis=0), np.cov(rows[finite].T, ddof=0)
        found[sums == 0] = rng.multivariate_normal(mean, 1e-9 * spread, n_new, method="eigh")
    return found


def give_vocabulary(
    model: Any, weights: csr_array, vocabulary: SymbolVocabulary, seed: int, *, random: bool = False
) -> None:
    """Replace the vocabulary of a masked-language model of transformers, as W says."""
    import torch

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    is_tied = outputs.weight is inputs.weight
    scale = getattr(model.config, "initializer_range", 0.02) if random else None
    old = [layer.weight.detach().double().numpy() for layer in (outputs, inputs)]
    bias = outputs.bias if outputs.bias is not None else torch.zeros(len(old[0]))
    old[0] = np.column_stack([old[0], bias.detach().double().numpy()])
    new = [torch.from_numpy(new_rows(weights, rows, seed, scale)) for rows in old]
    model.resize_token_embeddings(len(vocabulary), mean_resizing=False)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs.bias is not None and not is_tied:  # else save_pretrained leaves one of two out
        outputs.bias = torch.nn.Parameter(outputs.bias.detach().clone())
    with torch.no_grad():
        outputs.weight.copy_(new[0][:, :-1])
        if outputs.bias is not None:
            outputs.bias.copy_(new[0][:, -1] * (not random))
        if not is_tied:
            inputs.weight.copy_(new[1])
    inputs.padding_idx = vocabulary.ids["[PAD]"]
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "bos": "[CLS]", "eos": "[SEP]"}
    for name, token in names.items():
        setattr(model.config, f"{name}_token_id", vocabulary.ids[token])
