"""Binary word vectors: trained, saved, asked, in the idiom of scikit-learn and gensim.

A word's vector is a code of ``n_neurons`` bits of which ``n_active`` are active (Liang et al., "Can
a Fruit Fly Learn Word Embeddings?", ICLR 2021, arXiv 2101.06887). How they are trained:
:mod:`~shoestring.words.train`; compared, summed for contexts and texts, and saved:
:mod:`~shoestring.words.table`.

Not covered: training further on more text, words that are not in the vocabulary.

Letters: V words, K neurons, N texts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoestring.checks import (
    checked_bool,
    checked_int,
    checked_items,
    checked_path,
    checked_seed,
    checked_str,
    checked_text,
    checked_texts,
)
from shoestring.errors import NotFittedError, ParameterError, ShapeError, ShoestringWarning
from shoestring.estimator import TextTransformer
from shoestring.jobs import RunFolder
from shoestring.models.token_encoder import unit_rows
from shoestring.overlap.codes import MAX_BITS, PackedArray
from shoestring.words.corpus import encode_corpus
from shoestring.words.counts_rule import CONTEXT_WEIGHT
from shoestring.words.kmeans import spherical_kmeans, standard_activations
from shoestring.words.table import CodeTable, check_active, check_context_weight
from shoestring.words.train import checked_window, train_table
from shoestring.words.word2vec_io import Format, read_vectors, write_vectors

Code: TypeAlias = NDArray[np.bool_]  # (K,)

ENCODER_WINDOW = 31  # tokens, at most the longest sentence
FEW_TEXTS = 1_000  # in fewer every word counts, else those that occur twice
_NOT_SAVED = ("n_active", "n_neurons", "segmented", "lexicon")  # in the table, or too large


class BinaryVectors(TextTransformer):
    """Sparse binary word vectors that are trained on a CPU.

    Parameters
    ----------
    n_neurons : int
        K, the width of a code.
    n_active : int
        Active bits of a code. ``set_params`` and :meth:`with_active` change it after training.
    window : int
        Tokens of a window, odd; the word is in the middle.
    rule : {"counts", "published"}
        How they are trained; see :mod:`shoestring.words.train`.
    vocab_size : int
        At most so many words, the most frequent, get a vector.
    min_count : int
        Words that occur less often get none.
    skip_top : int
        Nor do so many of the most frequent ones: they drown out the others by the published rule.
    segmented : bool
        Texts have a sentence a line, its tokens between blanks; they are taken as they are.
    lexicon : iterable of str, or path, optional
        Words to keep whole in Chinese and other unspaced scripts; a file has one on each line.
    n_epochs : int
        Passes over the corpus, for the published rule.
    learning_rate : float
        Of the published rule's first epoch; 0.002 suits thousands of millions of tokens.
    context_weight : float, optional
        Weight of each word around another in its code in context: 0.25 by ``counts``, 1, the plain
        sum, by ``published``. ``set_params`` changes it after training.
    random_state : int
        Seed. The same seed gives the same vectors.

    Examples
    --------
    >>> texts = ["the cat sat on the mat", "the dog sat on the rug", "猫坐在垫子上"] * 9
    >>> v = BinaryVectors(n_neurons=6, n_active=2, window=3).fit(texts)
    >>> "cat" in v, "bird" in v, int(v["猫"].sum())
    (True, False, 2)
    >>> v.transform(["a cat and a dog", "the rug"]).shape
    (2, 6)
    """

    def __init__(
        self,
        n_neurons: int = 400,
        n_active: int = 50,
        window: int = 11,
        *,
        rule: str = "counts",
        vocab_size: int = 20_000,
        min_count: int = 5,
        skip_top: int = 0,
        segmented: bool = False,
        lexicon: Iterable[str] | str | Path | None = None,
        n_epochs: int = 15,
        learning_rate: float = 0.002,
        context_weight: float | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_neurons = n_neurons
        self.n_active = n_active
        self.window = window
        self.rule = rule
        self.vocab_size = vocab_size
        self.min_count = min_count
        self.skip_top = skip_top
        self.segmented = segmented
        self.lexicon = lexicon
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.context_weight = context_weight
        self.random_state = random_state

    def __sklearn_is_fitted__(self) -> bool:
        return "_table" in vars(self)

    def fit(
        self,
        texts: Any,
        y: object = None,
        *,
        minutes: float | None = None,
        checkpoint: str | Path | RunFolder | None = None,
        progress: bool = False,
    ) -> BinaryVectors:
        """Train on text; a corpus larger than memory will do.

        Parameters
        ----------
        texts : path, iterable of Path, of texts, of lists of tokens, data frame, EncodedCorpus
            As :func:`shoestring.words.corpus.encode_corpus` takes them.
        minutes : float, optional
            Time limit, reading included: of files a sample is read where all would take too long,
            and the published rule stops. Texts that are in memory are all read.
        checkpoint : path, optional
            Where an interrupted training keeps its state, ``<checkpoint>.run``: the same call goes
            on from there, to the same bits. It goes when the training is done.
        progress : bool
            Show a progress bar, and what the published rule will cost.

        Raises
        ------
        ParameterError, BudgetError, StorageError, FormatError
            A parameter, file or text that cannot be; no sentence is as long as the window.

        Warns
        -----
        ShoestringWarning
            If ``minutes`` are enough for a part of the text alone.
        """
        checked_bool("progress", progress, "BinaryVectors.fit")
        self._table = train_table(
            texts, self.get_params(), minutes=minutes, checkpoint=checkpoint, progress=progress
        )
        return self

    def transform(self, texts: Iterable[Any]) -> Any:
        """Codes of texts, for scikit-learn; :meth:`encode` gives them packed.

        Returns
        -------
        scipy.sparse.csr_array (N, K)
            float32, 0 and 1. A text without a known word has no code: a row of zeros.
        """
        from scipy.sparse import csr_array

        return csr_array(self._codes.unpacked(self.encode(texts)), dtype=np.float32)

    def encode(self, texts: Iterable[Any]) -> PackedArray:
        """Codes of texts, or lists of tokens: the top k of the mean of their words' activations.

        Words are weighted by one over the square root of their counts.

        Returns
        -------
        uint8 array (N, ceil(K / 8))
            Packed, see :mod:`shoestring.overlap.codes`. Of texts without a known word a
            ShoestringWarning says how many there are; they have no active bit.
        """
        items = checked_items("texts", texts, "BinaryVectors.encode", "a list of texts")
        codes = self._codes.codes_of_texts(items)
        wordless = [items[i] for i in np.flatnonzero(~codes.any(axis=1))]
        if wordless:
            warnings.warn(
                f"{len(wordless)} of {len(items)} texts have no known word, and so no code: "
                f"{', '.join(repr(text)[:60] for text in wordless[:3])}.",
                ShoestringWarning,
                stacklevel=2,
            )
        return codes

    @property
    def _codes(self) -> CodeTable:
        """Words and codes, those of ``n_active`` bits as it is now."""
        if "_table" not in vars(self):
            raise NotFittedError("These BinaryVectors are not trained yet: call fit(texts) first.")
        n_active = check_active(self.n_active, self._table.n_neurons)
        if n_active != self._table.n_active:
            self._table = self._table.with_active(n_active)
        return self._table

    @property
    def codes_(self) -> PackedArray:
        """The static codes, uint8 (V, ceil(K / 8)), packed."""
        return self._codes.codes

    @property
    def activations_(self) -> NDArray[np.float32]:
        """Of each word as a context, then as a target (2 V, K); (V, K) where these are the same."""
        return self._codes.known_activations("This")

    @property
    def index_to_key(self) -> list[str]:
        """The words, the most frequent first."""
        return self._codes.words

    @property
    def key_to_index(self) -> dict[str, int]:
        """The row of each word."""
        return self._codes.key_to_index

    def __len__(self) -> int:
        return len(self._codes.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._codes.row(word) >= 0

    def __iter__(self) -> Iterator[str]:
        """The words, as :attr:`index_to_key`."""
        return iter(self._codes.words)

    def __getitem__(self, words: str | Sequence[str]) -> Code:
        """The code of a word, bool (K,), or those of several, (N, K)."""
        table = self._codes
        if isinstance(words, str):
            return table.unpacked(table.packed(words)[0])
        names = checked_texts("words", words, "BinaryVectors[...]")
        return table.unpacked(table.codes[np.array([*map(table.known_row, names)], np.int64)])

    @property
    def vectors(self) -> Code:
        """All codes, bool (V, K), read-only: V K bytes, eight times :attr:`codes_`."""
        return self._codes.bits

    def get_vector(self, word: str) -> Code:
        """The code of a word, bool (K,)."""
        return self[checked_text("word", word, "BinaryVectors.get_vector")]

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The word that is least like the mean of all codes; those without a vector are left out.

        ParameterError if no word has one.
        """
        names = checked_texts("words", words, "BinaryVectors.doesnt_match")
        known = [word for word in names if word in self]
        if not known:
            want = "a list with a word that has a vector"
            raise ParameterError.of("words", "BinaryVectors.doesnt_match", want, names)
        codes = np.stack([self[word] for word in known])
        units = codes / np.sqrt(np.maximum(1, codes.sum(1, keepdims=True)))
        nearness = np.round(units @ units.mean(axis=0), 5)  # of equals the first by name
        return min(zip(nearness.tolist(), known, strict=True))[1]

    def similarity(self, a: str | Code, b: str | Code) -> float:
        """The share of bits in which two codes agree: words, or codes bool (K,)."""
        table = self._codes
        return float(table.similarities(table.packed(a), table.packed(b))[0])

    def most_similar(
        self,
        positive: str | Code | Sequence[str],
        negative: str | Sequence[str] = (),
        topn: int = 10,
    ) -> list[tuple[str, float]]:
        """The words whose codes are most like that of a word, of several words, or a code.

        Parameters
        ----------
        positive : str, sequence of str, or bool array (K,)
            Several words stand for the top k of the sum of their activations.
        negative : str or sequence of str
            Words whose activations are taken from the sum.
        topn : int
            How many words.

        Returns
        -------
        list of (str, float)
            The most alike first, of equals the more frequent; not the words that were given. One
            that is unknown is an UnknownWordError, a KeyError, which names the nearest spellings.
        """
        table = self._codes
        if isinstance(positive, np.ndarray) and positive.dtype.kind == "b":
            return table.nearest(table.packed(positive), topn)
        code, rows = self._code_of("positive", positive, "most_similar", negative)
        return table.nearest(code, topn, rows)

    def n_similarity(self, a: str | Sequence[str], b: str | Sequence[str]) -> float:
        """The :meth:`similarity` of several words to several, as :meth:`most_similar` has them."""
        code, other = (self._code_of(n, w, "n_similarity")[0] for n, w in (("a", a), ("b", b)))
        return float(self._codes.similarities(code, other)[0])

    def _code_of(
        self, name: str, words: Any, method: str, negative: str | Sequence[str] = ()
    ) -> tuple[PackedArray, list[int]]:
        """The code of several words, less others, and their rows."""
        table, owner = self._codes, f"BinaryVectors.{method}"
        plus, minus = (
            checked_texts(n, [given] if isinstance(given, str) else given, owner)
            for n, given in ((name, words), ("negative", negative))
        )
        if not plus:
            raise ParameterError.of(name, owner, "a word or several", words)
        rows = [table.known_row(word) for word in [*plus, *minus]]
        if len(rows) == 1:
            return table.codes[rows], rows
        signs = np.repeat([1.0, -1.0], [len(plus), len(minus)])
        targets, starts = np.array(rows) + table.first_target, np.array([0, len(rows)])
        return table.codes_of_sums(targets, starts, signs), rows

    def sentences(self, text: str) -> list[list[str]]:
        """The sentences of a text as tokens, cut as the training text was."""
        return self._codes.sentences(checked_str("text", text, "BinaryVectors.sentences"))

    def in_context(self, tokens: str | Sequence[str], position: int | str) -> Code:
        """The code of a word in its sentence.

        Parameters
        ----------
        tokens : sequence of str, or str
            A sentence; a text is cut into sentences and tokens.
        position : int or str
            Which token; or the word, the first of that kind.

        Returns
        -------
        bool array (K,)
            The top k of the sum of the activations of the word and, times ``context_weight``, of
            the words around it; those that have no vector add nothing.

        Raises
        ------
        UnknownWordError, NotFittedError
            If the word has no vector; if the vectors were saved without activations.
        """
        table = self._codes
        sentence, at = table.located(tokens, position)
        start = at - checked_window(self.window) // 2
        weight = check_context_weight(self.context_weight)
        around = sentence[max(0, start) : at] + sentence[at + 1 : 2 * at + 1 - start]
        rows = [row for row in map(table.row, around) if row >= 0]
        summed = np.array([table.known_row(sentence[at]) + table.first_target, *rows])
        weights = np.full(len(summed), table.context_weight if weight is None else weight)
        weights[0] = 1.0  # the word's own
        return table.unpacked(table.codes_of_sums(summed, np.array([0, len(summed)]), weights)[0])

    def most_similar_in_context(
        self, tokens: str | Sequence[str], position: int | str, topn: int = 10
    ) -> list[tuple[str, float]]:
        """The words whose static codes are most like that of a word in its sentence, but itself."""
        table = self._codes
        sentence, at = table.located(tokens, position)
        code = table.packed(self.in_context(sentence, at))
        return table.nearest(code, topn, [table.row(sentence[at])])

    def with_active(self, n_active: int) -> BinaryVectors:
        """The same vectors with codes of another length; this object stays as it is."""
        kept = check_active(n_active, self._codes.n_neurons)
        other = BinaryVectors(**{**self.get_params(), "n_active": kept})
        other._table = self._codes
        return other

    def save(self, folder: str | Path, *, activations: bool = True) -> None:
        """Save to a folder: new, empty, or one that was saved before, which is replaced.

        Without ``activations``, nearly all of the size, there are no codes in context, of texts, or
        of another length. ParameterError if the folder holds other files, StorageError if it cannot
        be written: what was there stays.
        """
        kept = checked_bool("activations", activations, "BinaryVectors.save")
        table = self._codes if kept else replace(self._codes, activations=None)
        settings = {n: value for n, value in self.get_params().items() if n not in _NOT_SAVED}
        table.save(checked_path("folder", folder, "BinaryVectors.save"), **settings)

    @classmethod
    def load(cls, folder: str | Path) -> BinaryVectors:
        """Open saved vectors, memory-mapped.

        ParameterError if there are none in the folder, FormatError if they are of another version,
        IntegrityError if a file is damaged.
        """
        table, settings = CodeTable.load(checked_path("folder", folder, "BinaryVectors.load"))
        return cls._of(table, **settings)

    @classmethod
    def _of(cls, table: CodeTable, **params: Any) -> BinaryVectors:
        vectors = cls(**{**params, "n_neurons": table.n_neurons, "segmented": table.segmented})
        vectors.n_active = table.n_active
        vectors._table = table
        return vectors

    @classmethod
    def from_dense(
        cls,
        words: Sequence[str],
        vectors: ArrayLike,
        *,
        n_neurons: int | None = 400,
        n_active: int = 50,
        context: ArrayLike | None = None,
        window: int = 11,
        random_state: int = 0,
    ) -> BinaryVectors:
        """Make binary vectors of dense ones, such as GloVe's or word2vec's.

        The neurons are the centres of spherical k-means over the unit vectors, the activations the
        standardised nearness to them; as context of another a word has these less their mean, and
        with the weight of :mod:`shoestring.words.counts_rule`.

        Parameters
        ----------
        words : sequence of str (V,)
            Distinct, the most frequent first; their counts are taken to be as Zipf's law has them.
        vectors : array (V, D)
            Finite numbers.
        n_neurons : int or None
            K; None where the D dimensions are neurons, as in flyvec's published matrix, and the
            vectors their activations: the weight is that of the paper, 1.
        context : array (V, D), optional
            Vectors of the words as context of another; by default the same.
        n_active, window, random_state
            As of the class, the last the seed of the centres.

        Notes
        -----
        ShapeError if the arrays do not have a row for each word; ParameterError if a word is there
        twice or a number not finite. Cost: some seconds for 20,000 words and 400 neurons.
        """
        seed = checked_seed("random_state", random_state, "from_dense")
        params = {"window": checked_window(window), "random_state": seed}
        names = checked_texts("words", words, "from_dense")
        if len(set(names)) < len(names):
            raise ParameterError("The 'words' parameter of from_dense must be distinct words.")
        blocks = [_numbers("vectors", vectors, len(names))]
        if context is not None:
            blocks.insert(0, _numbers("context", context, len(names)))
        if blocks[0].shape != blocks[-1].shape:
            raise ShapeError(f"context and vectors differ: {blocks[0].shape}, {blocks[-1].shape}.")
        counts = 1 + np.int64(1 << 30) // np.arange(1, len(names) + 1, dtype=np.int64)
        if n_neurons is not None:
            checked_int("n_neurons", n_neurons, 1, MAX_BITS, "from_dense")
            units = [unit_rows(block) for block in blocks]
            centres = spherical_kmeans(units[-1], n_neurons, seed)
            nearness = [standard_activations(unit, centres) for unit in units]
            mean = counts / counts.sum() @ nearness[0]
            blocks = [nearness[0] - mean.astype(np.float32), nearness[-1]]
        rows, weight = np.concatenate(blocks), 1.0 if n_neurons is None else CONTEXT_WEIGHT
        table = CodeTable.of_activations(names, rows, n_active, counts, context_weight=weight)
        return cls._of(table, **params)

    @classmethod
    def from_word2vec_format(
        cls, path: str | Path, *, limit: int | None = None, **options: Any
    ) -> BinaryVectors:
        """Make binary vectors of a file of word2vec text or binary, or GloVe's text.

        The options are those of :meth:`from_dense`, ``limit`` and the errors also those of
        :func:`shoestring.words.word2vec_io.read_vectors`.
        """
        return cls.from_dense(*read_vectors(path, limit=limit), **options)

    def export(
        self, path: str | Path, format: Format = "word2vec", *, activations: bool = False
    ) -> None:
        """Write the vectors for other tools: codes as 0 and 1, or the neurons' activations.

        The errors of :func:`shoestring.words.word2vec_io.write_vectors`; NotFittedError if the
        activations were not saved.
        """
        table = self._codes
        if checked_bool("activations", activations, "BinaryVectors.export"):
            rows = table.known_activations("Exporting them")[table.first_target :]
            write_vectors(path, table.words, rows, format)
        else:
            codes = table.unpacked(np.asarray(table.codes)).view(np.uint8)
            write_vectors(path, table.words, codes, format)


