import errno
import gc
import os
import random
import shutil
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.errors import ParameterError, ShoestringWarning
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import cache as cache_module
from shoestring.tune.cache import ENTRY, OutputCache, default_folder
from shoestring.tune.tokens import Tokens, padded, tokenised

LAYERS = (0, 1, 2)
BUDGET = 10**9
PER_TOKEN = 4 * 32 * 2  # K outputs of D numbers, two bytes each
NAMES = "file list string word line text path key map"
WORDS = [*NAMES.split(), "open", "read", "split", "join", "sort"]
TEXTS = [" ".join(random.Random(n).choices(WORDS, k=n % 7)) for n in range(24)]


@pytest.fixture
def made():
    """Caches, closed at the end of the test."""
    caches = []
    yield caches
    for cache in caches:
        cache.close()


@pytest.fixture
def opened(made, backbone, tmp_path):
    """A function: a cache in the test's folder."""

    def open_cache(name="bert", layers=LAYERS, folder=tmp_path / "outputs", budget=BUDGET, **more):
        frozen = name if isinstance(name, FrozenBackbone) else backbone(name)
        made.append(OutputCache(frozen, layers, folder, budget, **more))
        return made[-1]

    return open_cache


@pytest.fixture
def texts(backbone):
    return tokenised(backbone(), TEXTS, None, 16)


def fill(cache, texts):
    """The number of texts that were computed."""
    return sum(cache.fill(texts))


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


def test_what_is_kept_equals_what_is_computed_bit_for_bit(opened, texts):
    cache = opened()
    batch = sorted(texts, key=lambda text: len(text.ids))  # as it is filled: in one batch
    assert fill(cache, batch) == len({tuple(text.ids) for text in texts})
    batch = list({tuple(text.ids): text for text in batch}.values())
    want, mask = computed(cache.backbone, batch)
    cache.computed = 0
    read = cache.read(batch)
    assert cache.computed == 0
    assert torch.equal(read.outputs[:, mask], want.bfloat16()[:, mask])
    assert not read.outputs[:, ~mask].any()


def test_what_another_run_reads_equals_what_one_has_kept(opened, texts):
    one = opened()
    fill(one, texts)
    other = opened()
    assert len(other) == len(one) > 0
    assert torch.equal(other.read(texts).outputs, one.read(texts).outputs)
    assert other.computed == 0


def test_outputs_of_other_batches_are_close(opened, texts):
    cache = opened()
    fill(cache, texts)
    for text in texts[:6]:
        assert_right(cache, [text])
    assert cache.computed == len({tuple(text.ids) for text in texts})


def test_a_bfloat16_backbone_is_kept_without_loss(opened, saved, texts):
    frozen = FrozenBackbone.load(saved("bert"), "bfloat16")
    cache = opened(frozen)
    text = texts[5]
    fill(cache, [text])
    want, _ = computed(frozen, [text])
    assert want.dtype == torch.bfloat16
    assert torch.equal(cache.read([text]).outputs, want)


def test_int8_is_within_one_percent_of_a_tokens_largest_number(opened, texts):
    cache = opened(kind="int8")
    fill(cache, texts)
    cache.computed = 0
    read = cache.read(texts)
    assert cache.computed == 0
    want, mask = computed(cache.backbone, texts)
    error = (read.outputs.float() - want).abs().amax(-1)[:, mask]
    assert (error < 0.01 * want.abs().amax(-1)[:, mask]).all()
    assert error.max() > 1e-4  # it is int8 indeed


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_a_token_takes_as_many_bytes_as_is_said(kind, opened, texts):
    cache = opened(kind=kind)
    fill(cache, texts)
    n_tokens = sum(len(ids) for ids in {tuple(text.ids) for text in texts})
    size = (cache.folder / "states.bin").stat().st_size
    assert size == n_tokens * cache.bytes_per_token
    assert cache.bytes_per_token == (PER_TOKEN if kind == "bfloat16" else 4 * (32 + 4))


def test_content_is_what_is_not_special(opened, texts):
    read = opened(budget=0).read(texts)
    for i, text in enumerate(texts):
        special = torch.tensor(text.special, dtype=torch.bool)
        assert read.content[i, : len(special)].tolist() == (~special).tolist()
        assert not read.content[i, len(special) :].any()


