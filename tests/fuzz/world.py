"""Small objects of every room for tests/test_fuzz.py, made once each, and what damages files."""

from __future__ import annotations

import copy
import gzip
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from tests.fuzz.values import LABELS, N_BITS, TEXTS

LABELLED_PAIRS = [(f"{i} red", f"{i} hat", i % 2) for i in range(12)]


@st.composite
def changed_bytes(draw: Any, whole: bytes) -> bytes:
    """A file with something wrong in it; the seed of what is drawn is small."""
    kinds = "none flip cut insert drop twice swap junk empty".split()  # noqa: SIM905
    kind, at = draw(st.sampled_from(kinds)), 0
    if whole:
        at = draw(st.integers(0, len(whole) - 1))
    some = draw(
        st.sampled_from(
            [b"\0", b"\xff\xfe", b"\n", b'"', b",", b"{", b"nan", b"9" * 400, b"\xf0\x9f"]
        )
    )
    if kind == "flip" and whole:
        return whole[:at] + bytes([whole[at] ^ (1 << draw(st.integers(0, 7)))]) + whole[at + 1 :]
    return {
        "none": whole,
        "flip": whole,
        "cut": whole[:at],
        "insert": whole[:at] + some + whole[at:],
        "drop": whole[:at] + whole[at + 7 :],
        "twice": whole + whole,
        "swap": whole[at:] + whole[:at],
        "junk": draw(st.binary(max_size=60)),
        "empty": b"",
    }[kind]  # fmt: skip


def _other_value(value: Any, draw: Any) -> Any:
    """A JSON value with one part of it replaced by something else."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: _other_value(value[name], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _other_value(value[at], draw), *value[at + 1 :]]
    other = [
        None,
        True,
        -1,
        0,
        3,
        1 << 40,
        0.5,
        1e308,
        "",
        "x",
        "../x",
        [],
        {},
        [1],
        ["x"],
        {"x": 1},
    ]
    return draw(st.sampled_from(other))


@dataclass
class Damage:
    """Something wrong with one file of a folder; drawn where the folder is."""

    number: int
    data: Any
    shown: str = ""

    def apply(self, folder: Path) -> None:
        files = sorted(f for f in folder.rglob("*") if f.is_file() and ".lock" not in f.name)
        file = files[self.number % len(files)]
        whole, changed = file.read_bytes(), None
        if file.suffix == ".json" and self.data.draw(st.booleans()):
            changed = json.dumps(_other_value(json.loads(whole), self.data.draw)).encode()
        elif self.data.draw(st.integers(0, 7)):
            changed = self.data.draw(changed_bytes(whole))
        self.shown = f"{file} is {_shown(whole, changed)}"
        file.unlink()
        if changed is not None:
            file.write_bytes(changed)

    def __repr__(self) -> str:
        return self.shown


def _shown(whole: bytes, changed: bytes | None) -> str:
    if changed is None:
        return "missing"
    at = next((i for i, (a, b) in enumerate(zip(whole, changed, strict=False)) if a != b), -1)
    around = changed[max(0, at - 9) : at + 20]
    return f"{len(changed)} bytes, was {len(whole)}, other at {at}: {around!r}"


DAMAGE = st.builds(Damage, st.integers(0, 40), st.data())


@dataclass
class FileChoice:
    """One of the world's files, changed; drawn where they are known."""

    files: str
    number: int
    data: Any
    shown: str = ""

    def written(self, world: World) -> Path:
        known = getattr(world, self.files)
        name = sorted(known)[self.number % len(known)]
        whole = self.data.draw(changed_bytes(known[name]))
        path = Path(f"input{name}" if name.startswith(".") else f"input.{name}")
        path.write_bytes(whole)
        self.shown = f"{path} is {_shown(known[name], whole)}"
        return path

    def __repr__(self) -> str:
        return self.shown


def shared_letters(query: str, text: str) -> float:
    """A pair scorer that costs nothing."""
    return float(len(set(query) & set(text)))


