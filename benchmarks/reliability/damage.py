"""Damaged artifacts: every file of every kind of folder is changed, and the folder is opened.

``python -m benchmarks.reliability.damage`` makes a small folder of each kind, and damages a copy of
it some hundred times: one bit is flipped (in the header, in the middle, at random places), the file
is cut, emptied, removed, or grows by a byte. "Forged" damages change an array and make the checksum
fit, as a stranger could. Each copy is opened and asked a few things in a child process:

- same: the answers are those of the whole folder;
- refused: an error of shoestring that names the file, or the folder;
- other: other answers, without a word. Of a forged folder, and of a model that another library
  saved, nobody can know better: there they count as the same, and an error need not name a file;
- foreign: an error that is not one of shoestring's, or one of its own that names no path;
- crashed: the child died, or did not answer within a minute.

One child per kind is asked one folder after the other, and is started again after a crash.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import output
from benchmarks.data import ROOT

ANSWERED = ("same", "refused", "other", "foreign", "crashed")
TIMEOUT_S = 60
TEXTS = ["red hat", "blue shoe", "红鞋 一双", "蓝帽 一顶", "an old blue coat", "a hat of wool"]


class Kind(NamedTuple):
    """How a folder is made, and what is asked of it: something that JSON can say."""

    save: Callable[[Path], Any]
    ask: Callable[[Path], Any]


def overlap_index() -> Kind:
    """Ids in no order and codes that were deleted before; lists of both forms."""
    from shoestring.overlap import OverlapIndex

    rng = np.random.default_rng(0)
    codes = [rng.choice(64, rng.integers(0, 20), replace=False) for _ in range(600)]
    codes = [np.union1d(code, [3]) for code in codes]

    def save(folder: Path) -> None:
        index = OverlapIndex(64, n_threads=1)
        index.add(codes[:400], rng.permutation(1000)[:400])
        index.delete(index.search([codes[0]], 3)[0][0])
        index.add(codes[400:])
        index.save(folder)

    def ask(folder: Path) -> Any:
        index = OverlapIndex.open(folder, n_threads=1)
        found = [index.search(codes[:5], 4, metric) for metric in ("overlap", "jaccard", "hamming")]
        answers = [len(index), 7 in index, *(part.tolist() for pair in found for part in pair)]
        index.add(codes * 2, np.arange(5000, 6200))  # merged with what was there
        return [*answers, index.search(codes[:5], 4)[0].tolist()]

    return Kind(save, ask)


def binary_vectors() -> Kind:
    """Word vectors with their activations."""
    from shoestring.words import BinaryVectors

    def save(folder: Path) -> None:
        texts = ["the cat sat on the mat", "the dog sat on the rug", "猫 坐在 垫子 上"] * 9
        BinaryVectors(n_neurons=20, n_active=4, window=3).fit(texts).save(folder)

    def ask(folder: Path) -> Any:
        vectors = BinaryVectors.load(folder)
        codes = vectors.transform(["a cat and a dog", "the rug", "猫"])
        codes = codes.toarray() if hasattr(codes, "toarray") else codes
        context = vectors.in_context(["the", "cat", "sat"], 1)
        return [vectors.most_similar("cat"), codes.tolist(), context.tolist(), vectors.get_params()]

    return Kind(save, ask)


def classifier() -> Kind:
    """A TextClassifier with an encoder of its own."""
    from shoestring.classify import AnalyticSoftmax, TextClassifier

    def save(folder: Path) -> None:
        head = AnalyticSoftmax(0.1, n_jobs=1, expansion="relu", n_random=8)
        made = TextClassifier("lsa", head=head)
        made.fit(TEXTS * 3, list("abcabc" * 3)).save(folder)

    def ask(folder: Path) -> Any:
        opened = TextClassifier.load(folder)
        answers = [opened.predict_proba(TEXTS).round(9).tolist()]
        opened.partial_fit(TEXTS, list("abcabc")).forget(TEXTS, list("abcabc"))
        return [*answers, opened.predict(TEXTS).tolist()]

    return Kind(save, ask)


def softmax() -> Kind:
    """An AnalyticSoftmax with priors by class."""
    from shoestring.classify import AnalyticSoftmax

    X = np.random.default_rng(0).normal(size=(60, 4))
    y = np.arange(60) % 3
    X[:, 0] += y

    def save(folder: Path) -> None:
        priors = {0: 0.5, 1: 0.3, 2: 0.2}
        AnalyticSoftmax(n_jobs=1, priors=priors).fit(X, y).save(folder)

    def ask(folder: Path) -> Any:
        opened = AnalyticSoftmax.load(folder)
        opened.n_jobs = 1
        answer = opened.predict_proba(X).round(9).tolist()
        opened.forget(X[:20], y[:20])
        return [answer, opened.moments_.sizes.tolist()]

    return Kind(save, ask)


def lsa() -> Kind:
    """An LsaEncoder."""
    from shoestring.models import LsaEncoder

    def save(folder: Path) -> None:
        LsaEncoder(3).fit(TEXTS).save(folder)

    return Kind(save, lambda folder: LsaEncoder.load(folder).encode(TEXTS).tolist())


def corpus() -> Kind:
    """An encoded corpus, and word vectors that are trained on it."""
    from shoestring.words import BinaryVectors
    from shoestring.words.corpus import EncodedCorpus, encode_corpus

    def save(folder: Path) -> None:
        texts = ["the cat sat on the mat", "the dog sat on the rug", "猫 坐在 垫子 上"] * 9
        encode_corpus(texts, folder, min_count=1)

    def ask(folder: Path) -> Any:
        found = EncodedCorpus.open(folder)
        rules = [
            BinaryVectors(n_neurons=12, n_active=3, window=3, rule=rule, n_epochs=1)
            for rule in ("counts", "published")
        ]
        codes = [rule.fit(found)["cat"].tolist() for rule in rules]
        return [found.words, found.ids.tolist(), found.counts.tolist(), codes]

    return Kind(save, ask)


def search_index() -> Kind:
    """A search index with lexical vectors and paid scores, queried, checked and added to."""
    from shoestring import SearchIndex, score_with

    texts = [f"{text} number {i}" for i in range(12) for text in TEXTS]

    def shared(query: str, text: str) -> int:
        return len(set(query.split()) & set(text.split()))

    def scorer() -> Any:
        return score_with(shared, name="shared words", single=True)

    def save(folder: Path) -> None:
        index = SearchIndex.build(
            folder,
            texts,
            scorer=scorer(),
            encoder="lsa",
            calls=120,
            queries=["old hat number 3", "blue shoe", "红鞋 number"],
            progress=False,
        )
        index.query("blue coat", k=3, calls=20)

    def ask(folder: Path) -> Any:
        index = SearchIndex.open(folder, scorer=scorer())
        hits = index.query("blue hat number 7", k=5, calls=8)
        return [hits.calls, *((hit.id, hit.text, hit.score, hit.exact) for hit in hits)]

    return Kind(save, ask)


def weighting() -> Kind:
    """A late head of ``tune score`` with an adapter."""
    from safetensors.numpy import save as serialised
    from safetensors.numpy import save_file

    from shoestring.match.interaction import Weighting, interaction_scores
    from shoestring.tune.config import ADAPTER, LADDER, SIDE

    rng = np.random.default_rng(0)

    def adapter(folder: Path) -> None:
        folder.mkdir()
        name = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
        shapes = {"A": (2, 4), "B": (4, 2)}
        tensors = {name.format(k): rng.normal(size=s).astype("f4") for k, s in shapes.items()}
        save_file(tensors, folder / "adapter_model.safetensors")
        settings = {"peft_type": "LORA", "bias": "none", "r": 2, "lora_alpha": 4}
        (folder / "adapter_config.json").write_text(json.dumps(settings))

    def save(folder: Path) -> None:
        importance = rng.normal(size=(1, 4)).astype(np.float32)
        weights = {"head.importance.weight": importance, "head.scale": np.ones(3, np.float32)}
        with LADDER.saving(folder) as writer:
            adapter(writer.folder / ADAPTER)
            (writer.folder / SIDE).write_bytes(serialised(weights))
            writer.config |= {"ladder": {"pairs": "late"}, "with_side": False}
            writer.config |= {"backbone": "minilm", "backbone_digest": "0"}

    def ask(folder: Path) -> Any:
        found = Weighting.load(folder)
        assert found.adapter is not None
        changes = {name: change.tolist() for name, change in found.adapter.changes.items()}
        tokens = [np.eye(2, len(found.importance), dtype=np.float32)]
        scores = interaction_scores(tokens, tokens[0], found)
        return [found.backbone_digest, changes, scores.tolist()]

    return Kind(save, ask)


def save_model(folder: Path) -> None:
    """A BERT of random weights with its tokenizer, as another library saves it."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "hat", "blue", "shoe", "an", "old", "coat"]
    sizes = {"vocab_size": len(words), "hidden_size": 8, "intermediate_size": 12}
    sizes |= {"num_attention_heads": 2, "num_hidden_layers": 2, "max_position_embeddings": 16}
    rng, dense = np.random.default_rng(0), {"attention.output.dense": (8, 8)}
    dense |= {f"attention.self.{name}": (8, 8) for name in ("query", "key", "value")}
    dense |= {"intermediate.dense": (12, 8), "output.dense": (8, 12)}
    layers = {f"encoder.layer.{i}.{name}": s for i in range(2) for name, s in dense.items()}
    norms = ["embeddings.LayerNorm"] + [
        f"encoder.layer.{i}.{name}.LayerNorm"
        for i in range(2)
        for name in ("attention.output", "output")
    ]
    shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": shape for n, shape in layers.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in layers.items()}
    shapes |= {f"{name}.{part}": (8,) for name in norms for part in ("weight", "bias")}
    tables = {"word": len(words), "token_type": 2, "position": 16}
    shapes |= {f"embeddings.{n}_embeddings.weight": (m, 8) for n, m in tables.items()}
    tensors = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **sizes}))
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    around = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    tokenizer.post_processor = around
    tokenizer.save(str(folder / "tokenizer.json"))


