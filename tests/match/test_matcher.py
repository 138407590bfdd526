"""Matchers are trained, saved and asked, from text and from numbers."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.match.bases import WORDS, save_base  # noqa: E402
from transformers import AutoModelForMaskedLM, BertConfig  # noqa: E402

from shoestring import SearchIndex  # noqa: E402
from shoestring.errors import (  # noqa: E402
    FormatError,
    IntegrityError,
    ParameterError,
    ShoestringWarning,
)
from shoestring.match import load_scorer  # noqa: E402
from shoestring.match import matcher as module  # noqa: E402
from shoestring.match.evaluate import split_by_components  # noqa: E402
from shoestring.match.matcher import PairMatcher, as_pairs  # noqa: E402
from shoestring.match.symbols import split_symbols  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{message}")
    for message in ("symbols were not seen", "little better than chance", "Only 0 pairs")
]
QUICK: dict[str, Any] = {"epochs": 1.0, "batch_size": 16}
SAVE = "shoestring-save-1"
Row = tuple[str, str, int]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tiny new model, one thread, no flushing."""

    def tiny(*_: Any) -> BertConfig:
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
        sizes |= {"intermediate_size": 16, "max_position_embeddings": 32}
        return BertConfig(**sizes, initializer_range=0.2)

    monkeypatch.setattr(module, "new_config", tiny)
    monkeypatch.setattr("os.fsync", lambda _: None)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def rows_of(words: list[str] = WORDS, n: int = 120, glue: str = " ", seed: int = 0) -> list[Row]:
    """Pairs that match where they have the same words."""
    draw, rows = random.Random(seed), []
    for i in range(n):
        a = draw.sample(words, 4)
        b = draw.sample(a, 4) if i % 2 else draw.sample(words, 4)
        rows.append((glue.join(a), glue.join(b), i % 2))
    return rows


def both(rows: list[Row]) -> list[tuple[str, str]]:
    return [row[:2] for row in rows]


