"""Workers on a Ray cluster, for those who outgrow one machine. Needs the `cluster` extra.

All machines must see the dataset's folder and the assets under the same paths (a network file system).
Each actor keeps a worker process of its own, exactly as on one machine, so that a crash of Blender is the
same small matter.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from generation.jobs.local import LocalWorker, NoPlace, WorkerDied
from generation.jobs.tasks import Result, Task, WorkerSetup
from objnerf.errors import InputError

logger = logging.getLogger(__name__)

#: A cluster that has no free core for so long will not have one soon.
START_TIMEOUT_S = 300.0


class RayWorker:
    """A worker somewhere in the cluster: an actor with one core."""

    def __init__(self, setup: WorkerSetup) -> None:
        ray = _ray()
        self._actor = ray.remote(_Host).options(num_cpus=1, max_restarts=0).remote(setup.model_dump_json())
        try:
            self._wait(self._actor.ready.remote(), START_TIMEOUT_S)
        except BaseException:
            # One that still waits would take the next core that comes free, for nobody.
            self.close()
            raise

    def run(self, task: Task, limit_s: float) -> Result:
        """Send a task and wait for the result.

        Raises:
            WorkerDied: the worker process hangs, or it, its actor or its machine is gone.
        """
        result = self._actor.run.remote(task.model_dump_json(), limit_s)
        return Result.model_validate_json(self._wait(result))

    def close(self) -> None:
        _ray().kill(self._actor)

    def _wait(self, reference: Any, timeout: float | None = None) -> str:
        ray = _ray()
        try:
            return str(ray.get(reference, timeout=timeout))
        except ray.exceptions.GetTimeoutError as error:
            raise NoPlace(
                f"the Ray cluster had no free core within {START_TIMEOUT_S:.0f} s; lower --workers, or "
                "look at `ray status`"
            ) from error
        except ray.exceptions.RayTaskError as error:
            # Ray wraps what was raised in the actor.
            if isinstance(error.cause, InputError):
                raise InputError(str(error.cause)) from error
            raise WorkerDied(str(error.cause)) from error
        except ray.exceptions.RayError as error:
            raise WorkerDied(f"the worker's actor is gone: {' '.join(str(error).split())}") from error


class _Host:
    """Runs in the actor: owns a worker process."""

    def __init__(self, setup_json: str) -> None:
        self._worker = LocalWorker(WorkerSetup.model_validate_json(setup_json))

    def ready(self) -> str:
        return self._worker.version

    def run(self, task_json: str, limit_s: float) -> str:
        return self._worker.run(Task.model_validate_json(task_json), limit_s).model_dump_json()


@contextmanager
def cluster(address: str | None = None) -> Iterator[int]:
    """Connect to a Ray cluster, or start one on this machine; yields its number of cores.

    Args:
        address: 'host:port', 'auto' for the running one, or None to start one here and end it afterwards.
    Raises:
        InputError: Ray is not installed, or the cluster can't be reached.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--address {address}: no Ray cluster at this address ({error})") from error
    try:
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'objnerf[cluster]'") from error
    return ray
