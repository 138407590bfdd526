"""From ids to activations: what words of a kind share, and what a context changes."""

import numpy as np
import pytest
from tests.words.two_topics import two_topics

from shoestring.errors import ParameterError
from shoestring.overlap.codes import top_k_codes
from shoestring.words.corpus import encode_corpus
from shoestring.words.counts_rule import CONTEXT_WEIGHT, train_on_counts

SETTINGS = {"n_neurons": 40, "window": 5}
N_ACTIVE = 8
MONEY = "loan cash credit teller deposit savings account interest mortgage vault cheque debt"
RIVER = "water boat fish shore mud reed stream flood bridge canoe otter heron"
钱 = "贷款 现金 信用 出纳 存款 储蓄 账户 利息 抵押 金库 支票 债务"
河 = "河水 小船 鱼儿 河岸 淤泥 芦苇 溪流 洪水 桥梁 独木舟 水獭 苍鹭"


def topical(*topics, n_sentences=1500, seed=0):
    """Sentences of one topic each."""
    rng = np.random.default_rng(seed)
    kinds = [topic.split() for topic in topics]
    return [rng.permutation(kinds[i % len(kinds)])[:8].tolist() for i in range(n_sentences)]


def trained(sentences, **options):
    corpus = encode_corpus(sentences)
    arrays = corpus.ids, corpus.offsets, corpus.counts
    weights = train_on_counts(*arrays, **(SETTINGS | options))
    return {word: i for i, word in enumerate(corpus.words)}, weights


def codes_of(rows):
    return np.unpackbits(top_k_codes(rows, N_ACTIVE), axis=1).astype(int)


@pytest.mark.parametrize("topics", [(MONEY, RIVER), (钱, 河)], ids=["english", "chinese"])
def test_words_of_one_topic_share_more_bits(topics):
    ids, weights = trained(topical(*topics))
    codes = codes_of(weights[len(ids) :])
    first, second = ([ids[word] for word in topic.split()] for topic in topics)
    shared = codes @ codes.T
    within = shared[np.ix_(first, first)][~np.eye(len(first), dtype=bool)]
    assert within.mean() > 2 * shared[np.ix_(first, second)].mean()


@pytest.mark.parametrize(
    ("word", "topics"), [("bank", (MONEY, RIVER)), ("行", (钱, 河))], ids=["english", "chinese"]
)
def test_a_context_moves_a_word_of_two_meanings_to_one(word, topics):
    others = [" ".join(f"{letter}{i}" for i in range(12)) for letter in "abcdef"]
    sentences = topical(*(f"{topic} {word}" for topic in topics), *others, n_sentences=4000)
    ids, weights = trained(sentences)
    targets = weights[len(ids) :]
    first, second = ([ids[w] for w in topic.split()] for topic in topics)
    in_context = [
        targets[ids[word]] + CONTEXT_WEIGHT * weights[of[:6]].sum(axis=0) for of in (first, second)
    ]
    shared = codes_of(np.stack(in_context)) @ codes_of(targets).T
    assert shared[0, first[6:]].mean() > shared[0, second[6:]].mean() + 0.5
    assert shared[1, second[6:]].mean() > shared[1, first[6:]].mean() + 0.5


def test_one_thread_and_three_give_the_same_bits_and_the_seed_decides():
    sentences = topical(MONEY, RIVER)
    alone = trained(sentences, n_threads=1)[1]
    assert alone.tobytes() == trained(sentences, n_threads=3)[1].tobytes()
    assert alone.tobytes() != trained(sentences, seed=1)[1].tobytes()


def test_contexts_are_the_targets_less_their_mean_over_the_corpus():
    corpus = encode_corpus(topical(MONEY, RIVER))
    weights = train_on_counts(corpus.ids, corpus.offsets, corpus.counts, **SETTINGS)
    contexts, targets = np.split(weights, 2)
    mean = corpus.counts @ targets / corpus.counts.sum()
    assert np.allclose(contexts, targets - mean, atol=1e-5)


def test_a_word_that_stands_alone_has_no_activations():
    ids, weights = trained([*topical(MONEY, RIVER), *[["hermit"]] * 9])
    assert not weights[len(ids) + ids["hermit"]].any()
    assert not weights[ids["hermit"]].any()
    assert weights[len(ids) + ids["loan"]].any()


def test_a_corpus_without_pairs_is_refused():
    corpus = encode_corpus([["alone"]] * 9)
    with pytest.raises(ParameterError, match=r"nothing to learn from: in 9 tokens"):
        train_on_counts(corpus.ids, corpus.offsets, corpus.counts)


N_WORDS = 60
SMALL = {"n_neurons": 16, "window": 5, "seed": 3}


def two(seed=0):
    return two_topics(N_WORDS, 400, seed)


def test_the_progress_bar_names_the_steps_and_ends_full(capsys):
    train_on_counts(*two(), **SMALL, progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert err.rstrip().splitlines()[-1].split("\r")[-1].startswith("done: 100%")