def secret(rows: list[Row], unit: str) -> list[Row]:
    """The rows by a key of numbers."""
    symbols = sorted({s for a, b, _ in rows for t in (a, b) for s in split_symbols(t, unit)})
    numbers = random.Random(1).sample(range(1_000), len(symbols))
    key = dict(zip(symbols, map(str, numbers), strict=True))
    hidden = [[" ".join(key[s] for s in split_symbols(t, unit)) for t in row[:2]] for row in rows]
    return [(a, b, row[2]) for (a, b), row in zip(hidden, rows, strict=True)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a matcher; some of the pairs had no labels."""
    folder = tmp_path_factory.mktemp("trained") / "matcher"
    more = both(rows_of(n=40, seed=1))
    with pytest.warns(ShoestringWarning, match="little better than chance"):
        made = PairMatcher.train(rows_of(n=60), more, init=base, out=folder, **QUICK)
    assert made.report["unlabelled_pairs"] == 40 and made.report["train_pairs"] == 54
    return folder


@pytest.mark.parametrize(
    ("words", "glue", "unit"),
    [(WORDS, " ", "words"), (list("打开关闭灯窗门户请把快点音乐放停"), "", "characters")],
)
def test_plain_and_pseudonymised_text_give_the_same_scores(
    words: list[str], glue: str, unit: str
) -> None:
    rows = rows_of(words, n=60, glue=glue)
    plain = PairMatcher.train(rows, **QUICK)
    hidden = secret(rows, unit)
    anonymous = PairMatcher.train(hidden, anonymous=True, **QUICK)
    np.testing.assert_array_equal(plain.predict(both(rows)), anonymous.predict(both(hidden)))
    assert plain.report["held_out"] == anonymous.report["held_out"]


def test_another_seed_is_another_model_and_the_same_seed_the_same() -> None:
    rows = rows_of(n=30)
    names = [PairMatcher.train(rows, seed=seed, **QUICK).name for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_it_learns() -> None:
    draw = random.Random(0)
    rows = [
        (" ".join([word, *draw.sample(WORDS[2:], 2)]), " ".join(draw.sample(WORDS[2:], 2)), label)
        for word, label in [("open", 1), ("close", 0)] * 100
    ]
    options = {"epochs": 8.0, "batch_size": 16, "learning_rate": 1e-2}
    found = PairMatcher.train(rows, **options).report["held_out"]
    assert found["auc"] > 0.9


def test_few_labelled_pairs_are_repeated_until_they_are_a_quarter_of_an_epoch() -> None:
    rows, others = rows_of(n=40), both(rows_of(n=400, seed=1))
    found = PairMatcher.train(rows, others, **QUICK).report
    n, more = found["train_pairs"], found["unlabelled_pairs"]
    assert found["steps"] == -(-(more + n * (more // (3 * n))) // 16)
    assert PairMatcher.train(rows, **QUICK).report["steps"] == -(-n // 16)


def test_saved_and_loaded_it_scores_the_same_in_either_order(trained: Path, tmp_path: Path) -> None:
    pairs = both(rows_of(n=60))
    first, again = PairMatcher.load(trained), load_scorer(trained)
    assert isinstance(again, PairMatcher) and again.name == first.name
    scores = first.predict(pairs)
    turned = again.predict([(b, a) for a, b in pairs])
    np.testing.assert_allclose(turned, scores, atol=1e-5)
    assert again.predict([]).shape == (0,)
    again.save_pretrained(tmp_path / "copy")
    np.testing.assert_array_equal(load_scorer(tmp_path / "copy").predict(pairs), scores)
    plain = AutoModelForMaskedLM.from_pretrained(trained / SAVE / "model")
    assert type(plain).__name__ == "BertForMaskedLM"


def test_the_folder_reads_text_as_the_matcher_does(base: Path, tmp_path: Path) -> None:
    from shoestring.models.backbone import load_tokenizer

    for words, glue in ((WORDS, " "), (list("打开关闭灯窗门户请把快点"), "")):
        out = tmp_path / glue
        made = PairMatcher.train(rows_of(words, n=60, glue=glue), out=out / "m", **QUICK)
        texts = [f"Open{glue}", "打 开了\t灯", "read the  FILE, please", "don't"]
        tokenizer = load_tokenizer(out / "m" / SAVE / "model")
        theirs = tokenizer.encode_batch(texts, add_special_tokens=False)
        assert [one.ids for one in theirs] == made.vocabulary.encode(texts)


def test_what_was_interrupted_ends_as_if_it_was_not(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, options = rows_of(n=60), {"init": base, "epochs": 2.0, "batch_size": 16}
    whole = PairMatcher.train(rows, **options)

    def on_step_end(_: Any, args: Any, state: Any, control: Any, **__: Any) -> None:
        if state.global_step == 5:  # of 8, in the second epoch
            signal.raise_signal(signal.SIGINT)

    options["out"] = tmp_path / "matcher"
    with monkeypatch.context() as patch:
        patch.setattr(module.NewMasks, "on_step_end", on_step_end, raising=False)
        with pytest.raises(KeyboardInterrupt):
            PairMatcher.train(rows, **options)
    with pytest.raises(ParameterError, match="--resume"):
        PairMatcher.train(rows, **options)
    assert PairMatcher.train(rows, resume=True, **options).name == whole.name


def test_symbols_that_only_held_out_pairs_have_are_unknown() -> None:
    rows = [
        (f"own{i} own{i} own{i} {WORDS[i % 8]}", f"own{i} own{i} x{i}", i % 2) for i in range(60)
    ]
    made = PairMatcher.train(rows, unlabelled=[("more more more", "more more")], **QUICK)
    _, held_out = split_by_components(as_pairs("pairs", rows), 0.1, 0)
    own = {text.split()[0] for text in held_out.a}
    assert own and own.isdisjoint(made.vocabulary.symbols)
    assert {"own1", "own2", "own3", "more"} - own <= set(made.vocabulary.symbols)


def test_words_of_the_base_are_known_without_being_seen(base: Path) -> None:
    made = PairMatcher.train(rows_of(WORDS[:8], n=60), init=base, **QUICK)
    assert set(WORDS) == set(made.vocabulary.symbols)
    new = PairMatcher.train(rows_of(WORDS[:8], n=60), **QUICK)
    assert set(WORDS[:8]) == set(new.vocabulary.symbols)


def test_a_matcher_is_a_base_model_too(trained: Path) -> None:
    made = PairMatcher.train(rows_of(n=60, seed=3), init=trained, **QUICK)
    assert set(made.vocabulary.symbols) == set(PairMatcher.load(trained).vocabulary.symbols)
    new = PairMatcher.train(rows_of(n=60, seed=3), **QUICK)
    assert made.name != new.name


def test_search_takes_a_matcher(trained: Path, tmp_path: Path) -> None:
    texts = [a for a, _, _ in rows_of(n=40, seed=2)]
    options = {"encoder": "lsa", "scorer": trained, "progress": False}
    index = SearchIndex.build(tmp_path / "index", texts, **options)
    hits = list(index.query("open the file", k=3, calls=40))
    want = PairMatcher.load(trained).predict([("open the file", text) for text in texts])
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(want)[::-1][:3], rtol=1e-4)


def test_unknown_symbols_are_told_once(trained: Path) -> None:
    made = PairMatcher.load(trained)
    with pytest.warns(ShoestringWarning, match="not seen in training") as told:
        made.predict([("zebra crossing", "open")])
        made.predict([("zebra crossing", "open")])
    assert len(told) == 1


@pytest.mark.parametrize("method", ["full", "ladder"])
def test_plain_fine_tuning_gives_a_scorer_too(
    method: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOESTRING_OUTPUTS", str(tmp_path / "outputs"))
    rows, out = rows_of(n=60), tmp_path / "tuned"
    options = {"objective": "classify", "method": method, **QUICK}
    options |= {"init": base, "anonymous": True, "align": "random"}
    made = PairMatcher.train(secret(rows, "words"), out=out, **options)
    pairs = both(secret(rows, "words"))
    np.testing.assert_allclose(load_scorer(out).predict(pairs), made.predict(pairs), atol=1e-5)
    assert {"auc", "accuracy"} <= made.report["held_out"].keys()


def test_deciphered_text_starts_from_the_rows_of_its_words(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from shoestring.match import audit

    rows = rows_of(n=60)
    hidden = secret(rows, "words")
    texts = [" ".join(side[0] for side in part).split() for part in (hidden, rows)]
    of = dict(zip(*texts, strict=True))
    symbols, n = list(of), len(of)
    found = SimpleNamespace(
        assignment=np.array([WORDS.index(of[symbol]) for symbol in symbols]),
        confidence=np.ones(n), candidates=np.full((n, 1), -1), weights=np.zeros((n, 1)),
    )  # fmt: skip
    monkeypatch.setattr(audit, "decipher_texts", lambda *_, **__: (symbols, WORDS, found))
    public = [" ".join(WORDS)]
    plain = PairMatcher.train(rows, init=base, **QUICK)
    solved = PairMatcher.train(hidden, init=base, anonymous=True, public=public, **QUICK)
    np.testing.assert_array_equal(plain.predict(both(rows)), solved.predict(both(hidden)))


# ---- bad input


def test_a_base_without_a_head_is_told(tmp_path: Path, base: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(base).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    with pytest.warns(ShoestringWarning, match="no masked-language head"):
        PairMatcher.train(rows_of(n=60), init=tmp_path, **QUICK)


@pytest.mark.parametrize("anonymous", [True, False])
def test_text_of_another_script_than_the_base_reads_is_told(anonymous: bool, base: Path) -> None:
    rows, options = rows_of(list("打开关闭灯窗门户"), n=60, glue=""), QUICK | {"init": base}
    if anonymous:
        public = [text for row in rows for text in row[:2]]
        rows = secret(rows, "characters")
        options |= {"anonymous": True, "align": "rank", "public": public}
    what = "the public text" if anonymous else "these texts"
    with pytest.warns(ShoestringWarning, match=f"does not know 100% of {what}"):
        PairMatcher.train(rows, **options)


def test_a_base_with_fewer_rows_than_tokens_is_read(tmp_path: Path) -> None:
    few = save_base(tmp_path, n_rows=len(WORDS))
    made = PairMatcher.train(rows_of(n=60), init=few, **QUICK)
    assert set(WORDS) == set(made.vocabulary.symbols)


@pytest.mark.parametrize(
    ("rows", "options", "fault"),
    [
        ([("1 2", "3 4", 1), ("5 6", "7", 0)], {"init": "BASE"}, "anonymous"),
        (rows_of(n=20), {"init": "BASE", "anonymous": True}, "public"),
        (rows_of(n=20), {"init": "BASE", "anonymous": True, "public": ["  "]}, "public"),
        (rows_of(n=20), {"method": "ladder"}, "method"),
        (rows_of(n=20), {"objective": "contrast"}, "objective"),
        (rows_of(n=20), {"align": "guess"}, "align"),
        (rows_of(n=20), {"init": "BASE", "max_length": 200}, "max_length"),
        (rows_of(n=20), {"epochs": 0}, "epochs"),
        ([("open", "close", 1), ("read", "write", 1)], {}, "labels 0 and 1"),
        ([("open", "close", 2)], {}, "labels 0 and 1"),
        ([("open", "close")], {}, "labels 0 and 1"),
        ([("open", "close", 1), ("open", "file", 0)], {}, "do not all share"),
        ([("open",)], {}, "pairs"),
        ([(1, 2, 1)], {}, "pairs"),
        ([("12 5", "open", 1), ("3", "4", 0), ("7", "9", 1)], {"anonymous": True}, "all integers"),
    ],
)
def test_bad_input_is_one_sentence(
    rows: list[Any], options: dict[str, Any], fault: str, base: Path
) -> None:
    options = {name: base if value == "BASE" else value for name, value in options.items()}
    with pytest.raises(ParameterError, match=fault):
        PairMatcher.train(rows, **options)


def test_text_for_a_matcher_of_numbers_is_refused() -> None:
    made = PairMatcher.train(secret(rows_of(n=60), "words"), anonymous=True, **QUICK)
    with pytest.raises(ParameterError, match="all text or all integers"):
        made.predict([("12 5", "open it")])


def test_a_decoder_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(FormatError, match="no readable model"):
        PairMatcher.train(rows_of(n=20), init=tmp_path, **QUICK)


def test_a_damaged_folder_is_told(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "m")
    file = tmp_path / "m" / SAVE / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        PairMatcher.load(tmp_path / "m")


# ---- the command


def test_train_and_score_run_from_files(run_command: Any, base: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "pairs.tsv", tmp_path / "matcher"
    file.write_text("".join(f"{a}\t{b}\t{label}\n" for a, b, label in rows_of(n=60)))
    code, answer, _ = run_command(
        "match", "train", file, "--out", out, "--init", base, "--epochs", "1", "--json"
    )
    assert code == 0 and json.loads(answer)["held_out_pairs"] == 6
    code, answer, _ = run_command("match", "score", out, file, "--json")
    scores = [row["score"] for row in json.loads(answer)]
    np.testing.assert_allclose(scores, PairMatcher.load(out).predict(both(rows_of(n=60))))
    code, answer, _ = run_command("match", "score", out, file)
    assert code == 0 and answer.splitlines()[0].split("\t")[:2] == list(rows_of(n=60)[0][:2])


def test_the_command_names_its_flags(run_command: Any, base: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("1 2\t3 4\t1\n5 6\t7 8\t0\n")
    out = tmp_path / "matcher"
    code, _, said = run_command("match", "train", file, "--out", out, "--init", base, "--anonymous")
    assert code == 2 and "--public" in said and not out.exists()
    assert not out.with_name("matcher.run").exists()