def test_without_a_budget_all_is_computed_and_nothing_written(opened, texts, tmp_path):
    cache = opened(budget=0)
    assert list(cache.fill(texts)) == []
    assert len(cache) == 0
    assert_right(cache, texts)
    assert cache.computed == len(texts)
    assert list(tmp_path.iterdir()) == []


def test_what_is_computed_is_rounded_as_what_is_kept(opened, texts):
    """A run with a budget and one without see the same numbers."""
    for kind in ("bfloat16", "int8"):
        kept, apart = opened(kind=kind), opened(kind=kind, budget=0)
        fill(kept, texts[3:4])
        assert torch.equal(kept.read(texts[3:4]).outputs, apart.read(texts[3:4]).outputs)
        assert (kept.computed, apart.computed) == (1, 1)


def test_texts_that_are_not_kept_are_read_beside_those_that_are(opened, texts):
    cache = opened()
    fill(cache, texts[::2])
    cache.computed = 0
    assert_right(cache, texts)
    assert 0 < cache.computed <= len(texts) // 2


def test_equal_texts_are_computed_once(opened, texts):
    cache = opened()
    assert fill(cache, [texts[4]] * 5 + [texts[5]]) == 2
    assert cache.computed == len(cache) == 2
    assert_right(cache, [texts[4]] * 3)


def test_what_is_there_is_not_computed_again(opened, texts):
    cache = opened()
    fill(cache, texts)
    again = opened()
    assert all(text in again for text in texts)
    assert fill(again, texts) == again.computed == 0


def test_a_caller_may_stop_and_go_on(opened, texts, monkeypatch):
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 12)
    cache = opened()
    filling = cache.fill(texts)
    n = next(filling) + next(filling)
    filling.close()
    assert len(cache) == n
    assert n + fill(cache, texts) == len(cache) == len({tuple(text.ids) for text in texts})
    assert_right(cache, texts)


def test_a_text_without_tokens_can_be_kept(opened, backbone):
    texts = tokenised(backbone("gpt2"), ["", "open the file"], None, 16)
    cache = opened("gpt2")
    fill(cache, texts)
    assert_right(cache, texts)
    assert cache.read(texts).content.tolist() == [[False] * 3, [True] * 3]


# ---- the key ----


def test_segments_are_part_of_the_key(opened):
    plain = Tokens([2, 4, 3, 5, 3], [1, 0, 1, 0, 1], None)
    pair = plain._replace(segments=[0, 0, 0, 1, 1])
    other = plain._replace(segments=[0, 0, 1, 1, 1])
    cache = opened()
    assert fill(cache, [plain, pair, other]) == 3
    read = [cache.read([text]).outputs for text in (plain, pair, other)]
    assert not torch.equal(read[0], read[1])
    assert not torch.equal(read[1], read[2])
    for text in (plain, pair, other):
        assert_right(cache, [text])


def test_segments_are_not_taken_for_more_of_the_text(opened):
    """Ids and segments are told apart wherever the one ends and the other begins."""
    cache = opened()
    fill(cache, [Tokens([2, 4, 3, 0, 1, 1], [1, 0, 1, 1, 0, 0], None)])
    assert Tokens([2, 4, 3], [1, 0, 1], [0, 1, 1]) not in cache


@pytest.mark.parametrize("change", ["backbone", "layers", "kind", "dtype"])
def test_outputs_of_another_backbone_are_never_taken(
    change, opened, saved, save_tiny, texts, tmp_path
):
    fill(opened(), texts)
    if change == "backbone":
        other = opened(
            FrozenBackbone.load(save_tiny(tmp_path / "other", "bert", seed=9), "float32")
        )
    elif change == "dtype":
        other = opened(FrozenBackbone.load(saved("bert"), "bfloat16"))
    else:
        other = opened(**{"layers": (0, 2)} if change == "layers" else {"kind": "int8"})
    assert len(other) == 0
    assert not any(text in other for text in texts)
    assert_right(other, texts)
    assert fill(other, texts) == len({tuple(text.ids) for text in texts})
    assert fill(opened(), texts) == 0  # and those of the first are still there


def test_another_tokenizer_is_another_backbone(opened, saved, save_tiny, tmp_path):
    folder = save_tiny(tmp_path / "same", "bert")
    assert FrozenBackbone.load(folder).digest == FrozenBackbone.load(saved("bert")).digest
    file = folder / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"nested"', '"netsed"'), "utf-8")
    assert FrozenBackbone.load(folder).digest != FrozenBackbone.load(saved("bert")).digest


