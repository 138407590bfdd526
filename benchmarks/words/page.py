"""The sections of ``docs/results/words.md`` on words; see ``benchmarks.report``.

A part that has not run, or a table that is not in its file, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import output
from benchmarks.output import Read, markdown, ran, yes
from benchmarks.words import bars

Document = dict[str, Any]
Lines = list[str]
LANGUAGES = {"en": "English", "zh": "Chinese"}


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "words", SECTIONS)


def speed(document: Document) -> Lines:
    """How fast words train, and in how much memory."""
    lines = [
        "## Words: training speed and memory",
        "",
        f"`python -m benchmarks.words.speed`: {document['tokens']:,} tokens of English, "
        f"{document['words']:,} words, {document['windows']:,} windows; {document['turns']} turns, "
        "medians. gensim has two workers and a corpus file. Tokens are counted alike: known words "
        f"of the same sentences. {ran(document)}",
        "",
    ]
    windows = document["windows a second"]
    rows = {
        name: [f"{tokens:,}", f"{windows[name]:,}" if name in windows else ""]
        for name, tokens in document["tokens a second"].items()
    }
    lines += [*markdown("training", ["tokens a second", "windows a second"], rows), ""]
    for name in document:
        if name.startswith("at least "):
            lines += [f"{name}: {yes(document[name])}.", ""]
    for title in ("times as fast, median of turns", "whole training, minutes"):
        rows = {name: [value] for name, value in document[title].items()}
        lines += [*markdown("", [title], rows), ""]
    return lines + _memory(document.get("memory", {}))


def _memory(memory: Document) -> Lines:
    """Memory of a fresh process that trains."""
    if "MB" not in memory:
        return []
    kinds = ["private", "mapped", "peak"]
    rows = {
        f"{learner}, {tokens}": [f"{found[kind]:,}" for kind in kinds]
        for learner, sizes in memory["MB"].items()
        for tokens, found in sizes.items()
    }
    arrays = ", ".join(f"{mb} MB at {t}" for t, mb in memory["an array of weights, MB"].items())
    bar = next(name for name in memory if name.startswith("published, private"))
    return [
        "### memory of a process that trains, MB",
        "",
        "Private is what it allocated, interpreter and libraries' data included; mapped are "
        "libraries and pages of the corpus; peak is of both together. An array of weights: "
        f"{arrays}. {bar}: {yes(memory[bar])}.",
        "",
        *markdown("learner, corpus", kinds, rows),
        "",
    ]


def overlap(document: Document) -> Lines:
    """The overlap index beside its peers."""
    lines = [
        "## Words: the overlap index",
        "",
        f"`python -m benchmarks.words.overlap`: the {document['n']} nearest codes; medians of "
        f"{document['turns']} turns; ratios are medians of ratios within a turn. Recall is against "
        f"brute force. Milliseconds are those of a query. {ran(document)}",
        "",
    ]
    for name, held in document.items():
        if name.startswith("bar at "):
            lines += [f"The {name}, beside faiss IndexBinaryFlat: {_said(held)}.", ""]
    for name, found in document["collections"].items():
        engines = found["engines"]
        rows = {key: [row.get(key, "") for row in engines.values()] for key in _keys(engines)}
        lines += [f"### {found['codes']:,} codes, {name}, by {found['metric']}", ""]
        lines += [*markdown("", list(engines), rows), ""]
        faster = found["times faster than"]
        rows = {key: [row.get(key, "") for row in faster.values()] for key in _keys(faster)}
        lines += [*markdown("times faster than", list(faster), rows), ""]
    return lines


def _said(held: Document) -> str:
    """The figures of a bar, and whether it holds."""
    (_, times), (bar, holds) = held.items()
    figures = ", ".join(f"{value} ({name})" for name, value in times.items())
    return f"{figures} times as fast; {bar}: {yes(holds)}"


def quality(document: Document) -> Lines:
    """How well codes agree with people."""
    lines = [
        "## Words: agreement with people",
        "",
        "`python -m benchmarks.words.quality`: Spearman's correlation in per cent, the mean over "
        f"the sets and {document['seeds']} seeds "
        f"({document['seeds of the published rule']} of the published rule, "
        f"{document['epochs of the published rule']} epochs); WiC's accuracy in per cent. All are "
        "trained on the same text with the same vocabulary; pairs with an unknown word are left "
        f"out. {ran(document)}",
        "",
    ]
    for language, title in LANGUAGES.items():
        if language in document:
            lines += _language(title, language, document[language])
    return lines


def _language(title: str, language: str, part: Document) -> Lines:
    tokens = f"{part.get('tokens', '')} tokens"
    covered = ", ".join(f"{name} {share:.0%}" for name, share in part.get("coverage", {}).items())
    lines = [f"### {title}, {tokens}", "", f"Pairs that are covered: {covered}.", ""]
    lines += [f"- {sentence}" for sentence in bars.sentences(language, part)] + [""]
    by_bytes = part.get("by stored bytes", {})
    tables = {
        "by stored bytes a word": by_bytes,
        "each set at 16 bytes a word": {n: row["16"] for n, row in by_bytes.items() if "16" in row},
        "by active bits": part.get("by active bits", {}),
        "at 16 bytes, by tokens of the corpus": part.get("by corpus size", {}),
        "controls at 16 bytes": part.get("controls", {}),
        "words alone and in context": part.get("in context", {}),
    }
    for name, table in tables.items():
        if table:
            lines += [f"#### {title}, {name}", "", *_scores(table), ""]
    return lines


def _scores(table: dict[str, dict[str, Any]]) -> Lines:
    """A row for each way; means where there are several figures."""
    columns = _keys(table)
    rows = {}
    for name, row in table.items():
        cells = [row.get(column, "") for column in columns]
        rows[name] = [cell["mean"] if isinstance(cell, dict) else cell for cell in cells]
    return markdown("codes", columns, rows)


def first_stage(document: Document) -> Lines:
    """What text codes find as the first stage of a search, on every collection."""
    lines = [
        "## Words: the first stage of a search",
        "",
        "`python -m benchmarks.words.first_stage`: the judged texts of four collections among the "
        f"first 100 and 10; milliseconds of one thread; {document['seeds']} seeds of the codes. "
        f"{ran(document)}",
        "",
    ]
    for name, found in document["collections"].items():
        columns = _keys(found["ways"])
        rows = {
            way: [f"{row[column]:,.4g}" if column in row else "" for column in columns]
            for way, row in found["ways"].items()
        }
        title = f"### {name}: {found['texts']:,} texts, {found['queries']} queries"
        lines += [title, "", *markdown("way", columns, rows), ""]
    return lines


def hashing(document: Document) -> Lines:
    """The fly's hashes of dense vectors beside random hyperplanes and product quantisation."""
    lines = [
        "## Words: hashes of dense vectors",
        "",
        f"`python -m benchmarks.words.hashing`: {document['asked']} vectors ask for their nearest, "
        f"by cosine (digits: distance), mean of {document['seeds']} seeds; a code of k active bits "
        f"takes 2 k bytes. {ran(document)}",
        "",
    ]
    for name, found in document["sets"].items():
        columns = [
            f"{measure}, k = {k}" for measure in ("mAP@100", "recall@10") for k in found["k"]
        ]
        by_way: dict[str, dict[str, Any]] = {}
        for k, ways in found["k"].items():
            for way, figures in ways.items():
                row = by_way.setdefault(way, {})
                row |= {f"{measure}, k = {k}": f"{value:.3f}" for measure, value in figures.items()}
        rows = {way: [row.get(column, "") for column in columns] for way, row in by_way.items()}
        title = f"### {name}: {found['samples']:,} vectors of {found['features']} numbers"
        lines += [title, "", *markdown("way", columns, rows), ""]
    return lines


def _keys(table: dict[str, dict[str, Any]]) -> list[str]:
    """The columns of all rows, each once."""
    return list(dict.fromkeys(key for row in table.values() for key in row))


SECTIONS: dict[str, Callable[[Document], Lines]] = {
    "speed": speed,
    "overlap": overlap,
    "quality": quality,
    "first-stage": first_stage,
    "hashing": hashing,
}