def model_folder() -> Kind:
    """A model that another library saved: without checksums."""
    from shoestring.models import SentenceEncoder

    texts = [*TEXTS, "red hat " * 20]
    return Kind(save_model, lambda folder: SentenceEncoder(folder).encode(texts).tolist())


def ladder() -> Kind:
    """A ladder with its backbone inside; without torch that of a head alone."""
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.ladder import Ladder

    def save(folder: Path) -> None:
        beside = folder.with_name("backbone")
        save_model(beside)
        config = LadderConfig(reduction=4, layers=(0, 1), task="score", pairs="late")
        made = Ladder.from_backbone(beside, config, dtype="float32")
        made.save_pretrained(folder, write=lambda inside: shutil.copytree(beside, inside))

    def ask(folder: Path) -> Any:
        from shoestring.tune.predict import LadderScorer

        scorer = LadderScorer(folder)
        return [scorer.name, scorer.predict([("red hat", text) for text in TEXTS]).tolist()]

    return Kind(save, ask)


KINDS = {
    "overlap index": overlap_index,
    "binary vectors": binary_vectors,
    "classifier of texts": classifier,
    "classifier of vectors": softmax,
    "LSA encoder": lsa,
    "encoded corpus": corpus,
    "ladder's head": weighting,
    "ladder": ladder,
    "search index": search_index,
    "model folder": model_folder,
}
WITHOUT_CHECKSUMS = ("model folder",)


