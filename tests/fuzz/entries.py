"""The table of public entries for tests/test_fuzz.py; a new room adds lines to it.

A line has the name, which also says what is called; the object it is called on, where it is a
method; and a strategy of sensible values for each argument. What is not sensible comes from
``ANYTHING``. ``share`` is the weight of the line among all.
"""

from __future__ import annotations

import copy
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.fuzz.values import (
    ANYTHING,
    CODES,
    COLUMN,
    COUNT,
    DUPLICATE,
    FLAG,
    FLOAT,
    IDS,
    LIST_OF_TEXTS,
    MAYBE_COLUMN,
    MAYBE_MINUTES,
    N_BITS,
    N_TEXTS,
    OUT,
    PAIRS,
    RECORDS,
    ROWS,
    SEED,
    SMALL,
    TARGETS,
    TEXT,
    TEXTS,
    TOKENS,
    WILD_TEXT,
    WORD,
    WORDS,
)  # fmt: skip
from tests.fuzz.world import DAMAGE, LABELLED_PAIRS, FileChoice, World


@dataclass
class Entry:
    """A public entry and how to call it.

    ``it`` makes the object that the call gets first; ``state`` tells of it what an error must leave
    as it was. ``damage`` is drawn as it is, without anything wild. ``needs`` is a module.
    """

    name: str
    call: Callable[..., Any]
    arguments: dict[str, SearchStrategy[Any]]
    it: Callable[[World], Any] = lambda world: world
    state: Callable[[Any], Any] = lambda it: None
    share: float = 1.0
    needs: str = "numpy"

    @property
    def strategy(self) -> SearchStrategy[dict[str, Any]]:
        return _arguments(self.arguments)


@st.composite
def _arguments(draw: Any, sensible: dict[str, SearchStrategy[Any]]) -> dict[str, Any]:
    """Mostly one argument is anything at all, the others are sensible."""
    names = list(sensible)
    n_wild = min(len(names), draw(st.sampled_from([1, 1, 1, 1, 0, 2, len(names)])))
    wild = draw(st.permutations(names))[:n_wild]
    return {
        name: draw(ANYTHING if name in wild and name != "damage" else strategy)
        for name, strategy in sensible.items()
    }


ENTRIES: list[Entry] = []
_FIELDS = ("it", "state", "share", "needs")


def entry(name: str, call: Callable[..., Any], /, **rest: Any) -> None:
    """Add a line: what is no field of Entry is the strategy of an argument."""
    fields = {key: rest.pop(key) for key in _FIELDS if key in rest}
    ENTRIES.append(Entry(name, call, rest, **fields))


def public(path: str) -> Any:
    """A public name of the package: ``text.tokenize``, ``BinaryVectors.load``."""
    found = importlib.import_module("shoestring")
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(f"{found.__name__}.{part}")
    return found


def consumed(answer: Any) -> Any:
    """What a generator yields is part of the answer."""
    return list(answer) if isinstance(answer, Iterator) else answer


def function(path: str, /, then: Callable[[Any], Any] = consumed, **rest: Any) -> None:
    """Add a function or class; ``then`` uses what it gives."""
    entry(path, lambda world, **given: then(public(path)(**given)), **rest)


def method(name: str, it: Callable[[World], Any], /, **rest: Any) -> None:
    """Add a method of a prepared object."""
    own = name.rpartition(".")[2]
    entry(name, lambda obj, **given: consumed(getattr(obj, own)(**given)), it=it, **rest)


def damaged(name: str, folder: str, use: Callable[[Path, World], Any], **rest: Any) -> None:
    """Add the use of a prepared folder in which one file is damaged."""

    def call(world: World, damage: Any) -> None:
        use(world.copied(getattr(world, folder), damage), world)

    entry(f"{name} damaged", call, damage=DAMAGE, **rest)


maybe = st.none()
TORCH = {"needs": "torch"}

# ---------------------------------------------------------------- search


WHERE = st.one_of(TEXT, st.sampled_from(["label = 'x'", "id != '1'", "year > 2"]))


def ids_of(index: Any) -> Any:
    with index.snapshot() as snapshot:
        live = snapshot.view.keys[~snapshot.view.deleted]
        return sorted(snapshot.ids(live)), index.info()["scores_paid"]