def test_a_model_that_was_given_is_known_by_its_weights(opened, tiny_model, texts):
    fill(opened(FrozenBackbone(tiny_model("bert"), dtype="float32")), texts)
    same, other = (FrozenBackbone(tiny_model("bert", seed), dtype="float32") for seed in (0, 1))
    assert len(opened(same)) > 0
    assert len(opened(other)) == 0


def test_an_unknown_kind_is_refused(backbone):
    with pytest.raises(ParameterError, match="kind"):
        OutputCache(backbone(), LAYERS, kind="float16")


def test_the_folder_can_be_said_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("SHOESTRING_OUTPUTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "shoestring" / "outputs"


# ---- the budget ----


def test_a_budget_that_ends_keeps_what_fits_and_the_rest_is_computed(opened, texts, monkeypatch):
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 8)
    cache = opened(budget=60 * PER_TOKEN)
    n = fill(cache, texts)
    assert 5 < n == len(cache) < len({tuple(text.ids) for text in texts})
    cache.computed = 0
    assert_right(cache, texts)
    assert cache.computed == sum(text not in cache for text in texts)


@pytest.mark.parametrize("budget", range(2_000, 30_000, 4_001))
def test_the_folder_is_never_larger_than_the_budget(budget, opened, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 8)
    fill(opened(budget=budget), texts)
    files = (path for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) <= budget


