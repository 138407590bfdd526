"""A time limit yields a model: of a random share of the examples, where not all of them fit."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from shoestring.errors import BudgetError, ShoestringWarning
from shoestring.jobs import Clock, RunFolder, SaveEvery
from shoestring.models.frozen import FrozenBackbone
from shoestring.text.records import Labelled
from shoestring.tune import job as module
from shoestring.tune.baselines import make_model
from shoestring.tune.examples import examples_of, split
from shoestring.tune.job import Job, trained
from shoestring.tune.ladder import Ladder
from shoestring.tune.trainer import Checkpoints

WORDS = ("open read file path write", "sort list count map string")
N = 4_000  # texts, 28,000 tokens in all
RNG = np.random.default_rng(0)
LABELS = [n % 2 for n in range(N)]
TEXTS = [" ".join(RNG.choice(WORDS[n % 2].split(), 3 + n % 9)) for n in range(N)]


@pytest.fixture
def time(monkeypatch, tmp_path):
    """A clock on which the backbone reads a token in a millisecond: all in about half a minute."""
    clock = SimpleNamespace(s=0.0, token_s=0.001)
    clock.of = lambda minutes: Clock(minutes, now=lambda: clock.s)
    real = FrozenBackbone.outputs

    def slow(self, ids, mask, *more, trained=None):
        if trained is None:
            clock.s += clock.token_s * int(mask.sum())
        return real(self, ids, mask, *more, trained=trained)

    monkeypatch.setattr(FrozenBackbone, "outputs", slow)
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "outputs"))
    return clock


@pytest.fixture
def tuned(backbone, tmp_path, time):
    """A function: train within some minutes; the report."""

    def run(minutes, method="ladder", name="m", **options):
        options = {"epochs": 1, "batch_size": 32, "layers": (0, 1, 2), "max_length": 20, **options}
        job = Job.of(method, "", reduction=4, **options)
        model = make_model(method, backbone(), job.config)
        rows = Labelled(TEXTS, list(map(str, LABELS)))
        settings = getattr(model, "settings", job.config)
        examples = examples_of(rows, len(TEXTS), LABELS, backbone(), settings)
        halves = split(examples, len(TEXTS), False, 0)
        with RunFolder.open(tmp_path / name, {}, resume=True) as folder:
            return trained(job, model, examples, halves, time.of(minutes), folder, progress=False)

    return run


def test_all_texts_are_read_where_there_is_time(tuned):
    report = tuned(10)
    assert (report["train_examples"], report["held_out_examples"]) == (3_600, 400)


@pytest.mark.parametrize("method", ["ladder", "head"])
def test_a_random_share_is_read_where_there_is_less(tuned, time, method):
    with pytest.warns(
        ShoestringWarning, match=r"minutes, 0\.\d+ of the examples were used, drawn at random"
    ):
        report = tuned(0.5, method)
    assert 1_000 < report["train_examples"] < 2_600
    assert report["held_out_examples"] * 9 == report["train_examples"]
    assert report["epochs"] == 1.0
    assert time.s <= 30


def test_a_second_run_finds_the_outputs_of_the_first(tuned, time):
    with pytest.warns(ShoestringWarning):
        first = tuned(0.5, name="a")
    used = time.s
    with pytest.warns(ShoestringWarning):
        second = tuned(0.5, name="b")
    assert first["train_examples"] == second["train_examples"]
    assert time.s - used < 0.2 * used


def test_too_few_minutes_for_a_few_examples_say_at_once_what_fits(tuned, time, tmp_path):
    with pytest.raises(BudgetError, match=r"Reading 32 of 3,600 examples.*Pass --minutes ") as said:
        tuned(0.04)
    assert time.s < 4
    assert not (tmp_path / "m.run").exists()
    minutes = float(str(said.value).split("--minutes ")[1].split()[0])
    with pytest.warns(ShoestringWarning, match="of the examples were used"):
        assert tuned(minutes + time.s / 60)["train_examples"] >= 32


def test_a_reading_that_becomes_slower_ends_and_training_goes_on(tuned, time, monkeypatch):
    kept = module.OutputCache.fill

    def slower(self):
        time.token_s *= 4
        yield from kept(self)
        time.token_s /= 4

    monkeypatch.setattr(module.OutputCache, "fill", slower)
    with pytest.warns(ShoestringWarning, match="of the examples were used"):
        report = tuned(1.2)
    assert report["held_out"]["accuracy"] >= 0


def test_an_interrupted_run_goes_on_with_the_same_share(tuned, time, monkeypatch):
    real = Checkpoints.on_save

    def stopping(self, args, state, control, **more):
        real(self, args, state, control, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_save", stopping)
        patch.setattr(SaveEvery, "is_due", True)
        with pytest.warns(ShoestringWarning), pytest.raises(KeyboardInterrupt):
            tuned(0.5)
    time.s = 0.0
    monkeypatch.setattr(module, "FOR_OUTPUTS", 0.2)  # another share, were it asked for again
    with pytest.warns(ShoestringWarning):
        report = tuned(0.5)
    assert 1_000 < report["train_examples"] < 2_600


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_trained_through_sees_a_share_of_an_epoch(tuned, time, method, monkeypatch):
    if method == "lora":
        pytest.importorskip("peft")
    real = Ladder.forward

    def slow(self, labels=None, **batch):
        time.s += 1.0
        return real(self, labels=labels, **batch)

    monkeypatch.setattr(Ladder, "forward", slow)
    with pytest.warns(ShoestringWarning, match=r"0\.\d+ of the examples were used"):
        report = tuned(0.5, method)
    assert 5 <= report["steps"] < 112