def opened(world: World, scorer: Any, calls: Any = 4) -> Any:
    folder = world.copied(world.index_folder)
    return public("SearchIndex").open(folder, scorer=scorer).query("red", calls=calls)


def use_index(folder: Path, world: World) -> None:
    index = public("SearchIndex").open(folder, scorer=world.scorer)
    index.query("red shoes", calls=3)
    index.info()
    index.check()
    index.add(["one more text"])
    index.compact()


def use_cache(cache: Any, scorer: Any, query: Any, digests: Any, scores: Any) -> None:
    with cache:
        cache.put(scorer, query, digests, scores)
        cache.get(scorer, query, digests)
        cache.row(scorer, query)
        list(cache.rows(scorer))


function(
    "SearchIndex.build", lambda index: index.query("red shoes", calls=0), share=3, path=OUT,
    records=RECORDS, scorer=maybe, encoder=st.sampled_from(["lsa", "lsa", "words"]),
    queries=st.one_of(maybe, LIST_OF_TEXTS), calls=st.just(0), minutes=MAYBE_MINUTES,
    text=st.just("text"), id=maybe, on_duplicate=DUPLICATE,
    resume=FLAG, seed=SEED, progress=st.just(False),
)  # fmt: skip
function("SearchIndex.open", path=OUT, scorer=maybe)
entry("SearchIndex.open scorer", opened, scorer=maybe, share=2)
entry(
    "SearchIndex.query of an answer",
    lambda w, score, calls: opened(w, public("score_with")(lambda p: [score] * len(p), "any"),
    calls),
    score=FLOAT, calls=COUNT, share=2,
)  # fmt: skip
index = {"state": ids_of}
method(
    "SearchIndex.query", World.index, text=TEXT, k=SMALL, calls=st.one_of(maybe, COUNT),
    max_rounds=SMALL, share=4, where=st.one_of(maybe, WHERE),
    **index,
)  # fmt: skip
method("SearchIndex.records", World.index, where=st.one_of(maybe, WHERE), **index)
method("SearchIndex.get", World.index, ids=st.lists(st.sampled_from("0123")), **index)
method("SearchIndex.query_many", World.index, texts=LIST_OF_TEXTS, k=SMALL, calls=COUNT)
entry(
    "rerank",
    lambda w, **given: public("rerank")(scorer=w.scorer, **given),
    query=TEXT, documents=LIST_OF_TEXTS, calls=COUNT, top_k=st.one_of(maybe, SMALL),
    vectors=maybe, query_vector=maybe, first_scores=maybe,
    return_documents=FLAG, share=2,
)  # fmt: skip
method(
    "SearchIndex.add", World.index, records=RECORDS, text=st.just("text"), id=maybe,
    on_duplicate=DUPLICATE, progress=st.just(False), share=3, **index,
)  # fmt: skip
method(
    "SearchIndex.delete", World.index, ids=st.lists(st.one_of(st.sampled_from("0123"), TEXT),
    max_size=3), share=2, **index,
)  # fmt: skip
method(
    "SearchIndex.calibrate", World.index, calls=COUNT, minutes=st.sampled_from([None, 0.001]),
    queries=st.one_of(maybe, LIST_OF_TEXTS), seed=SEED, progress=st.just(False), share=2, **index,
)  # fmt: skip
method("SearchIndex.copy", World.index, to=OUT, **index)
damaged("SearchIndex", "index_folder", use_index, share=3)
function("search.ScoreCache", lambda cache: cache.close(), place=OUT)
entry(
    "ScoreCache.put and get",
    lambda w, **given: use_cache(public("search.ScoreCache")("cache"), **given),
    scorer=TEXT, query=TEXT, digests=st.just([1, 2]), scores=st.just([0.5, 1.0]), share=2,
)  # fmt: skip

# ---------------------------------------------------------------- classify


def softmax_state(model: Any) -> Any:
    return model.moments_.sizes.tolist(), model.classes_.tolist()


def new_softmax(world: World, X: Any, y: Any, **options: Any) -> None:
    model = public("AnalyticSoftmax")(**options).fit(X, y)
    model.predict(np.zeros((2, model.n_features_in_)))


