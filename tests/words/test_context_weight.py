"""How much a context moves a code: chosen at any time, and kept out of what is stored."""

import numpy as np
import pytest

from shoestring import BinaryVectors
from shoestring.errors import ParameterError
from shoestring.overlap.codes import top_k_codes
from shoestring.words.train import CONTEXT_WEIGHTS, RULES

from .conftest import SETTINGS

SENTENCE = ["dog", "cat", "bank", "money", "coin"]
AT = 2


def code_by_definition(v, weight):
    contexts, targets = np.split(np.asarray(v.activations_, np.float64), 2)
    rows = [v.key_to_index[word] for word in SENTENCE]
    total = targets[rows[AT]] + weight * sum(
        contexts[row] for at, row in enumerate(rows) if at != AT
    )
    return np.unpackbits(
        top_k_codes(total[None], v.n_active)[0], bitorder="little", count=v.n_neurons
    ).astype(bool)


@pytest.mark.parametrize("weight", [None, 0.0, 0.25, 0.5, 1, 3.0])
def test_a_code_in_context_is_the_word_plus_the_weight_times_its_context(trained, weight):
    v = trained.with_active(trained.n_active)
    v.set_params(context_weight=weight)
    used = CONTEXT_WEIGHTS[v.rule] if weight is None else weight
    assert (v.in_context(SENTENCE, AT) == code_by_definition(v, used)).all()
    if weight == 0:
        assert (v.in_context(SENTENCE, AT) == v["bank"]).all()


def test_what_each_rule_has_by_default():
    assert CONTEXT_WEIGHTS == {"counts": 0.25, "published": 1.0}


def test_the_weight_is_kept_and_can_be_changed_after_loading(trained, tmp_path):
    v = trained.with_active(trained.n_active).set_params(context_weight=0.7)
    v.save(tmp_path / "v")
    loaded = BinaryVectors.load(tmp_path / "v")
    assert loaded.context_weight == 0.7
    assert (loaded.in_context(SENTENCE, AT) == code_by_definition(v, 0.7)).all()
    loaded.set_params(context_weight=2.0)
    assert (loaded.in_context(SENTENCE, AT) == code_by_definition(v, 2.0)).all()


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, "much", True])
def test_a_weight_that_cannot_be_is_named(weight, trained, texts):
    with pytest.raises(ParameterError, match="'context_weight' parameter of BinaryVectors must be"):
        BinaryVectors(context_weight=weight).fit(texts)
    with pytest.raises(ParameterError, match="'context_weight'"):
        trained.with_active(3).set_params(context_weight=weight).in_context(SENTENCE, AT)


def test_centres_of_dense_vectors_have_the_weight_of_counts_and_neurons_that_of_the_paper():
    rng = np.random.default_rng(0)
    words, dense = SENTENCE, rng.normal(size=(5, 20))
    made = BinaryVectors.from_dense(words, dense, n_neurons=20, n_active=4, window=5)
    assert (made.in_context(words, AT) == code_by_definition(made, 0.25)).all()
    plain = BinaryVectors.from_dense(
        words, dense, context=dense[::-1], n_neurons=None, n_active=4, window=5
    )
    assert (plain.in_context(words, AT) == code_by_definition(plain, 1.0)).all()


@pytest.mark.parametrize("rule", RULES)
def test_training_does_not_depend_on_the_weight(rule, texts):
    one, other = (
        BinaryVectors(rule=rule, context_weight=weight, **SETTINGS).fit(texts)
        for weight in (None, 3.0)
    )
    assert (one.activations_ == other.activations_).all()
    assert (one.codes_ == other.codes_).all()
