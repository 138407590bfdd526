"""Which axis of which family grows exactly: ``python -m benchmarks.grow.coverage``.

Each cell is measured on small models of random weights: 100 batches of random tokens, some padded,
some as long as the model reads; the largest difference in float64, and in float32 relative to the
largest answer. "refused": there is no exact growth, and the call says which sizes have one.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import output
from benchmarks.grow.models import MODELS, model_of

# The axis that must grow, and the sizes that are tried for it in turn
AXES: dict[str, tuple[str, list[dict[str, int]]]] = {
    "width, multiple": ("hidden", [{"hidden": 64}]),
    "width, any": ("hidden", [{"hidden": 81}, {"hidden": 76}]),
    "heads": ("heads", [{"heads": 8}, {"hidden": 64, "heads": 8}]),
    "heads of keys": ("key_heads", [{"key_heads": 4}]),
    "head size, multiple": ("head_size", [{"head_size": 16}, {"hidden": 64}]),
    "head size, any": ("head_size", [{"head_size": 11}, {"hidden": 76}]),
    "neurons": ("intermediate", [{"intermediate": 151}]),
    "layers": ("layers", [{"layers": 7}]),
    "layers, stacked": ("layers", [{"layers": 6}]),
    "tokens": ("vocab", [{"vocab": 77}]),
    "positions": ("positions", [{"positions": 96}]),
    "several": ("intermediate", [
        {"hidden": 96, "heads": 6, "head_size": 16, "intermediate": 160, "layers": 5, "vocab": 61},
        {"hidden": 96, "heads": 6, "intermediate": 160, "layers": 5, "vocab": 61},
        {"hidden": 96, "heads": 6, "intermediate": 160, "vocab": 61},
    ]),
}  # fmt: skip
# What others say of themselves: HyperCloning (Samragh et al. 2024, its repository) and a fork of it
PEERS = {
    "HyperCloning": "OPT, Pythia, OLMo, Gemma, Llama; whole factors of width; the head is untied; "
    "no head size in Llama and Pythia; no encoders, layers, optimiser; printed text as a check",
    "its fork": "Llama 3, Qwen3, Mixtral; whole factors; advises against head sizes",
}


def cell(family: str, axis: str, batches: int) -> str:
    """What comes out of the first of the sizes that is not refused."""
    from shoestring import ShoestringError, grow
    from shoestring.errors import ParameterError

    model = model_of(family)
    grows, tried = AXES[axis]
    for sizes in tried:
        try:
            _, found = grow(model, batches=batches, stack="stacked" in axis, **sizes)
        except ParameterError:
            continue
        except ShoestringError as error:
            return f"WRONG: {error}"
        if grows not in found.rules:
            continue
        if not found.exact:
            return "declared not exact"
        return f"{found.max_logit_difference:.0e}, {found.relative_difference_float32:.0e}"
    return "refused"


def main() -> None:
    """All cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="two batches a cell: two minutes")
    options = parser.parse_args()
    batches = 2 if options.quick else 100
    cells: dict[str, Any] = {}
    for family in MODELS:
        cells[family] = {axis: cell(family, axis, batches) for axis in AXES}
        output.show({f"{family}, {axis}": found for axis, found in cells[family].items()})
        output.write({"batches": batches, "cells": cells, "peers": PEERS}, options)


if __name__ == "__main__":
    main()