softmax = {"state": softmax_state}
weights = {"sample_weight": maybe}
entry(
    "AnalyticSoftmax", new_softmax, share=3, X=ROWS, y=TARGETS,
    shrinkage=st.sampled_from(["auto", 0.1, None, 0]),
    priors=st.sampled_from([None, [0.5, 0.5], {"a": 0.5, "b": 0.5}]),
    expansion=st.sampled_from([None, "random", "quadratic"]), n_random=SMALL,
    sample_size=st.sampled_from([4, 2048]), n_jobs=st.sampled_from([None, 1]), random_state=SEED,
)  # fmt: skip
method("AnalyticSoftmax.fit", World.softmax, X=ROWS, y=TARGETS, **weights, share=3)
method(
    "AnalyticSoftmax.partial_fit", World.softmax, X=ROWS, y=TARGETS, classes=maybe, **weights,
    share=3, **softmax,
)  # fmt: skip
method("AnalyticSoftmax.refine", World.softmax, X=ROWS, y=TARGETS, **weights)
method("AnalyticSoftmax.forget", World.softmax, X=ROWS, y=TARGETS, **weights, share=2, **softmax)
method("AnalyticSoftmax.merge", World.softmax, other=maybe, **softmax)
for name in ["predict_proba", "predict_log_proba", "decision_function", "novelty_score"]:
    method(f"AnalyticSoftmax.{name}", World.softmax, X=ROWS)
method(
    "AnalyticSoftmax.predict",
    World.softmax,
    X=ROWS,
    reject_at=st.sampled_from([None, 0.1]),
    share=2,
)
method("AnalyticSoftmax.novelty_threshold", World.softmax, reject_at=st.sampled_from([0.01, 0.1]))
method("AnalyticSoftmax.score", World.softmax, X=ROWS, y=TARGETS, **weights)
method("AnalyticSoftmax.save", World.softmax, folder=OUT)
function("AnalyticSoftmax.load", folder=OUT)
damaged(
    "AnalyticSoftmax", "softmax_folder",
    lambda folder, w: public("AnalyticSoftmax.load")(folder).predict(np.zeros((1, 4))), share=2,
)  # fmt: skip


def new_classifier(world: World, texts: Any, labels: Any, **options: Any) -> None:
    public("TextClassifier")(**options).fit(texts, labels).predict(TEXTS[:2])


def kept(world: World) -> Any:
    return world.kept_classifier


classifier = {"state": lambda model: (model.n_learnt, model.classes_.tolist())}
entry(
    "TextClassifier", new_classifier, encoder=st.sampled_from(["lsa", "words"]), head=maybe,
    texts=N_TEXTS, labels=TARGETS, share=3,
)  # fmt: skip
some_texts = st.one_of(N_TEXTS, LIST_OF_TEXTS)
for name in ("fit", "partial_fit", "forget"):
    method(
        f"TextClassifier.{name}", World.classifier, texts=some_texts, labels=TARGETS, share=2,
        **classifier,
    )  # fmt: skip
for name in ("predict_proba", "encode"):
    method(f"TextClassifier.{name}", kept, texts=LIST_OF_TEXTS, share=2)
method(
    "TextClassifier.predict", kept, texts=LIST_OF_TEXTS,
    reject_at=st.sampled_from([None, 0.1]), share=2,
)  # fmt: skip
method("TextClassifier.merge", World.classifier, other=maybe, **classifier)
method("TextClassifier.save", kept, folder=OUT)
method("TextClassifier.score", kept, texts=some_texts, labels=TARGETS)
function("TextClassifier.load", folder=OUT, encoder=maybe)
entry(
    "TextClassifier.load with an encoder",
    lambda w, encoder: public("TextClassifier.load")(w.classifier_folder,
    encoder=encoder).predict(["red"]),
    encoder=maybe,
)  # fmt: skip
damaged(
    "TextClassifier", "classifier_folder",
    lambda folder, w: public("TextClassifier.load")(folder).predict(["red"]), share=2,
)  # fmt: skip

# ---------------------------------------------------------------- match

