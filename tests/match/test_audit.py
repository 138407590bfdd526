"""What anybody can read of pseudonymised text, told with the key and without."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shoestring.cli import app
from shoestring.errors import FormatError, ParameterError
from shoestring.match.audit import (
    Row,
    audit_texts,
    decipher_texts,
    read_table,
    table_of,
    write_table,
)
from shoestring.match.pseudonymise import Key, pseudonymise_texts

N_SYMBOLS = 200


def language(n_texts: int, seed: int) -> list[str]:
    """Texts of a language whose next character depends on the last one."""
    rng = np.random.default_rng(7)
    following = rng.dirichlet(np.full(N_SYMBOLS, 0.03), size=N_SYMBOLS)
    following /= (np.arange(N_SYMBOLS) + 2) ** 0.6
    ends = np.cumsum(following / following.sum(1, keepdims=True), axis=1)
    rng = np.random.default_rng(seed)
    texts = []
    for length in rng.integers(6, 12, n_texts):
        text = [int(rng.integers(N_SYMBOLS))]
        for chance in rng.random(length):
            text.append(min(N_SYMBOLS - 1, int(np.searchsorted(ends[text[-1]], chance))))
        texts.append("".join(chr(0x4E00 + i) for i in text))
    return texts


def shuffled(texts: list[str]) -> list[str]:
    """The same lengths and counts, and nothing else."""
    symbols = np.array(list("".join(texts)))
    np.random.default_rng(0).shuffle(symbols)
    ends = np.cumsum([0, *map(len, texts)])
    return ["".join(symbols[start:end]) for start, end in pairwise(ends)]


def align(texts: list[str], public: list[str], known: dict[str, str] | None = None) -> list[Row]:
    return table_of(*decipher_texts(texts, public, known))


PLAIN, PUBLIC = language(2_000, 1), language(4_000, 2)
NUMBERS, KEY = pseudonymise_texts(PLAIN, seed=0)
FOUND = cache(lambda: audit_texts(NUMBERS, PUBLIC, key=KEY, remedies=True))
NAMES = {str(number): symbol for symbol, number in KEY.numbers.items()}


def test_the_audit_reads_text_by_text_of_the_same_language() -> None:
    found = FOUND()
    assert found.measured is not None and found.measured > 0.95
    assert abs(found.readable - found.measured) < 0.05
    assert found.at_best > 0.95
    assert "reads 100% of these texts (measured with the key)" in found.summary
    assert "; with a key for each 25% of the texts " in found.summary


def test_without_the_key_the_estimate_is_the_same_and_nothing_is_measured() -> None:
    blind, seeing = audit_texts(NUMBERS, PUBLIC), FOUND()
    assert blind.readable == seeing.readable and blind.table == seeing.table
    assert blind.measured is None and blind.lines == []
    assert "estimated without the key" in blind.summary


def test_the_audit_fails_by_text_that_is_not_like_it() -> None:
    found = audit_texts(NUMBERS, shuffled(PUBLIC), key=KEY)
    assert found.failed and "failed" in found.summary
    assert found.measured is not None and found.measured < 0.1 and found.at_best < 0.1
    assert found.readable < 0.1


def test_lines_show_what_is_read_beside_what_is_there() -> None:
    found = FOUND()
    assert len(found.lines) == 10
    assert {true for true, _ in found.lines} <= {*PLAIN}
    assert sum(read == true for true, read in found.lines) >= 8


def test_remedies_are_measured_on_the_changed_text() -> None:
    found = FOUND()
    assert list(found.remedies) == [
        "a key for each 25% of the texts",
        "a key for each 6% of the texts",
        "one number for all but the 500 most frequent",
    ]
    assert found.remedies["a key for each 25% of the texts"] > 0.9
    few = audit_texts(NUMBERS[:200], PUBLIC, key=KEY, remedies=True).remedies
    assert few["a key for each 6% of the texts"] < 0.5


def test_numbers_and_public_symbols_are_named_by_the_texts() -> None:
    symbols, public_symbols, found = decipher_texts(NUMBERS, PUBLIC)
    right = [NAMES[s] == public_symbols[j] for s, j in zip(symbols, found.assignment, strict=True)]
    assert np.mean(right) > 0.9


def test_a_text_that_is_there_twice_counts_once() -> None:
    assert align(NUMBERS + NUMBERS[:500], PUBLIC) == align(NUMBERS, PUBLIC + PUBLIC[:500])


def test_the_table_has_the_most_frequent_number_first_and_can_be_read(tmp_path: Path) -> None:
    rows = align(NUMBERS, PUBLIC)
    counts = {n: sum(text.split().count(n) for text in {*NUMBERS}) for n, *_ in rows[:20]}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    write_table(rows, tmp_path / "table.tsv")
    table = read_table(tmp_path / "table.tsv")
    assert list(table.items()) == [row[:2] for row in rows]


def test_known_numbers_are_kept_even_against_the_evidence(tmp_path: Path) -> None:
    rows = align(NUMBERS, PUBLIC)
    (first, other, _), (second, one, _) = rows[:2]
    known = {first: one, second: other}
    assert known.items() <= {row[0]: row[1] for row in align(NUMBERS, PUBLIC, known)}.items()


@pytest.mark.parametrize("symbol", [" ", '"', "'", "\\", "#"])
def test_symbols_of_a_table_come_back_whatever_they_are(tmp_path: Path, symbol: str) -> None:
    write_table([("12", symbol, 0.5)], tmp_path / "table.tsv")
    assert read_table(tmp_path / "table.tsv") == {"12": symbol}


def test_a_table_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "table.tsv"
    file.write_text("12\t的\n13\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"table\.tsv:2: one column"):
        read_table(file)


@pytest.mark.parametrize(
    ("texts", "public", "key", "known", "fault"),
    [
        (PLAIN, PUBLIC, None, None, "all integers"),
        ([*NUMBERS, *PLAIN[:3]], PUBLIC, None, None, "all text or all integers"),
        ([NUMBERS[0], PLAIN[0]], PUBLIC, None, None, f"all integers. Got '{PLAIN[0]}'"),
        ([], PUBLIC, None, None, "'texts' parameter .* not all empty"),
        (NUMBERS, ["", " "], None, None, "'public' parameter .* not all empty"),
        (NUMBERS, PUBLIC, None, {"0": PUBLIC[0][0]}, "'known' parameter .* Got .'0'"),
        (NUMBERS, PUBLIC, None, {NUMBERS[0].split()[0]: "x"}, "'known' parameter .* 'x'"),
        (NUMBERS, PUBLIC, None, dict.fromkeys(NUMBERS[0].split(), PUBLIC[0][0]), "each once"),
        (NUMBERS, PUBLIC, Key("characters", {"的": 1}), None, "the key of these texts"),
        (NUMBERS, ["plain English"], KEY, None, "characters as the key's"),
    ],
)
def test_bad_input_is_told(texts, public, key, known, fault) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError, match=fault):
        audit_texts(texts, public, key=key, known=known)


def test_the_commands_audit_and_align(tmp_path: Path) -> None:
    ids, public, key = tmp_path / "ids.jsonl", tmp_path / "public.txt", tmp_path / "key"
    plain, table = tmp_path / "plain.tsv", str(tmp_path / "table.tsv")
    plain.write_text("".join(f"{a}\t{b}\n" for a, b in pairwise(PLAIN)), encoding="utf-8")
    public.write_text("\n".join(PUBLIC), encoding="utf-8")

    def run(*arguments: object) -> str:
        found = CliRunner().invoke(app, ["match", *map(str, arguments)])
        assert found.exit_code == 0, found.output
        return found.stdout

    run("pseudonymise", plain, "--out", ids, "--key", key)
    run("align", ids, "--public", public, "--out", table)
    asked = ["audit", ids, "--public", public, "--known", table, "--no-remedies", "--json"]
    blind = json.loads(run(*asked))
    assert blind["measured"] is None and blind["readable"] > 0.95
    shown = run("audit", ids, "--public", public, "--key", key)
    assert "reads 100% of these texts (measured with the key); with a key for" in shown
    assert any(text in shown for text in chain(PLAIN))
