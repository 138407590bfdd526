import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.models.frozen import FrozenBackbone
from shoestring.tune.tokens import Tokens, padded, tokenised

PAD, CLS, SEP, OPEN, CLOSE, READ = 0, 2, 3, 4, 5, 6


def test_a_text_is_its_words_between_special_tokens(backbone):
    assert tokenised(backbone(), ["open read"], None, 16) == [
        Tokens([CLS, OPEN, READ, SEP], [1, 0, 0, 1], None)
    ]


def test_a_pair_is_one_text_with_segments(backbone):
    assert tokenised(backbone(), ["open"], ["read close"], 16) == [
        Tokens([CLS, OPEN, SEP, READ, CLOSE, SEP], [1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    ]


def test_texts_are_cut_at_the_length_that_is_asked_for(backbone):
    long = "open " * 30
    assert [len(t.ids) for t in tokenised(backbone(), [long, "open"], None, 10)] == [10, 3]
    assert [len(t.ids) for t in tokenised(backbone(), [long], [long], 10)] == [10]


def test_texts_are_cut_at_what_the_backbone_reads(family, backbone):
    frozen = backbone(family)
    (text,) = tokenised(frozen, ["open close " * 100], None, 1_000)
    assert len(text.ids) == frozen.max_length
    ids = torch.tensor([text.ids])
    assert frozen.outputs(ids, torch.ones_like(ids), [2]).isfinite().all()


def test_a_cut_does_not_stay_in_the_tokenizer(backbone):
    frozen = backbone()
    tokenised(frozen, ["open " * 30], None, 4)
    assert frozen.tokenizer.truncation is None
    assert len(frozen.tokenizer.encode("open " * 30).ids) == 32


def test_a_megabyte_of_text_is_cut_before_it_is_tokenised(backbone, monkeypatch):
    seen = []
    tokenizer = backbone().tokenizer

    class Spy:
        enable_truncation, no_truncation = tokenizer.enable_truncation, tokenizer.no_truncation

        def encode_batch(self, texts):
            seen.extend(texts)
            return tokenizer.encode_batch(texts)

    monkeypatch.setitem(backbone().__dict__, "tokenizer", Spy())
    tokenised(backbone(), ["open " * 200_000], None, 8)
    assert max(map(len, seen)) <= 8 * 20


def test_an_empty_text_is_the_special_tokens_of_an_encoder(backbone):
    assert tokenised(backbone(), [""], None, 16) == [Tokens([CLS, SEP], [1, 1], None)]


def test_a_text_without_any_token_is_padding_that_counts_as_special(backbone):
    assert tokenised(backbone("gpt2"), ["", "open"], None, 16) == [
        Tokens([PAD], [1], None), Tokens([OPEN], [0], None)
    ]  # fmt: skip


def test_a_pair_without_any_token_can_be_read(backbone):
    texts = tokenised(backbone("gpt2"), ["", "open"], ["", "read"], 16)
    assert texts[0] == Tokens([PAD], [1], [0])
    ids, mask, segments = padded(texts, PAD)
    assert (ids.tolist(), mask.tolist()) == ([[PAD, PAD], [OPEN, READ]], [[1, 0], [1, 1]])
    assert segments.tolist() == [[0, 0], [0, 1]]


def test_no_texts_are_no_tokens(backbone):
    assert tokenised(backbone(), [], None, 16) == []


def test_seconds_of_another_number_are_an_error(backbone):
    with pytest.raises(ValueError, match="zip"):
        tokenised(backbone(), ["open", "close"], ["read"], 16)


def test_padded_arrays_hold_each_text_once_and_padding_beyond():
    texts = [Tokens([2, 9, 3], [1, 0, 1], None), Tokens([2, 3], [1, 1], [0, 1])]
    ids, mask, segments = padded(texts, 7)
    assert ids.tolist() == [[2, 9, 3], [2, 3, 7]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert segments.tolist() == [[0, 0, 0], [0, 1, 0]]
    assert ids.dtype == mask.dtype == segments.dtype == torch.int64


def test_a_backbone_without_a_tokenizer_says_so(tiny_model):
    frozen = FrozenBackbone(tiny_model("bert"), dtype="float32")
    with pytest.raises(ValueError, match=r"no tokenizer\. Save it with its tokenizer"):
        tokenised(frozen, ["open"], None, 8)
