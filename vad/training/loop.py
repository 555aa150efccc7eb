"""The training loop: scenes in, averaged weights out, resumable at any step.

A run's folder holds `checkpoint.pt` (replaced atomically), `log.jsonl` and TensorBoard's
events. Scenes depend on (seed, step) alone and the rate on the step alone, so a resumed run
goes on exactly where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vad.errors import DataError
from vad.nn import Network
from vad.teachers import Teacher
from vad.training.draw import Draw
from vad.training.labels import IGNORE, SPEECH
from vad.training.logbook import Logbook
from vad.training.mixing import Mixer
from vad.training.parallel import ALONE, Group
from vad.training.recipe import Recipe
from vad.training.repeats import Batch, oldest, repeated
from vad.training.student import Student
from vad.training.teacher import UNTAUGHT, hints

Scores = dict[str, float]


class Report(Protocol):
    """Where progress goes."""

    def __call__(self, step: int, losses: Scores, rate: float, scores: Scores | None) -> None: ...


class Scenes(Dataset[Batch]):
    """Batch i of a run, for every i: samples, labels, hints of the teachers.

    Args:
        teach: makes the teachers; called in the process that needs them.
        group: whose share of each batch is made.
    """

    def __init__(
        self,
        mixer: Mixer,
        recipe: Recipe,
        teach: Callable[[str], list[Teacher]],
        group: Group = ALONE,
    ) -> None:
        self.mixer, self.recipe, self.group, self._teach = mixer, recipe, group, teach
        self._teachers: list[Teacher] | None = None

    @torch.no_grad()
    def __getitem__(self, number: int) -> Batch:
        if self._teachers is None:
            taught = self.recipe.teacher > 0
            self._teachers = self._teach(str(self.mixer.device)) if taught else []
        draw = Draw(self.mixer.device, self.recipe.seed, number, self.group.rank)
        audio, labels = self.mixer.scenes(draw, self.group.share(self.recipe.batch))
        sound = as_float(audio)
        heard = hints(sound, labels, self._teachers, self.recipe.taught, draw)
        if get_worker_info() is None:
            return audio, labels, heard
        return audio.cpu(), labels.cpu(), heard.cpu()  # a GPU's memory stays its process's own

    def fresh(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Scenes that no step of the run hears, one batch after another.

        Yields:
            [batch, samples] float32 and [batch, frames] int8 labels.
        """
        for step in count(self.recipe.steps):
            draw = Draw(self.mixer.device, self.recipe.seed, step)
            audio, labels = self.mixer.scenes(draw, self.recipe.batch)
            yield as_float(audio), labels