pair = [("red", "hat")]
entry(
    "score_with", lambda w, pairs, **given: public("score_with")(**given).predict(pairs),
    fn=st.just(len), name=st.sampled_from([None, "letters"]), max_batch=SMALL, single=FLAG,
    threads=st.sampled_from([1, 2]), pairs=PAIRS, share=2,
)  # fmt: skip
entry(
    "a scorer's answer",
    lambda w, answer: public("match.checked_scores")(
        public("score_with")(lambda pairs: answer, "any"), [("a", "b"), ("c", "d")]
    ),
    answer=st.one_of(st.just([1.0, 2.0]), ANYTHING), share=2,
)  # fmt: skip
entry(
    "match.checked_scores",
    lambda w, pairs, scorer: public("match.checked_scores")(
        w.scorer if scorer is None else scorer, pairs
    ),
    pairs=PAIRS, scorer=maybe,
)  # fmt: skip
function("match.scorer_name", scorer=st.just(len))
function("match.load_scorer", spec=st.just(len), share=2)
entry("FunctionScorer.predict", lambda w, pairs: w.scorer.predict(pairs), pairs=PAIRS)
for name in ("interaction", "cross_encoder"):
    entry(
        f"{name}.predict", lambda w, pairs, name=name: getattr(w, name).predict(pairs),
        pairs=PAIRS, **TORCH,
    )  # fmt: skip
for name in ("TokenInteraction", "CrossEncoderScorer"):
    entry(
        f"match.{name}",
        lambda w, folder, name=name: public(f"match.{name}")(folder).predict(pair),
        folder=OUT, **TORCH,
    )  # fmt: skip
    damaged(
        name, "cross_folder",
        lambda folder, w, name=name: public(f"match.{name}")(folder).predict(pair), **TORCH,
    )  # fmt: skip
entry(
    "TokenInteraction weighting",
    lambda w, **given: public("match.TokenInteraction")(w.bert_folder, **given).predict(pair),
    max_length=SMALL, weighting=maybe, **TORCH,
)  # fmt: skip

labelled_pairs = st.just(LABELLED_PAIRS)
entry(
    "PairMatcher.train",
    lambda w, **given: public("PairMatcher").train(**given, epochs=1).predict(pair),
    pairs=labelled_pairs, unlabelled=st.one_of(maybe, st.just(pair)), init=maybe, anonymous=FLAG,
    public=maybe, align=st.sampled_from(["both", "rank", "random"]), objective=st.just("joint"),
    method=st.just("full"), out=st.one_of(maybe, OUT), batch_size=SMALL, seed=SEED,
    learning_rate=st.sampled_from([None, 0.01]), max_length=st.integers(8, 40), ngrams=FLAG,
    minutes=maybe, resume=FLAG, **TORCH,
)  # fmt: skip
method("PairMatcher.predict", lambda w: w.matcher, pairs=PAIRS, **TORCH)
damaged(
    "PairMatcher", "matcher_folder",
    lambda folder, w: public("match.load_scorer")(folder).predict(pair), **TORCH,
)  # fmt: skip
NUMBERS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), max_size=6).map(
    lambda texts: [" ".join(map(str, text)) for text in texts]
)
KNOWN = st.dictionaries(st.sampled_from(["1", "2", "的"]), st.sampled_from(["r", "red"]))
function(
    "match.pseudonymise_texts", then=lambda found: found[1].decode(found[0]),
    texts=LIST_OF_TEXTS, key=maybe, seed=SEED, share=2,
)  # fmt: skip
SIDES = {
    "texts": st.one_of(NUMBERS, LIST_OF_TEXTS), "public": LIST_OF_TEXTS,
    "known": st.one_of(maybe, KNOWN), "seed": SEED,
}  # fmt: skip
function("match.decipher_texts", **SIDES, share=2)
function("match.audit_texts", **SIDES, key=maybe, remedies=FLAG, share=2)
function("match.Key.load", path=OUT)

# ---------------------------------------------------------------- models

entry(
    "LsaEncoder",
    lambda w, texts, **given: public("models.LsaEncoder")(**given).fit(texts).encode(["red"]),
    n_components=SMALL, random_state=SEED, texts=LIST_OF_TEXTS, share=2,
)  # fmt: skip
for name in ("encode", "transform"):
    method(f"LsaEncoder.{name}", lambda w: w.lsa, texts=LIST_OF_TEXTS)
for name in ("fit", "fit_transform"):
    method(f"LsaEncoder.{name}", lambda w: copy.deepcopy(w.lsa), texts=LIST_OF_TEXTS)
