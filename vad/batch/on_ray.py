"""The work on a Ray cluster: a pool of actors, each with a model of its own.

Ray restarts actors that died and gives their blocks of files to others. What it gives up, since it
kills one actor after another, is tried once more file by file, so that only the file that is to
blame gets a row that says so.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vad.batch.processes import WorkerDied
from vad.batch.work import Recording, Row, Work, Worker, failure
from vad.errors import MissingExtra, ModelError, OutputError, ParameterError, VadError

if TYPE_CHECKING:
    import pyarrow as pa

    from vad.batch.run import Blank, Executor

# Rows reach us a block at a time, and what dies costs a block: few files in one. Ray's own work on
# a block is milliseconds.
BLOCKS = 2000
RETRIES = 2  # of a block whose actor died, before it is given up
_STOPPED = "stopped"  # status of a row that says why the whole run can't go on


def on_ray(address: str, workers: tuple[int, int] | None, gpus: float) -> Executor:
    """The work on the cluster at `address`.

    Args:
        address: as for `ray.init`: `auto` finds the cluster that this machine is part of, `local`
            makes one of this machine.
        workers: at least and at most so many; None: one for each CPU that the cluster has now.
        gpus: of each worker; may be a fraction.
    """

    def execute(work: Work, recordings: Sequence[Recording], blank: Blank) -> Iterator[Row]:
        if not recordings:
            return
        with _connected(address) as ray:
            size = workers or _all_cpus(ray, gpus)
            left = {each.uri: each for each in recordings}
            for blocks in (min(len(recordings), BLOCKS), None):
                for row in _pass(ray, work, list(left.values()), blocks, size, gpus):
                    del left[row["uri"]]
                    yield row
                if not left:
                    return
            lost = failure(WorkerDied("the worker that analysed it ended, several times"))
            yield from (blank(each) | lost for each in left.values())

    return execute


def _pass(
    ray: Any,
    work: Work,
    recordings: list[Recording],
    blocks: int | None,
    size: tuple[int, int],
    gpus: float,
) -> Iterator[Row]:
    """Rows of the recordings; of those in blocks that were given up, none."""
    rows = [
        {**each._asdict(), "size": -1 if each.size is None else each.size} for each in recordings
    ]
    least, most = (min(count, len(rows)) for count in size)
    pool = ray.data.ActorPoolStrategy(min_size=least, max_size=most)
    given = ray.data.from_items(rows, override_num_blocks=blocks or len(rows))
    found = given.map_batches(
        _Actor,
        fn_constructor_kwargs={"work": work},
        batch_size=None,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=1,
        num_gpus=gpus or None,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )
    for table in found.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in table.to_pylist():
            if row["status"] == _STOPPED:
                kind = OutputError if row["error_type"] == "OutputError" else ModelError
                raise kind(row["error"])
            yield row


class _Actor:
    """A worker as Ray Data calls it, a table of recordings at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._worker: Worker | None = None

    def __call__(self, recordings: pa.Table) -> pa.Table:
        from vad.batch.table import as_table

        rows: list[Row] = []
        for given in recordings.to_pylist():
            recording = Recording(**{**given, "size": None if given["size"] < 0 else given["size"]})
            try:
                if self._worker is None:
                    self._worker = Worker(self._work)
                rows.append(self._worker.row(recording))
            except VadError as error:  # an exception would be one of a block, and be retried
                uri = {"uri": recording.uri, "worker": socket.gethostname()}
                rows.append(uri | failure(error) | {"status": _STOPPED})
                break
        return as_table(rows)


def _all_cpus(ray: Any, gpus: float) -> tuple[int, int]:
    found = ray.cluster_resources()
    count = found.get("GPU", 0) // gpus if gpus else found.get("CPU", 0)
    if count < 1:
        raise ParameterError("gpus" if gpus else "ray_address", "the cluster has none now")
    return int(count), int(count)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected for as long as this lasts, and quiet."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())
            raise ParameterError("ray_address", f"{address}: {line}") from error
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.max_errored_blocks
    context.enable_progress_bars, context.max_errored_blocks = False, -1
    try:
        yield ray
    finally:
        context.enable_progress_bars, context.max_errored_blocks = before
        if ours:
            ray.shutdown()
