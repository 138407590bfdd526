"""The state of a training in its run folder, so that it goes on after an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from shoestring.artifacts import Artifact, ArtifactKind, digest
from shoestring.errors import ParameterError
from shoestring.jobs import Clock, RunFolder, SaveEvery

SAVE_S = 60.0  # what takes less than this starts again
_FOLDER = "weights"
_KIND = ArtifactKind(
    "shoestring-words-training",
    "the state of a training",
    "train",
    "Remove the run folder and train again.",
)


class TrainingState:
    """What was done so far; without a run folder nothing is kept.

    Training goes on only with the same arrays, ``corpus``.
    """

    def __init__(self, run: RunFolder | None, clock: Clock, *corpus: NDArray[Any]) -> None:
        self._run, self._clock = run, clock
        self._corpus = digest(*corpus) if run is not None else ""
        self._every = SaveEvery(clock, SAVE_S)

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._run is not None and self._every.is_due

    def saved(self) -> Artifact | None:
        """What an interrupted run has saved; a ParameterError if it was on another corpus."""
        if self._run is None or not _KIND.is_saved(self._run.path / _FOLDER):
            return None
        state = _KIND.read(self._run.path / _FOLDER)
        if state.config.get("corpus") != self._corpus:
            raise ParameterError(
                f"The interrupted training in {self._run.path} was on other texts. Pass the same "
                "texts, or remove that folder to start again."
            )
        return state

    def save(self, progress: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save, whole or not at all; what was saved before stays until then."""
        if self._run is None:
            return
        with self._every.saving():
            with _KIND.saving(self._run.path / _FOLDER) as writer:
                for name, array in arrays.items():
                    writer.array(f"{name}.npy", array)
                writer.config |= {"corpus": self._corpus, **progress}
            self._run.keep(self._clock)
