"""What `vad train` says on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vad.training.plan import Stage

LINES_EVERY = 500  # steps, where there is no terminal
MEMORY = 0.98  # of the running means: single steps' losses jump about


class Bar:
    """One stage's progress: a live bar on a terminal, a line now and then elsewhere.

    Args:
        stage: which one.
        step: to which it has got already.
        console: where to; None says nothing.
    """

    def __init__(self, stage: Stage, step: int, console: Console | None) -> None:
        self.name, self.console = stage.name, console or Console(quiet=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        self.bar = Progress(
            *columns, MofNCompleteColumn(), TimeRemainingColumn(), console=self.console
        )
        self.task = self.bar.add_task(f"{self.name}: loss –", total=stage.last_step, completed=step)
        self.means: dict[str, float] = {}
        self._say(_about(stage, step))

    def __call__(
        self, step: int, losses: dict[str, float], rate: float, scores: dict[str, float] | None
    ) -> None:
        """Notes a step, as `vad.training.loop.Report` says."""
        for name, loss in losses.items():
            mean = self.means.get(name, loss)
            self.means[name] = MEMORY * mean + (1 - MEMORY) * loss
        so_far = "  ".join(f"{name} {mean:.4f}" for name, mean in self.means.items())
        self.bar.update(self.task, completed=step, description=f"{self.name}: {so_far}")
        if scores is not None:
            found = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            self._say(f"{self.name}, step {step}: {so_far}  {found}")
        elif not self.console.is_terminal and step % LINES_EVERY == 0:
            self._say(f"{self.name}, step {step}: {so_far}  rate {rate:.2e}")

    def __enter__(self) -> Bar:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:  # elsewhere it would leave an empty line
            self.bar.stop()

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _about(stage: Stage, step: int) -> str:
    recipe = stage.recipe
    scenes = f"{recipe.batch} scenes of {recipe.scenes.seconds:g} s"
    line = f"{stage.name}: {', '.join(recipe.architectures)}, {recipe.steps} steps of {scenes}"
    if recipe.teacher:
        third = f" and {recipe.arbiter}" if recipe.arbiter else ""
        line += f", taught by the references{third}"
    return line + (f"; goes on after step {step}" if step else "")
