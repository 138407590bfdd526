"""How well binary word vectors agree with people: both rules beside word2vec made binary.

``python -m benchmarks.words.quality``, English and Chinese: Spearman's correlation on the
similarity sets, in per cent, by active bits, by stored bytes a word and by size of the corpus; SCWS
and WiC for words in context beside the same words alone; shuffled and random codes as controls.
Codes are compared by the share of equal bits, (n11 + n00) / n. Pairs with an unknown word are left
out, for all in the same way, and the share of the pairs that is covered stands beside the figures.

- **Same hash length**, the paper's convention: k active bits of ours beside k bits of a projection.
- **Same stored bytes**: packed bits, or the indices of the active bits if that is less.
- **WiC**: "same meaning" where the similarity is at least t; t is chosen on the training half. A
  word alone has one code in both sentences, so it tells nothing but what its forms do.

The corpora are gone through from the smallest to the largest, both languages at each size, and the
document is written after each: all its tables are of the largest corpus so far. Trained models are
kept outside git (``.cache/words``), so a run that was interrupted goes on.

Cost of the full run: most of it is word2vec, one thread each so that the seed decides, about 2.5
hours of one core (``--jobs 2`` trains two at once, with the same vectors); the published rule takes
0.85 and 0.5 thousand million windows for English and Chinese, an hour of two cores, a third of it
with ``--published-seeds 1``; counts and scores half an hour. ``--vectors`` adds a GloVe or word2vec
file to the English tables.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

from benchmarks import output
from benchmarks.words import bars, models
from benchmarks.words.contest import BYTES, WIDER, Contest, Scores

M = models.M


def show(title: str, table: dict[str, dict[Any, Any]]) -> None:
    """Print a table: a row for each entry, means where there are several figures."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    width = max(map(len, table))
    print(f"\n{title}")
    heads = [str(c) for c in columns]
    print(" " * width, *(f"{head:>{max(6, len(head))}}" for head in heads), sep="  ")
    for name, row in table.items():
        cells = [row.get(column, "") for column in columns]
        cells = [cell["mean"] if isinstance(cell, dict) else cell for cell in cells]
        fitted = (f"{c:>{max(6, len(h))}}" for c, h in zip(cells, heads, strict=True))
        print(f"{name:<{width}}", *fitted, sep="  ", flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every table of every corpus; what is known is printed and written after each of them."""
    result: dict[str, Any] = {
        "seeds": options.seeds,
        "seeds of the published rule": options.published_seeds,
        "epochs of the published rule": options.epochs,
        **output.versions("gensim"),
        "corpora": {},
    }
    for size, language in product(options.sizes, options.languages):
        text = models.corpus(language, size)
        contest = Contest(text, options, options.vectors if language == "en" else None)
        if options.jobs > 1:
            models.word2vec_ahead(text, contest.trainings(), options.jobs)
        tokens = f"{text.encoded.n_tokens / M:.1f} M"
        result["corpora"][text.name] = {
            "tokens": text.encoded.n_tokens,
            "words": len(text.encoded.words),
            "coverage": contest.coverage,
        }
        by_size = result.get(language, {}).get("by corpus size", {})
        part = tables(contest, language, tokens)
        for name, row in part["by stored bytes"].items():
            if 16 in row:
                by_size.setdefault(name.removesuffix(", of 400"), {})[tokens] = row[16]
        result[language] = {**part, "by corpus size": by_size}
        show(f"{language}, mean Spearman at 16 bytes a word by tokens of the corpus", by_size)
        print("", *bars.sentences(language, result[language]), sep="\n", flush=True)
        output.write(result, options)
    return result


def tables(contest: Contest, language: str, tokens: str) -> dict[str, Any]:
    """All that one corpus can say."""
    found: dict[str, Any] = {"tokens": tokens, "coverage": contest.coverage}
    print(f"\n{language}, {tokens} tokens, share of the pairs covered: {contest.coverage}")
    found["by stored bytes"] = contest.by_bytes()
    found["by stored bytes"][f"counts, of {WIDER[1]:,}"] = {16: wider(contest)}
    show(f"{language}: mean Spearman, %, at the same stored bytes", found["by stored bytes"])
    at_16 = {name: row[16] for name, row in found["by stored bytes"].items()}
    show(f"{language}: each set at 16 bytes a word", at_16)
    found["by active bits"] = contest.by_active_bits()
    show(f"{language}: mean Spearman, %, at the same hash length", found["by active bits"])
    found["controls"] = contest.controls()
    show(f"{language}: controls", found["controls"])
    if language == "en":
        found["in context"] = contest.in_context()
        show("words in context: SCWS Spearman, WiC accuracy, %", found["in context"])
    return found


def wider(contest: Contest) -> Scores:
    """More neurons, fewer active bits, the same 16 bytes."""
    k, n_neurons = WIDER
    assert models.stored_bytes(n_neurons, k) <= max(size for size in BYTES if size <= 16)
    return contest.ours("counts", n_neurons, k)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    output.options(parser, quick="300,000 tokens, one seed, 3 epochs: some minutes")
    parser.add_argument("--vectors", metavar="FILE", help="GloVe or word2vec file to compare with")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"], choices=["en", "zh"])
    parser.add_argument(
        "--tokens", nargs="+", type=int, metavar="N", help="sizes of the corpora, ascending"
    )
    parser.add_argument(
        "--published-seeds", type=int, metavar="N", help="fewer than 3 where time is short"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings of word2vec at once")
    options = parser.parse_args()
    sizes = [300_000] if options.quick else [M, 3 * M, 10 * M, 30 * M]
    options.sizes = sorted(options.tokens or sizes)
    options.seeds, options.epochs = (1, 3) if options.quick else (3, 15)
    options.published_seeds = min(options.seeds, options.published_seeds or options.seeds)
    measure(options)


if __name__ == "__main__":
    main()
