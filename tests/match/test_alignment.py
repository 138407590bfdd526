"""A new vocabulary gets the rows that it should, and the model computes what it did."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.match.bases import SPECIAL as THEIRS  # noqa: E402
from tests.match.bases import WORDS, save_base, tokenizer_of  # noqa: E402

from shoestring.match import alignment as module  # noqa: E402
from shoestring.match.alignment import alignment, give_vocabulary, new_rows  # noqa: E402
from shoestring.match.matcher import load_masked  # noqa: E402
from shoestring.match.symbols import SPECIAL, SymbolVocabulary  # noqa: E402
from shoestring.models.backbone import load_tokenizer  # noqa: E402

N_ROWS = len(THEIRS) + len(WORDS)
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "bert, untied": {"tie_word_embeddings": False},
    "roberta": {},
    "distilbert": {},
    "modernbert": {},
}


def texts_of(words: list[str], times: int = 5) -> list[str]:
    """The i-th of n words occurs n - i times more than the last."""
    return [word for i, word in enumerate(words) for _ in range(times + len(words) - i)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_renamed_vocabulary_computes_the_same(family: str, tmp_path: Path) -> None:
    folder = save_base(tmp_path / "base", family.partition(",")[0], **FAMILIES[family])
    tokenizer = load_tokenizer(folder)
    model, is_new = load_masked(folder)
    assert not is_new
    words = WORDS[::-1]
    theirs = [tokenizer.token_to_id(word) for word in words]
    first = [module.special_id(tokenizer, name) for name in ("[CLS]", "[SEP]", "[PAD]")]
    ids = torch.tensor([[first[0], *theirs, first[1], first[2]]])
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    with torch.inference_mode():
        before = model.eval()(input_ids=ids, attention_mask=mask).logits[0, :-1]

    pad = model.config.pad_token_id
    vocabulary = SymbolVocabulary.of(texts_of(words), "words", pad)
    assert vocabulary.ids["[PAD]"] == pad
    n_rows = model.get_input_embeddings().num_embeddings
    weights = alignment(vocabulary, tokenizer, n_rows, "name")
    give_vocabulary(model, weights, vocabulary, 0)
    ours = [vocabulary.ids[word] for word in words]
    first = [vocabulary.ids[name] for name in ("[CLS]", "[SEP]", "[PAD]")]
    ids = torch.tensor([[first[0], *ours, first[1], first[2]]])
    with torch.inference_mode():
        after = model(input_ids=ids, attention_mask=mask).logits[0, :-1]
    assert after.shape[1] == len(vocabulary) == model.config.vocab_size
    np.testing.assert_allclose(after[:, ours], before[:, theirs], rtol=1e-4, atol=1e-5)
    again, is_new = _saved_and_loaded(model, tmp_path / "again")
    with torch.inference_mode():
        loaded = again.eval()(input_ids=ids, attention_mask=mask).logits[0, :-1]
    assert not is_new
    np.testing.assert_allclose(loaded, after, rtol=1e-4, atol=1e-5)


def _saved_and_loaded(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return load_masked(folder)


def test_no_and_yes_start_as_the_unknown_token(tmp_path: Path) -> None:
    vocabulary = SymbolVocabulary.of(texts_of(WORDS), "words")
    weights = alignment(vocabulary, tokenizer_of(THEIRS), N_ROWS, "name").toarray()
    unknown = THEIRS.index("[UNK]")
    rows = [weights[vocabulary.ids[name]] for name in ("[UNK]", "[NO]", "[YES]")]
    assert all(row.argmax() == unknown and row.sum() == 1 for row in rows)
    assert list(vocabulary.tokens[:7]) == list(SPECIAL)


def test_a_word_of_pieces_is_their_mean() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = {"[UNK]": 0, "un": 1, "##known": 2, "word": 3}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found = module.name_weights(["unknown", "word", "zzz"], tokenizer, 4, "words").toarray()
    np.testing.assert_array_equal(found, [[0, 0.5, 0.5, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_rows_that_are_not_numbers_do_not_spread() -> None:
    rows = np.arange(12.0).reshape(4, 3)
    rows[2] = np.nan
    weights = module._rows([[(0, 0.5), (2, 0.5)], [(1, 1.0)], [(2, 1.0)], []], 4)
    found = new_rows(weights, rows, 0)
    mean = rows[[0, 1, 3]].mean(axis=0)
    np.testing.assert_allclose(found, [rows[0], rows[1], mean, mean], atol=1e-2)


def test_unknown_tokens_begin_as_transformers_resizes(tmp_path: Path) -> None:
    model, _ = load_masked(save_base(tmp_path / "base"))
    rows = model.get_input_embeddings().weight.detach().double().numpy()
    model.resize_token_embeddings(len(rows) + 5, mean_resizing=True)
    theirs = model.get_input_embeddings().weight.detach().double().numpy()[len(rows) :]
    ours = new_rows(module._rows([[]] * 5, len(rows)), rows, 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    wide = new_rows(module._rows([[]] * 500, len(rows)), rows, 0, scale=0.5)
    assert abs(wide.std() - 0.5) < 0.02 and abs(wide.mean()) < 0.05


def test_more_rows_than_tokens_and_fewer(tmp_path: Path) -> None:
    vocabulary = SymbolVocabulary.of(texts_of(WORDS), "words")
    more = alignment(vocabulary, tokenizer_of(THEIRS), N_ROWS + 3, "name")
    fewer = alignment(vocabulary, tokenizer_of(THEIRS), N_ROWS - 1, "name")
    assert more.shape[1] == N_ROWS + 3 and fewer.shape[1] == N_ROWS - 1
    assert (more.sum(axis=1) == 1).all() and (fewer.sum(axis=1) == 0).sum() == 1


# ---- pseudonymised

NUMBERS = [str(100 + i) for i in range(len(WORDS))]


def secret_vocabulary() -> SymbolVocabulary:
    return SymbolVocabulary.of(texts_of(NUMBERS), "integers")


def aligned(method: str, public: list[str] = WORDS, seed: int = 0) -> np.ndarray:
    """Weights of the symbols, by the words of the base."""
    found = alignment(
        secret_vocabulary(), tokenizer_of(THEIRS), N_ROWS, method, texts_of(NUMBERS),
        texts_of(public), seed,
    )  # fmt: skip
    return found.toarray()[len(SPECIAL) :, len(THEIRS) :]


def test_rank_takes_the_public_symbol_of_the_same_rank() -> None:
    order = [*WORDS[3:], *WORDS[:3]]
    assert aligned("rank", order).argmax(axis=1).tolist() == [WORDS.index(w) for w in order]


def test_public_symbols_that_the_model_does_not_know_have_no_rank() -> None:
    found = aligned("rank", ["zzz", *WORDS])
    assert found.argmax(axis=1).tolist() == list(range(len(WORDS)))


def test_ties_of_rank_are_drawn_by_the_seed_and_stay() -> None:
    public = WORDS * 5
    options = [public, "rank"]
    drawn = [_of_even(options, seed) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()


def _of_even(options: list[Any], seed: int) -> np.ndarray:
    found = alignment(
        secret_vocabulary(), tokenizer_of(THEIRS), N_ROWS, options[1], texts_of(NUMBERS),
        options[0], seed,
    )  # fmt: skip
    return found.toarray()


def test_shuffled_has_the_rows_of_rank_in_another_order() -> None:
    rank, shuffled = aligned("rank"), aligned("shuffled")
    assert (rank != shuffled).any()
    assert sorted(rank.argmax(axis=1)) == sorted(shuffled.argmax(axis=1))


@pytest.mark.parametrize("method", ["resize", "random"])
def test_without_public_text_nothing_is_known(method: str) -> None:
    assert not aligned(method).any()


@pytest.fixture
def deciphered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is sure, the second is not, of the third there is nothing."""
    from shoestring.match import audit

    n = len(NUMBERS)
    candidates, weights = np.full((n, 2), -1), np.zeros((n, 2))
    candidates[1], weights[1] = [4, 5], [0.75, 0.25]
    found = SimpleNamespace(
        assignment=np.array([7, 4, -1, *[6] * (n - 3)]),
        confidence=np.array([0.9, 0.2, 0.0, *[0.9] * (n - 3)]),
        candidates=candidates,
        weights=weights,
    )
    monkeypatch.setattr(audit, "decipher_texts", lambda *_, **__: (NUMBERS, WORDS, found))


def test_both_takes_what_is_likely_then_candidates_then_rank(deciphered: None) -> None:
    found = aligned("both")
    assert found[0, 7] == 1 and found[0].sum() == 1
    assert found[1, 4] == 0.75 and found[1, 5] == 0.25
    assert found[2, 2] == 1 and found[2].sum() == 1


def test_decipher_takes_every_identity_and_nothing_else(deciphered: None) -> None:
    found = aligned("decipher")
    assert found[0, 7] == 1 and found[1, 4] == 1 and found[2].sum() == 0
