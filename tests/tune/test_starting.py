"""A side network that starts as what matters in the backbone."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.errors import ShoestringWarning
from shoestring.tune import budget, starting
from shoestring.tune.budget import Clock
from shoestring.tune.cache import OutputCache
from shoestring.tune.examples import Examples
from shoestring.tune.pruning import hidden_channels, importances, pruned
from shoestring.tune.starting import start_from_backbone
from shoestring.tune.tokens import tokenised

FIRSTS = ["open the file", "sort a list of words", "join", "read text", "close the path", "count"]
SECONDS = ["read write file", "sort words", "chain", "open a key", "close", "list"]


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(starting, "HEAD_STEPS", 3)


@pytest.fixture
def now(monkeypatch):
    """Seconds, moved by hand."""
    time = SimpleNamespace(s=0.0)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: time.s))
    return time


@pytest.fixture
def sent(monkeypatch, now):
    """The examples that were sent through the backbone; each takes as long as one says."""
    found = SimpleNamespace(examples=[], importances=None, example_s=0.0)

    def spied(model, loss_of, n, after):
        def loss(backbone, i):
            found.examples.append(i)
            now.s += found.example_s
            return loss_of(backbone, i)

        found.importances = importances(model, loss, n, after)
        return found.importances

    monkeypatch.setattr(starting, "importances", spied)
    return found


@pytest.fixture
def start(make_ladder):
    """A function: a ladder with its start, and how many examples that is said to be from."""

    def started(clock=None, n_samples=1024, units=None, family="bert", **settings):
        ladder = make_ladder(family, **{"n_labels": 2, "init": "fisher", **settings})
        frozen, pairs = ladder.backbone, ladder.settings.pairs
        first = tokenised(frozen, FIRSTS, SECONDS if pairs == "joint" else None, 20)
        second = tokenised(frozen, SECONDS, None, 20) if pairs in ("apart", "late") else None
        labels = [i % 2 for i in range(6)]
        examples = Examples(first, second, labels, units or [[row] for row in range(6)])
        cache = OutputCache(frozen, ladder.layers)
        n = start_from_backbone(
            ladder, examples, cache, clock or Clock(), n_samples=n_samples, progress=False
        )
        return ladder, n

    return started


def blocks(ladder):
    return {name: p.detach().clone() for name, p in ladder.side.named_parameters()}


CASES = [
    {}, {"pairs": "joint"}, {"pairs": "apart"}, {"task": "score", "pairs": "apart"},
    {"task": "score", "pairs": "late"}, {"task": "regress"}, {"family": "gpt2"},
]  # fmt: skip


@pytest.mark.parametrize("settings", CASES, ids=lambda case: " ".join(case.values()) or "classify")
def test_every_block_gets_a_start(start, make_ladder, settings):
    ladder, _ = start(**settings)
    random = make_ladder(**{"n_labels": 2, "init": "fisher", **settings})
    before, after = blocks(random), blocks(ladder)
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    in_blocks = [name for name in before if ".0." in name or ".1." in name or ".2." in name]
    assert len(in_blocks) > 10
    assert set(in_blocks) <= set(moved)
    assert all(value.isfinite().all() for value in after.values())


def test_pairs_of_a_query_are_one_sample(start, sent):
    start(units=[[0, 1, 2], [3, 4], [5]], task="score", pairs="apart")
    assert sent.examples == [0, 1, 2]


def test_the_start_is_that_of_the_importances(start, make_ladder, sent):
    ladder, _ = start()
    want = make_ladder(n_labels=2, init="fisher")
    pruned(want.side, want.backbone.model, want.layers, sent.importances, want.settings.reduction)
    a, b = blocks(ladder), blocks(want)
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert max(value.max() for value in sent.importances.values()) > 0


@pytest.mark.parametrize("settings", [{}, {"pairs": "apart"}, {"variant": "additive"}], ids=str)
def test_outputs_enter_as_the_channels_that_were_kept(start, sent, settings):
    ladder, _ = start(**settings)
    base, width = ladder.backbone.model, ladder.rungs.weight.shape[-1]
    kept = hidden_channels(base, sent.importances, width)
    assert len(kept) == width
    assert kept.tolist() != list(range(width))
    read = OutputCache(ladder.backbone, ladder.layers).read(
        tokenised(ladder.backbone, FIRSTS, None, 20)
    )
    want = read.outputs[..., kept].float()
    torch.testing.assert_close(ladder.rungs.down(read.outputs, read.mask), want)


def test_the_same_seed_gives_the_same_start(start):
    one, two, other = (blocks(start(n_samples=3, seed=seed)[0]) for seed in (0, 0, 1))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_backbone_stays_as_it_was(start, backbone):
    before = {name: value.clone() for name, value in backbone().model.state_dict().items()}
    ladder, _ = start()
    assert all(torch.equal(v, before[n]) for n, v in backbone().model.state_dict().items())
    assert not any(p.requires_grad for p in backbone().model.parameters())
    assert all(p.requires_grad for name, p in ladder.named_parameters() if ".layer." in name)


def test_no_more_examples_than_asked_for_are_sent_through(start, sent):
    start(n_samples=2)
    assert sent.examples == [0, 1]


def test_it_is_said_from_how_many_examples_the_start_is(start):
    assert start(n_samples=2)[1] == 2


# ---- the clock ----


@pytest.mark.parametrize(("minutes", "n"), [(1.0, 3), (0.01, 1), (None, 6)])
def test_a_fifth_of_the_minutes_is_used_at_most(start, sent, minutes, n):
    sent.example_s = 5.0  # and 12 of 60 s may be used
    start(Clock(minutes))
    assert len(sent.examples) == n


def test_the_head_that_is_trained_first_is_within_the_minutes(start, now, monkeypatch):
    monkeypatch.setattr(starting, "HEAD_STEPS", 150)
    real = OutputCache.read

    def slow(self, texts):
        now.s += 2.0  # a backbone that is computed whenever it is asked for: --cache 0
        return real(self, texts)

    monkeypatch.setattr(OutputCache, "read", slow)
    start(clock := Clock(1.0))
    assert clock.used_s < 60


# ---- what is said ----


def test_what_keeps_its_random_start_is_said(start, monkeypatch):
    monkeypatch.setattr(starting, "pruned", lambda *_: ["0.mystery.weight", "1.mystery.weight"])
    with pytest.warns(ShoestringWarning, match=r"2 parameters of the side blocks, 0\.mystery\."):
        start()


def test_how_far_the_minutes_reached_is_said(sent, make_ladder, capsys):
    sent.example_s = 30.0
    ladder = make_ladder(n_labels=2, init="fisher")
    tokens = tokenised(ladder.backbone, FIRSTS, None, 20)
    examples = Examples(tokens, None, [0, 1] * 3, [[row] for row in range(6)])
    start_from_backbone(ladder, examples, OutputCache(ladder.backbone, ladder.layers), Clock(1.0))
    assert "importances of 1 examples, as the minutes allow" in capsys.readouterr().err
