"""The token vectors of an index's texts: an option that makes token interaction cheap.

Not what any figure of calls rests on: a call stays a call. It saves a small index the model runs.
"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from shoestring.errors import ParameterError
from shoestring.match.interaction import TokenInteraction
from shoestring.match.token_table import KIND, TokenTable, table_bytes
from shoestring.search.store import RecordStore
from shoestring.types import PairScorer

FOLDER = "token-table"


def build_table(store: RecordStore, scorer: PairScorer | None, *, progress: bool) -> None:
    """Encode all texts once, after telling the size; a table that is there already stays."""
    folder = store.path / FOLDER
    if KIND.is_saved(folder):
        return
    if not isinstance(scorer, TokenInteraction):
        want = "left out unless the scorer is MiniLM's token interaction"
        raise ParameterError.of("token_table", "SearchIndex.build", want, True)
    with store.snapshot() as snapshot:
        texts = snapshot.texts(np.concatenate([snapshot.keys, snapshot.pending_keys]))
    if progress:
        megabytes = table_bytes(texts, scorer) / 1e6
        tqdm.write(f"token table: {megabytes:,.0f} MB for {len(texts):,} texts")
    TokenTable.build(texts, scorer, folder)


def with_table(store: RecordStore, scorer: PairScorer) -> PairScorer:
    """The scorer with the index's token table where there is one."""
    folder = store.path / FOLDER
    if isinstance(scorer, TokenInteraction) and KIND.is_saved(folder):
        return TokenTable.load(folder, scorer)
    return scorer
