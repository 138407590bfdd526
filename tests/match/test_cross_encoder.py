import json
import shutil
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("ctranslate2")
pytest.importorskip("sentence_transformers")

import torch
import transformers

from shoestring import SearchIndex
from shoestring.encoders import checked_encoder
from shoestring.errors import FormatError, ParameterError, StorageError
from shoestring.match import CrossEncoderScorer, load_scorer, scorer_name
from shoestring.models import SentenceEncoder

WORDS = "flatten list open file return string words chain the a of in and 把 列 表 展 平 打 开"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split(), "##s", "##ed", ".", ","]


def save_model(folder, n_labels=1, width=32, n_layers=3, seed=0):
    """A tiny cross-encoder with weights large enough for its logits to differ."""
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(PIECES), encoding="utf-8")
    config = transformers.BertConfig(
        vocab_size=len(PIECES),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        max_position_embeddings=128,
        num_labels=n_labels,
        initializer_range=0.25,
    )
    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification(config)
    for name, weight in model.named_parameters():  # biases and norms start as 0 and 1: stir them
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=float("Norm.weight" in name), std=0.3)
    model.save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab=str(vocabulary), model_max_length=48)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    words = [*WORDS.split(), "zebra", "Files.", "打开列表"]
    texts = [" ".join(rng.choice(words, n)) for n in (0, 1, 2, 3, 5, 8, 13, 17, 30, 47, 90, 400)]
    return [(texts[i], texts[j]) for i, j in rng.integers(0, len(texts), (150, 2))]


