"""Several processes on one run, as torchrun starts them: each mixes and learns its share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from vad.errors import DataError


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: of this one.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> tuple[Group, str]:
        """Joins what torchrun started, if it did, and says which device is this process's own.

        Gradients travel by NCCL between GPUs and by Gloo between CPUs.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls(), device
        group = cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return group, device

    @staticmethod
    def leave() -> None:
        """Ends the connection to the others, if there is one."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and judges."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many scenes of a batch are this process's.

        Raises:
            DataError: the batch does not divide evenly: means of the shares would not be the
                batch's.
        """
        if batch % self.size:
            raise DataError(f"a batch of {batch} can't be divided among {self.size} processes")
        return batch // self.size

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over all processes."""
        if self.size == 1:
            return
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor /= self.size

    def wait(self) -> None:
        """Until all are here: what one reads, another may just be writing."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()
