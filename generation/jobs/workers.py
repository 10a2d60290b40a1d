"""How many worker processes there are, where they run, and what they compute on."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from generation.jobs.local import LocalWorker, Worker
from generation.jobs.tasks import WorkerSetup

#: Where a container or `taskset` leaves only some cores, one worker more would be one too many.
_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


@dataclass(frozen=True)
class Workers:
    """The processes that render. What they make does not depend on it, as long as the device is the CPU."""

    count: int | None = None
    """Processes at a time; None for one a core."""
    device: str = "cpu"
    """What Cycles computes on; see `generation.render.devices`. Bytes are equal on CPUs only."""
    engine: Literal["local", "ray"] = "local"
    """'local': processes of this machine; 'ray': those of a Ray cluster."""
    address: str | None = None
    """Of the Ray cluster; None starts one on this machine."""

    @contextmanager
    def ready(self, setup: WorkerSetup) -> Iterator[tuple[Callable[[], Worker], int]]:
        """What starts a worker, and how many to start; a Ray cluster is connected to for as long."""
        if self.engine == "local":
            cores = len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1
            yield lambda: LocalWorker(setup), self.count or cores
        else:
            from generation.jobs.cluster import RayWorker, cluster  # Ray is an extra

            with cluster(self.address) as cores:
                yield lambda: RayWorker(setup), self.count or cores


#: Processes of this machine that render on the CPU.
ONE_A_CORE = Workers()
