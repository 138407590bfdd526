"""The rule of counts goes on with the same bits after anything, and keeps its budget."""

import json
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.words.two_topics import started, two_topics

from shoestring.errors import BudgetError, IntegrityError, ParameterError, ShoestringWarning
from shoestring.parallel import KernelPool
from shoestring.words import count_watch, counts
from shoestring.words.count_budget import Costs, measured_costs
from shoestring.words.count_rule import CountSettings, train_on_counts
from shoestring.words.count_run import CountRun
from shoestring.words.training import TrainingSettings, train

N_WORDS = 60
SETTINGS = CountSettings(n_neurons=16, window=5, seed=3)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Forty blocks of the matrix, so five rounds; and no waiting for the disk."""
    monkeypatch.setattr(counts, "BLOCK_BYTES", 8 * N_WORDS * N_WORDS // 40)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def corpus(n_sentences=400, seed=0):
    return two_topics(N_WORDS, n_sentences, seed)


def place_of(folder):
    document = json.loads((folder / "config.json").read_text())
    return document["stage"], document["n_chunks"], document["step"]


# --- interruption

PROGRAM = """
import time
from test_count_training import N_WORDS, SETTINGS, CountRun, corpus, counts, train_on_counts
counts.BLOCK_BYTES = 8 * N_WORDS * N_WORDS // 40
advance = CountRun.advance
def slowly(self, *arguments, **options):
    advance(self, *arguments, **options)
    print(self.place.stage, self.n_done, flush=True)
    time.sleep(0.02)
