"""A process that holds Blender and makes scenes on request: ``python -m generation.render.worker``.

It speaks JSON, one message a line: orders on standard input, answers on the file descriptor that standard
output was at the start (Blender's own talk goes to standard error instead). It ends when its input does, so
that no worker outlives its master.
"""

import contextlib
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

from generation.jobs.orders import Answer, Order, WorkerSetup
from objnerf.errors import ObjnerfError


def main() -> int:
    """Serve orders until standard input ends."""
    answers = _own_stdout()
    # Ctrl-C reaches the whole process group; the master decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    setup = WorkerSetup.model_validate_json(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="objnerf-render-") as folder:
        try:
            serve = _Server(setup, Path(folder))
        except (ObjnerfError, ImportError) as error:
            _say(answers, Answer(kind="refused", error=_refusal(error)))
            return 0
        _say(answers, Answer(kind="ready", version=serve.version))
        for line in sys.stdin:
            _say(answers, serve.answer(Order.model_validate_json(line)))
    return 0


class _Server:
    def __init__(self, setup: WorkerSetup, folder: Path) -> None:
        # Here, not above: a missing bpy is then an answer, not a broken pipe.
        from generation.plan.plan import Stock

        with _one_core():
            from generation.render.devices import use_device
            from generation.render.shoot import Studio, blender_version

        # Said once, before a scene is begun: no scene would fare better.
        use_device(setup.device)
        catalogue = setup.assets.load()
        self._setup = setup
        self._stock = None if setup.request is None else Stock.draw(catalogue, setup.request)
        self._studio = Studio(catalogue.roots, folder, setup.device)
        self.version = blender_version()

    def answer(self, order: Order) -> Answer:
        from generation.render.files import write_scene

        start = time.perf_counter()
        try:
            if order.plan is not None:
                shot = self._studio.remake(order.plan)
            else:
                assert self._setup.request is not None
                assert self._stock is not None
                shot = self._studio.make(self._setup.request, self._stock, order.scene)
            write_scene(self._setup.out, shot)
        except OSError as error:
            return Answer(
                kind="disk", scene=order.scene, error=f"{error.filename or ''}: {error.strerror or error}"
            )
        except ObjnerfError as error:
            return Answer(kind="failed", scene=order.scene, error=str(error))
        except Exception as error:
            # The boundary of the process: whatever went wrong belongs to this scene, not to the run.
            text = f"{type(error).__name__}: {error}"
            return Answer(kind="failed", scene=order.scene, error=text, log=traceback.format_exc())
        seen = [share for view in shot.plan.seen or () for share in view]
        return Answer(
            kind="done",
            scene=order.scene,
            seconds=time.perf_counter() - start,
            replans=list(shot.replans),
            objects=len(shot.plan.objects),
            assets=sorted({item.asset for item in shot.plan.objects}),
            seen=[min(seen), sum(seen) / len(seen)],
            timing=vars(shot.timing),
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
    the denoiser are told to use one thread; but they spin for a while whenever there might be, and take a
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
    """Keep standard output for answers; everything else that is printed goes to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _die_with_parent() -> None:
    """On Linux, be killed when the master is, even in the middle of a picture."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _say(answers: IO[str], answer: Answer) -> None:
    message: dict[str, Any] = answer.model_dump(mode="json")
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
