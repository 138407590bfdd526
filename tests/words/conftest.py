"""A small corpus of two languages, and vectors trained on it once."""

import numpy as np
import pytest

from shoestring.words.train import RULES
from shoestring.words.vectors import BinaryVectors

TOPICS = [
    ["cat", "dog", "mouse", "bird", "horse", "tail", "fur", "paw"],
    ["bank", "money", "coin", "loan", "price", "market", "trade", "stock"],
    list("猫狗鸟鱼尾毛爪兽"),
    list("银钱币价市贸股贷"),
]
SETTINGS = {"n_neurons": 32, "n_active": 6, "window": 5, "n_epochs": 3, "min_count": 1}


def made_up_texts(n: int = 400, seed: int = 0) -> list[str]:
    """Sentences of nine words of one topic, every topic as often."""
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(n):
        words = rng.choice(TOPICS[i % 4], 9)
        texts.append(("" if i % 4 > 1 else " ").join(words) + ("。" if i % 4 > 1 else "."))
    return texts


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return made_up_texts()


@pytest.fixture(scope="session", params=RULES)
def trained(request: pytest.FixtureRequest, texts: list[str]) -> BinaryVectors:
    """Not to be changed."""
    return BinaryVectors(rule=request.param, **(SETTINGS | {"n_epochs": 300})).fit(texts)
