"""From ids to activations: what words of a kind share, and what a context changes."""

import os
import random
import signal
import time

import numpy as np
import pytest
from tests.words.two_topics import damaged_in_turn, started, two_topics

from shoestring import jobs
from shoestring.errors import (
    BudgetError,
    IntegrityError,
    ParameterError,
    ShapeError,
    ShoestringWarning,
)
from shoestring.jobs import Clock, RunFolder
from shoestring.overlap.codes import overlap_counts, pack_codes, top_k_bits
from shoestring.words import counts_rule, ppmi, state
from shoestring.words.corpus import encode_corpus
from shoestring.words.counts_rule import CONTEXT_WEIGHT, train_on_counts
from shoestring.words.ppmi import PmiBlocks

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
    return pack_codes(top_k_bits(np.ascontiguousarray(rows), N_ACTIVE), rows.shape[1])


@pytest.mark.parametrize("topics", [(MONEY, RIVER), (钱, 河)], ids=["english", "chinese"])
def test_words_of_one_topic_share_more_bits(topics):
    ids, weights = trained(topical(*topics))
    codes = codes_of(weights[len(ids) :])
    first, second = ([ids[word] for word in topic.split()] for topic in topics)
    shared = overlap_counts(codes, codes)
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
    shared = overlap_counts(codes_of(np.stack(in_context)), codes_of(targets))
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


@pytest.mark.parametrize(
    ("ids", "offsets", "said"),
    [
        ([0, 1, 5], [0, 3], "Got 0 to 5"),
        ([0, -2, 1], [0, 3], "Got -2 to 1"),
        ([0, 1, 1], [0, 2], "from 0 to T"),
        ([0, 1, 1], [0, 2, 1, 3], "rise from 0"),
    ],
)
def test_ids_and_offsets_must_fit(ids, offsets, said):
    with pytest.raises(ShapeError, match=said):
        train_on_counts(np.array(ids, np.int32), np.array(offsets), np.array([1, 2]))


# --- interruption

N_WORDS = 60
SMALL = {"n_neurons": 16, "window": 5, "seed": 3}