method("LsaEncoder.save", lambda w: w.lsa, folder=OUT)
function("models.LsaEncoder.load", folder=OUT)
damaged(
    "LsaEncoder", "lsa_folder",
    lambda folder, w: public("models.LsaEncoder.load")(folder).encode(["red"]), share=2,
)  # fmt: skip
function(
    "models.SentenceEncoder",
    lambda made: made.encode(["red"]),
    folder=OUT,
    max_length=SMALL,
    **TORCH,
)
entry(
    "SentenceEncoder length",
    lambda w, length: public("models.SentenceEncoder")(w.bert_folder, length).encode(["red"]),
    length=SMALL, **TORCH,
)  # fmt: skip
method(
    "SentenceEncoder.encode", lambda w: w.sentence_encoder, texts=LIST_OF_TEXTS,
    share=2, **TORCH,
)  # fmt: skip
damaged(
    "SentenceEncoder", "bert_folder",
    lambda folder, w: public("models.SentenceEncoder")(folder).encode(["red"]), **TORCH,
)  # fmt: skip
entry(
    "models.load_backbone",
    lambda w, folder, adapter: public("models.load_backbone")(
        w.bert_folder if folder is None else folder, adapter
    ),
    folder=maybe, adapter=maybe, **TORCH,
)  # fmt: skip
entry(
    "models.unknown_share",
    lambda w, texts, folder: public("models.unknown_share")(
        texts, w.bert_folder if folder is None else folder
    ),
    texts=LIST_OF_TEXTS, folder=maybe, **TORCH,
)  # fmt: skip
function("models.why_not_minilm", texts=LIST_OF_TEXTS)

# ---------------------------------------------------------------- overlap


def use_overlap(folder: Path, world: World) -> None:
    index = public("OverlapIndex.open")(folder, 1)
    for metric in ("overlap", "jaccard", "hamming"):
        index.search([[1, 2, 3], [39]], n=4, metric=metric)
    index.add([[4, 5]] * 9)  # merged with what was there


overlap = {"state": lambda it: (len(it), it.search([[1, 2, 7]], n=6)[0].tolist())}
threads = st.sampled_from([None, 1, 2])
function("OverlapIndex", lambda index: index.add([[0]]), n_bits=st.just(N_BITS), n_threads=threads)
method("OverlapIndex.add", World.overlap, codes=CODES, ids=IDS, share=3, **overlap)
method(
    "OverlapIndex.search", World.overlap, codes=CODES, n=SMALL, share=3,
    metric=st.sampled_from(["overlap", "jaccard", "hamming"]), **overlap,
)  # fmt: skip
method(
    "OverlapIndex.delete", World.overlap, ids=st.lists(st.integers(0, 9), max_size=3), share=2,
    **overlap,
)  # fmt: skip
entry("OverlapIndex in", lambda it, id: id in it, it=World.overlap, id=st.integers(0, 9))
method("OverlapIndex.save", World.overlap, folder=OUT)
function("OverlapIndex.open", folder=OUT, n_threads=threads)
damaged("OverlapIndex", "overlap_folder", use_overlap, share=3)

# ---------------------------------------------------------------- text

FILE = st.builds(FileChoice, st.just("record_files"), st.integers(0, 40), st.data())
columns = {
    "text": st.one_of(COLUMN, COLUMN.map(lambda name: [name, "text"])),
    "id": MAYBE_COLUMN,
    "label": MAYBE_COLUMN,
    "on_empty": st.sampled_from(["error", "skip"]),
    "on_bad": st.sampled_from(["error", "skip"]),
    "format": st.sampled_from([None, None, None, "csv", "jsonl", "txt"]),
    "delimiter": st.sampled_from([None, None, ";"]),
    "encoding": st.sampled_from([None, None, None, "gb18030", "utf-16"]),
    "default_id": st.sampled_from(["position", "content"]),
}
function("read_records", source=RECORDS, **columns, share=4)
entry(
    "read_records of a file",
    lambda w, damage, **given: list(public("read_records")(damage.written(w), **given)),
    damage=FILE, **columns, share=5,
)  # fmt: skip
function("text.read_documents", path=OUT, text=COLUMN)
entry(
    "read_documents of a file",
    lambda w, damage, **given: list(public("text.read_documents")(damage.written(w), **given)),
    damage=FILE, text=COLUMN, share=3,
)  # fmt: skip
for name in ("tokenize", "split_sentences", "split_first_sentence"):
    function(f"text.{name}", text=TEXT)
