"""The overlap index equals brute force, whatever was done to it, and says what is wrong."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoestring.errors import (
    IntegrityError,
    ParameterError,
    ShapeError,
)
from shoestring.overlap import postings
from shoestring.overlap.index import OverlapIndex

METRICS = ("overlap", "jaccard", "hamming")


def truths(codes, n_bits):
    """Codes as a table of 0 and 1 (N, n_bits)."""
    table = np.zeros((len(codes), n_bits), np.float32)
    for row, bits in zip(table, codes, strict=True):
        row[np.asarray(bits, np.int64)] = 1
    return table


def brute_force(queries, items, ids, n, metric, n_bits):
    """The n best by the definitions, every pair looked at."""
    a, b = truths(queries, n_bits), truths(items, n_bits)
    shared = (a @ b.T).astype(np.int64)
    either = a.sum(1, dtype=int)[:, None] + b.sum(1, dtype=int)[None] - shared
    scores = {
        "overlap": shared,
        "jaccard": np.where(either > 0, shared / np.maximum(either, 1), 1.0),
        "hamming": either - shared,
    }[metric]
    ids = np.broadcast_to(ids, scores.shape)
    order = np.lexsort((ids, scores if metric == "hamming" else -scores), axis=1)[:, :n]
    found = np.full((2, len(a), n), -1.0)
    found[0, :, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    found[1, :, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    return found


def assert_exact(index, queries, items, ids, n=10, metrics=METRICS):
    for metric in metrics:
        expected = brute_force(queries, items, ids, n, metric, index.n_bits)
        found, scores = index.search(queries, n, metric)
        np.testing.assert_array_equal(found, expected[0], err_msg=metric)
        np.testing.assert_array_equal(scores, expected[1], err_msg=metric)


def random_codes(rng, n, n_bits, sizes, skew=0.0):
    """N sets of bits, whose frequencies fall with the power ``skew`` of their rank."""
    weights = np.arange(1, n_bits + 1, dtype=np.float64) ** -skew
    keys = rng.exponential(size=(n, n_bits)) / weights
    order = np.argsort(keys, axis=1)
    return [row[:size] for row, size in zip(order, rng.choice(sizes, n), strict=True)]


@pytest.fixture(params=[256, 1 << 15], ids=["blocks of 256", "large blocks"])
def block_rows(request, monkeypatch):
    monkeypatch.setattr(postings, "MAX_BLOCK_ROWS", request.param)
    return request.param


@pytest.mark.parametrize(
    ("n_bits", "sizes", "skew"),
    [
        (400, [50], 0.0),  # bitmaps
        (4096, [32], 0.0),  # row numbers
        (2048, range(10, 90), 0.9),  # bitmaps, and sizes that differ
        (2048, range(50), 0.9),  # row numbers, and sizes that differ
        (60, range(21), 0.0),  # empty codes, many equal scores
        (1200, [300, 400], 0.3),  # queries of more bits than a byte counts
    ],
)
def test_the_index_equals_brute_force(n_bits, sizes, skew, block_rows):
    rng = np.random.default_rng(n_bits)
    items = random_codes(rng, 2000, n_bits, list(sizes), skew)
    queries = random_codes(rng, 9, n_bits, list(sizes), skew) + items[:3] + [[]]
    ids = rng.permutation(10 * len(items))[: len(items)]
    index = OverlapIndex(n_bits)
    index.add(items, ids)
    for n in (1, 10, 400):
        assert_exact(index, queries, items, ids, n)


def test_overlaps_beyond_a_byte_are_counted(block_rows):
    """In bitmaps, and in row numbers where most codes are small."""
    rng = np.random.default_rng(5)
    rare, common = np.arange(300), np.arange(300, 900)
    items = [common[: rng.integers(200, 600)] for _ in range(300)]
    items += [np.concatenate([common[: rng.integers(250, 300)], rare[:20]]) for _ in range(5)]
    items += [rare[: rng.integers(250, 300)] for _ in range(20)]
    for n_bits in (1000, 10_000):
        items += random_codes(rng, 600, 1000, [5])
        index = OverlapIndex(n_bits)
        index.add(items)
        ids = np.arange(len(items))
        assert_exact(index, [rare, common, np.arange(900)], items, ids, 30)


def test_many_blocks_of_many_rows_equal_brute_force():
    rng = np.random.default_rng(0)
    items = np.argsort(rng.random((70_000, 64)), axis=1)[:, :8].astype(np.int32)
    index = OverlapIndex(64)
    index.add(items)
    for n in (3, 2000):  # with two thousand, rows are selected in the midst of a block
        assert_exact(index, items[:5], items, np.arange(len(items)), n)


def test_one_query_and_one_thread_find_what_many_do(block_rows):
    rng = np.random.default_rng(1)
    items = random_codes(rng, 5000, 500, range(5, 60), 0.5)
    queries = random_codes(rng, 150, 500, range(5, 60), 0.5)
    one = OverlapIndex(500, n_threads=1)
    one.add(items)
    for n_threads in (2, 3, 8):
        many = OverlapIndex(500, n_threads=n_threads)
        many.add(items)
        for metric in METRICS:
            ids, scores = one.search(queries, 20, metric)
            for got, expected in zip(many.search(queries, 20, metric), (ids, scores), strict=True):
                np.testing.assert_array_equal(got, expected)
            alone, _ = many.search(queries[7:8], 20, metric)
            np.testing.assert_array_equal(alone, ids[7:8])


def test_threads_may_search_one_index():
    rng = np.random.default_rng(2)
    index = OverlapIndex(300, n_threads=2)
    items = random_codes(rng, 4000, 300, [20])
    index.add(items)
    expected = index.search(items[:40], 5)[0]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: index.search(items[:40], 5)[0], range(20)))
    for ids in found:
        np.testing.assert_array_equal(ids, expected)


@settings(max_examples=25, stateful_step_count=12)
class IndexBesideADict(RuleBasedStateMachine):
    """Whatever is done to an index, it finds what a dict of sets would."""

    n_bits = 40

    @initialize(tmp=st.just(None))
    def start(self, tmp):
        self.index = OverlapIndex(self.n_bits, n_threads=2)
        self.kept = {}
        self.next_id = 0

    codes = st.lists(st.frozensets(st.integers(0, 39), max_size=12), max_size=30)

    @rule(codes=codes)
    def add(self, codes):
        ids = self.index.add([sorted(code) for code in codes])
        assert ids.tolist() == list(range(self.next_id, self.next_id + len(codes)))
        self.next_id += len(codes)
        self.kept.update(zip(ids.tolist(), codes, strict=True))

    @rule(codes=codes, seed=st.integers(0, 99))
    def add_with_ids(self, codes, seed):
        free = np.setdiff1d(np.arange(400), list(self.kept))
        ids = np.random.default_rng(seed).permutation(free)[: len(codes)]
        codes = codes[: len(ids)]
        self.index.add([sorted(code) for code in codes], ids)
        self.next_id = max([self.next_id, *(ids + 1).tolist()])
        self.kept.update(zip(ids.tolist(), codes, strict=True))

    @rule(seed=st.integers(0, 99), share=st.sampled_from([0.1, 0.5, 1.0]))
    def delete(self, seed, share):
        ids = np.random.default_rng(seed).permutation(sorted(self.kept))
        ids = ids[: int(np.ceil(share * len(ids)))].astype(np.int64)
        self.index.delete(ids)
        for id in ids.tolist():
            del self.kept[id]

    @rule()
    def save_and_open(self):
        self.index.save(FOLDERS["this example"])
        self.index = OverlapIndex.open(FOLDERS["this example"], n_threads=2)

    @invariant()
    def finds_what_brute_force_finds(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.kept)
        assert all(id in self.index for id in self.kept)
        assert self.next_id not in self.index
        ids = sorted(self.kept)
        items = [sorted(self.kept[id]) for id in ids]
        queries = [*items[:2], [0, 1, 2, 3], []]
        for n in (3, 50):
            assert_exact(self.index, queries, items, np.array(ids, np.int64), n)


FOLDERS = {}


def test_an_index_finds_what_a_dict_of_sets_would(tmp_path_factory, monkeypatch):
    class InAFolder(IndexBesideADict):
        def __init__(self):
            super().__init__()
            FOLDERS["this example"] = tmp_path_factory.mktemp("index")

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(InAFolder, settings=IndexBesideADict.TestCase.settings)


def test_many_small_additions_leave_few_segments():
    index = OverlapIndex(20)
    items = [[i % 20, (i * i + 1 + i % 20) % 20] for i in range(200)]
    items = [sorted(set(item)) for item in items]
    for item in items:
        index.add([item])
    assert len(index._segments) <= 8
    assert_exact(index, items[:4], items, np.arange(200), 200)


def test_deleting_gives_memory_back_when_it_is_saved(tmp_path):
    rng = np.random.default_rng(3)
    index = OverlapIndex(1000)
    index.add(random_codes(rng, 5000, 1000, [30]))
    before = index.memory_mb
    index.delete(np.arange(4000))
    index.save(tmp_path)
    assert len(index) == 1000
    assert index.memory_mb < before / 3
    index.delete(range(4000, 5000))
    index.save(tmp_path)
    assert (len(index), index.memory_mb) == (0, 0)


def test_an_id_that_was_deleted_may_come_back_and_is_never_given_again(tmp_path):
    index = OverlapIndex(8)
    index.add([[1], [2]])
    index.delete(1)
    assert index.add([[3]]).tolist() == [2]
    index.add([[4]], ids=[1])
    ids, _ = index.search([[4]], 1)
    assert ids.tolist() == [[1]]
    index.delete([0, 1, 2])
    index.save(tmp_path)
    assert index.add([[5]]).tolist() == [3]


def test_missing_answers_are_minus_one():
    index = OverlapIndex(8)
    for metric in METRICS:
        ids, scores = index.search([[1], [2]], 3, metric)
        assert (ids == -1).all()
        assert (scores == -1).all()
    index.add([[1, 2]])
    for metric, score in zip(METRICS, (1, 0.5, 1), strict=True):
        ids, scores = index.search([[1]], 3, metric)
        assert ids.tolist() == [[0, -1, -1]]
        assert scores.tolist() == [[score, -1, -1]]
    assert index.search([], 3)[0].shape == (0, 3)


def test_types_are_those_promised():
    index = OverlapIndex(8)
    index.add([[1]])
    for metric, dtype in zip(METRICS, (np.int32, np.float64, np.int32), strict=True):
        ids, scores = index.search([[1]], 2, metric)
        assert (ids.dtype, scores.dtype) == (np.int64, dtype)


def test_the_representation_says_what_is_in_it():
    index = OverlapIndex(16)
    index.add([[1], [2, 3]])
    index.delete(0)
    assert repr(index) == "OverlapIndex(n_bits=16, codes=1)"
    assert 1 in index
    assert all(id not in index for id in (0, 2, -1, 1 << 70, "1", None))


@pytest.mark.parametrize(
    ("ids", "error", "sentence"),
    [
        ([5], ShapeError, "2 codes came with 1 ids"),
        ([5, 5], ParameterError, "distinct. Got '5 twice'"),
        ([5, 0], ParameterError, "new to the index. Got 0 instead. Delete the old code first"),
        ([5, -1], ParameterError, r"in \[0, \d+\]. Got -1"),
        (
            np.array([5, 1 << 63], np.uint64),
            ParameterError,
            r"in \[0, \d+\]. Got 9223372036854775808",
        ),
        ([5.0, 6.0], ParameterError, "integers in one dimension. Got 'float64"),
        ([[5, 6]], ParameterError, "integers in one dimension"),
        ([True, False], ParameterError, "integers in one dimension"),
    ],
)
def test_ids_that_cannot_be_are_named_and_nothing_is_added(ids, error, sentence):
    index = OverlapIndex(8)
    index.add([[1]])
    with pytest.raises(error, match=sentence):
        index.add([[1], [2]], ids)
    assert len(index) == 1


def test_an_unknown_id_is_named_and_nothing_is_deleted():
    index = OverlapIndex(8)
    index.add([[1], [2]])
    with pytest.raises(ParameterError, match=r"in the index. Got 7 instead. Nothing was deleted"):
        index.delete([0, 7])
    index.delete([1, 1])
    with pytest.raises(ParameterError, match="Got 1 instead"):
        index.delete(1)
    assert len(index) == 1


@pytest.mark.parametrize("n_bits", [0, (1 << 20) + 1, 4.0, True, "400"])
def test_a_width_that_cannot_be_is_refused(n_bits):
    with pytest.raises(ParameterError, match=r"'n_bits' .* an int in \[1, 1048576\]"):
        OverlapIndex(n_bits)
    with pytest.raises(ParameterError, match="'n_threads'"):
        OverlapIndex(8, n_threads=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n": 0}, r"'n' .* an int in \[1, "),
        ({"n": 2.5}, r"'n' .* an int in \[1, "),
        ({"metric": "cosine"}, "'overlap', 'jaccard' or 'hamming'. Got 'cosine'"),
        ({"metric": None}, "'overlap', 'jaccard' or 'hamming'. Got None"),
    ],
)
def test_a_search_that_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ParameterError, match=sentence):
        OverlapIndex(8).search([[1]], **arguments)


def test_a_query_or_a_code_that_is_none_says_who_takes_what():
    index = OverlapIndex(16)
    with pytest.raises(ShapeError, match=r"OverlapIndex.add takes active bits"):
        index.add(np.zeros((2, 3)))
    with pytest.raises(ParameterError, match=r"'codes' parameter of OverlapIndex.search"):
        index.search([[16]])
    with pytest.raises(ShapeError, match=r"OverlapIndex.search needs 2. Got 3"):
        index.search(np.zeros((1, 3), np.uint8))


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(4)
    index = OverlapIndex(100)
    index.add(random_codes(rng, 600, 100, [5, 30], 0.8))
    index.add(random_codes(rng, 50, 100, [5, 30], 0.8), ids=range(9000, 9050))
    index.delete([3, 9001])
    index.save(tmp_path / "index")
    return tmp_path / "index"


def test_an_opened_index_is_mapped_and_goes_on_where_it_was(saved):
    index = OverlapIndex.open(saved)
    assert isinstance(index._segments[0].postings.ids.base, np.memmap)
    assert (len(index), 3 in index, 9001 in index) == (648, False, False)
    assert index.add([[1]]).tolist() == [9050]


def test_an_index_saved_elsewhere_is_whole_there(saved, tmp_path):
    index = OverlapIndex.open(saved)
    index.save(tmp_path / "copy")
    shutil.rmtree(saved)
    copy = OverlapIndex.open(tmp_path / "copy")
    assert len(copy) == 648
    index.save(saved)
    assert len(OverlapIndex.open(saved)) == 648


def test_a_reader_keeps_what_it_opened_when_the_folder_is_saved_to(saved):
    reader, writer = OverlapIndex.open(saved), OverlapIndex.open(saved)
    expected = reader.search([[1, 2]], 5)[0]
    writer.delete(expected[0])
    writer.save(saved)
    np.testing.assert_array_equal(reader.search([[1, 2]], 5)[0], expected)


def test_a_file_of_another_shape_is_named(saved):
    path = next(saved.glob("*/ids.npy"))
    np.save(path, np.zeros(3))
    with pytest.raises(IntegrityError, match=r"holds <f8 \(3,\) but must hold <i8"):
        OverlapIndex.open(saved)


def test_a_config_without_what_it_must_say_is_damaged(saved):
    config = json.loads((saved / "config.json").read_text())
    for key in ("n_bits", "next_id", "n_codes"):
        (saved / "config.json").write_text(
            json.dumps({k: v for k, v in config.items() if k != key})
        )
        with pytest.raises(IntegrityError, match=r"config.json is damaged"):
            OverlapIndex.open(saved)


def test_an_empty_index_is_saved_and_opened(tmp_path):
    OverlapIndex(8).save(tmp_path)
    index = OverlapIndex.open(tmp_path)
    assert (len(index), index.n_bits) == (0, 8)
    assert index.add([]).shape == (0,)