def train_encoder(texts: Sequence[str], seed: int = 0) -> CodeTable:
    """Train an encoder of texts on the very texts: 50 bytes a text; some thousand take seconds.

    Windows are wide: words of one subject should be alike, not only words that can stand in each
    other's place. On four collections that found more (docs/log.md). A FormatError or
    ParameterError says that there is too little to learn from: no word, no sentence of three words,
    no two words that stand together more often than by chance.

    Examples
    --------
    >>> encoder = train_encoder(["red shoes and a red hat", "a hat of wool", "warm shoes"] * 3)
    >>> encoder.codes_of_texts(["a red hat", "?"]).shape, encoder.encode(["a red hat"]).shape
    ((2, 50), (1, 400))
    """
    documents = ({"text": text} for text in texts)  # a text that is a file's name stays a text
    corpus = encode_corpus(documents, min_count=1 if len(texts) < FEW_TEXTS else 2)
    longest = corpus.longest_sentence - 1 + corpus.longest_sentence % 2  # odd
    window = max(3, min(ENCODER_WINDOW, longest))
    return BinaryVectors(window=window, random_state=seed).fit(corpus)._codes.for_texts()


def _numbers(name: str, array: ArrayLike, n_words: int) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what is not finite then is told below
            values = np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, np.float32)
    if values.ndim != 2 or len(values) != n_words:
        raise ShapeError(
            f"The {name} must be numbers in an array ({n_words}, D), a row for each word. "
            f"Got {values.shape} instead."
        )
    if not np.isfinite(values).all():
        raise ParameterError.of(name, "from_dense", "finite numbers", "NaN or infinity")
    return values
