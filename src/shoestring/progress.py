"""Progress bars: tqdm's."""

from __future__ import annotations

import tqdm

Progress = tqdm.tqdm
