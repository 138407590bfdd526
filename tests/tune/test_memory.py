"""What the benchmarks say of memory: that of a step, and none of a ladder's backbone."""

import math
import mmap
import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from benchmarks.tune.memory import Memory, resident_bytes, saved_bytes
from torch import nn


def test_saved_bytes_are_those_of_the_activations_without_the_weights():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    x = torch.randn(5, 8)  # kept: the input (5, 8), and tanh's output (5, 16) once for two
    assert saved_bytes(Model(), {"x": x}) == 4 * (5 * 8 + 5 * 16)
    with torch.no_grad():
        assert saved_bytes(Model(), {"x": x}) == 0


def test_a_ladder_keeps_bytes_and_its_backbone_none(make_ladder, inputs_of):
    ladder = make_ladder(n_labels=3).train()
    inputs = inputs_of(ladder, ["open the file", "sort a list of words"])
    inputs["labels"] = torch.tensor([0, 2])
    whole = saved_bytes(ladder, inputs)

    class Backbone(nn.Module):
        def forward(self, input_ids, attention_mask, **_):
            return ladder.backbone.outputs(input_ids, attention_mask, ladder.layers)

    del inputs["special_tokens_mask"]
    assert whole > 0
    assert saved_bytes(Backbone(), inputs) == 0
    read = ladder.read(inputs["input_ids"], inputs["attention_mask"])
    read_before = saved_bytes(ladder, {"first": read, "labels": inputs["labels"]})
    assert read_before == pytest.approx(whole, rel=0.2)


def test_memory_sees_what_was_there_for_a_while():
    memory = Memory()
    with memory.watched():
        block = mmap.mmap(-1, 40 * 2**20)  # new pages, whatever was freed in this process before
        block.write(b"x" * len(block))
        while memory.peak - memory.at_first <= 30 * 2**20:  # whenever the watcher gets its turn
            time.sleep(0.01)
        block.close()
    assert math.isclose(resident_bytes(), memory.at_first, rel_tol=0.5)
