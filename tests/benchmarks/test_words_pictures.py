"""The neurons that are shown are chosen by the rule that the page states."""

import numpy as np
import pytest
from benchmarks.words import pictures


def test_neurons_are_shown_from_the_most_coherent_to_the_least():
    rng = np.random.default_rng(0)
    directions = np.eye(20, dtype=np.float32)
    noise = np.linspace(0.01, 0.2, 20)  # words of later neurons lie further apart
    targets = np.concatenate(
        [d + n * rng.standard_normal((30, 20)) for d, n in zip(directions, noise, strict=True)]
    ).astype(np.float32)
    words = np.array([f"{i // 30}-{i % 30}" for i in range(600)], dtype=object)
    counts = np.full(600, pictures.LEAST)
    shown, n_neurons = pictures.neurons(words, counts, targets)
    assert n_neurons == 20 and len(shown) == pictures.N_SHOWN
    assert (shown[0].rank, shown[-1].rank) == (1, 20)
    cohesions = [neuron.cohesion for neuron in shown]
    assert cohesions == sorted(cohesions, reverse=True) and cohesions[0] > 0.9 > cohesions[-1]
    assert {word.partition("-")[0] for word in shown[0].words} == {str(shown[0].number)}
    best = targets[:, shown[0].number].argmax()
    assert shown[0].words[0] == words[best]


def test_rare_words_are_left_out():
    targets = np.eye(4, dtype=np.float32).repeat(12, axis=0)
    counts = np.full(48, pictures.LEAST)
    counts[0] = pictures.LEAST - 1
    words = np.array([str(i) for i in range(48)], dtype=object)
    shown, _ = pictures.neurons(words, counts, targets)
    assert "0" not in [word for neuron in shown for word in neuron.words]


def test_pictures_are_small_and_their_words_are_text(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    circuit, learnt = tmp_path / "circuit.svg", tmp_path / "neurons.svg"
    hashes = tmp_path / "hashes.svg"
    pictures.draw_hashes(hashes, seed=0)
    assert all(
        f">{step}</text>" in hashes.read_text("utf-8") for step in ("2. FlyHash", "4. words")
    )
    pictures.draw_circuit(circuit, seed=0)
    neuron = pictures.Neuron(7, 1, 0.5, ["银行", "市场"])
    pictures.draw_neurons({"en": ("English", [neuron], 1), "zh": ("Chinese", [neuron], 1)}, learnt)
    assert all(f">{word}</text>" in circuit.read_text("utf-8") for word in pictures.SENTENCE)
    assert learnt.read_text("utf-8").count("银行   市场</text>") == 2
    assert max(file.stat().st_size for file in (circuit, hashes, learnt)) < 200_000
