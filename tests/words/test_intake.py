"""The corpus of a training is read once, and within its budget."""

import pytest

from shoestring.errors import BudgetError, FormatError, ParameterError
from shoestring.words import intake
from shoestring.words.corpus import encode_corpus
from shoestring.words.intake import affordable_share, corpus_of
from shoestring.words.shards import Reading

READING = {
    "min_count": 1, "max_share": 1.0, "skip_top": 0, "phrases": 0, "segmented": False,
    "lexicon": None, "seed": 0, "progress": False,
}  # fmt: skip


@pytest.fixture
def file(tmp_path, texts):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def left_in_the_middle(file, folder, **changes):
    with (
        pytest.raises(KeyboardInterrupt),
        corpus_of([file], None, folder, float("inf"), **{**READING, **changes}),
    ):
        (folder / "weights").mkdir(exist_ok=True)
        raise KeyboardInterrupt


def test_what_an_interrupted_training_read_is_not_read_again(file, tmp_path, monkeypatch):
    left_in_the_middle(file, tmp_path / "run")
    want = encode_corpus([file], **READING)
    with monkeypatch.context() as patched:
        patched.setattr(intake, "encode_corpus", None)
        left_in_the_middle(file, tmp_path / "run")
        with corpus_of([file], None, tmp_path / "run", float("inf"), **READING) as corpus:
            assert (corpus.ids == want.ids).all()
            assert corpus.words == want.words
    assert not (tmp_path / "run" / "corpus").exists()


@pytest.mark.parametrize("change", ["file", "reading"])
def test_other_text_or_another_reading_of_it_is_read(file, tmp_path, change):
    left_in_the_middle(file, tmp_path / "run")
    changes = {}
    if change == "file":
        file.write_text("a new text " * 9)
    else:
        changes = {"min_count": 115}
    reading = {**READING, **changes}
    want = encode_corpus([file], **reading)
    with corpus_of([file], None, tmp_path / "run", float("inf"), **reading) as corpus:
        assert corpus.words == want.words


def test_a_damaged_corpus_is_read_again(file, tmp_path):
    left_in_the_middle(file, tmp_path / "run")
    ids = tmp_path / "run" / "corpus" / "ids.npy"
    ids.write_bytes(ids.read_bytes()[:-5])
    with corpus_of([file], None, tmp_path / "run", float("inf"), **READING) as corpus:
        assert len(corpus.words) == 32


@pytest.mark.parametrize("kind", ["file", "texts", "lists"])
def test_a_share_of_the_documents_is_drawn_and_a_larger_one_contains_it(file, texts, kind):
    sources = {"file": file, "texts": texts, "lists": [text.split() for text in texts]}

    def drawn(share, seed=0):
        corpus = encode_corpus(sources[kind], share=share, seed=seed)
        return corpus.n_documents, corpus.fingerprint

    few, more, every = drawn(0.2)[0], drawn(0.5)[0], drawn(1.0)[0]
    assert every == len(texts)
    assert few == pytest.approx(0.2 * every, rel=0.3)
    assert more == pytest.approx(0.5 * every, rel=0.2)
    assert drawn(0.2) == drawn(0.2)
    assert drawn(0.2) != drawn(0.2, seed=1)
    documents = list(range(300))
    sets = [set(Reading(share=share).drawn(documents)) for share in (0.2, 0.5)]
    assert sets[0] < sets[1]
    with pytest.raises(ParameterError, match="'share' parameter of encode_corpus"):
        drawn(0.0)


def test_a_share_that_draws_no_document_says_so(tmp_path):
    (tmp_path / "one.txt").write_text("a single line")
    with pytest.raises(FormatError, match=r"no word in the documents that were drawn, 0\.001 of"):
        encode_corpus(tmp_path / "one.txt", share=0.001)


def test_what_a_budget_affords_of_the_reading(file, tmp_path, texts):
    assert affordable_share([file], Reading(), 60.0) == 1.0
    with pytest.raises(BudgetError, match=r"not enough to read 1% of .* Pass .* minutes or more"):
        affordable_share([file], Reading(), 1e-9)
    other = tmp_path / "large.txt"
    other.write_text("\n".join(texts * 300), encoding="utf-8")
    some, much = (affordable_share([other], Reading(), seconds) for seconds in (1.0, 600.0))
    assert 0.01 < some <= much == 1
