"""Labelled texts as a dataset, and what a batch of them is for a model."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.models.frozen import FrozenBackbone
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Collate, Examples, Tokens, padded, tokenised

TEXTS = ["open the file", "sort a list of words in the text", "join", "read text", "close"]
SECONDS = ["read write file", "sort words", "chain", "open a key of the map", "close"]


def token(*ids):
    return Tokens(list(ids), [0] * len(ids), None)


def alone(n):
    return [[row] for row in range(n)]


@pytest.fixture
def lists():
    """Five pairs of two queries."""
    first, second = [token(1), token(1, 2), token(3)] * 2, [token(i) for i in range(6)]
    return Examples(first[:5], second[:5], [1.0, 0.0, 1.0, 0.0, 0.0], [[0, 2, 4], [1, 3]])


def test_a_dataset_is_as_long_as_its_units(lists):
    assert len(lists) == 2
    assert lists[0] == [0, 2, 4]
    assert lists.lengths == [2, 2]  # of the longest first text
    assert lists.are_lists
    assert not Examples(lists.first, None, lists.labels, alone(5)).are_lists


def test_a_part_has_the_texts_of_its_units_alone(lists):
    part = lists.part([1])
    assert (len(part), part[0]) == (1, [1, 3])
    assert part.texts() == [token(1, 2), token(1), token(1), token(3)]
    single = Examples(lists.first, None, lists.labels, [[4], [0]])
    assert single.texts() == [lists.first[4], lists.first[0]]


def test_pairs_of_a_query_come_in_one_batch_in_every_order(lists):
    collate = Collate(lists, "score", None, 0)
    for order in ([0, 1], [1, 0]):
        batch = collate([lists[i] for i in order])
        rows = [row for i in order for row in lists.groups[i]]
        assert batch["labels"].tolist() == [lists.labels[row] for row in rows]
        assert batch["second_input_ids"].flatten().tolist() == rows
        sizes = [len(lists.groups[i]) for i in order]
        assert batch["groups"].tolist() == [0] * sizes[0] + [1] * sizes[1]


def test_pairs_that_are_no_lists_have_no_groups(lists):
    flat = Examples(lists.first, lists.second, lists.labels, alone(5))
    assert "groups" not in Collate(flat, "score", None, 0)([flat[0], flat[1]])


def test_lists_are_learnt_as_lists(backbone, make_ladder, stir):
    ladder = stir(make_ladder(task="score", pairs="apart"))
    first, second = (tokenised(backbone(), texts, None, 40) for texts in (TEXTS, SECONDS))
    labels = [1.0, 0.0, 0.5, 0.0, 0.5]
    examples = Examples(first, second, labels, [[0, 1], [2, 3, 4]])
    batch = Collate(examples, "score", None, 0)([examples[0], examples[1]])
    found = ladder(**batch)
    log_p = [part.log_softmax(0) for part in found["logits"].split([2, 3])]
    want = -(log_p[0][0] + 0.5 * log_p[1][0] + 0.5 * log_p[1][2]) / 2
    assert found["loss"].item() == pytest.approx(want.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "labels", "dtype"),
    [
        ("classify", [2, 0], torch.int64),
        ("regress", [2.5, -1], torch.float32),
        ("score", [1, 0], torch.float32),
    ],
)
def test_labels_are_numbers_of_classes_or_numbers(task, labels, dtype):
    examples = Examples([token(1), token(2)], None, labels, alone(2))
    found = Collate(examples, task, None, 0)([examples[1], examples[0]])["labels"]
    assert (found.tolist(), found.dtype) == (labels[::-1], dtype)


@pytest.mark.parametrize("pairs", ["none", "joint", "apart"])
def test_a_batch_is_what_a_ladder_takes(backbone, make_ladder, stir, inputs_of, pairs):
    ladder = stir(make_ladder(n_labels=3, pairs=pairs))
    joint = SECONDS if pairs == "joint" else None
    first = tokenised(backbone(), TEXTS, joint, 40)
    second = tokenised(backbone(), SECONDS, None, 40) if pairs == "apart" else None
    examples = Examples(first, second, [0, 1, 2, 0, 1], alone(5))
    batch = Collate(examples, "classify", None, backbone().padding_id)(
        [examples[i] for i in (3, 1)]
    )
    others = None if pairs == "none" else [SECONDS[3], SECONDS[1]]
    want = ladder(**inputs_of(ladder, [TEXTS[3], TEXTS[1]], others))["logits"]
    assert torch.equal(ladder(**batch)["logits"], want)
    assert batch["labels"].tolist() == [0, 1]


@pytest.mark.parametrize("pairs", ["none", "joint", "apart", "late"])
def test_outputs_that_were_kept_give_the_logits_of_the_ids(backbone, make_ladder, stir, pairs):
    task = "score" if pairs == "late" else "classify"
    ladder = stir(make_ladder(task=task, pairs=pairs))
    first = tokenised(backbone(), TEXTS, SECONDS if pairs == "joint" else None, 40)
    second = tokenised(backbone(), SECONDS, None, 40) if pairs in ("apart", "late") else None
    examples = Examples(first, second, [0, 1, 1, 0, 1], alone(5))
    cache = OutputCache(backbone(), ladder.layers, examples.texts(), None)
    list(cache.fill())
    computed = cache.computed
    items = [examples[i] for i in range(5)]
    batch = Collate(examples, task, cache, 0)(items)
    assert {"first", "labels"} <= batch.keys()
    assert "input_ids" not in batch
    assert ("second" in batch) == (second is not None)
    want = ladder(**Collate(examples, task, None, 0)(items))["logits"]
    got = ladder(**batch)["logits"]
    assert torch.allclose(got, want, atol=0.03, rtol=0.03)  # they are kept in bfloat16
    assert cache.computed == computed


# ---- tokens ----

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
