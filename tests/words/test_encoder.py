"""Codes of texts for search are those of BinaryVectors, from few and short texts on."""

from pathlib import Path

import numpy as np
import pytest

from shoestring import BinaryVectors
from shoestring.encoders import fit_encoder
from shoestring.errors import FormatError, NotFittedError, ParameterError, ShoestringError
from shoestring.words.table import CodeTable
from shoestring.words.vectors import train_encoder

ENGLISH = ["the cat sat on a mat", "the dog sat on a rug", "a bank lends money", "money in a bank"]
CHINESE = ["小猫坐在垫子上。", "小狗坐在地毯上。", "银行借钱给人。", "钱存在银行里。"]


@pytest.fixture(scope="module")
def vectors() -> BinaryVectors:
    return BinaryVectors(64, 8, 5, min_count=2).fit([*ENGLISH, *CHINESE] * 5)


def of_two_subjects(n_texts: int, *, chinese: bool) -> list[str]:
    """Texts of ten of the forty words of a subject, the two subjects by turns."""
    rng = np.random.default_rng(0)
    first, between = (0x4E00, "") if chinese else (0x0430, " ")
    words = [chr(first + i) * (1 if chinese else 3) for i in range(80)]
    halves = np.array(words[:40]), np.array(words[40:])
    return [between.join(rng.choice(halves[i % 2], 10, replace=False)) for i in range(n_texts)]


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("n_texts", [60, 1_200])
def test_texts_of_one_subject_are_alike_without_a_word_in_common(
    n_texts: int, chinese: bool
) -> None:
    texts = of_two_subjects(n_texts, chinese=chinese)
    codes = np.unpackbits(train_encoder(texts).codes_of_texts(texts[:60]), axis=1)
    assert codes.shape == (60, 400) and (codes.sum(axis=1) == 50).all()
    shared = codes.astype(int) @ codes.T
    words = [set(text) - {" "} for text in texts[:60]]
    strangers = np.array([[not a & b for b in words] for a in words])
    one = np.add.outer(np.arange(60), np.arange(60)) % 2 == 0
    assert strangers[one].sum() > 50
    assert shared[one & strangers].mean() > 2 * shared[~one].mean()


def test_codes_are_those_of_the_vectors_they_were_saved_from(
    vectors: BinaryVectors, tmp_path: Path
) -> None:
    vectors.save(tmp_path / "whole")
    fitted = fit_encoder(str(tmp_path / "whole"), ENGLISH, owner="a test", n_components=2)
    assert isinstance(fitted, CodeTable)
    fitted.save(tmp_path / "kept")
    kept, _ = CodeTable.load(tmp_path / "kept")
    texts = ["the cat sat", "银行借钱", "zebra"]
    with pytest.warns(match="1 of 3 texts have no known word"):
        want = vectors.encode(texts)
    for encoder in (fitted, kept):
        assert np.array_equal(encoder.codes_of_texts(texts), want)  # and no warning
        assert encoder.n_dims == 64
    sizes = [
        sum(f.stat().st_size for f in (tmp_path / name).glob("*/a*")) for name in ("whole", "kept")
    ]
    assert sizes[1] < 0.6 * sizes[0]
    assert BinaryVectors.load(tmp_path / "kept").n_active == 8


def test_a_word_that_stands_alone_gives_no_code() -> None:
    encoder = train_encoder([*ENGLISH, "Zebra. Zebra. Zebra."])
    assert not encoder.codes_of_texts(["zebra"]).any()
    assert encoder.codes_of_texts(["zebra cat"]).any()


def test_the_same_seed_gives_the_same_codes_and_a_text_may_be_called_like_a_file() -> None:
    texts = [__file__, *ENGLISH]
    first, second, other = (
        train_encoder(texts, seed).codes_of_texts(ENGLISH) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second) and not np.array_equal(first, other)


@pytest.mark.parametrize("texts", [["hat"], ["?!"], ["red hat"], ["猫", "狗"], ["4 5 6", "7 8"]])
def test_texts_that_teach_nothing_are_refused(texts: list[str]) -> None:
    with pytest.raises(ShoestringError) as caught:
        train_encoder(texts)
    assert isinstance(caught.value, ParameterError | FormatError)


def test_vectors_without_activations_are_refused(vectors: BinaryVectors, tmp_path: Path) -> None:
    vectors.save(tmp_path / "codes", activations=False)
    with pytest.raises(NotFittedError, match="activations=True"):
        fit_encoder(str(tmp_path / "codes"), ENGLISH, owner="a test", n_components=2)
