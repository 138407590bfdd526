"""The memory that a training step takes: resident, and what autograd keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

SAMPLED_EVERY_S = 0.02


class Memory:
    """Resident memory of this process in bytes, watched while something runs."""

    def __init__(self) -> None:
        self.at_first = self.peak = resident_bytes()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the block, from another thread."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLED_EVERY_S):
                self.peak = max(self.peak, resident_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.peak = max(self.peak, resident_bytes())


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    import psutil  # comes with accelerate

    return int(psutil.Process().memory_info().rss)


def saved_bytes(model: nn.Module, batch: dict[str, Any]) -> int:
    """Bytes that autograd keeps between forward and backward, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = model(**batch)  # held, so that no storage is given to another tensor
        total = sum(kept.values())
    del found
    return total
