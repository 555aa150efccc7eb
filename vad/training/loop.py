"""The training loop: scenes in, averaged weights out, resumable at any step.

A run's folder holds `checkpoint.pt` (replaced atomically), `log.jsonl` and TensorBoard's
events. Scenes depend on (seed, index) alone and the rate on the step alone, so a resumed run
goes on exactly where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vad.errors import DataError
from vad.nn import ARCHITECTURES, Network
from vad.training.labels import IGNORE, Reference
from vad.training.logbook import Logbook
from vad.training.mixing import Mixer
from vad.training.parallel import ALONE, Group
from vad.training.prepare import references
from vad.training.recipe import Recipe
from vad.training.teacher import UNTAUGHT, hints, together

Scores = dict[str, float]


class Report(Protocol):
    """Where progress goes."""

    def __call__(self, step: int, loss: float, rate: float, scores: Scores | None) -> None: ...


class Scenes(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Scene i of a run, for every i: audio, labels, hints of the teachers."""

    def __init__(self, mixer: Mixer, recipe: Recipe) -> None:
        self.mixer, self.recipe = mixer, recipe
        self._teachers: list[Reference] | None = None

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, index])
        audio, labels = self.mixer.scene(rng)
        if self._teachers is None:  # in the process that needs them: they can't be sent to it
            self._teachers = references() if self.recipe.teacher else []
            if self._teachers and self.recipe.ensemble:
                self._teachers = [together(self._teachers)]
        heard = hints(audio, labels, self._teachers, self.recipe.taught, rng)
        return torch.from_numpy(audio), torch.from_numpy(labels), torch.from_numpy(heard)


def loss_of(logits: Tensor, labels: Tensor, heard: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy over frames not in doubt, plus the worst tenth of speechless scenes.

    Args:
        logits: [batch, frames].
        labels: [batch, frames] int8 of 1, 0, −1.
        heard: [batch, frames] by the teachers, which decide alone where labels are in doubt;
            `UNTAUGHT` where there are none.
    """
    taught = heard != UNTAUGHT
    doubtful = labels == IGNORE
    known = ~doubtful | taught
    share = torch.where(doubtful, 1.0, recipe.teacher) * taught
    target = torch.lerp(labels.clamp_min(0).float(), heard.clamp_min(0), share)
    target = target.clamp(recipe.smoothing, 1 - recipe.smoothing)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    loss = each.sum() / known.sum().clamp_min(1)
    silent = (labels == 0).all(dim=1)
    if recipe.worst_tenth and bool(silent.any()):
        worst = each[silent].topk(max(1, each.shape[1] // 10), dim=1).values
        # Weighted by their share, so that the term's pull does not hang on the draw.
        loss = loss + recipe.worst_tenth * worst.mean() * silent.float().mean() * 4
    return loss


class Trainer:
    """One run.

    Args:
        recipe: what to do.
        mixer: where scenes come from.
        folder: for checkpoint and logs; a checkpoint there is resumed.
        device: `cpu`, `cuda`, …
        init: weights to start from instead of random ones.
        workers: processes that mix.
        group: the processes among which each batch is divided.

    Raises:
        DataError: the folder's checkpoint belongs to another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        mixer: Mixer,
        folder: Path,
        *,
        device: str = "cpu",
        init: Network | None = None,
        workers: int = 1,
        group: Group = ALONE,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device, self.workers = recipe, folder, device, workers
        self.mixer, self.group = mixer, group
        self.network = Network(ARCHITECTURES[recipe.architecture]).to(device)
        if init is not None:
            self.network.load_state_dict(init.state_dict())
        self.average = Network(ARCHITECTURES[recipe.architecture]).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.average.eval()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        other = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": other, "weight_decay": 0.0},
            ],
            lr=recipe.peak_rate,
        )
        self.step = 0
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
        judge: Callable[[Network], Scores] | None = None,
        judge_every: int = 1000,
        save_every: int = 250,
        stop_at: int | None = None,
    ) -> Network:
        """Train to the recipe's end (or `stop_at`) and give the averaged network.

        Args:
            report: called after each step.
            judge: scores the averaged network, every `judge_every` steps and at the end.
            save_every: steps between checkpoints.
            stop_at: leave off after this step, with a checkpoint.
        """
        last = min(self.recipe.steps, stop_at or self.recipe.steps)
        logbook = Logbook(self.folder, self.step) if self.group.leads else None
        if logbook and self.step == 0:
            logbook.scenes(self.mixer, self.recipe.seed)
        for batch in self._batches(last):
            loss, rate = self._update(*(part.to(self.device) for part in batch))
            if logbook is None:
                continue
            done = self.step == last
            scores = None
            if judge and (done or self.step % judge_every == 0):
                scores = judge(self.average)
            report(self.step, loss, rate, scores)
            logbook.step(self.step, {"loss": loss, "rate": rate}, scores)
            if done or self.step % save_every == 0:
                self.save()
        if logbook:
            logbook.close()
        self.group.wait()
        return self.average

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        data = {
            "step": self.step,
            "recipe": self.recipe.to_dict(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(data, partial)
        os.replace(partial, self.checkpoint)

    def _resume(self) -> None:
        data: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if json.dumps(data["recipe"]) != json.dumps(self.recipe.to_dict()):
            raise DataError(
                f"{self.checkpoint} belongs to another recipe: use another folder, or its recipe"
            )
        self.step = data["step"]
        self.network.load_state_dict(data["network"])
        self.average.load_state_dict(data["average"])
        self.optimiser.load_state_dict(data["optimiser"])
        torch.set_rng_state(data["rng"])

    def _batches(self, last: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        size = self.recipe.batch
        steps = (range(i * size, (i + 1) * size) for i in range(self.step, last))
        batches = [list(self.group.share(batch)) for batch in steps]
        loader = DataLoader(
            Scenes(self.mixer, self.recipe),
            batch_sampler=batches,
            num_workers=self.workers,
            prefetch_factor=8 if self.workers else None,
            worker_init_fn=_one_thread,
            pin_memory=self.device.startswith("cuda"),
        )
        yield from loader

    def _update(self, audio: Tensor, labels: Tensor, heard: Tensor) -> tuple[float, float]:
        rate = self.recipe.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=_fast_bf16(audio)):
            logits = self.network(audio)
        loss = loss_of(logits.float(), labels, heard, self.recipe)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average(p.grad for p in self.network.parameters() if p.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach()), rate

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first, so that the random start is soon forgotten.
        decay = min(self.recipe.ema, self.step / (self.step + 10))
        for mean, new in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(new)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # a worker for each core: more threads would only fight


def _fast_bf16(audio: Tensor) -> bool:
    """Whether bfloat16 pays: on GPUs, and on CPUs with matrix tiles (elsewhere it is emulated)."""
    return audio.is_cuda or torch.cpu._is_amx_tile_supported()