function("text.split_words", text=TEXT, segmented=FLAG, lexicon=maybe)
entry(
    "text.Lexicon", lambda w, words, run: public("text.Lexicon")(words).cut(run),
    words=LIST_OF_TEXTS, run=TEXT,
)  # fmt: skip
function("text.known_items", records=st.just([]))

# ---------------------------------------------------------------- tune


def new_ladder(
    world: World, backbone: Any, texts: Any, labels: Any, minutes: Any, progress: Any, **given: Any
) -> None:
    name = str(world.bert_folder) if backbone is None else backbone
    model = public("LadderClassifier")(name, **given)
    model.fit(texts, labels, minutes=minutes, progress=progress).predict(["red"])


layers = st.sampled_from([None, [0], [0, 1]])
entry(
    "LadderClassifier", new_ladder, backbone=maybe, reduction=st.sampled_from([1, 4]),
    layers=layers, max_length=st.integers(4, 30),
    epochs=st.sampled_from([0.5, 1]), batch_size=SMALL, learning_rate=st.sampled_from([None, 0.01]),
    seed=SEED, texts=N_TEXTS, labels=TARGETS, minutes=maybe, progress=st.just(False), share=1.5,
    **TORCH,
)  # fmt: skip
for name in ("predict", "predict_proba"):
    method(f"LadderClassifier.{name}", lambda w: w.ladder, texts=LIST_OF_TEXTS, **TORCH)
entry(
    "LadderClassifier.score", lambda w, **given: w.ladder.score(**given), texts=N_TEXTS,
    labels=TARGETS, **TORCH,
)  # fmt: skip
entry(
    "LadderClassifier not fitted", lambda w, texts: public("LadderClassifier")().predict(texts),
    texts=LIST_OF_TEXTS, **TORCH,
)  # fmt: skip
damaged(
    "Ladder", "ladder_folder",
    lambda folder, w: public("match.load_scorer")(folder).predict(pair), **TORCH,
)  # fmt: skip
function(
    "tune.LadderConfig", reduction=SMALL, task=st.sampled_from(["classify", "score"]),
    n_labels=SMALL,
    labels=st.just(()), layers=st.sampled_from([None, (0,)]), pairs=st.sampled_from(["none",
    "apart"]),
    dropout=st.just(0.1), max_length=SMALL, seed=SEED,
    share=2, **TORCH,
)  # fmt: skip
function("tune.Ladder.from_pretrained", folder=OUT, **TORCH)
function("tune.LadderScorer", folder=OUT, **TORCH)

# ---------------------------------------------------------------- doctor

STEPS, RATE = st.sampled_from([None, 0, 10]), st.sampled_from([1e-3, 1e-4])
IDS_OF_TEXTS = st.just([[1, 2, 1, 3], [4, 5]])


def doctored(path: str, /, **rest: Any) -> None:
    """Add a function that is given the folder of a small BERT for None."""

    def call(world: World, **given: Any) -> Any:
        first = next(iter(rest))
        if given[first] is None:
            given[first] = str(world.bert_folder)
        return public(f"doctor.{path}")(**given)

    entry(f"doctor.{path}", call, **rest, **TORCH)


doctored(
    "examine", model=maybe, texts=maybe | LIST_OF_TEXTS, warmup_steps=STEPS, learning_rate=RATE,
    optimizer=st.sampled_from(["adamw", "sgd"]), seed=SEED,
)  # fmt: skip
doctored("prescribe", config=maybe, out=maybe | OUT, learning_rate=st.just(1e-3))
function("doctor.predict", config=maybe, texts=maybe | IDS_OF_TEXTS, truncated=FLAG, **TORCH)
function("doctor.measure", model=maybe, inputs=maybe, seed=SEED, **TORCH)
function("doctor.read_curve", log=OUT, **TORCH)

# ---------------------------------------------------------------- words


def use_vectors(folder: Path, world: World) -> None:
    vectors = public("BinaryVectors.load")(folder)
    vectors.most_similar("red")
    vectors.encode(["red hat", "鞋"])
    vectors.in_context(["red", "hat"], 0)
    vectors.with_active(3)["red"]


def vectors(world: World) -> Any:
    return world.vectors