# ---- damages


class Damage(NamedTuple):
    """What is done to a copy of a folder."""

    name: str
    do: Callable[[Path], None]


def damages(folder: Path, n_bits: int, seed: int = 0) -> Iterator[Damage]:
    """The damages of each file of a folder: ``n_bits`` flipped bits and five others."""
    rng = np.random.default_rng(seed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file, size = path.relative_to(folder), path.stat().st_size
        places = {0, size - 1, size // 2, *rng.integers(0, size, n_bits).tolist()} if size else ()
        for at in sorted(places)[:n_bits]:
            yield Damage(f"{file} bit at {at}", _flip(file, at, int(rng.integers(8))))
        for name, length in (("emptied", 0), ("half", size // 2), ("cut", size - 1)):
            if 0 <= length < size:
                yield Damage(f"{file} {name}", _cut(file, length))
        yield Damage(f"{file} removed", lambda copy, file=file: (copy / file).unlink())
        yield Damage(f"{file} a byte more", _grow(file))


def _flip(file: Path, at: int, bit: int) -> Callable[[Path], None]:
    def do(copy: Path) -> None:
        data = bytearray((copy / file).read_bytes())
        data[at] ^= 1 << bit
        (copy / file).write_bytes(data)

    return do


def _cut(file: Path, length: int) -> Callable[[Path], None]:
    return lambda copy: os.truncate(copy / file, length)


def _grow(file: Path) -> Callable[[Path], None]:
    def do(copy: Path) -> None:
        with (copy / file).open("ab") as stream:
            stream.write(b"\0")

    return do


def forgeries(folder: Path, n: int, seed: int = 0) -> Iterator[Damage]:
    """Other arrays and other settings, with checksums that fit."""
    rng = np.random.default_rng(seed)
    config = json.loads((folder / "config.json").read_bytes())
    settings = {name: config[name] for name in config if name not in ("crc32", "format")}
    for where, value in list(_leaves(settings))[1:]:
        for other in (None, -1, 1 << 62, "x", [], 0.5, 1e308)[:n]:
            if other != value:
                change = f"config.json {'.'.join(map(str, where))} {other!r}"
                yield Damage(change, _set(where, other))
    for name in sorted(config.get("files", {})):
        if not name.endswith(".npy"):
            continue
        array = np.load(folder / config["save"] / name)
        for turn in range(n):
            yield Damage(f"{name} forged {turn}", _forge(name, _other(array, turn, rng)))


def _leaves(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where each value of a document is, and the value; of long lists the first three."""
    yield where, value
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value[:3])
        for name, part in inside:
            yield from _leaves(part, (*where, name))


def _set(where: tuple[Any, ...], other: Any) -> Callable[[Path], None]:
    def do(copy: Path) -> None:
        config = json.loads((copy / "config.json").read_bytes())
        config.pop("crc32", None)
        part = config
        for name in where[:-1]:
            part = part[name]
        part[where[-1]] = other
        (copy / "config.json").write_text(json.dumps(config))

    return do


def _other(array: Any, turn: int, rng: np.random.Generator) -> Any:
    """Ones in all bits, another shape or type, random bits, one number changed, another order."""
    shapes = (array.reshape(-1)[:-1], array[None], array.astype("V3"), array[:0], array.copy("F"))
    if turn % 2:
        return shapes[turn // 2 % len(shapes)]
    turn //= 2
    data = np.frombuffer(array.tobytes(), np.uint8).copy()
    if turn == 0:
        data[:] = 255
    elif turn == 1:
        data = rng.integers(0, 256, len(data)).astype(np.uint8)
    elif turn % 2 and len(data):
        at = int(rng.integers(len(data)))
        data[at : at + array.itemsize] = rng.integers(0, 256)
    else:
        flat = rng.permutation(array.reshape(-1))
        data = np.frombuffer(flat.tobytes(), np.uint8)
    return np.frombuffer(data.tobytes(), array.dtype).reshape(array.shape)


def _forge(name: str, array: Any) -> Callable[[Path], None]:
    def do(copy: Path) -> None:
        config = json.loads((copy / "config.json").read_bytes())
        config.pop("crc32", None)
        path = copy / config["save"] / name
        np.save(path, array)
        config["files"][name] = zlib.crc32(path.read_bytes())
        (copy / "config.json").write_text(json.dumps(config))

    return do


# ---- children


class Child:
    """A process that is asked one folder after the other."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._process: subprocess.Popen[str] | None = None

    def ask(self, folder: Path) -> dict[str, Any]:
        """What it answers; {"crashed": how} if it died."""
        if self._process is None:
            command = [sys.executable, "-m", "benchmarks.reliability.damage", "--child", self.kind]
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        return {"crashed": f"exit status {process.returncode}"}

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            process, self._process = self._process, None
            process.communicate()


def answer(kind: Kind, folder: Path) -> dict[str, Any]:
    """What comes of asking a folder in this process."""
    from shoestring.errors import ShoestringError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"answer": json.loads(json.dumps(kind.ask(folder)))}
    except ShoestringError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    except (Exception, SystemExit) as error:
        return {"foreign": f"{type(error).__name__}: {error}"}


def serve(name: str) -> None:
    """The child: a folder on each line of standard input, an answer on each line of the other."""
    kind = KINDS[name]()
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
        print(json.dumps(answer(kind, Path(line.rstrip("\n")))), file=answers, flush=True)
        faulthandler.cancel_dump_traceback_later()


# ---- the run


def run(
    quick: bool, kinds: Any = tuple(KINDS), show: bool = False, seed: int = 0
) -> list[dict[str, Any]]:
    """Damage each kind; a row says how many damages came out how, and ``faults`` which ones."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for kind in kinds:
            folder = Path(place) / kind.replace(" ", "-") / "whole"
            folder.parent.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made(kind).save(folder)
            plans = {kind: list(damages(folder, 3 if quick else 12, seed))}
            plans[f"{kind}, forged"] = list(forgeries(folder, 4 if quick else 20, seed))
            child = Child(kind)
            for name, plan in plans.items():
                rows.append(_row(name, child, folder, plan))
                if show:
                    print(line_of(rows[-1]))
            child.close()
    return rows


@cache
def made(kind: str) -> Kind:
    """A kind by its name."""
    return KINDS[kind]()


def _row(name: str, child: Child, folder: Path, plan: list[Damage]) -> dict[str, Any]:
    copy = folder.with_name("copy")

    def asked(damage: Damage | None) -> dict[str, Any]:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        if damage is not None:
            damage.do(copy)
        return child.ask(copy)

    whole, counts = asked(None), dict.fromkeys(ANSWERED, 0)
    assert "answer" in whole, whole
    faults = []
    is_forged = name.endswith("forged") or name in WITHOUT_CHECKSUMS
    for damage in plan:
        (how, what), *_ = asked(damage).items()
        if how == "answer":
            how = "same" if what == whole["answer"] or is_forged else "other"
        elif how == "refused" and str(copy) not in what and not is_forged:
            how = "foreign"
        counts[how] += 1
        if how not in ("same", "refused"):
            faults.append(f"{damage.name}: {how}{'' if how == 'other' else ', ' + str(what)}")
    return {"kind": name, "damages": len(plan), **counts, "faults": faults}


def line_of(row: dict[str, Any]) -> str:
    """A row for people, with its faults below."""
    counts = "".join(f"{row[name]:>9}" for name in ("damages", *ANSWERED))
    return "\n".join([f"{row['kind']:>24}{counts}", *(f"    {fault}" for fault in row["faults"])])


def main() -> None:
    """Damage, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, action="append", help="these kinds alone")
    output.options(parser, quick="three bits of each file, about a minute")
    options = parser.parse_args()
    if options.child:
        serve(options.child)
        return
    print(" " * 24 + "".join(f"{name:>9}" for name in ("damages", *ANSWERED)))
    rows = run(options.quick, options.kind or tuple(KINDS), show=True, seed=options.seed)
    totals = {name: sum(row[name] for row in rows) for name in ("damages", *ANSWERED)}
    print(line_of({"kind": "all", **totals, "faults": []}))
    output.write({"all": totals, "kinds": rows}, options)


if __name__ == "__main__":
    main()
