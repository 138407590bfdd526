"""Outputs of a frozen backbone, kept in a file: the same numbers, whatever happens to the file."""

import errno
import os
import random
import shutil
import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.errors import ShoestringWarning
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune.cache import OutputCache, default_folder
from shoestring.tune.examples import Tokens, padded, tokenised

LAYERS = (0, 1, 2)
BUDGET = 10**9
PER_TOKEN = 4 * 32 * 2  # K outputs of D numbers, two bytes each
NAMES = "file list string word line text path key map"
WORDS = [*NAMES.split(), "open", "read", "split", "join", "sort"]
TEXTS = [" ".join(random.Random(n).choices(WORDS, k=n % 7)) for n in range(24)]


@pytest.fixture
def texts(backbone):
    return tokenised(backbone(), TEXTS, None, 16)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Where outputs are kept."""
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def opened(backbone, texts):
    """A function: a cache of the texts, in small batches."""

    def open_cache(name="bert", layers=LAYERS, of=texts, budget=BUDGET, at_once=24):
        frozen = name if isinstance(name, FrozenBackbone) else backbone(name)
        return OutputCache(frozen, layers, of, budget, at_once)

    return open_cache


def is_complete(cache):
    """Whether no text has to be computed again."""
    return cache.n_kept == len(cache._order)


def different(texts):
    return len({tuple(text.ids) for text in texts})


def computed(frozen, texts, layers=LAYERS):
    """The outputs of texts, straight from the backbone, in one batch: (K, B, T, D) and mask."""
    ids, mask, segments = padded(texts, frozen.padding_id)
    apart = all(text.segments is None for text in texts)
    return frozen.outputs(ids, mask, layers, None if apart else segments), mask.bool()


def assert_right(cache, texts, tolerance=0.02):
    """What the cache gives is what the backbone gives, within the rounding of bfloat16."""
    want, mask = computed(cache.backbone, texts, cache.layers)
    read = cache.read(texts)
    assert torch.equal(read.mask, mask)
    error = (read.outputs.float() - want.float())[:, mask].abs().max().item()
    assert error < tolerance * want[:, mask].abs().max().item()


# ---- what is read ----


@pytest.mark.parametrize("budget", [BUDGET, None], ids=["file", "memory"])
def test_what_is_kept_equals_what_is_computed_bit_for_bit(opened, texts, budget):
    cache = opened(budget=budget, at_once=10**6)  # filled in one batch
    assert sum(cache.fill()) == different(texts)
    batch = list({tuple(text.ids): text for text in texts}.values())
    batch.sort(key=lambda text: len(text.ids))
    want, mask = computed(cache.backbone, batch)
    cache.computed = 0
    read = cache.read(batch)
    assert cache.computed == 0
    assert torch.equal(read.outputs[:, mask], want.bfloat16()[:, mask])
    assert not read.outputs[:, ~mask].any()


def test_the_next_run_reads_what_one_has_kept(opened, texts):
    one = opened()
    list(one.fill())
    other = opened()
    assert is_complete(other) and all(text in other for text in texts)
    assert torch.equal(other.read(texts).outputs, one.read(texts).outputs)
    assert sum(other.fill()) == other.computed == 0


def test_a_token_takes_two_bytes_a_number_and_equal_texts_are_kept_once(opened, texts, folder):
    cache = opened(of=[*texts, *texts])
    list(cache.fill())
    n_tokens = sum(len(ids) for ids in {tuple(text.ids) for text in texts})
    assert cache.file.stat().st_size == n_tokens * PER_TOKEN == cache.n_bytes
    assert cache.computed == different(texts)
    assert len(list(folder.iterdir())) == 2


def test_content_is_what_is_not_special(opened, texts):
    read = opened(budget=0).read(texts)
    for i, text in enumerate(texts):
        special = torch.tensor(text.special, dtype=torch.bool)
        assert read.content[i, : len(special)].tolist() == (~special).tolist()
        assert not read.content[i, len(special) :].any()


def test_without_a_budget_all_is_computed_and_nothing_written(opened, texts, folder):
    cache = opened(budget=0)
    assert list(cache.fill()) == []
    assert_right(cache, texts)
    assert cache.computed == len(texts)
    assert not folder.exists()


def test_a_budget_that_ends_keeps_what_fits_and_the_rest_is_computed(opened, texts):
    cache = opened(budget=60 * PER_TOKEN, at_once=8)
    n = sum(cache.fill())
    assert 5 < n == cache.n_kept == cache.n_fitting < different(texts)
    assert not is_complete(cache) and cache.file.stat().st_size <= 60 * PER_TOKEN
    cache.computed = 0
    assert_right(cache, texts)
    assert cache.computed == sum(text not in cache for text in texts)
    more = opened(at_once=8)  # a larger budget continues
    assert sum(more.fill()) == different(texts) - n
    assert_right(more, texts)


def test_other_texts_are_computed_beside_those_that_are_kept(opened, texts):
    cache = opened(of=texts[::2])
    list(cache.fill())
    cache.computed = 0
    assert_right(cache, texts)
    assert 0 < cache.computed <= len(texts) // 2


def test_a_caller_may_stop_and_another_run_continues(opened, texts):
    cache = opened()
    filling = cache.fill()
    n = next(filling) + next(filling)
    filling.close()
    assert cache.n_kept == n
    again = opened()
    assert n + sum(again.fill()) == different(texts)
    whole = opened(budget=None)
    list(whole.fill())
    assert torch.equal(again.read(texts).outputs, whole.read(texts).outputs)  # bit for bit


def test_two_runs_that_fill_one_file_leave_it_right(opened, texts):
    one, two = opened(), opened()
    filling, other = one.fill(), two.fill()
    next(filling), next(other), next(other)
    list(filling)
    list(other)
    for cache in (one, two, opened()):
        assert is_complete(cache)
        assert_right(cache, texts)


def test_a_text_without_tokens_can_be_kept(opened, backbone):
    texts = tokenised(backbone("gpt2"), ["", "open the file"], None, 16)
    cache = opened("gpt2", of=texts)
    list(cache.fill())
    assert_right(cache, texts)
    assert cache.read(texts).content.tolist() == [[False] * 3, [True] * 3]


# ---- the key ----


def test_segments_are_part_of_the_key(opened):
    plain = Tokens([2, 4, 3, 5, 3], [1, 0, 1, 0, 1], None)
    pair = plain._replace(segments=[0, 0, 0, 1, 1])
    other = plain._replace(segments=[0, 0, 1, 1, 1])
    cache = opened(of=[plain, pair, other])
    assert sum(cache.fill()) == 3
    read = [cache.read([text]).outputs for text in (plain, pair, other)]
    assert not torch.equal(read[0], read[1])
    assert not torch.equal(read[1], read[2])
    assert Tokens([2, 4, 3, 5, 3, 0], [1, 0, 1, 0, 1, 0], None) not in cache


@pytest.mark.parametrize("change", ["backbone", "layers", "texts", "dtype"])
def test_outputs_of_another_backbone_are_never_taken(
    change, opened, saved, save_tiny, texts, tmp_path
):
    list(opened().fill())
    if change == "backbone":
        other = save_tiny(tmp_path / "other", "bert", seed=9)
        other = opened(FrozenBackbone.load(other, "float32"))
    elif change == "dtype":
        other = opened(FrozenBackbone.load(saved("bert"), "bfloat16"))
    else:
        other = opened(**{"layers": (0, 2)} if change == "layers" else {"of": texts[:9]})
    assert other.n_kept == 0
    assert_right(other, texts, 0.05)
    assert sum(other.fill()) > 0
    assert sum(opened().fill()) == 0  # and those of the first are still there


def test_another_tokenizer_is_another_backbone(saved, save_tiny, tmp_path):
    folder = save_tiny(tmp_path / "same", "bert")
    assert FrozenBackbone.load(folder).digest == FrozenBackbone.load(saved("bert")).digest
    file = folder / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"nested"', '"netsed"'), "utf-8")
    assert FrozenBackbone.load(folder).digest != FrozenBackbone.load(saved("bert")).digest


def test_a_model_that_was_given_is_known_by_its_weights(opened, tiny_model):
    list(opened(FrozenBackbone(tiny_model("bert"), dtype="float32")).fill())
    same, other = (FrozenBackbone(tiny_model("bert", seed), dtype="float32") for seed in (0, 1))
    assert (is_complete(opened(same)), opened(other).n_kept) == (True, 0)


def test_the_folder_can_be_said_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("SHOESTRING_OUTPUTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "shoestring" / "outputs"


# ---- damage and the disk ----


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("ending", [".states", ".json"])
def test_a_file_that_was_cut_gives_right_answers_and_can_be_filled(opened, texts, ending, share):
    cache = opened()
    list(cache.fill())
    file = cache.file.with_suffix(ending)
    os.truncate(file, int(file.stat().st_size * share))
    damaged = opened()
    assert_right(damaged, texts)
    list(damaged.fill())
    assert is_complete(damaged) and is_complete(opened())
    assert_right(opened(), texts)


@pytest.mark.parametrize(
    "note", ['{"n_texts": 10000}', '{"n_texts": -3}', "[]", '{"n_texts": "x"}']
)
def test_a_note_that_cannot_be_is_no_harm(opened, texts, note):
    list(opened().fill())
    opened().file.with_suffix(".json").write_text(note)
    cache = opened()
    list(cache.fill())
    assert_right(cache, texts)


def test_what_a_killed_run_wrote_without_noting_it_is_written_again(opened, texts):
    cache = opened()
    list(cache.fill())
    cache.file.with_suffix(".json").write_text('{"n_texts": 4}')
    data = cache.file.read_bytes()
    cache.file.write_bytes(data[: len(data) // 2] + b"x" * 99)
    again = opened()
    assert again.n_kept == 4
    list(again.fill())
    assert_right(again, texts)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_once_and_the_rest_is_computed(opened, texts, monkeypatch, folder):
    cache = opened()
    filling = cache.fill()
    n = next(filling)
    with monkeypatch.context() as patched:
        patched.setattr(OutputCache, "_keep", full)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert list(filling) == []
        (said,) = [w for w in caught if w.category is ShoestringWarning]
        assert "No space left on device" in str(said.message)
        assert str(folder) in str(said.message)
        assert cache.n_kept == n
        assert_right(cache, texts)
    assert sum(opened().fill()) == different(texts) - n  # there is room again


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(opened, texts, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "file" / "outputs"))
    cache = opened()
    with pytest.warns(ShoestringWarning, match=r"cannot be kept in .*file.outputs"):
        assert list(cache.fill()) == []
    assert_right(cache, texts)


def test_a_folder_that_is_deleted_while_it_is_read_stays_readable(opened, texts, folder):
    cache = opened()
    list(cache.fill())
    cache.read(texts[:1])
    shutil.rmtree(folder)
    cache.computed = 0
    assert_right(cache, texts)
    assert cache.computed == 0
