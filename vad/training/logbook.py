"""What a run leaves to read: a line of JSON a step, and TensorBoard's events.

    {"step": 1000, "loss": 0.21, "loss.tiny": 0.24, "rate": 0.002, "timit-nltk": 0.97, "mean": 0.96}

Scores stand in the lines of the steps at which they were taken.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vad.files import write_whole
from vad.frames import SAMPLE_RATE
from vad.training.draw import Draw
from vad.training.labels import SPEECH
from vad.training.mixing import Mixer

EVERY = 20  # steps between TensorBoard's points: more only make it slow


class Logbook:
    """Writes `log.jsonl` and TensorBoard's events into a run's folder.

    Args:
        folder: of the run; what is there is added to.
        step: to which the run has got; later lines are from a part that was lost, and go.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._file = folder / "log.jsonl"
        self._cut(step)
        self._events = SummaryWriter(str(folder / "events"), purge_step=step + 1)

    def step(self, step: int, values: dict[str, float], scores: dict[str, float] | None) -> None:
        """Notes a step's values, and the scores that it may have been given."""
        row = {"step": step, **values, **(scores or {})}
        with self._file.open("a") as log:
            log.write(json.dumps({k: round(v, 6) for k, v in row.items()}) + "\n")
        if scores or step % EVERY == 0:
            for name, value in values.items():
                self._events.add_scalar(f"training/{name}", value, step)
        for name, value in (scores or {}).items():
            self._events.add_scalar(f"development/{name}", value, step)

    def scenes(self, mixer: Mixer, seed: int, count: int = 8) -> None:
        """Notes the first scenes of a run, to be listened to, and how much of each is speech."""
        scenes, labels = mixer.scenes(Draw(mixer.device, seed, 0), count)
        for i, (audio, spoken) in enumerate(zip(scenes.cpu(), labels == SPEECH, strict=True)):
            name = f"scene {i}, {spoken.float().mean():.0%} speech"
            self._events.add_audio(name, audio[None] / 32768, 0, sample_rate=SAMPLE_RATE)

    def close(self) -> None:
        self._events.close()

    def _cut(self, step: int) -> None:
        if not self._file.is_file():
            return
        rows = self._file.read_text().splitlines(keepends=True)
        if rows and not rows[-1].endswith("\n"):
            del rows[-1]  # a kill or a full disk cut it short
        kept = [row for row in rows if json.loads(row)["step"] <= step]
        write_whole(self._file, "".join(kept).encode())