@pytest.fixture(scope="module")
def reference(folder, pairs):
    """The logits of sentence-transformers."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    return model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)


def test_fast_logits_equal_those_of_sentence_transformers(folder, pairs, reference):
    assert reference.std() > 0.1
    logits = CrossEncoderScorer(folder).predict(pairs)
    np.testing.assert_allclose(logits, reference, atol=1e-5)


def test_a_logit_does_not_depend_on_order_companions_or_threads(folder, pairs, monkeypatch):
    scorer = CrossEncoderScorer(folder)
    logits = scorer.predict(pairs)
    order = np.random.default_rng(1).permutation(len(pairs))
    np.testing.assert_allclose(scorer.predict([pairs[i] for i in order]), logits[order], atol=1e-5)
    alone = np.concatenate([scorer.predict([pair]) for pair in pairs[:20]])
    np.testing.assert_allclose(alone, logits[:20], atol=1e-5)
    for module in ("match.cross_encoder", "models.bert"):
        monkeypatch.setattr(f"shoestring.{module}.n_cores", lambda: 3)
    assert CrossEncoderScorer(folder).predict(pairs).tolist() == logits.tolist()


def test_blocks_of_pairs_give_the_same_logits(folder, pairs, monkeypatch):
    scorer = CrossEncoderScorer(folder)
    logits = scorer.predict(pairs)
    monkeypatch.setattr("shoestring.match.cross_encoder.PAIRS_PER_BLOCK", 7)
    np.testing.assert_allclose(scorer.predict(pairs), logits, atol=1e-5)


def test_no_pairs_and_a_megabyte_of_text_are_scored(folder):
    scorer = CrossEncoderScorer(folder)
    assert scorer.predict([]).shape == (0,)
    assert np.isfinite(scorer.predict([("list", "file " * 200_000)])).all()


@pytest.fixture
def by_torch(folder):
    from sentence_transformers import CrossEncoder

    return CrossEncoderScorer(CrossEncoder(str(folder), device="cpu"))


def test_torch_answers_the_same_logits(by_torch, pairs, reference):
    scorer = by_torch
    np.testing.assert_allclose(scorer.predict(pairs), reference, atol=1e-5)
    assert scorer.predict([]).shape == (0,)


def test_a_name_stands_for_weights_and_length(folder, by_torch, tmp_path):
    name = CrossEncoderScorer(folder).name
    assert CrossEncoderScorer(folder).name == by_torch.name == name
    file = shutil.copytree(folder, tmp_path / "short") / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 20}))
    shorter = CrossEncoderScorer(file.parent)
    assert shorter.max_length == 20 and shorter.name != name
    other = save_model(tmp_path / "other", seed=1)
    assert CrossEncoderScorer(other).name != name


def test_a_plain_cross_encoder_is_named_by_its_weights(folder):
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    name = scorer_name(model)
    assert name == scorer_name(CrossEncoder(str(folder), device="cpu"))
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    assert scorer_name(model) != name


@pytest.mark.parametrize("length", [48, None], ids=["48 tokens", "as many as there are positions"])
def test_a_folder_and_an_object_share_what_was_paid_for(folder, pairs, tmp_path, length):
    """One name and one unit, the logits, with torch and without."""
    from sentence_transformers import CrossEncoder

    saved = shutil.copytree(folder, tmp_path / "saved")
    if length is None:
        config = json.loads((saved / "tokenizer_config.json").read_text())
        config.pop("model_max_length")
        (saved / "tokenizer_config.json").write_text(json.dumps(config))
    model = CrossEncoder(str(saved), device="cpu")
    scorers = [load_scorer(saved), load_scorer(model)]
    assert [scorer._bert is None for scorer in scorers] == [False, True]
    assert len({scorer.name for scorer in scorers} | {scorer_name(model)}) == 1
    assert scorers[0].max_length == (length or 128)
    logits = [scorer.predict(pairs) for scorer in scorers]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
    assert np.abs(logits[0]).max() > 1.0  # no sigmoids
    assert model.predict(pairs).max() <= 1.0  # the user's own object is as it was


def test_a_cross_encoder_of_ones_own_is_left_alone(folder):
    from sentence_transformers import CrossEncoder

    class Mine(CrossEncoder):
        def predict(self, pairs):
            return [len(text) for _, text in pairs]

    mine = Mine(str(folder), device="cpu")
    assert load_scorer(mine) is mine


@pytest.mark.parametrize("pairs", [["ab"], [("a", None)], [("a", "b", "c")], ("a", "bc"), "ab"])
def test_what_is_no_pair_is_refused(folder, by_torch, pairs):
    for scorer in (CrossEncoderScorer(folder), by_torch):
        with pytest.raises(ParameterError, match="'pairs' parameter of "):
            scorer.predict(pairs)


def test_a_model_of_the_hub_is_taken_from_the_cache_or_told_how_to_get(
    folder, tmp_path, monkeypatch
):
    commit = "0123456789" * 4
    repository = tmp_path / "models--acme--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    scorer = load_scorer("acme/tiny")
    assert scorer.name == load_scorer(folder).name
    for load, error in (
        (load_scorer, ParameterError),
        (lambda name: checked_encoder(name, "SearchIndex.build"), ParameterError),
        (SentenceEncoder, StorageError),
    ):
        with pytest.raises(error, match=r"download it first: hf download acme/other") as caught:
            load("acme/other")
        assert "\n" not in str(caught.value)
    assert checked_encoder("acme/tiny", "") == str(repository / "snapshots" / commit)
    assert SentenceEncoder("acme/tiny").n_dims == 32

    index = SearchIndex.build(
        tmp_path / "index",
        ["flatten a list", "open a file"],
        scorer="acme/tiny",
        encoder="acme/tiny",
        progress=False,
    )
    monkeypatch.chdir(tmp_path)
    hits = SearchIndex.open("index").query("list", calls=2)
    assert hits.calls == 2 and all(hit.exact for hit in hits)
    assert index.info()["scorer"] == str(repository / "snapshots" / commit)


def test_a_relative_folder_is_found_from_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    texts = ["flatten a list", "open a file"]
    SearchIndex.build(
        tmp_path / "index", texts, scorer=folder.name, encoder=folder.name, progress=False
    )
    monkeypatch.chdir(tmp_path)
    assert SearchIndex.open("index").query("list", calls=2).calls == 2


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def test_a_cross_encoder_of_two_labels_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="one label"):
        CrossEncoderScorer(save_model(tmp_path / "two", n_labels=2))


def test_torch_runs_what_ctranslate2_cannot(folder, tmp_path, monkeypatch):
    relu = change_config(save_model(tmp_path / "relu"), hidden_act="relu")
    assert load_scorer(relu)._bert is None
    assert load_scorer(str(folder))._bert is not None
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert load_scorer(folder)._bert is None


def test_damaged_weights_are_named(tmp_path):
    folder = save_model(tmp_path / "damaged")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        load_scorer(folder)
