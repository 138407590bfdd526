"""Words with their codes: which word is which row, and which codes are alike.

Two codes are as alike as the share of bits in which they agree, (n11 + n00) / K, which is what the
paper (Liang et al., arXiv 2101.06887) scores. Among codes with the same number of active bits it
ranks as the number of shared active bits does.

The activations have a row of each word as a context (0 to V - 1) and as a target (V to 2 V - 1);
vectors of other tools have a single block that serves as both. The code of several rows is the top
k of their weighted sum, in float64:

- **In context** (section 2 of the paper): the target row plus the context rows of the words around
  it in a window of W tokens, each as often as it occurs. Words that are not in the vocabulary add
  nothing; at the ends of a sentence the window is cut off. Context rows are taken times a weight
  (ours; 1 is the paper's plain sum).
- **A text**: the mean of the target rows of its words, weighted by 1 / sqrt(count) (ours, as the
  paper has none). Of seven weightings it found the most judged texts among 100 of SciFact and
  Cranfield: a recall of 0.42 and 0.39, against 0.27 and 0.24 with equal weights.

They are saved to a folder: ``vocabulary.json``, ``codes.npy`` (packed bits), ``counts.npy`` and,
unless they were left out, ``activations.npy``. Arrays are memory-mapped when they are read; kernels
look up rows of them by what the vocabulary says, so that their shapes are checked.

Letters: V words, K neurons, R rows of the activations: 2 V, or V where one block serves for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.artifacts import ArtifactKind
from shoestring.checks import checked_int, checked_number
from shoestring.errors import NotFittedError, ParameterError, UnknownWordError
from shoestring.overlap.codes import PackedArray, starts_of, top_k_codes
from shoestring.text.segmentation import Lexicon, split_words
from shoestring.types import IntArray

Activations = NDArray[np.float32]

KIND = ArtifactKind(
    "shoestring-word-vectors",
    "saved word vectors",
    "BinaryVectors.save",
    "Copy the folder again from where it is whole, or save or train the vectors again.",
    version=4,
)
_ARRAYS = {"codes": "|u1", "counts": "<i8", "activations": "<f4"}
_ROWS_AT_A_TIME = 1 << 12
_TEXTS_AT_A_TIME = 1 << 10


def check_active(n_active: object, n_neurons: int) -> int:
    """Check that codes can have that many active bits."""
    hint = "Pass a smaller one, or more neurons."
    return checked_int("n_active", n_active, 1, n_neurons, "BinaryVectors", hint)


def check_context_weight(weight: object) -> float | None:
    """Check the weight of the words around another."""
    if weight is None:
        return None
    want = "None or a number of at least 0"
    least = -np.nextafter(0.0, 1.0)
    return checked_number("context_weight", weight, "BinaryVectors", want, above=least)


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Words and their static codes, and what they were made of."""

    words: list[str]  # (V,): distinct, the most frequent first
    n_neurons: int  # K, the width of a code
    n_active: int  # active bits
    codes: PackedArray  # (V, ceil(K / 8))
    counts: IntArray  # (V,): how often each word occurs in the corpus
    activations: Activations | None = None  # (R, K), for codes in context, of texts, other lengths
    segmented: bool = False  # texts come with blanks between their tokens, taken as they are
    context_weight: float = 1.0  # of the rows around a word, where nobody asks for another

    @classmethod
    def of_activations(
        cls,
        words: list[str],
        activations: Activations,
        n_active: int,
        counts: IntArray,
        **about: Any,
    ) -> CodeTable:
        """Make the static codes: the top k of each word's activations as a target, in O(V K)."""
        n_neurons = activations.shape[1]
        codes = np.empty((len(words), -(-n_neurons // 8)), np.uint8)
        table = cls(words, n_neurons, n_active, codes, counts, activations, **about)
        return table.with_active(n_active)

    def save(self, folder: Path, **settings: Any) -> None:
        """Save to a folder, as :meth:`shoestring.words.BinaryVectors.save`."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with KIND.saving(folder) as writer:
            writer.strings("vocabulary.json", self.words)
            for name, array in arrays.items():
                if array is not None:
                    writer.array(f"{name}.npy", np.asarray(array, _ARRAYS[name]))
            writer.config |= {
                "settings": settings,
                "n_neurons": self.n_neurons,
                "n_active": self.n_active,
                "segmented": self.segmented,
                "context_weight": self.context_weight,
            }

    @classmethod
    def load(cls, folder: Path) -> tuple[CodeTable, dict[str, Any]]:
        """Open saved word vectors, memory-mapped: the table and the settings.

        The errors are those of :meth:`shoestring.words.BinaryVectors.load`.
        """
        want, hint = "the folder of saved word vectors", "shoestring words train TEXT --out FOLDER"
        owner = "BinaryVectors.load"
        missing = ParameterError.of("folder", owner, want, str(folder), f"Train some: {hint}")
        saved = KIND.read(folder, missing)
        words = saved.strings("vocabulary.json")
        with saved.decoding():
            config, n_words = saved.config, len(words)
            n_neurons, n_active = int(config["n_neurons"]), config["n_active"]
            if not 0 < n_active <= n_neurons:
                raise ValueError(f"{n_active} of {n_neurons} bits are active")
            shapes = {"codes": (n_words, -(-n_neurons // 8)), "counts": (n_words,)}
            if "activations.npy" in saved:
                n_rows = len(saved.array("activations.npy"))  # as targets, and perhaps in contexts
                shapes["activations"] = n_words * (1 + (n_rows > n_words)), n_neurons
            arrays = {n: saved.array(f"{n}.npy", _ARRAYS[n], shape) for n, shape in shapes.items()}
            table = cls(
                words,
                n_neurons,
                n_active,
                **arrays,
                segmented=bool(config["segmented"]),
                context_weight=float(config["context_weight"]),
            )
            return table, dict(config["settings"])

    def with_active(self, n_active: int) -> CodeTable:
        """The same words with codes of another length."""
        activations = self.known_activations("Another length of the codes")
        n_active = check_active(n_active, self.n_neurons)
        codes = np.empty(self.codes.shape, np.uint8)
        targets = activations[self.first_target :]
        for start in range(0, len(codes), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            codes[part] = top_k_codes(targets[part], n_active)
        return replace(self, n_active=n_active, codes=codes)

    def known_activations(self, what: str) -> Activations:
        """The activations; a NotFittedError says what is not possible without them."""
        if self.activations is None:
            raise NotFittedError(
                f"{what} needs the neurons' activations, and these vectors have codes alone. Save "
                "them with activations=True, or train them again."
            )
        return self.activations

    def for_texts(self) -> CodeTable:
        """What an encoder needs, half of it: words as targets, without those that add nothing."""
        activations = self.known_activations("A code of a text")[self.first_target :]
        kept = np.flatnonzero(activations.any(axis=1))
        if len(kept) < len(self.words):
            activations = activations[kept]
        return replace(
            self,
            words=[self.words[row] for row in kept],
            codes=self.codes[kept],
            counts=self.counts[kept],
            activations=activations,
        )

    @property
    def first_target(self) -> int:
        """The row of the activations that is the first word as a target."""
        return len(self.known_activations("This")) - len(self.words)

    @cached_property
    def key_to_index(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def bits(self) -> NDArray[np.bool_]:
        """The codes as bool (V, K), read-only."""
        bits = self.unpacked(np.asarray(self.codes))
        bits.flags.writeable = False
        return bits

    @cached_property
    def _lexicon(self) -> Lexicon | None:
        """The words of unspaced scripts, to cut texts as the corpus was."""
        lexicon = None if self.segmented else Lexicon(self.words)
        return lexicon if lexicon is not None and lexicon.words else None

    def sentences(self, text: str) -> list[list[str]]:
        """A text's sentences of tokens, cut as the words were."""
        return split_words(text, segmented=self.segmented, lexicon=self._lexicon)

    def tokens(self, text: Any) -> list[str]:
        """The tokens of a text; of a list of tokens these."""
        if isinstance(text, str):
            return [token for sentence in self.sentences(text) for token in sentence]
        if isinstance(text, list | tuple) and all(isinstance(token, str) for token in text):
            return list(text)
        kind = type(text).__name__
        raise ParameterError.of("texts", "BinaryVectors", "str, or lists of tokens", kind)

    def row(self, word: str) -> int:
        """The row of a word, -1 if it has none; tried as it is, then as a text's words are."""
        row = self.key_to_index.get(word, -1)
        if row < 0 and not self.segmented:
            folded = self.tokens(word)
            row = self.key_to_index.get(folded[0], -1) if len(folded) == 1 else -1
        return row

    def known_row(self, word: str) -> int:
        """The row of a word; an UnknownWordError names the nearest spellings."""
        row = self.row(word)
        if row < 0:
            near = get_close_matches(word, self.words, n=3)
            hint = f" The nearest spellings are {', '.join(map(repr, near))}." if near else ""
            raise UnknownWordError(
                f"The word {word!r} is none of the {len(self.words)} that have a vector.{hint}"
            )
        return row

    def located(self, tokens: str | Sequence[str], position: int | str) -> tuple[list[str], int]:
        """The tokens of the sentence that has a word, and which of them it is.

        See :meth:`shoestring.words.BinaryVectors.in_context`.
        """
        sentences = self.sentences(tokens) if isinstance(tokens, str) else [self.tokens(tokens)]
        n_tokens = len(sentences[0]) if len(sentences) == 1 else 0
        if isinstance(position, str):
            folded = self.tokens(position)
            forms = [position, *folded] if len(folded) == 1 else [position]
            for sentence in sentences:
                for at, token in enumerate(sentence):
                    if token in forms:
                        return sentence, at
        elif isinstance(position, int | np.integer) and 0 <= position < n_tokens:
            return sentences[0], int(position)
        shown = ", ".join(repr(token) for sentence in sentences for token in sentence)
        want = f"a word of the sentence ({shown[:80]}), or its place in it, from 0"
        raise ParameterError.of("position", "BinaryVectors.in_context", want, position)

    def codes_of_sums(
        self, rows: IntArray, starts: IntArray, weights: NDArray[np.float64]
    ) -> PackedArray:
        """Packed codes of N weighted sums of rows of the activations.

        Sum i has the rows ``rows[starts[i] : starts[i + 1]]``; of no row no bit is active.
        """
        from scipy.sparse import csr_array

        activations = self.known_activations("A code of several words")
        used, columns = np.unique(rows, return_inverse=True)
        matrix = csr_array((weights, columns, starts), shape=(len(starts) - 1, len(used)))
        sums = np.asarray(matrix @ activations[used].astype(np.float64))
        codes = top_k_codes(sums, self.n_active)
        codes[np.diff(starts) == 0] = 0
        return codes

    def codes_of_texts(self, texts: Sequence[Any]) -> PackedArray:
        """Packed codes of texts, as :meth:`shoestring.words.BinaryVectors.encode`."""
        weights = 1 / np.sqrt(np.maximum(self.counts, 1))
        packed, remaining = [self.codes[:0]], iter(texts)
        while batch := list(islice(remaining, _TEXTS_AT_A_TIME)):
            bags = [[row for row in map(self.row, self.tokens(text)) if row >= 0] for text in batch]
            starts = starts_of([*map(len, bags)])
            rows = np.fromiter(chain.from_iterable(bags), np.int64, starts[-1])
            targets = rows + self.first_target
            packed.append(self.codes_of_sums(targets, starts, weights[rows]))
        return np.concatenate(packed)

    @property
    def n_dims(self) -> int:
        """K, as of every encoder of texts."""
        return self.n_neurons

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Codes of texts as vectors (N, K) of unit length; zero where no word is known."""
        bits = self.unpacked(self.codes_of_texts(texts)).astype(np.float32)
        return bits / np.float32(np.sqrt(self.n_active))

    def unpacked(self, packed: PackedArray) -> NDArray[np.bool_]:
        """Packed codes (..., ceil(K / 8)) as bool (..., K)."""
        bits = np.unpackbits(packed, axis=-1, count=self.n_neurons, bitorder="little")
        return bits.view(np.bool_)

    def packed(self, word: Any) -> PackedArray:
        """The code of a word, or a code that is given as bool (K,), packed (1, ceil(K / 8))."""
        if isinstance(word, str):
            return self.codes[[self.known_row(word)]]
        code = np.asarray(word)
        if code.dtype != np.bool_ or code.shape != (self.n_neurons,):
            want = f"a word, or a code: bool ({self.n_neurons},)"
            got = f"{code.dtype} {code.shape}"
            raise ParameterError.of("word", "BinaryVectors", want, got)
        return np.packbits(code[None], axis=1, bitorder="little")

    def similarities(self, code: PackedArray, others: PackedArray) -> NDArray[np.float64]:
        """(n11 + n00) / K of one packed code and each of others (N,)."""
        n_different = np.bitwise_count(code ^ others).sum(axis=1, dtype=np.int64)
        return np.asarray(1 - n_different / self.n_neurons)

    def nearest(
        self, code: PackedArray, n: int, left_out: Iterable[int] = ()
    ) -> list[tuple[str, float]]:
        """The n words whose codes are most like one, of equals the more frequent first."""
        checked_int("topn", n, 1, 1 << 31, "BinaryVectors")
        rows = set(left_out)
        similarities = self.similarities(code, self.codes)
        order = np.argsort(-similarities, kind="stable")[: n + len(rows)]
        kept = [row for row in order.tolist() if row not in rows][:n]
        return [(self.words[row], float(similarities[row])) for row in kept]