split = st.just([text.split() for text in TEXTS])
entry(
    "BinaryVectors", lambda w, texts, **given: public("BinaryVectors")(**given).fit(texts), share=4,
    texts=st.one_of(N_TEXTS, LIST_OF_TEXTS, split), n_neurons=st.sampled_from([8, 40]),
    n_active=st.sampled_from([1, 5]), window=st.sampled_from([3, 5]),
    rule=st.sampled_from(["counts", "published"]), vocab_size=st.sampled_from([20_000, 10]),
    min_count=st.sampled_from([1, 2]), skip_top=st.sampled_from([0, 1]),
    segmented=FLAG, lexicon=st.sampled_from([None, ["红色"]]), n_epochs=st.just(1),
    learning_rate=st.just(0.01), context_weight=st.sampled_from([None, 0.5]), random_state=SEED,
)  # fmt: skip
entry(
    "BinaryVectors.fit",
    lambda w, texts, **given: public("BinaryVectors")(8, 2, 3, min_count=1).fit(texts, **given),
    texts=N_TEXTS, minutes=MAYBE_MINUTES, checkpoint=st.one_of(maybe, OUT), progress=st.just(False),
    share=2,
)  # fmt: skip
for name in ("encode", "transform"):
    method(
        f"BinaryVectors.{name}", vectors,
        texts=st.one_of(LIST_OF_TEXTS, st.lists(TOKENS, max_size=3)),
    )  # fmt: skip
several = st.one_of(WORD, st.lists(WORD, max_size=3))
known = st.lists(st.sampled_from(WORDS), max_size=3)
code = st.just(np.eye(1, N_BITS, dtype=bool)[0])
place = st.one_of(st.integers(0, 3), WORD)
entry("BinaryVectors[]", lambda it, words: it[words], it=vectors, words=several)
entry("BinaryVectors in", lambda it, word: word in it, it=vectors, word=WORD)
method("BinaryVectors.similarity", vectors, a=WORD, b=WORD)
method("BinaryVectors.get_vector", vectors, word=WORD)
method(
    "BinaryVectors.most_similar", vectors, positive=st.one_of(WORD, known, code), negative=known,
    topn=SMALL, share=2,
)  # fmt: skip
method("BinaryVectors.sentences", vectors, text=TEXT)
method(
    "BinaryVectors.in_context", vectors, tokens=TOKENS, position=place, share=2,
)  # fmt: skip
method("BinaryVectors.most_similar_in_context", vectors, tokens=TOKENS, position=place, topn=SMALL)
method("BinaryVectors.with_active", vectors, n_active=SMALL)
entry(
    "BinaryVectors.set_params",
    lambda it, **params: it.set_params(**params).in_context(["red", "hat"], 0),
    it=lambda w: copy.deepcopy(w.vectors), n_active=SMALL, context_weight=st.just(0.5),
)  # fmt: skip
method("BinaryVectors.save", vectors, folder=OUT, activations=FLAG)
function("BinaryVectors.load", folder=OUT)
damaged("BinaryVectors", "vectors_folder", use_vectors, share=3)
method(
    "BinaryVectors.export", vectors, path=OUT, activations=FLAG,
    format=st.sampled_from(["word2vec", "word2vec-binary"]),
)  # fmt: skip
dense = st.just(np.random.default_rng(0).normal(size=(7, 4)))
function(
    "BinaryVectors.from_dense", words=st.just(WORDS), vectors=dense, window=st.just(3),
    n_neurons=st.sampled_from([None, 8]), n_active=st.just(2),
    context=maybe, random_state=SEED, share=2,
)  # fmt: skip
entry(
    "BinaryVectors.from_word2vec_format of a file",
    lambda w, damage, **given: public("BinaryVectors.from_word2vec_format")(damage.written(w),
    **given),
    damage=st.builds(FileChoice, st.just("word2vec_files"), st.integers(0, 40), st.data()),
    limit=st.sampled_from([None, None, 2]), share=4,
)  # fmt: skip
function("BinaryVectors.from_word2vec_format", path=OUT)

# ---------------------------------------------------------------- the command line

