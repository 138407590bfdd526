"""BERT by ctranslate2 beside transformers, on tiny models with random weights."""

import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytest.importorskip("ctranslate2")
pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from shoestring.errors import FormatError, MissingExtraError
from shoestring.models.bert import Bert, _forget_models, is_covered, is_left_to_torch
from shoestring.models.model_files import read_json

IDS = [[2, 5, 7, 9, 3], [2, 3], [], [2, *[4, 8] * 14, 3], [11]]
TYPES = [[0, 0, 1, 1, 1], [0, 1], [], [0, *[1] * 29], [1]]


def save_model(folder, kind=transformers.BertModel, **changes):
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3}
    sizes |= {"vocab_size": 12, "num_hidden_layers": 2, "max_position_embeddings": 32, **changes}
    torch.manual_seed(0)
    model = kind(transformers.BertConfig(initializer_range=0.5, **sizes)).eval()
    for name, weight in model.named_parameters():  # biases and norms start as 0 and 1: stir them
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=float("Norm.weight" in name), std=0.3)
    model.save_pretrained(folder)
    return model.base_model


def load(folder):
    return Bert(folder, read_json(folder / "config.json"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_size": 10, "num_attention_heads": 1, "intermediate_size": 7},
        {"num_hidden_layers": 1, "layer_norm_eps": 0.1},
        {"kind": transformers.BertForSequenceClassification},
    ],
)
@pytest.mark.parametrize("types", [None, TYPES])
def test_states_equal_those_of_transformers(tmp_path, changes, types):
    model, bert = save_model(tmp_path, **changes), load(tmp_path)
    states = bert.states(IDS, types)
    assert (states.shape, states.dtype) == ((5, 30, bert.n_dims), np.float32)
    for i, ids in enumerate(IDS):
        if ids:
            with torch.inference_mode():
                kinds = types and torch.tensor([types[i]])
                want = model(torch.tensor([ids]), token_type_ids=kinds).last_hidden_state[0]
            np.testing.assert_allclose(states[i, : len(ids)], want.numpy(), atol=1e-4)
            np.testing.assert_allclose(bert.states([ids], types and [types[i]])[0], want, atol=1e-4)
    assert bert.states([[], []]).shape == (2, 0, bert.n_dims)


def test_threads_share_a_model(tmp_path):
    save_model(tmp_path)
    bert = load(tmp_path)
    rng = np.random.default_rng(0)
    texts = [rng.integers(12, size=(1, 1 + i % 30)).tolist() for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        for text, states in zip(texts, pool.map(bert.states, texts), strict=True):
            np.testing.assert_allclose(states, bert.states(text), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("embeddings.word_embeddings.weight", (0, 24)),
        ("embeddings.token_type_embeddings.weight", (0, 24)),
        ("embeddings.position_embeddings.weight", (16, 24)),
        ("encoder.layer.1.intermediate.dense.weight", (24, 40)),
        ("encoder.layer.0.output.LayerNorm.bias", (23,)),
    ],
)
def test_a_weight_of_another_shape_is_named(tmp_path, name, shape):
    save_model(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(load_file(file) | {name: np.zeros(shape, np.float32)}, file)
    with pytest.raises(FormatError, match=rf"model\.safetensors: has {name} of shape "):
        load(tmp_path)


def test_a_forked_child_loads_the_model_again_and_threads_load_it_once(tmp_path, monkeypatch):
    """What a fork does, without one: to run or free the parent's model would hang."""
    save_model(tmp_path)
    bert = load(tmp_path)
    before, of_parent = bert.states([[1, 2, 3]]), weakref.ref(bert._encoder)
    loaded = []
    real = Bert.__init__
    monkeypatch.setattr(Bert, "__init__", lambda *a, **k: (loaded.append(a[0]), real(*a, **k))[0])
    _forget_models()
    assert of_parent() is not None  # never freed
    with ThreadPoolExecutor(4) as pool:
        for states in pool.map(bert.states, [[[1, 2, 3]]] * 8):
            np.testing.assert_array_equal(states, before)
    assert loaded == [bert]
    again = pickle.loads(pickle.dumps(bert))
    np.testing.assert_array_equal(again.states([[1, 2, 3]]), before)


def test_ids_of_another_tokenizer_are_refused(tmp_path):
    save_model(tmp_path)
    with pytest.raises(FormatError, match=r"tokenizer\.json: gives the id 12, and .* 12"):
        load(tmp_path).states([[1, 2], [12]])
    with pytest.raises(FormatError, match=r"gives the id 2, and the model has 2"):
        load(tmp_path).states([[1]], [[2]])


def test_a_weight_that_is_not_there_is_named(tmp_path):
    save_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match=r"no weight 'encoder\.layer\.1\.output\.dense\.bias'"):
        load(tmp_path)


def test_only_berts_own_activations_and_positions_are_covered():
    assert is_covered({"model_type": "bert"})
    for other in (
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
    ):
        assert not is_covered({"model_type": "bert", **other})


def test_torch_steps_in_only_where_ctranslate2_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr("shoestring.models.bert.gpu_is_there", lambda: False)
    assert not is_left_to_torch()
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert is_left_to_torch()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not is_left_to_torch()  # so that the error names what is smaller
    with pytest.raises(MissingExtraError, match=r"shoestring\[minilm\]"):
        Bert(tmp_path, {})