CountRun.advance = slowly
train_on_counts(*corpus(), SETTINGS, checkpoint={checkpoint!r}, checkpoint_seconds=0.0)
"""


def process_that_trains(checkpoint, n_steps):
    """Start a process that trains, and wait until it has done so many steps."""
    process = started(PROGRAM.format(checkpoint=str(checkpoint)))
    for _ in range(n_steps):
        assert process.stdout.readline(), process.stderr.read()
    return process


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    expected = train_on_counts(*corpus(), SETTINGS)
    folder, chance, places = tmp_path / "run", random.Random(0), []
    for _ in range(4):
        process = process_that_trains(folder, n_steps=chance.randint(2, 4))
        time.sleep(chance.random() / 20)  # in a step, between two, while it writes
        process.send_signal(signal.SIGKILL)
        process.communicate()
        places.append(place_of(folder))
    assert len(set(places)) == 4  # it came further each time
    assert train_on_counts(*corpus(), SETTINGS, checkpoint=folder).tobytes() == expected.tobytes()
    assert place_of(folder)[0] == "done"
    assert len(list(folder.iterdir())) == 4  # nothing of the killed ones is left


def interrupt(monkeypatch, folder, n_steps, **options):
    """Train until Ctrl-C comes after so many steps; what the last one did."""
    advance, done = CountRun.advance, [("counting", 0)]

    def interrupted(self, *arguments, **how):
        if len(done) > n_steps:
            raise KeyboardInterrupt
        advance(self, *arguments, **how)
        done.append((self.place.stage, self.n_done))

    with monkeypatch.context() as patched:
        patched.setattr(CountRun, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_on_counts(*corpus(), SETTINGS, checkpoint=folder, **options)
    return done[-1]


def test_a_run_that_is_interrupted_anywhere_ends_with_the_same_bits(tmp_path, monkeypatch):
    expected = train_on_counts(*corpus(), SETTINGS)
    advance, stages = CountRun.advance, set()
    for n_steps in (0, 1, 4, 5, 6, 9, 13, 14, 15):
        folder = tmp_path / str(n_steps)
        begun_at = []

        def noting(self, *arguments, begun_at=begun_at, **how):
            begun_at.append((self.place.stage, self.n_done))
            advance(self, *arguments, **how)

        left_at = interrupt(monkeypatch, folder, n_steps)
        stages.add(left_at[0])
        with monkeypatch.context() as patched:
            patched.setattr(CountRun, "advance", noting)
            weights = train_on_counts(*corpus(), SETTINGS, checkpoint=folder)
        assert weights.tobytes() == expected.tobytes()
        assert begun_at[0] == left_at  # nothing is done twice
    assert stages == {"counting", "factors", "centres"}


def test_a_finished_checkpoint_gives_its_weights_at_once(tmp_path, monkeypatch):
    weights = train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path)
    monkeypatch.setattr(CountRun, "advance", None)
    again = train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path, progress=True)
    assert again.tobytes() == weights.tobytes()


@pytest.mark.parametrize("change", [{"n_neurons": 17}, {"seed": 4}, {"window": 7}, {"share": 0.5}])
def test_a_checkpoint_of_other_settings_is_refused_and_stays(tmp_path, change):
    train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    ((name, value),) = change.items()
    with pytest.raises(ParameterError, match=f"a run with {name} {value}. Got .* with {name} "):
        train_on_counts(*corpus(), replace(SETTINGS, **change), checkpoint=tmp_path)
    with pytest.raises(ParameterError, match="a run on the same corpus"):
        train_on_counts(*corpus(seed=1), SETTINGS, checkpoint=tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_checkpoint_of_the_other_rule_is_refused(tmp_path):
    published = TrainingSettings(n_neurons=16, window=5, n_epochs=1)
    train(*corpus(), published, checkpoint=tmp_path / "a")
    with pytest.raises(ParameterError, match=r"with rule 'counts'\. Got .* with rule 'published'"):
        train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path / "a")
    train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path / "b")
    with pytest.raises(ParameterError, match=r"with rule 'published'\. Got .* with rule 'counts'"):
        train(*corpus(), published, checkpoint=tmp_path / "b")


@pytest.mark.parametrize("fault", ["cut off", "changed", "missing"])
def test_a_damaged_checkpoint_is_an_integrity_error(tmp_path, monkeypatch, fault):
    interrupt(monkeypatch, tmp_path, 8, checkpoint_seconds=0.0)
    names = {path.name for path in tmp_path.iterdir()}
    assert {name.partition("-")[0] for name in names} >= {"basis", "values0", "values4", "sums"}
    for name in names:
        path = tmp_path / name
        whole = path.read_bytes()
        if fault == "missing":
            path.unlink()
        elif fault == "cut off":
            path.write_bytes(whole[:-9])
        else:
            path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        if (name, fault) != ("config.json", "missing"):  # then there is no checkpoint
            with pytest.raises(IntegrityError, match="train anew"):
                train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path)
        path.write_bytes(whole)


def test_a_corpus_without_pairs_leaves_no_finished_checkpoint(tmp_path):
    ids, offsets = np.zeros(9, np.int32), np.arange(10)
    for _ in range(2):
        with pytest.raises(ParameterError, match="nothing to learn from: in 9 tokens"):
            train_on_counts(ids, offsets, np.array([9]), checkpoint=tmp_path / "run")


# --- a share of the sentences


def test_a_share_is_a_random_sample_that_a_larger_share_contains():
    n = 4000
    ids = np.repeat(np.arange(n, dtype=np.int32), 2)  # sentence s is the word s, twice
    offsets = np.arange(0, 2 * n + 1, 2)

    def drawn(share, seed):
        pmi = counts.PmiBlocks(ids, offsets, n, radius=2, context_power=1.0, share=share, seed=seed)
        return set(np.flatnonzero(pmi.context_sums).tolist())

    few, more = drawn(0.1, 1), drawn(0.3, 1)
    assert few < more < drawn(1.0, 1) == set(range(n))
    assert len(few) == pytest.approx(0.1 * n, rel=0.15)
    assert len(more) == pytest.approx(0.3 * n, rel=0.1)
    assert np.mean([s < n / 2 for s in few]) == pytest.approx(0.5, abs=0.1)  # not a beginning
    assert drawn(0.1, 2) != few


def test_counting_a_share_is_counting_a_corpus_of_these_sentences():
    ids, offsets, _ = corpus()
    options = {"radius": 2, "context_power": 0.75}
    pmi = counts.PmiBlocks(ids, offsets, N_WORDS, share=0.4, seed=5, **options)
    sentences = enumerate(np.split(ids, offsets[1:-1]))
    drawn = [s for number, s in sentences if counts._is_drawn(number, 0.4, pmi.key)]
    assert 100 < len(drawn) < 220
    starts = np.arange(0, 20 * len(drawn) + 1, 20)
    alone = counts.PmiBlocks(np.concatenate(drawn), starts, N_WORDS, **options)
    for block in (0, 7, 39):
        for got, want in zip(pmi.count(block, 0.4), alone.count(block), strict=True):
            assert got.tobytes() == want.tobytes()


# --- budget

COSTS = {"empty_block": 0.0, "block": 1.0, "turn": 1.0, "entry": 0, "centres": 0.5, "end": 2.0}
FIXED = 9 * 1.0 + 20 * 0.5 + 2.0  # seconds that do not depend on the text; 40 blocks do
LEAST = 40 * 0.01 + 5 * 1.0 + 3 * 0.5 + 2.0
QUARTER = (FIXED + 40 * 0.25) / 0.9 / 60  # minutes


@pytest.fixture
def costs(monkeypatch):
    """Costs as they are said, not as they are."""
    monkeypatch.setattr(count_watch, "measured_costs", lambda run: Costs(**COSTS))
    monkeypatch.setattr(Costs, "saw", lambda *arguments: None)


def test_a_budget_counts_a_share_that_gives_the_same_bits_again(costs):
    with pytest.warns(ShoestringWarning, match=r"0\.25 of the 400 sentences were counted") as seen:
        weights = train_on_counts(*corpus(), SETTINGS, minutes=QUARTER)
    assert len(seen) == 1
    again = train_on_counts(*corpus(), replace(SETTINGS, share=0.2499))
    assert weights.tobytes() == again.tobytes()
    assert weights.tobytes() != train_on_counts(*corpus(), SETTINGS).tobytes()


def test_enough_minutes_change_no_bit():
    plain = train_on_counts(*corpus(), SETTINGS)
    assert train_on_counts(*corpus(), SETTINGS, minutes=60.0).tobytes() == plain.tobytes()


def test_a_budget_for_less_than_a_hundredth_says_what_would_fit(costs):
    needed = f"{LEAST / 60:.2g}"
    with pytest.raises(BudgetError, match=rf"0\.1 minutes are left.*1% of the 8,000.*{needed}"):
        train_on_counts(*corpus(), SETTINGS, minutes=0.1)


def test_a_budget_for_the_least_share_and_few_steps_is_taken(costs):
    with pytest.warns(ShoestringWarning, match=r"0\.01 of the 400 sentences"):
        train_on_counts(*corpus(), SETTINGS, minutes=1.1 * LEAST / 60)


def test_a_share_goes_on_as_it_was_begun(tmp_path, monkeypatch, costs):
    with pytest.warns(ShoestringWarning):
        expected = train_on_counts(*corpus(), SETTINGS, minutes=QUARTER)
    interrupt(monkeypatch, tmp_path, 3, minutes=QUARTER)
    with pytest.warns(ShoestringWarning, match=r"0\.25 of the 400"):
        weights = train_on_counts(*corpus(), SETTINGS, checkpoint=tmp_path)  # without a budget
    assert weights.tobytes() == expected.tobytes()


def test_a_machine_that_becomes_slower_counts_less_and_ends_in_time(monkeypatch):
    slow, cheap = 0.05, dict.fromkeys(("empty_block", "turn", "entry", "centres", "end"), 0.0)
    monkeypatch.setattr(count_watch, "measured_costs", lambda run: Costs(block=slow / 80, **cheap))
    shares, count = [], counts.PmiBlocks.count

    def slowly(self, block, share=1.0):
        shares.append(share)
        time.sleep(share * slow)  # much more than was measured; 2 seconds in all
        return count(self, block, share)

    monkeypatch.setattr(counts.PmiBlocks, "count", slowly)
    with pytest.warns(ShoestringWarning, match="of the 400 sentences were counted"):
        train_on_counts(*corpus(), SETTINGS, minutes=1 / 60, n_threads=1)
    assert shares[0] == 1.0
    assert sum(shares) * slow < 1.6
    assert shares[-1] < 0.5


def test_what_is_measured_is_about_what_it_takes(monkeypatch):
    n_words = 2000
    monkeypatch.setattr(counts, "BLOCK_BYTES", 1 << 20)
    ids = (np.random.default_rng(0).zipf(1.3, 400_000) % n_words).astype(np.int32)
    offsets = np.arange(0, 400_001, 20)
    pmi = counts.PmiBlocks(ids, offsets, n_words, radius=5, context_power=0.75)
    with KernelPool(2) as team:
        run = CountRun(pmi, 100, 40, 0, team)
        said, began = measured_costs(run).remaining(run, 1.0), time.monotonic()
        while run.place.stage != "done":
            run.advance()
    took = time.monotonic() - began
    assert took / 10 < said < 20 * took  # the machine may be busy


def test_the_progress_bar_names_the_stages_and_ends_full(capsys):
    train_on_counts(*corpus(), SETTINGS, progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "8,000 tokens, 60 words: about " in err
    assert "MB of weights" in err
    assert err.rstrip().splitlines()[-1].split("\r")[-1].startswith("done: 100%")
