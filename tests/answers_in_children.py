"""A program: does each public object answer in a forked and in a spawned child as in its parent?

``python answers_in_children.py GROUP FOLDER`` prints a JSON object: for each object of the group
its answer here, after a fork ("fork"), after a fork while it is used by a thread ("busy"), and
pickled to a spawned child ("spawn"). A child that does not end within its time is "no answer".
"""

import json
import multiprocessing
import os
import pickle
import select
import signal
import sys
import time
from pathlib import Path

SECONDS = 100  # for a child: what waits for a thread waits for ever
TEXTS = [
    "open the file",
    "close a file",
    "打开 文件",
    "sort the list",
    "join a list",
    "排序 列表",
] * 6
LABELS = ["io", "io", "io", "lists", "lists", "lists"] * 6
PAIRS = [("open a file", text) for text in TEXTS[:6]]


def shared(query, text):
    return len(set(query.split()) & set(text.split()))


def predict_texts(model):
    return [str(label) for label in model.predict(TEXTS[:6])]


def predict_pairs(scorer):
    return [round(float(score), 4) for score in scorer.predict(PAIRS)]


def encode(encoder):
    return [round(float(x), 4) for x in encoder.encode(TEXTS[:40] * 20)[0][:4]]


def bits(codes):
    return codes.encode(TEXTS[:6]).tolist()


def query(index):
    return [(hit.id, round(hit.score, 3)) for hit in index.query("open a file", k=3, calls=3)]


def search(index):
    return index.search([[0, 1, 2], [3, 9, 11]] * 400, 5)[0][:2].tolist()


def nearest(vectors):
    return [word for word, _ in vectors.most_similar("open", topn=3)]


def predict_rows(model):
    import numpy as np

    return model.predict(np.eye(4)).tolist()


def get(cache):
    from shoestring.text.records import text_digests

    cache.put("a scorer", f"of {os.getpid()}", text_digests(TEXTS[:2]), [0.5, 0.25])
    return cache.get("a scorer", "a query", text_digests(TEXTS[:2])).tolist()


def plain(folder):
    """What runs without a model of others."""
    import numpy as np

    from shoestring import (
        AnalyticSoftmax,
        BinaryVectors,
        OverlapIndex,
        SearchIndex,
        TextClassifier,
        score_with,
    )
    from shoestring.models import LsaEncoder
    from shoestring.search.score_cache import ScoreCache
    from shoestring.text.records import text_digests
    from shoestring.words.vectors import train_encoder

    codes = np.random.default_rng(0).random((60_000, 64)).argsort(axis=1)[:, :3]
    overlap = OverlapIndex(64, n_threads=2)
    overlap.add(codes)
    overlap.save(folder / "overlap")
    scorer = score_with(shared, single=True)
    rows = np.repeat(np.eye(4), 5, axis=0) + np.random.default_rng(0).normal(0, 0.1, (20, 4))
    cache = ScoreCache(
        SearchIndex.build(folder / "scores", TEXTS[:6], encoder="lsa", scorer=scorer).path
    )
    cache.put("a scorer", "a query", text_digests(TEXTS[:1]), [0.75])
    words = BinaryVectors(32, 4, window=3, min_count=1).fit(TEXTS)
    lsa = TextClassifier("lsa").fit(TEXTS, LABELS)
    return {
        "OverlapIndex": (overlap, search),
        "OverlapIndex, opened": (OverlapIndex.open(folder / "overlap", n_threads=2), search),
        "AnalyticSoftmax": (
            AnalyticSoftmax(n_jobs=2).fit(rows, [*"aaaaabbbbbcccccddddd"]),
            predict_rows,
        ),
        "BinaryVectors": (words, nearest),
        "CodeTable": (train_encoder(TEXTS), bits),
        "LsaEncoder": (LsaEncoder().fit(TEXTS), encode),
        "FunctionScorer": (scorer, predict_pairs),
        "TextClassifier, lsa": (lsa, predict_texts),
        "SearchIndex, lsa": (
            SearchIndex.build(folder / "lsa", TEXTS[:6], encoder="lsa", scorer=scorer),
            query,
        ),
        "ScoreCache": (cache, get),
    }


def bert(folder):
    """What runs BERT without torch."""
    from shoestring import SearchIndex, TextClassifier
    from shoestring.match import CrossEncoderScorer, TokenInteraction
    from shoestring.models import SentenceEncoder

    return {
        "SentenceEncoder": (SentenceEncoder(), encode),
        "TokenInteraction": (TokenInteraction(), predict_pairs),
        "CrossEncoderScorer": (CrossEncoderScorer(cross_encoder(folder)), predict_pairs),
        "TextClassifier, minilm": (TextClassifier("minilm").fit(TEXTS, LABELS), predict_texts),
        "SearchIndex, minilm": (SearchIndex.build(folder / "minilm", TEXTS[:6]), query),
    }


def torch(folder):
    """What runs through torch."""
    from shoestring.match import CrossEncoderScorer
    from shoestring.models.frozen import FrozenBackbone
    from shoestring.tune import Ladder, LadderClassifier, LadderConfig, LadderScorer

    saved = cross_encoder(folder)
    classifier = LadderClassifier(str(saved), epochs=1, batch_size=8, max_length=16)
    backbone = FrozenBackbone.load(saved, "float32")
    config = LadderConfig(task="score", pairs="apart", n_labels=1)
    Ladder(config, backbone).save_pretrained(folder / "ladder")
    return {
        "LadderClassifier": (classifier.fit(TEXTS, LABELS), predict_texts),
        "LadderScorer": (LadderScorer(folder / "ladder"), predict_pairs),
        "CrossEncoderScorer": (CrossEncoderScorer(saved), predict_pairs),
    }


def cross_encoder(folder):
    """The folder of a tiny cross-encoder."""
    import torch
    import transformers

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(" ".join(TEXTS).split())]
    folder = folder / "cross-encoder"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    config = transformers.BertConfig(
        vocab_size=len(pieces), num_attention_heads=2, num_labels=1, **sizes
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = str(folder / "vocab.txt")
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=48).save_pretrained(folder)
    return folder


def forked(ask, thing):
    """The answer of a child that ends as a program does, and lets go of what it has."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        answer = ask(thing)
        os.write(writing, json.dumps(answer).encode())
        os.close(writing)
        sys.exit(0)
    os.close(writing)
    end = time.monotonic() + SECONDS
    said = b""
    if select.select([reading], [], [], SECONDS)[0]:
        said = os.read(reading, 1 << 20)
    os.close(reading)
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return json.loads(said) if said else "an error"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "no answer" if not said else "no end"


def answer(pickled):
    """In a spawned child."""
    thing, ask = pickle.loads(pickled)
    return ask(thing)


def spawned(things):
    """The answers of one spawned child."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = {}
        for name, (thing, ask) in things.items():
            try:
                found[name] = pool.apply_async(answer, [pickle.dumps((thing, ask))]).get(SECONDS)
            except multiprocessing.TimeoutError:
                found[name] = "no answer"
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    things = globals()[sys.argv[1]](Path(sys.argv[2]))
    here = {name: ask(thing) for name, (thing, ask) in things.items()}
    found = {name: {"here": here[name]} for name in things}
    for name, (thing, ask) in things.items():
        found[name]["fork"] = forked(ask, thing)
    for name, said in spawned(things).items():
        found[name]["spawn"] = said
    for name, (thing, ask) in things.items():
        found[name]["again"] = ask(thing)
    print(json.dumps(json.loads(json.dumps(found))))