def test_a_byte_less_than_all_is_not_enough_for_all(opened, texts, tmp_path):
    """Entries take room too."""
    fill(opened(), texts)
    size = sum(path.stat().st_size for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    assert fill(opened(folder=tmp_path / "enough", budget=size), texts) > 0
    less = opened(folder=tmp_path / "less", budget=size - 1)
    fill(less, texts)
    assert len(less) < len({tuple(text.ids) for text in texts})


def test_the_cache_that_was_used_the_longest_ago_goes_first(opened, texts, tmp_path):
    oldest, older, newest = (opened(layers=layers) for layers in ((0, 2), (1, 2), (2,)))
    for age, cache in ((30, oldest), (20, older), (10, newest)):
        fill(cache, texts)
        os.utime(cache.folder / "about.json", (10**9 - age, 10**9 - age))
    size = sum(path.stat().st_size for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    cache = opened(budget=size + 100)  # no room beside them, enough in place of two
    assert fill(cache, texts) > 0
    assert [c.folder.exists() for c in (oldest, older, newest)] == [False, False, True]
    assert_right(cache, texts)


def test_using_a_cache_makes_it_the_newest(opened, texts, tmp_path):
    one, two = opened(layers=(0, 2)), opened(layers=(1, 2))
    for age, cache in ((30, one), (20, two)):
        fill(cache, texts)
        os.utime(cache.folder / "about.json", (10**9 - age, 10**9 - age))
    opened(layers=(0, 2))  # used again, only read
    size = sum(path.stat().st_size for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    fill(opened(layers=(2,), budget=size + 100), texts)
    assert (one.folder.exists(), two.folder.exists()) == (True, False)


def test_folders_that_are_not_ours_are_never_deleted(opened, texts, tmp_path):
    """Whoever names a folder in which there are others keeps them."""
    photos = tmp_path / "outputs" / "photos"
    photos.mkdir(parents=True)
    (photos / "one.jpg").write_bytes(b"x" * 50_000)
    fill(opened(budget=20_000), texts)
    assert (photos / "one.jpg").exists()


def test_a_cache_that_another_run_gives_up_is_computed_again(opened, texts, tmp_path):
    """The oldest cache goes even while its run goes on: that run must not stop for it."""
    one = opened()
    list(one.fill(texts))  # still the one that adds
    os.utime(one.folder / "about.json", (10**9, 10**9))
    fill(opened(layers=(0, 2), budget=25_000), texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShoestringWarning)
        assert_right(one, texts)
        list(one.fill([*texts, Tokens([2, 9, 9, 9, 3], [1, 0, 0, 0, 1], None)]))
        assert_right(one, texts)


# ---- several runs ----


def test_one_run_at_a_time_adds_and_another_says_so(opened, texts, monkeypatch):
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 12)
    first, second = opened(), opened()
    filling = first.fill(texts)
    next(filling)
    reader = opened()
    sizes = [path.stat().st_size for path in sorted(first.folder.iterdir())]
    with pytest.warns(ShoestringWarning, match="Another run adds to .* Wait for it"):
        assert list(reader.fill(texts)) == []
    assert [path.stat().st_size for path in sorted(first.folder.iterdir())] == sizes
    assert_right(reader, texts)
    assert 0 < reader.computed == sum(text not in first for text in texts) < len(texts)
    assert_right(second, texts)  # opened when nothing was there: all is computed
    assert second.computed == len(texts)
    list(filling)


def test_a_run_adds_when_the_other_has_filled(opened, texts):
    first, second = opened(), opened()
    list(first.fill(texts[:12]))  # and goes on to train
    fill(second, texts)
    assert second.computed == len(second) - len(first)  # what the first has added is not computed
    assert_right(second, texts)
    assert_right(first, texts[:12])


def test_a_reader_keeps_its_bytes_when_the_cache_is_made_anew(opened, texts):
    """Of another run's texts are the bytes at the same places then."""
    fill(opened(), texts[:12])
    reader = opened()
    shutil.rmtree(reader.folder)  # as one that makes room for another
    fill(opened(), texts[::-1])
    assert_right(reader, texts[:12])
    assert reader.computed == 0


def test_a_cache_that_is_made_anew_while_it_is_opened_is_read_again(opened, texts, monkeypatch):
    fill(opened(), texts[:12])
    fromfile, begun = np.fromfile, []

    def later(*args):
        if not begun:
            begun.append(True)
            shutil.rmtree(opened().folder)
            fill(opened(), texts[::-1])
        return fromfile(*args)

    monkeypatch.setattr(np, "fromfile", later)
    assert_right(opened(), texts)


def test_a_closed_cache_computes(opened, texts):
    cache = opened()
    fill(cache, texts)
    cache.close()
    assert len(cache) == 0
    assert_right(cache, texts)


def test_what_is_added_does_not_disturb_a_reader(opened, texts):
    first = opened()
    list(first.fill(texts[:8]))
    reader = opened()
    before = reader.read(texts[:8]).outputs
    list(first.fill(texts))
    assert torch.equal(reader.read(texts[:8]).outputs, before)


def test_another_process_holds_the_lock(opened, texts):
    fcntl = pytest.importorskip("fcntl")
    cache = opened()
    child = os.fork() if hasattr(os, "fork") else pytest.skip("needs fork")
    if not child:
        try:
            with (cache.folder / "lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                (cache.folder / "held").touch()
                while (cache.folder / "held").exists():
                    pass
        finally:
            os._exit(0)
    while not (cache.folder / "held").exists():
        pass
    with pytest.warns(ShoestringWarning, match="Another run adds"):
        assert list(cache.fill(texts)) == []
    (cache.folder / "held").unlink()
    os.waitpid(child, 0)
    assert fill(cache, texts) > 0


def test_a_cache_that_is_forgotten_leaves_no_open_file(backbone, texts, tmp_path):
    cache = OutputCache(backbone(), LAYERS, str(tmp_path), BUDGET)
    list(cache.fill(texts))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del cache
        gc.collect()
    assert [str(w.message) for w in caught if issubclass(w.category, ResourceWarning)] == []


# ---- damage ----


def others(backbone):
    return tokenised(backbone(), [f"count {word} map key" for word in WORDS], None, 16)


def check_after_damage(opened, backbone, texts):
    """Right at once, right after more was added, right for the run after that."""
    more = others(backbone)
    damaged = opened()
    assert_right(damaged, texts)
    fill(damaged, more)
    assert_right(damaged, texts + more)
    assert_right(opened(), texts + more)
    last = opened()
    fill(last, texts + more)
    assert_right(opened(), texts + more)
    again = opened()
    assert fill(again, texts + more) == 0  # all is there now
    again.read(texts + more)
    assert again.computed == 0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("name", ["states.bin", "entries.bin"])
def test_a_file_that_was_cut_gives_right_answers_and_can_be_filled(
    name, share, opened, backbone, texts, monkeypatch
):
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 12)
    cache = opened()
    fill(cache, texts)
    file = cache.folder / name
    os.truncate(file, int(file.stat().st_size * share))
    check_after_damage(opened, backbone, texts)


@pytest.mark.parametrize("name", ["states.bin", "entries.bin"])
def test_a_file_that_is_missing_gives_right_answers_and_can_be_filled(
    name, opened, backbone, texts
):
    cache = opened()
    fill(cache, texts)
    (cache.folder / name).unlink()
    check_after_damage(opened, backbone, texts)


@pytest.mark.parametrize("n_bytes", [5, 32, 50, 64, 3_000])
@pytest.mark.parametrize("name", ["states.bin", "entries.bin"])
def test_garbage_at_the_end_gives_right_answers_and_can_be_filled(
    name, n_bytes, opened, backbone, texts
):
    cache = opened()
    fill(cache, texts)
    with (cache.folder / name).open("ab") as file:
        file.write(random.Random(n_bytes).randbytes(n_bytes))
    check_after_damage(opened, backbone, texts)


@pytest.mark.parametrize(
    ("start", "n_tokens"),
    [(0, 2**62), (2**62, 2**55), (2**63 - 1, 1), (-256, 2), (0, 0), (0, -1), (256, 2**54)],
)
def test_an_entry_that_cannot_be_is_left_out(start, n_tokens, opened, backbone, texts):
    cache = opened()
    fill(cache, texts)
    n = len(cache)
    entry = np.zeros(1, ENTRY)
    entry[0] = np.void(b"k" * 16), start, n_tokens
    with (cache.folder / "entries.bin").open("ab") as file:
        file.write(entry.tobytes())
    assert len(opened()) == n
    check_after_damage(opened, backbone, texts)


@pytest.mark.parametrize("moment", ["states", "entries"])
def test_a_run_that_is_killed_while_it_writes_leaves_a_cache_that_goes_on(
    moment, opened, backbone, texts, monkeypatch
):
    """Either half of the states are there and no entries, or half of an entry."""
    monkeypatch.setattr(cache_module, "TOKENS_AT_ONCE", 12)
    cache = opened()
    filling = cache.fill(texts)
    next(filling), next(filling)
    filling.close()
    states, entries = cache.folder / "states.bin", cache.folder / "entries.bin"
    n_states, n_entries = states.stat().st_size, entries.stat().st_size
    fill(cache, texts)
    if moment == "states":
        os.truncate(states, n_states + 1000)
        os.truncate(entries, n_entries)
    else:
        os.truncate(entries, n_entries + ENTRY.itemsize + 7)
    survived = opened()
    assert len(survived) == (n_entries // ENTRY.itemsize) + (moment == "entries")
    check_after_damage(opened, backbone, texts)


def test_a_damaged_about_file_is_no_harm(opened, backbone, texts):
    cache = opened()
    fill(cache, texts)
    (cache.folder / "about.json").write_bytes(b"\x00{")
    check_after_damage(opened, backbone, texts)


# ---- the disk ----


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_once_and_the_rest_is_computed(opened, texts, monkeypatch):
    cache = opened()
    list(cache.fill(texts[:6]))
    n = len(cache)
    with monkeypatch.context() as patched:
        patched.setattr(OutputCache, "_append", full)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert list(cache.fill(texts)) == []
            assert_right(cache, texts)
        said = [w for w in caught if w.category is ShoestringWarning]
        assert len(said) == 1
        assert "No space left on device" in str(said[0].message)
        assert str(cache.folder) in str(said[0].message)
        assert len(cache) == n
    assert fill(cache, texts) > 0  # there is room again


def test_a_disk_that_is_full_in_the_middle_of_a_write_loses_nothing(opened, texts, backbone):
    cache = opened()
    list(cache.fill(texts[:6]))
    n, write = len(cache), cache._packed

    class Half(bytes):
        def tobytes(self):
            full()

    cache._packed = lambda outputs, texts: [*write(outputs, texts)[:-1], Half()]
    with pytest.warns(ShoestringWarning, match="No space left"):
        list(cache.fill(texts))
    del cache._packed
    cache.close()
    assert len(opened()) == n
    check_after_damage(opened, backbone, texts)


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(opened, texts, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = opened(folder=tmp_path / "file" / "outputs")
    with pytest.warns(ShoestringWarning, match=r"cannot be kept in .*file.outputs"):
        assert list(cache.fill(texts)) == []
    assert_right(cache, texts)