@pytest.fixture
def forty_blocks(monkeypatch):
    """Forty blocks of the matrix, so five rounds, each of them saved; no waiting for the disk."""
    monkeypatch.setattr(ppmi, "BLOCK_BYTES", 8 * N_WORDS * N_WORDS // 40)
    monkeypatch.setattr(state, "SAVE_S", 0.0)
    monkeypatch.setattr(jobs, "SAVING_SHARE", 1e9)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def two(seed=0):
    return two_topics(N_WORDS, 400, seed)


def run_folder(folder):
    return RunFolder.open(folder / "v", {}, resume=True, what="training")


def resumed(folder, arrays=None, **options):
    with run_folder(folder) as run:
        return train_on_counts(*(arrays or two()), **SMALL, run=run, **options)


def interrupt(monkeypatch, folder, after, **options):
    """Train until Ctrl-C comes: after so many rounds of counting, or in a later step."""
    rounds, count = [], PmiBlocks.count_blocks

    def stop(*arguments):
        raise KeyboardInterrupt

    def counting(self, first, *arguments):
        if len(rounds) == after:
            raise KeyboardInterrupt
        rounds.append(first)
        return count(self, first, *arguments)

    with monkeypatch.context() as patched:
        if isinstance(after, str):
            patched.setattr(counts_rule, after, stop)
        else:
            patched.setattr(PmiBlocks, "count_blocks", counting)
        with pytest.raises(KeyboardInterrupt):
            resumed(folder, **options)


@pytest.mark.parametrize("after", [0, 1, 4, "truncated_svd", "spherical_kmeans"])
def test_a_run_that_is_interrupted_anywhere_ends_with_the_same_bits(
    tmp_path, monkeypatch, forty_blocks, after
):
    expected = train_on_counts(*two(), **SMALL)
    interrupt(monkeypatch, tmp_path, after)
    count, rounds = PmiBlocks.count_blocks, []

    def noting(self, first, *arguments):
        rounds.append(first)
        return count(self, first, *arguments)

    monkeypatch.setattr(PmiBlocks, "count_blocks", noting)
    assert resumed(tmp_path).tobytes() == expected.tobytes()
    assert rounds == list(range(0, 40, 8))[after if isinstance(after, int) else 5 :]
    assert not list(tmp_path.iterdir())


PROGRAM = """
import time
from pathlib import Path
from test_counts_rule import N_WORDS, PmiBlocks, jobs, ppmi, resumed, state
ppmi.BLOCK_BYTES = 8 * N_WORDS * N_WORDS // 40
state.SAVE_S, jobs.SAVING_SHARE = 0.0, 1e9
count = PmiBlocks.count_blocks
def slowly(self, *arguments):
    print(flush=True)
    time.sleep(0.02)
    return count(self, *arguments)
PmiBlocks.count_blocks = slowly
resumed(Path({folder!r}))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path, forty_blocks):
    expected = train_on_counts(*two(), **SMALL)
    chance = random.Random(0)
    for _ in range(3):
        process = started(PROGRAM.format(folder=str(tmp_path)))
        for _ in range(chance.randint(1, 2)):
            assert process.stdout.readline(), process.stderr.read()
        time.sleep(chance.random() / 20)  # in a round, between two, while it writes
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert resumed(tmp_path).tobytes() == expected.tobytes()
    assert not list(tmp_path.iterdir())


def test_a_damaged_state_is_an_integrity_error(tmp_path, monkeypatch, forty_blocks):
    interrupt(monkeypatch, tmp_path, 2)
    seen = set()
    for name in damaged_in_turn(tmp_path / "v.run" / "weights"):
        with pytest.raises(IntegrityError, match="Remove the run folder and train again"):
            resumed(tmp_path)
        seen.add(name)
    assert seen == {"sizes", "columns", "values"}


# --- a time limit

COSTS = 40.0, 21.0  # seconds for all sentences, and for the rest
QUARTER = (21 + 40 * 0.25) / 0.9 / 60  # minutes


def limited(minutes):
    return Clock(minutes, now=lambda: 0.0)


@pytest.fixture
def costs(monkeypatch):
    """Costs as they are said, not as they are."""
    monkeypatch.setattr(counts_rule, "_probe", lambda *arguments: COSTS)


def test_a_limit_counts_a_fraction_that_gives_the_same_bits_again(costs):
    with pytest.warns(ShoestringWarning, match=r"0\.25 of the 400 sentences were counted") as seen:
        weights = train_on_counts(*two(), **SMALL, clock=limited(QUARTER))
    assert len(seen) == 1
    again = train_on_counts(
        *two(), **SMALL, sample_fraction=counts_rule._affordable(*COSTS, limited(QUARTER))
    )
    assert weights.tobytes() == again.tobytes()
    assert weights.tobytes() != train_on_counts(*two(), **SMALL).tobytes()


def test_enough_minutes_change_no_bit(costs):
    plain = train_on_counts(*two(), **SMALL)
    assert train_on_counts(*two(), **SMALL, clock=limited(60)).tobytes() == plain.tobytes()


def test_a_limit_for_less_than_a_hundredth_says_what_would_fit(costs):
    with pytest.raises(BudgetError, match=r"Training on 1% of the.*00:21.*--minutes 0\.4 or more"):
        train_on_counts(*two(), **SMALL, clock=limited(0.3))
    with pytest.warns(ShoestringWarning, match=r"of the 400 sentences"):
        train_on_counts(*two(), **SMALL, clock=limited(0.42))


def test_a_fraction_goes_on_as_it_was_begun(tmp_path, monkeypatch, costs, forty_blocks):
    expected = train_on_counts(
        *two(), **SMALL, sample_fraction=counts_rule._affordable(*COSTS, limited(QUARTER))
    )
    interrupt(monkeypatch, tmp_path, 3, clock=limited(QUARTER))
    with pytest.warns(ShoestringWarning, match=r"0\.25 of the 400"):
        weights = resumed(tmp_path)  # without a limit
    assert weights.tobytes() == expected.tobytes()


def test_the_progress_bar_names_the_steps_and_ends_full(capsys):
    train_on_counts(*two(), **SMALL, progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "8,000 tokens, 60 words, 0 MB: about " in err
    assert err.rstrip().splitlines()[-1].split("\r")[-1].startswith("done: 100%")
