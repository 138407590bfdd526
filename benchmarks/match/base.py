"""The base models of the match benchmarks: ``python -m benchmarks.match.base --minutes 60``.

A BERT of 4 layers, 256 wide, on the public Chinese text (17 M characters, OPPO not among it), made
by ``shoestring tune mlm`` and kept in the cache of the benchmarks; ``--language en`` makes the
English one, on 24.5 M words. Any checkpoint folder of a BERT takes its place.

``--pairs`` goes on from the Chinese one: :func:`public_matcher` trains on public pairs with labels
(LCQMC, AFQMC, ATEC) and without (PAWS-X), so that it has learnt to compare two texts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.data import CACHE
from benchmarks.match import corpora

SOURCES = ("wiki", "reviews", "titles", "lcqmc", "afqmc", "atec", "paws")
VOCABULARY = 8_000
TEXTS = {"zh": lambda: corpora.chinese(*SOURCES), "en": corpora.english}


def base_model(language: str, minutes: float | None = None) -> Path:
    """The folder of a base model, made first where it is not there."""
    from shoestring.jobs import Clock
    from shoestring.tune.mlm import pretrain

    folder = CACHE / "match" / f"base-{language}"
    if not folder.exists():
        report = pretrain(
            corpora.corpus_file(f"public-{language}", TEXTS[language]),
            folder,
            layers=4,
            hidden=256,
            vocabulary=VOCABULARY,
            lower_case=True,
            max_length=64,
            batch_size=64,
            epochs=3,
            clock=Clock(minutes),
            resume=folder.with_name(folder.name + ".run").exists(),
        )
        (folder.with_name(f"base-{language}.json")).write_text(json.dumps(report, indent=1))
    return folder


def public_matcher(minutes: float | None = None) -> Path:
    """The folder of a base model that was trained on public pairs, made first if not there."""
    from shoestring.match.matcher import INSIDE, MATCHER, PairMatcher

    folder = CACHE / "match" / "public-matcher"
    if not folder.exists():
        named = [f"pairs/{name}.txt" for name in ("lcqmc/dev", "lcqmc/test")]
        named.append("pairs/afqmc/train.txt.gz")
        pairs = [pair for name in named for pair in corpora.pairs(name)]
        pairs += corpora.pairs("pairs/atec/atec_nlp_sim_train.tsv.gz", 1)
        others = corpora.pairs("pairs/paws-x-zh/all-minus-dev-test.tsv.gz")
        matcher = PairMatcher.train(
            pairs,
            [pair[:2] for pair in others],
            init=base_model("zh"),
            out=folder,
            epochs=10.0,
            minutes=minutes,
            resume=folder.with_name(folder.name + ".run").exists(),
        )
        folder.with_name("public-matcher.json").write_text(json.dumps(matcher.report, indent=1))
    return MATCHER.read(folder).verified(INSIDE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", choices=tuple(TEXTS), default="zh")
    parser.add_argument("--pairs", action="store_true", help="go on with public pairs")
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    if given.pairs:
        print(public_matcher(given.minutes))
    else:
        print(base_model(given.language, given.minutes))