class World:
    """Small objects of every room, made once each; those that a call changes are copied for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        folder = self.folder / name
        if not folder.exists():
            make(folder)
        return folder

    def copied(self, folder: Path, damage: Damage | None = None) -> Path:
        """A copy of a folder in the working folder, maybe damaged."""
        copied = Path("copy")
        shutil.copytree(folder, copied)
        if damage is not None:
            damage.apply(copied)
        return copied

    @cached_property
    def index_folder(self) -> Path:
        from shoestring import SearchIndex

        def make(folder: Path) -> None:
            records = [{"text": text, "id": str(i)} for i, text in enumerate(TEXTS)]
            index = SearchIndex.build(
                folder, records, scorer=self.scorer, encoder="lsa", calls=30, progress=False
            )
            index.query("red shoes", calls=5)

        return self.made("index", make)

    def index(self) -> Any:
        from shoestring import SearchIndex

        return SearchIndex.open(self.copied(self.index_folder), scorer=self.scorer)

    @cached_property
    def scorer(self) -> Any:
        from shoestring import score_with

        return score_with(shared_letters, name="letters", single=True)

    @cached_property
    def kept_classifier(self) -> Any:
        from shoestring import TextClassifier

        return TextClassifier("lsa").fit(TEXTS, LABELS)

    def classifier(self) -> Any:
        return copy.deepcopy(self.kept_classifier)

    @cached_property
    def classifier_folder(self) -> Path:
        return self.made("classifier", self.kept_classifier.save)

    @cached_property
    def _softmax(self) -> Any:
        from shoestring import AnalyticSoftmax

        rows = np.random.default_rng(0).normal(size=(12, 4))
        return AnalyticSoftmax(shrinkage=0.1).fit(rows, LABELS)

    def softmax(self) -> Any:
        return copy.deepcopy(self._softmax)

    @cached_property
    def softmax_folder(self) -> Path:
        return self.made("softmax", self._softmax.save)

    @cached_property
    def vectors(self) -> Any:
        from shoestring import BinaryVectors

        return BinaryVectors(N_BITS, 5, 3, min_count=1).fit(TEXTS * 3)

    @cached_property
    def vectors_folder(self) -> Path:
        return self.made("vectors", self.vectors.save)

    @cached_property
    def word2vec_files(self) -> dict[str, bytes]:
        """One of each format."""
        files = {}
        for ending, format in (("txt", "word2vec"), ("bin", "word2vec-binary")):
            path = self.folder / f"exported.{ending}"
            self.vectors.export(path, format, activations=ending != "txt")
            files[ending] = path.read_bytes()
        glove = files["txt"].split(b"\n", 1)[1]
        return {**files, "glove": glove, "gz": gzip.compress(files["txt"])}

    @cached_property
    def overlap_folder(self) -> Path:
        return self.made("overlap", self.overlap().save)

    def overlap(self) -> Any:
        from shoestring import OverlapIndex

        index = OverlapIndex(N_BITS, n_threads=1)
        index.add([[0, 1, 2], [1, 2, 3], [7, 8], list(range(20))])
        index.add([[5]], ids=[9])
        index.delete([2])
        return index

    @cached_property
    def lsa(self) -> Any:
        from shoestring.models import LsaEncoder

        return LsaEncoder(8).fit(TEXTS)

    @cached_property
    def lsa_folder(self) -> Path:
        return self.made("lsa", self.lsa.save)

    @cached_property
    def bert_folder(self) -> Path:
        """A model of two layers that reads words."""
        return self.made("bert", lambda folder: _save_bert(folder, "BertModel"))

    @cached_property
    def cross_folder(self) -> Path:
        return self.made(
            "cross", lambda folder: _save_bert(folder, "BertForSequenceClassification")
        )

    @cached_property
    def sentence_encoder(self) -> Any:
        from shoestring.models import SentenceEncoder

        return SentenceEncoder(self.bert_folder)

    @cached_property
    def interaction(self) -> Any:
        from shoestring.match import TokenInteraction

        return TokenInteraction(self.bert_folder)

    @cached_property
    def cross_encoder(self) -> Any:
        from shoestring.match import CrossEncoderScorer

        return CrossEncoderScorer(self.cross_folder)

    @cached_property
    def matcher(self) -> Any:
        from shoestring import PairMatcher

        return PairMatcher.train(LABELLED_PAIRS, epochs=1)

    @cached_property
    def matcher_folder(self) -> Path:
        return self.made("matcher", lambda folder: self.matcher.save_pretrained(folder))

    @cached_property
    def ladder(self) -> Any:
        from shoestring import LadderClassifier

        return LadderClassifier(str(self.bert_folder), epochs=1, layers=[0, 1], max_length=16).fit(
            TEXTS * 2, LABELS * 2
        )

    @cached_property
    def ladder_folder(self) -> Path:
        return self.made("ladder", lambda folder: self.ladder.model_.save_pretrained(folder))

    @cached_property
    def record_files(self) -> dict[str, bytes]:
        """A small file of each kind."""
        rows = [
            {"id": str(i), "text": t, "label": n}
            for i, (t, n) in enumerate(zip(TEXTS, LABELS, strict=True))
        ]
        frame = pd.DataFrame(rows)
        parquet = io.BytesIO()
        frame.to_parquet(parquet)
        files = {
            ".jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode(),
            ".csv": frame.to_csv(index=False).encode(),
            ".tsv": frame.to_csv(index=False, sep="\t").encode(),
            ".txt": "\n".join(TEXTS).encode(),
            ".json": json.dumps(rows).encode(),
            ".html": f"<html><p>{'</p><p>'.join(TEXTS)}</p></html>".encode(),
        }
        packed = {f"{ending}.gz": gzip.compress(data) for ending, data in files.items()}
        return {**files, **packed, ".parquet": parquet.getvalue()}

    @cached_property
    def command_paths(self) -> dict[str, str]:
        """What a path on the command line may be."""
        for ending, data in self.record_files.items():
            (self.folder / f"records{ending}").write_bytes(data)
        (self.folder / "judged.tsv").write_text("0\t1\t1\n1\t2\t1\n", encoding="utf-8")
        (self.folder / "junk.csv").write_bytes(b"\x00\xff\xfe,,\n\x80")
        _ = self.word2vec_files
        found = {file.name: str(file) for file in self.folder.glob("*.*") if file.is_file()}
        for name in ("index", "classifier", "vectors", "ladder", "bert"):
            found[name] = str(getattr(self, f"{name}_folder"))
        return found | {"missing": "missing", "out": "out", "-": "-"}


def _save_bert(folder: Path, kind: str) -> None:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted({w for text in TEXTS for w in text.split()}),
    ]
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(pieces[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    tokenizer.save(str(folder / "tokenizer.json"))
