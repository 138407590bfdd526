"""What the tests of text classifiers share: texts of two topics, a tiny encoder, comparisons."""

import hashlib
import re

import numpy as np

from shoestring.classify import AnalyticSoftmax, TextClassifier

ENGLISH = {
    "animal": ["cat", "dog", "mouse", "bird", "horse", "tail", "fur", "paw"],
    "finance": ["bank", "money", "coin", "loan", "price", "market", "trade", "stock"],
}
CHINESE = {"动物": list("猫狗鸟鱼尾毛爪兽"), "金融": list("银钱币价市贸股贷")}
THREE = ENGLISH | {"weather": ["rain", "snow", "wind", "storm", "cloud", "sun", "fog", "hail"]}


def topics(n=120, seed=0, of=ENGLISH, n_words=6, stray=0.25):
    """Texts and labels, each topic as often; some words are drawn from all topics."""
    rng = np.random.default_rng(seed)
    everything = [word for words in of.values() for word in words]
    texts, labels = [], []
    for i in range(n):
        label = list(of)[i % len(of)]
        own, any_topic = rng.choice(of[label], n_words), rng.choice(everything, n_words)
        words = np.where(rng.random(n_words) < stray, any_topic, own)
        texts.append(("" if of is CHINESE else " ").join(words))
        labels.append(label)
    return texts, labels


class HashedWords:
    """Each word is 16 numbers of its hash; a text is their sum, of unit length."""

    n_dims = 16

    def encode(self, texts):
        sums = np.zeros((len(texts), 16), np.float32)
        for row, text in zip(sums, texts, strict=True):
            for word in re.findall(r"\w+", text):
                digest = hashlib.blake2b(word.encode(), digest_size=16).digest()
                row += np.frombuffer(digest, np.int8)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


def classifier(encoder="lsa", **head):
    """One without random features, which is quick."""
    return TextClassifier(encoder, head=AnalyticSoftmax(**head))


def assert_alike(a, b, texts, atol=1e-8):
    """Both say the same of texts, up to rounding."""
    assert a.classes_.tolist() == b.classes_.tolist()
    np.testing.assert_allclose(a.predict_proba(texts), b.predict_proba(texts), rtol=0, atol=atol)
    assert a.n_learnt == b.n_learnt


def assert_same_bits(a, b, texts):
    """Both say the same of texts, to the last bit."""
    assert a.classes_.tolist() == b.classes_.tolist()
    np.testing.assert_array_equal(a.predict_proba(texts), b.predict_proba(texts))
    assert a.n_learnt == b.n_learnt


def contents(folder):
    """The bytes of every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