CHEAP = {  # what makes a command quick
    "tune mlm": "--layers 1 --hidden 16 --epochs 1 --max-length 16",
    "tune classify": "--epochs 1 --layers 0 --reduction 2",
    "tune score": "--epochs 1 --layers 0 --a text --b text --label id",
    "words train": "--min-count 1 --epochs 1",
    "search build": "--encoder lsa",
    "classify fit": "--encoder lsa",
}
SOURCES = ["records.csv", "records.jsonl", "records.txt", "records.parquet", "records.tsv.gz", "-"]
LIKELY = {  # what a path is, by the name of its parameter
    "source": SOURCES, "records": SOURCES, "texts": SOURCES, "queries": SOURCES,
    "held_out": SOURCES,
    "qrels": ["judged.tsv"], "index": ["index"], "out": ["out"], "vectors": ["vectors"],
    "scorer": ["ladder"], "model": ["classifier", "ladder", "bert"], "models": ["classifier"],
    "backbone": ["bert"], "tokenizer": ["bert"], "file": ["exported.txt", "exported.bin"],
    "pairs": ["judged.tsv"], "config": ["bert"], "batch": SOURCES,
}  # fmt: skip
# Minutes: on a corpus of its own, and of measuring the machine; and what ends with Ctrl-C alone
NOT_RUN = {"demo", "plan model", "plan attention", "plan machine", "serve"}


class RefusedError(Exception):
    """A command refused its arguments: nothing may be left behind."""


@dataclass
class Line:
    """A command line; a number in it is one of the prepared paths."""

    parts: list[Any]
    shown: list[str] = field(default_factory=list)

    def run(self, world: World) -> None:
        """Run it in this process: exit codes 0 to 2 alone, no traceback."""
        from shoestring import cli

        paths = world.command_paths
        names = sorted(paths)
        chosen = (names[p % len(names)] if isinstance(p, int) else p for p in self.parts)
        self.shown = [paths.get(part, part) for part in chosen]
        kept = sys.argv, sys.stdin, dict(os.environ)
        sys.argv = ["shoestring", *self.shown]
        sys.stdin = io.TextIOWrapper(io.BytesIO(world.record_files[".jsonl"]))
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli.main()
        except SystemExit as leaving:
            if leaving.code not in (None, 0, 1, 2):
                raise AssertionError(f"exit code {leaving.code!r}") from leaving
            if "--out" in self.shown and leaving.code:
                raise RefusedError from leaving
        finally:
            sys.argv, sys.stdin = kept[:2]
            os.environ.clear()
            os.environ.update(kept[2])

    def __repr__(self) -> str:
        return " ".join(self.shown)


def commands() -> dict[str, Any]:
    """Every command by its words."""
    import typer

    from shoestring.cli import app

    found = {}

    def visit(command: Any, words: tuple[str, ...]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, (*words, name))
        if not hasattr(command, "commands"):
            found[" ".join(words)] = command

    visit(typer.main.get_command(app), ())
    return {name: command for name, command in found.items() if name not in NOT_RUN}


@st.composite
def command_line(draw: Any, name: str, command: Any) -> Line:
    """The options that are required and some others, most of them sensible."""
    parts = name.split()
    if draw(st.integers(0, 3)):
        parts += CHEAP.get(name, "").split()
    texts = st.one_of(st.sampled_from(["text", "id", "label", "red shoes", "红色"]), WILD_TEXT)
    odd_numbers = st.sampled_from(["0", "-1", "3.5", "nan", "x", "1e9", "99999999"])
    kinds = get_type_hints(command.callback)
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        if not is_argument and not parameter.required and draw(st.integers(0, 5)):
            continue
        kind = str(kinds[parameter.name])
        value: list[Any] = []
        if "int" in kind or "float" in kind:
            value = [draw(st.one_of(SMALL.map(str), odd_numbers))]
        elif "Path" in kind or parameter.name in LIKELY:
            usual = LIKELY.get(parameter.name, [])
            is_usual = usual and draw(st.integers(0, 4))
            value = [draw(st.sampled_from(usual) if is_usual else st.integers(0, 99))]
        elif not getattr(parameter, "is_flag", False):
            value = [draw(texts)]
        parts += value if is_argument else [parameter.opts[0], *value]
    return Line(parts)


for name, command in commands().items():
    entry(
        f"command {name}", lambda w, damage: damage.run(w), damage=command_line(name, command),
        share=1.5, needs="torch" if name.startswith(("tune", "doctor")) else "numpy",
    )  # fmt: skip
