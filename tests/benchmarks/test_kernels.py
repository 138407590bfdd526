"""The benchmark of engines for MiniLM: its driver and figures, with an engine of a few lines."""

import numpy as np
import pytest
from benchmarks.models import kernels, page


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> kernels.Encoder:
    class Tokenizer:
        def enable_truncation(self, length: int) -> None:
            pass

        def encode_batch(self, texts: list[str]) -> list[object]:
            return [type("Encoding", (), {"ids": [ord(c) for c in text]}) for text in texts]

    monkeypatch.setattr(kernels, "load_tokenizer", lambda model: Tokenizer())
    return kernels.Encoder(
        lambda ids: [np.eye(128, dtype=np.float32)[text] for text in ids], False, None
    )


def test_each_text_gets_the_mean_of_its_own_tokens(encoder) -> None:
    encoder.batch_tokens = 4
    vectors = encoder.encode(["ab", "b", "aab", "cccccc"])
    assert np.allclose(vectors[1], np.eye(128)[ord("b")])
    assert np.allclose(vectors[2][[ord("a"), ord("b")]], np.array([2, 1]) / 5**0.5)


def test_the_same_vectors_keep_all_neighbours_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    one, other = (kernels.unit_rows(rng.standard_normal((80, 9), np.float32)) for _ in range(2))
    assert kernels.kept(one, one) == 1
    assert kernels.kept(one, other) < 0.5
    assert kernels.kept(one, None) is None


def test_an_engine_that_is_not_there_is_a_row_with_the_reason() -> None:
    row = dict.fromkeys(
        ["texts_per_s", "texts_per_s_beside_2_loops", "text_cpu_ms", "query_cpu_ms", "cold_s"], 1.0
    )
    row |= {"kept": None, "installed_mb": 0.0, "batch_tokens": 480}
    document = {"engines": {"ours": row}, "skipped": {"theirs": "No module named 'theirs'"}}
    document |= {"k": 10, "texts": 48}
    lines = page.sections({"kernels": document}.get)
    assert lines[-2].startswith("| theirs: No module named 'theirs' |")
    assert page.sections({}.get) == []
