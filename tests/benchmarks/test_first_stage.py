"""The first stages of the benchmark find what they say they find."""

from benchmarks.words import first_stage

TEXTS = ["a red hat of wool", "a blue shoe of silk", "a green scarf of wool", "an old belt"] * 6


def test_a_stage_that_ranks_by_the_judgements_has_recall_one_and_a_random_one_has_not() -> None:
    queries, relevant = [TEXTS[0], TEXTS[1]], [{0, 4}, {1, 5}]
    with first_stage.bm25(TEXTS) as words:
        own = first_stage.codes(0, TEXTS)
        for stage in (words, own, first_stage.first_guess(own, words, lexical=True)):
            figures = first_stage.measure(stage, queries, relevant)
            assert figures["recall@10"] == 1  # equal texts: the lower rows come first
            assert figures["nDCG@10"] == 1
    random = first_stage.vectors(lambda: first_stage.RandomCodes(0), TEXTS, lambda _: 0)
    assert first_stage.measure(random, queries, relevant)["nDCG@10"] < 1
    assert own.costs["bytes a text"] == random.costs["bytes a text"] == 50
