"""The joint objective: what is masked, what is asked at [CLS], and the score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.match.bases import save_base  # noqa: E402

from shoestring.match.label_token import (  # noqa: E402
    NOTHING,
    JointBatches,
    joined,
    mask_draws,
    with_label_token,
)
from shoestring.match.matcher import load_masked  # noqa: E402
from shoestring.match.symbols import SPECIAL, SymbolVocabulary  # noqa: E402

VOCABULARY = SymbolVocabulary([*SPECIAL, *map(chr, range(97, 117))], "characters")
IDS = VOCABULARY.ids
N = 400


def batches(**settings: Any) -> JointBatches:
    """N pairs of 7 letters each: a has the first ten letters, b the others; labels 0, 1, none."""
    draw = np.random.default_rng(0)
    a, b = (draw.integers(first, first + 10, (N, 7)).tolist() for first in (7, 17))
    labels = np.array([0.0, 1.0, np.nan, 1.0] * (N // 4))
    return JointBatches(a, b, labels, IDS, 32, **settings)


def sums(found: dict[str, Any], plain: dict[str, Any]) -> dict[str, float]:
    """Shares of the symbols that are masked, kept but predicted, replaced."""
    ids, targets = found["input_ids"], found["labels"]
    asked = targets != NOTHING
    asked[:, 0] = False
    n = (plain["input_ids"] >= len(SPECIAL)).sum()
    masked, same = ids == IDS["[MASK]"], ids == targets
    assert (asked | ~masked).all()
    return {
        "masked": float((asked & masked).sum() / n),
        "kept": float((asked & same).sum() / n),
        "random": float((asked & ~masked & ~same).sum() / n),
    }


def test_rates_of_masking_are_the_published_ones() -> None:
    ours = batches()
    everything = list(range(N))
    plain = batches(held_out=everything)(everything)
    found = []
    for ours.epoch in range(20):
        found.append(sums(ours(everything), plain))
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["masked"] == pytest.approx(0.12, abs=0.006)
    assert mean["kept"] == pytest.approx(0.0155, abs=0.003)  # a random symbol may be the same
    assert mean["random"] == pytest.approx(0.0145, abs=0.003)


def test_random_symbols_are_real_and_special_tokens_stay() -> None:
    found = batches()(list(range(N)))
    ids, targets = found["input_ids"], found["labels"]
    replaced = (targets != NOTHING) & (ids != IDS["[MASK]"])
    replaced[:, 0] = False
    assert (ids[replaced] >= len(SPECIAL)).all()
    assert (ids[:, 0] == IDS["[CLS]"]).all() and ((ids == IDS["[SEP]"]).sum(1) == 2).all()
    assert (targets[:, 1:][targets[:, 1:] != NOTHING] >= len(SPECIAL)).all()


def test_the_answer_is_asked_at_cls_where_there_is_a_label() -> None:
    found = batches()([0, 1, 2, 3])["labels"][:, 0].tolist()
    assert found == [IDS["[NO]"], IDS["[YES]"], NOTHING, IDS["[YES]"]]


def test_half_of_the_pairs_are_swapped_in_training_and_none_that_is_held_out() -> None:
    ids = batches()(list(range(N)))["input_ids"]
    first = ids[:, 1]
    share = float((first[first >= len(SPECIAL)] >= 17).float().mean())
    assert 0.4 < share < 0.6
    held = batches(held_out=range(N))
    before = held(list(range(N)))
    held.epoch = 1
    after = held(list(range(N)))
    assert (before["input_ids"] == after["input_ids"]).all()
    assert (before["input_ids"][:, 1] < 17).all() and (before["labels"][:, 1:] == NOTHING).all()


def test_masks_are_of_the_seed_the_epoch_and_the_numbers() -> None:
    ours = batches(seed=3)
    first, again = (ours([4, 5, 6])["input_ids"] for _ in range(2))
    ours.epoch = 1
    other = ours([4, 5, 6])["input_ids"]
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("n", "longest"), [(3, 1), (6, 2), (40, 3)])
def test_spans_are_as_long_as_the_text_allows_and_never_touch(n: int, longest: int) -> None:
    rng = np.random.default_rng(0)
    n_masked, sizes = 0, set()
    for _ in range(2_000):
        draws = mask_draws(n, rng, True)
        n_masked += int((draws < 1).sum())
        runs = "".join("x" if one < 1 else "." for one in draws).split(".")
        sizes |= {len(run) for run in runs if run}
    assert max(sizes) == longest
    assert 0.12 < n_masked / (2_000 * n) < 0.18


def test_pairs_are_cut_where_they_are_longer() -> None:
    cls, sep = IDS["[CLS]"], IDS["[SEP]"]
    assert joined([8] * 9, [9] * 2, IDS, 10) == [cls, *[8] * 5, sep, 9, 9, sep]
    assert joined([8] * 2, [9] * 9, IDS, 10) == [cls, 8, 8, sep, *[9] * 5, sep]
    assert joined([8] * 9, [9] * 9, IDS, 11) == [cls, *[8] * 4, sep, *[9] * 4, sep]
    assert joined([], [], IDS, 8) == [cls, sep, sep]
    made = batches()
    sizes = [len(joined(a, b, IDS, 32)) for a, b in zip(made.a, made.b, strict=True)]
    assert made.lengths == sizes
    assert made.lengths is made.lengths  # counted once: it is asked for each pair


def test_a_symbol_of_both_texts_is_marked_where_it_can_be_seen() -> None:
    unknown = IDS["[UNK]"]
    made = JointBatches([[8, unknown, 9, 8]], [[8, 10, unknown]], np.ones(1), IDS, 32, held_out={0})
    assert made([0])["token_type_ids"].tolist() == [[0, 1, 0, 0, 1, 0, 1, 0, 0, 0]]
    cut = JointBatches([[8] * 9], [[9] * 8 + [8]], np.ones(1), IDS, 11, held_out={0})
    assert not cut([0])["token_type_ids"].any()  # the one that is in both was cut off
    same = [[8, 9, 10, 11] * 5]
    made = JointBatches(same, same, np.ones(1), IDS, 64)
    for made.epoch in range(20):
        found = made([0])
        ids, segments = found["input_ids"][0].tolist(), found["token_type_ids"][0].tolist()
        assert not any(s for i, s in zip(ids, segments, strict=True) if i < len(SPECIAL))


@pytest.fixture(scope="module", params=["bert", "roberta", "distilbert", "modernbert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("base")
    found, _ = load_masked(save_base(folder, request.param, n_rows=len(IDS)))
    return with_label_token(found).eval()


def all_logits(model: Any, batch: dict[str, Any]) -> Any:
    """Of the family's own forward (B, T, V)."""
    family = next(
        kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers")
    )
    return family.forward(model, batch["input_ids"], batch["attention_mask"]).logits


def test_the_loss_is_that_of_all_logits(model: Any) -> None:
    batch = batches()([0, 1, 3, 5])  # with a label each: evaluation scores every pair
    with torch.inference_mode():
        logits, found = all_logits(model, batch), model(**batch)
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    assert float(found["loss"]) == pytest.approx(float(want), rel=1e-4)


def test_scores_are_yes_less_no_at_cls(model: Any) -> None:
    batch = batches(held_out=range(N))([0, 1, 3, 5])
    with torch.inference_mode():
        logits = all_logits(model, batch)[:, 0]
        want = logits[:, IDS["[YES]"]] - logits[:, IDS["[NO]"]]
        np.testing.assert_allclose(model(**batch)["logits"], want, rtol=1e-4, atol=1e-5)


def test_marks_reach_a_model_that_has_segments(model: Any) -> None:
    sides = [[8, 9]], [[8, 10]]
    batch = JointBatches(*sides, np.ones(1), IDS, 32, held_out={0})([0])
    with torch.inference_mode():
        marked = float(model(**batch)["logits"])
        plain = float(
            model(**batch | {"token_type_ids": torch.zeros(1, 7, dtype=torch.long)})["logits"]
        )
    assert (marked != plain) == (model.config.model_type in ("bert", "roberta"))
