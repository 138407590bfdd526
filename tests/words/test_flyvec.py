"""flyvec's published vectors: what docs/words.md says about them, on files of their form."""

import re
from pathlib import Path

import numpy as np
import pytest

from shoestring import BinaryVectors
from shoestring.words.evaluate import evaluate_at

corpora = pytest.importorskip("gensim.corpora")

K, N_ACTIVE, WINDOW = 40, 6, 11
TEXTS = [["money", "bank", "loan"], ["river", "bank", "boat"], ["<UNK>", "<NUM>"]]
PAGE = Path(__file__).parents[2] / "docs" / "words.md"


@pytest.fixture
def synapses(tmp_path, monkeypatch):
    """The two files, and the folder that the page's lines make of them."""
    dictionary = corpora.Dictionary(TEXTS)
    dictionary.patch_with_special_tokens({"<UNK>": 0, "<NUM>": 1})
    dictionary.save(str(tmp_path / "tokenizer.dict"))
    rng = np.random.default_rng(0)
    synapses = rng.normal(size=(K, 2 * len(dictionary))).astype(np.float32)
    np.save(tmp_path / "synapses.npy", synapses)
    (block,) = re.findall(r"```python\n([^`]*synapses\.npy[^`]*)```", PAGE.read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    exec(block.replace("n_active=51", f"n_active={N_ACTIVE}"), {})
    return dictionary, synapses / np.linalg.norm(synapses, axis=1, keepdims=True)


def flyvec_code(activations):
    """As flyvec/core.py has it: those above the middle between the k-th and the next."""
    ordered = np.sort(activations)[::-1]
    return activations > (ordered[N_ACTIVE - 1] + ordered[N_ACTIVE]) / 2


@pytest.fixture
def vectors(synapses):
    return BinaryVectors.load("flyvec")


def test_static_codes_are_those_of_flyvec(synapses, vectors):
    dictionary, weights = synapses
    for word, number in dictionary.token2id.items():
        if word != "<NUM>":
            want = flyvec_code(weights[:, len(dictionary) + number])
            assert (vectors[word] == want).all()
    assert (vectors["1984"] == flyvec_code(weights[:, len(dictionary) + 1])).all()


def test_codes_in_context_are_the_papers_plain_sum(synapses, vectors):
    dictionary, weights = synapses
    ids = [dictionary.token2id[word] for word in ("money", "bank", "loan")]
    total = weights[:, [ids[0], len(dictionary) + ids[1], ids[2]]].sum(axis=1)
    assert (vectors.in_context(["money", "bank", "loan"], 1) == flyvec_code(total)).all()


def test_eval_scores_the_folder(synapses, tmp_path):
    (tmp_path / "pairs.txt").write_text("bank\tmoney\t9\nbank\triver\t5\nboat\tloan\t1\n")
    (row,) = evaluate_at("flyvec", ["pairs.txt"])
    assert (row.n_covered, row.n_active) == (3, N_ACTIVE)
    assert row.spearman is not None
