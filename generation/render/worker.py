"""A process that holds Blender and makes scenes on request: ``python -m generation.render.worker``.

The protocol is JSON, one message a line: tasks on standard input, results on the file descriptor that was
standard output at the start (Blender's own output goes to standard error). The process ends when its input
does, so that no worker outlives its parent process.
"""

import contextlib
import faulthandler
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from generation.jobs.tasks import Result, Task, WorkerSetup
from objnerf.errors import ObjnerfError


def main() -> int:
    """Serve tasks until standard input ends."""
    results = _own_stdout()
    # Ctrl-C reaches the whole process group; the parent process decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if hasattr(signal, "SIGUSR1"):
        # The parent process asks so before it kills a worker that hangs.
        faulthandler.register(signal.SIGUSR1, all_threads=True)
    setup = WorkerSetup.model_validate_json(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="objnerf-render-") as folder:
        try:
            server = _Server(setup, Path(folder))
        except (ObjnerfError, ImportError) as error:
            _send(results, Result(kind="refused", error=_refusal(error)))
            return 0
        _send(results, Result(kind="ready", version=server.version))
        for line in sys.stdin:
            _send(results, server.run(Task.model_validate_json(line)))
    return 0


class _Server:
    def __init__(self, setup: WorkerSetup, folder: Path) -> None:
        # Here, not above: a missing bpy is then reported, not a broken pipe.
        from generation.plan.plan import AssetPool

        with _one_core():
            from generation.render.devices import use_device
            from generation.render.renderer import SceneRenderer, blender_version

        # Said once, before a scene is begun: no scene would fare better.
        use_device(setup.device)
        catalogue = setup.assets.load()
        self._setup = setup
        self._pool = None if setup.request is None else AssetPool.draw(catalogue, setup.request)
        self._renderer = SceneRenderer(catalogue.roots, folder, setup.device)
        self.version = blender_version()

    def run(self, task: Task) -> Result:
        from generation.render.files import write_scene

        start = time.perf_counter()
        try:
            if task.plan is not None:
                rendered = self._renderer.remake(task.plan)
            else:
                assert self._setup.request is not None
                assert self._pool is not None
                rendered = self._renderer.make(self._setup.request, self._pool, task.scene)
            write_scene(self._setup.out, rendered)
        except OSError as error:
            return Result(
                kind="disk", scene=task.scene, error=f"{error.filename or ''}: {error.strerror or error}"
            )
        except ObjnerfError as error:
            return Result(kind="failed", scene=task.scene, error=str(error))
        except Exception as error:
            # The boundary of the process: whatever went wrong belongs to this scene, not to the run.
            text = f"{type(error).__name__}: {error}"
            return Result(kind="failed", scene=task.scene, error=text, log=traceback.format_exc())
        seen = [share for view in rendered.plan.seen or () for share in view]
        return Result(
            kind="done",
            scene=task.scene,
            seconds=time.perf_counter() - start,
            replans=list(rendered.replans),
            objects=len(rendered.plan.objects),
            assets=sorted({item.asset for item in rendered.plan.objects}),
            seen=[min(seen), sum(seen) / len(seen)],
            timing=vars(rendered.timing),
            memory=psutil.Process().memory_info().rss,
        )


def _refusal(error: Exception) -> str:
    if isinstance(error, ObjnerfError):
        return str(error)
    return f"Blender does not load on this machine: {error}. `objnerf doctor` says what is missing"


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """While Blender is loaded, let it see one core.

    Its task scheduler (TBB) starts as many threads as it sees cores. They have nothing to do, for Cycles and
    the denoiser are set to use one thread; but they spin for a while whenever there might be, and take a
    quarter of a second core away from the next worker.
    """
    if sys.platform != "linux":
        yield
        return
    import ctypes

    cores = os.sched_getaffinity(0)
    # The one we are on: workers that start together stay apart.
    os.sched_setaffinity(0, {ctypes.CDLL(None).sched_getcpu()} & cores or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _own_stdout() -> IO[str]:
    """Keep standard output for results; everything else that is printed goes to standard error."""
    sys.stdout.flush()
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return results


def _die_with_parent() -> None:
    """On Linux, be killed when the parent process is, even in the middle of an image."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _send(results: IO[str], result: Result) -> None:
    message: dict[str, Any] = result.model_dump(mode="json")
    results.write(json.dumps(message) + "\n")
    results.flush()


if __name__ == "__main__":
    sys.exit(main())
