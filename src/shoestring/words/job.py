"""Training from the command line: a folder of vectors, and beside it what an interruption leaves.

While ``vectors`` is trained, ``vectors.training`` has the checkpoint (and the corpus as ids);
it goes when the vectors are saved.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shoestring.errors import ParameterError
from shoestring.words.artifact import check_new_or_ours
from shoestring.words.recipes import WEIGHTS
from shoestring.words.vectors import BinaryVectors

STANDARD_INPUT = Path("/dev/stdin")


def train_to_folder(
    texts: Sequence[Path], out: Path, *, resume: bool = False, **params: Any
) -> dict[str, Any]:
    """Train vectors on files and save them.

    Parameters
    ----------
    texts : sequence of Path
        Files and folders; "-" is standard input.
    out : Path
        New, empty, or a folder of vectors, which are replaced when the new ones are there.
    resume : bool
        Go on with what an interrupted training of the same settings left.
    **params
        Of :class:`shoestring.words.BinaryVectors`.

    Returns
    -------
    dict
        What was made: words, neurons, active bits, bytes of a code, the folder.

    Raises
    ------
    ParameterError
        If an interrupted training waits and is not to be resumed, or the folder holds other files.
    """
    check_new_or_ours(out)
    aside = out.with_name(out.name + ".training")
    if (aside / WEIGHTS).exists() and not resume:
        raise ParameterError(
            f"An interrupted training of these vectors is in {aside}. Go on with it (--resume), or "
            "remove that folder to begin anew."
        )
    sources = [STANDARD_INPUT if str(text) == "-" else text for text in texts]
    vectors = BinaryVectors(checkpoint=aside, progress=True, **params).fit(sources)
    vectors.save(out)
    shutil.rmtree(aside, ignore_errors=True)
    return describe(vectors) | {"folder": str(out)}


def binarise_to_folder(file: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Make binary vectors of a file of dense ones and save them; as :func:`train_to_folder`."""
    check_new_or_ours(out)
    vectors = BinaryVectors.from_word2vec_format(file, **options)
    vectors.save(out)
    return describe(vectors) | {"folder": str(out)}


def describe(vectors: BinaryVectors) -> dict[str, Any]:
    """What vectors hold, for people and for JSON."""
    table_bytes = vectors.codes_.nbytes
    return {
        "words": len(vectors),
        "neurons": vectors.n_neurons,
        "active": vectors.n_active,
        "bytes_a_word": vectors.codes_.shape[1],
        "codes_mb": round(table_bytes / 1e6, 3),
    }