def loss_of(logits: Tensor, labels: Tensor, heard: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy over frames not in doubt, plus the worst tenth of speechless scenes.

    Args:
        logits: [batch, frames].
        labels: [batch, frames] int8 of 1, 0, −1.
        heard: [batch, frames] by the teachers, who decide alone where labels are in doubt;
            `UNTAUGHT` where there are none.
    """
    frames = labels.shape[1] - recipe.lag
    logits, labels, heard = logits[:, recipe.lag :], labels[:, :frames], heard[:, :frames]
    taught = heard != UNTAUGHT
    doubtful = labels == IGNORE
    known = ~doubtful | taught
    pauses = recipe.teacher if recipe.teacher_in_pauses is None else recipe.teacher_in_pauses
    share = torch.where(labels == SPEECH, recipe.teacher, pauses)
    share = torch.where(doubtful, 1.0, share) * taught
    target = torch.lerp(labels.clamp_min(0).float(), heard.clamp_min(0), share)
    target = target.clamp(recipe.smoothing, 1 - recipe.smoothing)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    loss = each.sum() / known.sum().clamp_min(1)
    if recipe.worst_tenth:
        silent = (labels == 0).all(dim=1)
        worst = each.topk(max(1, each.shape[1] // 10), dim=1).values.mean(dim=1)
        # By their share of the batch, so that the term's pull does not hang on the draw.
        loss = loss + 4 * recipe.worst_tenth * (worst * silent).mean()
    return loss


def _nobody(device: str) -> list[Teacher]:
    return []


class Trainer:
    """One run.

    Args:
        recipe: what to do.
        mixer: where scenes come from.
        folder: for checkpoint and logs; a checkpoint there is resumed.
        device: `cpu`, `cuda`, …
        init: networks to start from; each student takes the last of its architecture, if any.
        teach: makes the teachers on a device.
        workers: processes that mix, on the mixer's device; with 0 this one does, between steps.
        group: the processes among which each batch is divided.

    Attributes:
        students: one for each of the recipe's architectures, all learning from the same scenes.

    Raises:
        DataError: the folder's checkpoint is damaged or belongs to another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        mixer: Mixer,
        folder: Path,
        *,
        device: str = "cpu",
        init: Sequence[Network] = (),
        teach: Callable[[str], list[Teacher]] = _nobody,
        workers: int = 1,
        group: Group = ALONE,
    ) -> None:
        self.recipe, self.folder, self.device, self.workers = recipe, folder, device, workers
        self.mixer, self.group, self.step = mixer, group, 0
        self.scenes = Scenes(mixer, recipe, teach, group)
        latest = {network.architecture.name: network for network in init}
        self.students = [Student(n, recipe, device, latest.get(n)) for n in recipe.architectures]
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.is_file():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def run(
        self,
        *,
        report: Report,
        validate: Callable[[Network], Scores] | None = None,
        validate_every: int = 1000,
        save_every: int = 250,
        stop_at: int | None = None,
    ) -> list[Network]:
        """Train to the recipe's end (or `stop_at`) and give the averaged networks.

        Args:
            report: called after each step; `loss` is the first student's, `loss.tiny` that of
                another.
            validate: scores the first averaged network, each `validate_every` steps and at the
                end.
            save_every: steps between checkpoints.
            stop_at: leave off after this step, with a checkpoint.
        """
        last = min(self.recipe.steps, stop_at or self.recipe.steps)
        logbook = Logbook(self.folder, self.step) if self.group.leads else None
        if logbook and self.step == 0:
            logbook.scenes(self.mixer, self.recipe.seed)
        for batch in self._batches(last):
            rate = self.recipe.rate(self.step)
            losses = self._update(*(part.to(self.device, non_blocking=True) for part in batch))
            if logbook is None:
                continue
            done = self.step == last
            scores = None
            if validate and (done or self.step % validate_every == 0):
                scores = validate(self.students[0].average)
            report(self.step, losses, rate, scores)
            logbook.step(self.step, {**losses, "rate": rate}, scores)
            if done or self.step % save_every == 0:
                self.save()
        if logbook:
            logbook.close()
        self.group.wait()
        return [student.result() for student in self.students]

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        data = {
            "step": self.step,
            "recipe": self.recipe.to_dict(),
            "students": [student.state() for student in self.students],
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(data, partial)
        os.replace(partial, self.checkpoint)

    def _resume(self) -> None:
        try:
            data: dict[str, Any] = torch.load(
                self.checkpoint, map_location="cpu", weights_only=True
            )
        except (RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.checkpoint} is damaged: remove it ({reason})") from error
        theirs, ours = data.get("recipe", {}), self.recipe.to_dict()
        states = data.get("students", [{}])
        if theirs.keys() != ours.keys() or any("start" not in each for each in states):
            raise DataError(f"{self.checkpoint} is of another version: use another folder")
        if json.dumps(theirs) != json.dumps(ours):
            raise DataError(
                f"{self.checkpoint} belongs to another recipe: use another folder, or its recipe"
            )
        self.step = data["step"]
        for student, state in zip(self.students, states, strict=True):
            student.restore(state)

    def _batches(self, last: int) -> Iterator[Batch]:
        repeats = self.recipe.repeats
        if self.step < last:
            numbers = range(oldest(self.step, repeats), (last - 1) // (repeats + 1) + 1)
            yield from repeated(self._made(numbers), range(self.step, last), repeats)

    def _made(self, numbers: range) -> Iterator[Batch]:
        if not self.workers:
            yield from (self.scenes[number] for number in numbers)
            return
        # A process that uses a GPU must not be a copy of one that does.
        starting = "fork" if self.mixer.device.type == "cpu" else "spawn"
        pinned = self.device.startswith("cuda")
        for batch in DataLoader(
            self.scenes,
            multiprocessing_context=starting,
            batch_size=None,
            sampler=numbers,
            num_workers=self.workers,
            prefetch_factor=2,
            worker_init_fn=_one_thread,
            pin_memory=pinned,
        ):
            # Copies, as pinned ones are: memory shared with a worker is little, and takes three
            # descriptors a batch, which those that wait to be heard again would keep.
            audio, labels, heard = batch if pinned else (part.clone() for part in batch)
            yield audio, labels, heard

    def _update(self, audio: Tensor, labels: Tensor, heard: Tensor) -> dict[str, float]:
        kind, audio = self.device.split(":")[0], as_float(audio)
        losses: dict[str, Tensor] = {}
        for student in self.students:
            student.network.train()
            with torch.autocast(kind, torch.bfloat16, enabled=fast_bf16(audio)):
                logits = student.network(audio)
            loss = loss_of(logits.float(), labels, heard, self.recipe)
            student.learn(loss, self.step, self.group)
            name = "loss" if student is self.students[0] else f"loss.{student.name}"
            losses[name] = loss.detach()
        self.step += 1
        return {name: float(loss) for name, loss in losses.items()}


def as_float(pcm: Tensor) -> Tensor:
    """16-bit samples as float32 in [−1, 1]."""
    return pcm.float() / 32767


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # a worker for each core: more threads would only fight


def fast_bf16(audio: Tensor) -> bool:
    """Whether bfloat16 pays: on GPUs, and on CPUs that multiply it (elsewhere it is emulated)."""
    return audio.is_cuda or torch.cpu._is_avx512_bf16_supported()
