"""The sections on words say what their files say, and nothing of what was not measured."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks.words import __main__ as everything
from benchmarks.words import page, speed

from benchmarks import output, parts

RAN = {**output.provenance(), "seed": 0}
TEXT = SimpleNamespace(n_counted=2_000_000, n_windows=1_000_000, n_known=2_400_000)


def _read(**documents):
    return lambda name: documents.get(name.removeprefix("words-").replace("-", "_"))


def _speed():
    """The fields of a run in which the machine was twice as slow in its second turn."""
    measured = {
        "published rule, 2 threads": [1_200_000.0, 600_000.0, 1_000_000.0],
        "published rule, 1 thread": [600_000.0, 300_000.0, 500_000.0],
        "word2vec CBOW": [600_000.0, 300_000.0, 500_000.0],
        "word2vec skip-gram": [120_000.0, 60_000.0, 100_000.0],
        "rule of counts, whole training": [400_000.0, 200_000.0, 400_000.0],
    }
    return speed.figures(TEXT, measured)


def test_ratios_are_those_within_a_turn():
    figures = _speed()
    ratios = figures["times as fast, median of turns"]
    assert ratios["published rule, 2 threads / word2vec CBOW"] == 2
    assert ratios["published rule, 2 threads / word2vec skip-gram"] == 10
    assert figures["windows a second"]["published rule, 2 threads"] == 500_000  # 2 tokens each
    assert figures["at least 500,000 windows a second on 2 threads"]
    minutes = figures["whole training, minutes"]
    assert minutes["published rule, 15 epochs"] == 0.5
    assert minutes["word2vec CBOW, 5 epochs"] == 0.4
    assert minutes["rule of counts, whole training"] == 0.1


def test_speed_and_memory_are_reported():
    memory = {
        "MB": {"published": {"1.0 M tokens": {"private": 169.4, "mapped": 109.3, "peak": 276.4}}},
        "an array of weights, MB": {"1.0 M tokens": 43.8},
        "published, private: two arrays of weights and at most 200 MB": True,
    }
    document = {**RAN, "tokens": 10, "words": 5, "windows": 3, "turns": 3, **_speed()}
    text = "\n".join(page.sections(_read(speed={**document, "memory": memory})))
    assert "| published rule, 2 threads | 1,000,000 | 500,000 |" in text
    assert "| published, 1.0 M tokens | 169.4 | 109.3 | 276.4 |" in text
    assert "at most 200 MB: yes." in text
    skipped = {**document, "memory": {"skipped": "no /proc on this system"}}
    assert "169.4" not in "\n".join(page.sections(_read(speed=skipped)))


def test_quality_that_is_not_done_is_reported_as_far_as_it_is():
    scores = {"WS353": 41.0, "mean": 40.0, "spread": 0.1}
    document = {
        **RAN,
        "seeds": 3,
        "seeds of the published rule": 1,
        "epochs of the published rule": 15,
        "en": {
            "tokens": "1.0 M",
            "coverage": {"WS353": 0.98},
            "by stored bytes": {
                "counts, of 400": {16: scores},
                "word2vec CBOW 128, signs": {16: {**scores, "mean": 39.0}},
            },
        },
    }
    text = "\n".join(page.sections(_read(quality=json.loads(json.dumps(document)))))
    assert "WS353 98%" in text and "Chinese" not in text
    assert "- en: 16 bytes a word: ours 40.0, the best binary word2vec 39.0" in text
    assert "| counts, of 400 | 41.0 | 40.0 | 0.1 |" in text
    assert "by active bits" not in text


def test_each_collection_of_the_first_stage_has_its_table():
    ways = {"BM25": {"recall@100": 0.81234, "ms": 2}, "codes": {"recall@100": 0.7, "bytes": 1536}}
    found = {"pydocs": {"texts": 5196, "queries": 100, "ways": ways}}
    document = {**RAN, "seeds": 3, "collections": found}
    text = "\n".join(page.sections(_read(first_stage=document)))
    assert "### pydocs: 5,196 texts, 100 queries" in text
    assert "| way | recall@100 | ms | bytes |" in text
    assert "| BM25 | 0.8123 | 2 |  |" in text and "| codes | 0.7 |  | 1,536 |" in text


def test_nothing_measured_is_nothing_said():
    assert page.sections(lambda name: None) == []


@pytest.mark.parametrize("quick", [True, False])
def test_each_part_writes_its_own_file(quick: bool, tmp_path: Path):
    options = argparse.Namespace(quick=quick, seed=3, json=tmp_path / "words.json")
    commands = parts.commands("benchmarks.words", everything.PARTS, options)
    assert {"speed", "overlap", "quality"} <= set(commands)
    for part, command in commands.items():
        assert command[-1] == str(tmp_path / f"words-{part.replace('_', '-')}.json")
        assert ("--quick" in command) == quick and command[command.index("--seed") + 1] == "3"
