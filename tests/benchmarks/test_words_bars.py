"""The bars of the words benchmark say what the figures say."""

from benchmarks.words import bars

PEER = "word2vec skip-gram 128, medians"


def _means(**figures):
    return {int(column[1:]): {"mean": mean} for column, mean in figures.items()}


def test_a_bar_is_the_best_of_all_ways_of_word2vec_and_only_of_those():
    table = {
        bars.OURS: _means(b8=30.0, b16=40.0, b50=41.0),
        PEER: _means(b8=29.0, b16=40.1, b50=50.0),
        "word2vec CBOW 300, signs": _means(b8=30.0, b16=39.0),
        "file, signs": _means(b8=60.0, b16=60.0),  # of other text
    }
    rows = bars.few_bytes(table)
    assert [(row["bytes"], row["way"], row["holds"]) for row in rows] == [
        (8, "word2vec CBOW 300, signs", True),
        (16, PEER, False),
    ]
    said = bars.sentences("en", {"by stored bytes": table})
    assert said[0].endswith("word2vec, holds") and said[1].endswith("DOES NOT HOLD")


def test_three_points_in_context_are_enough_and_less_are_not():
    table = {
        "counts": {"WiC dev, static": 51.2, "WiC dev, in context": 54.2},
        "published": {"WiC dev, static": 51.2, "WiC dev, in context": 54.1},
    }
    assert [row["holds"] for row in bars.in_context(table)] == [True, False]


def test_the_published_rule_has_caught_up_where_it_is_as_good():
    sizes = {
        "counts": {"1.0 M": {"mean": 40.0}, "3.0 M": {"mean": 44.0}, "9.9 M": {"mean": 45.0}},
        "published": {"1.0 M": {"mean": 2.0}, "3.0 M": {"mean": 44.0}, "9.9 M": {"mean": 50.0}},
    }
    assert bars.caught_up(sizes) == "3.0 M"
    sizes["published"] = {"1.0 M": {"mean": 2.0}}
    assert bars.caught_up(sizes) is None
    assert "has not caught up" in bars.sentences("en", {"by corpus size": sizes})[0]
    sizes["published, another rate"] = {"9.9 M": {"mean": 46.0}}
    assert bars.caught_up(sizes) == "9.9 M"
