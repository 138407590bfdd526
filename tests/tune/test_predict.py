"""Answers to texts and pairs of any number: those of the ladder itself, each text read once."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import predict
from shoestring.tune.ladder import Ladder
from shoestring.tune.predict import logits_of

FIRSTS = [
    "open the file", "sort a list of words in the text", "join", "read text", "close the path",
    "open the file", "split string", "count the words of a line",
]  # fmt: skip
SECONDS = [
    "read write file", "sort words", "chain", "open a key of the map", "close", "chain", "chain",
    "count",
]  # fmt: skip
CASES = {
    "classes": {"n_labels": 3},
    "classes of pairs, joint": {"n_labels": 3, "pairs": "joint"},
    "classes of pairs, apart": {"n_labels": 3, "pairs": "apart"},
    "numbers": {"task": "regress"},
    "scores, joint": {"task": "score", "pairs": "joint"},
    "scores, apart": {"task": "score", "pairs": "apart"},
    "scores, late": {"task": "score", "pairs": "late"},
}
CLOSE = {"atol": 0.03, "rtol": 0.03}  # outputs are bfloat16 on their way


@pytest.fixture(params=CASES)
def ladder(request, make_ladder, stir):
    return stir(make_ladder(**CASES[request.param])).eval()


@pytest.fixture
def read_texts(monkeypatch):
    """Every text that a backbone was run on."""
    found, outputs = [], FrozenBackbone.outputs

    def spied(self, ids, mask, layers, segments=None):
        found.extend(tuple(row[keep.bool()].tolist()) for row, keep in zip(ids, mask, strict=True))
        return outputs(self, ids, mask, layers, segments)

    monkeypatch.setattr(FrozenBackbone, "outputs", spied)
    return found


def seconds_of(ladder):
    return None if ladder.settings.pairs == "none" else SECONDS


def test_answers_are_the_logits_of_the_ladder(ladder, inputs_of):
    seconds = seconds_of(ladder)
    with torch.no_grad():
        want = ladder(**inputs_of(ladder, FIRSTS, seconds))["logits"].numpy()
    found = logits_of(ladder, FIRSTS, seconds)
    assert (found.shape, found.dtype) == (want.shape, np.float32)
    np.testing.assert_allclose(found, want, **CLOSE)
    assert np.ptp(found, axis=0).max() > 0.1


def test_answers_do_not_depend_on_order_or_batches(ladder, monkeypatch):
    seconds = seconds_of(ladder)
    whole = logits_of(ladder, FIRSTS, seconds)
    backwards = logits_of(ladder, FIRSTS[::-1], seconds and seconds[::-1])
    np.testing.assert_allclose(backwards[::-1], whole, **CLOSE)
    monkeypatch.setattr(predict, "TEXTS_AT_ONCE", 3)
    monkeypatch.setattr(predict, "TOKENS_AT_ONCE", 1)
    np.testing.assert_allclose(logits_of(ladder, FIRSTS, seconds), whole, **CLOSE)


def test_no_texts_have_no_answers(ladder):
    found = logits_of(ladder, [], None if seconds_of(ladder) is None else [])
    n = ladder.settings.n_labels
    assert (found.shape, found.dtype) == ((0, n) if n > 1 else (0,), np.float32)


@pytest.mark.parametrize("pairs", ["apart", "late"])
def test_each_different_text_of_a_call_is_read_once(make_ladder, read_texts, pairs):
    ladder = make_ladder(task="score", pairs=pairs).eval()
    read_texts.clear()
    logits_of(ladder, FIRSTS, SECONDS)
    assert len(read_texts) == len(set(read_texts)) == len({*FIRSTS, *SECONDS})


def test_texts_without_a_token_are_answered(ladder):
    seconds = None if seconds_of(ladder) is None else ["", "open", "qwop"]
    found = logits_of(ladder, ["open", "", "qwop"], seconds)
    assert np.isfinite(found).all()


def test_texts_longer_than_the_positions_are_cut(make_ladder):
    ladder = make_ladder(n_labels=2, max_length=400).eval()
    found = logits_of(ladder, ["open " * 500, "open " * 900])
    np.testing.assert_allclose(found[0], found[1], **CLOSE)


def test_answering_leaves_no_gradients_and_trains_nothing(ladder):
    before = [p.clone() for p in ladder.parameters()]
    logits_of(ladder, FIRSTS[:2], None if seconds_of(ladder) is None else SECONDS[:2])
    assert all(torch.equal(a, b) for a, b in zip(before, ladder.parameters(), strict=True))
    assert all(p.grad is None for p in ladder.parameters())
    assert not ladder.training


def test_chinese_texts_are_answered_as_they_are_read(save_tiny, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = save_tiny(tmp_path / "bert", "bert")
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"打开关闭文件路径排序列表单词"]
    tokenizer = Tokenizer(models.WordLevel({s: i for i, s in enumerate(signs)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    Path(folder, "tokenizer.json").write_text(
        json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False), "utf-8"
    )
    from shoestring.tune.config import LadderConfig

    ladder = Ladder.from_backbone(folder, LadderConfig(reduction=4), dtype="float32").eval()
    found = logits_of(ladder, ["打开文件", "关闭文件", "打开文件", "排序列表"])
    np.testing.assert_allclose(found[0], found[2], **CLOSE)
    assert len({round(float(row[0]), 3) for row in found}) == 3
