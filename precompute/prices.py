"""From what was measured with one process to what any number of processes take.

A process has a device and, if there are loader workers, decodes beside it: the slower of the two
limits it. Without workers it decodes and computes in turn. The processes of a machine share its
cores, so with more of them there are fewer cores to decode for each. Machines are taken to be like
this one.
"""

import resource
import sys
from dataclasses import dataclass

import torch

from precompute.groups import most_views, part_of
from precompute.job import Job
from precompute.measure import Costs
from shared.device import usable_cores
from shared.store.view_memory import ViewMemory, view_memory

WORKER = 150 << 20  # bytes of memory of its own, besides batches
BATCHES = 2  # that a worker has ready


@dataclass(frozen=True)
class Machine:
    processes: int  # one per GPU; 1 on a CPU, whose cores a process uses all
    cores: int
    memory: int  # bytes


def machine_of(device: torch.device, memory: int) -> Machine:
    processes = torch.cuda.device_count() if device.type == "cuda" else 1
    return Machine(processes, usable_cores(), memory)


@dataclass(frozen=True)
class Prices:
    job: Job
    costs: Costs
    machine: Machine

    @property
    def images(self) -> int:
        return self.job.manifest.samples

    def view_seconds(self, views: int, here: int = 1) -> float:
        """Seconds per view in one of `here` precompute processes on a machine."""
        measured = self._modelled(self.costs.group, 1)
        return self.costs.pipeline * self._modelled(self._group(views), here) / measured

    def precompute(self, views: int, processes: int = 1) -> float:
        """Seconds until all blocks are made. Towards the end a process takes one block of one view
        at a time, so the last of them is what others may have to wait for."""
        manifest = self.job.manifest
        rounds = -(-manifest.blocks * views // processes)
        rows = min(rounds * manifest.block, views * manifest.samples)
        return rows * self.view_seconds(views, self._here(processes))

    def decoding_limits(self, views: int, processes: int) -> bool:
        here = self._here(processes)
        return self._decoding(views, here) > self.costs.teacher

    def epoch(self, processes: int, is_live: bool = False) -> float:
        """Seconds of a training epoch of ResNet-18, without validation."""
        device = self.costs.student + (self.costs.teacher if is_live else 0.0)
        seeing = self.costs.decoding.seeing / self._workers(self._here(processes))
        step = max(device, seeing) if self.job.workers else device + seeing
        return step * self.images / processes

    def memory(self) -> float:
        """Bytes that the training processes of a machine take, without the targets of a view."""
        job = self.job
        unit = 1 if sys.platform == "darwin" else 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        batches = BATCHES * job.batch_size * 3 * job.manifest.size**2
        workers = min(job.workers, max(1, self.machine.cores // self.machine.processes))
        return self.machine.processes * (own + workers * (WORKER + batches))

    def view(self) -> ViewMemory:
        return view_memory(self.job.manifest)

    def _modelled(self, group: int, here: int) -> float:
        decoding, teacher = self._decoding_of(group, here), self.costs.teacher
        return max(decoding, teacher) if self.job.workers else decoding + teacher

    def _decoding(self, views: int, here: int) -> float:
        return self._decoding_of(self._group(views), here)

    def _decoding_of(self, group: int, here: int) -> float:
        return self.costs.decoding.drawn(group) / self._workers(here)

    def _workers(self, here: int) -> float:
        """Cores that decode for each of the processes on a machine."""
        return min(self.job.workers, self.machine.cores / here) if self.job.workers else 1.0

    def _group(self, views: int) -> int:
        return part_of(views, most_views(self.job))

    def _here(self, processes: int) -> int:
        return min(processes, self.machine.processes)
