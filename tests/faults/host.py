"""A process that has all verbs imported and runs each command in a fork: a kill then costs no import.

Run as a program it reads orders, one JSON object a line, and answers each with one:

``{"words": ["convert", …], "log": FILE, "events": N or null, "seconds": S or null}``
    run a command, its output going to FILE; kill it by SIGKILL at the N-th of its steps on the file system
    (making, opening for writing, renaming, removing a file or folder), or after S seconds.
``{"status": -9, "events": 17}``
    the exit status (minus the signal), and the steps taken, where the command came to its end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

#: Audit events of Python that are steps on the file system.
_STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    # Before the forks: what each command would import.
    import torch.utils.data  # noqa: F401

    import cli
    import objnerf.dataset.convert
    import objnerf.evaluation.meshes
    import objnerf.evaluation.report
    import objnerf.training.loop  # noqa: F401
    import validate.command  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(cli.main, order))
        status = os.waitstatus_to_exitcode(_wait(child, order["seconds"]))
        # Who is killed may leave half a number.
        events = int(_counted(order).read_text()) if status >= 0 else 0
        print(json.dumps({"status": status, "events": events}), flush=True)


def _counted(order: dict[str, Any]) -> Path:
    """The file in which a command that comes to its end leaves the number of its steps."""
    return Path(order["log"] + ".events")


def _wait(child: int, seconds: float | None) -> int:
    """The status of a child, killed if it takes longer."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if ended:
            return status
        if deadline is not None and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        time.sleep(0.001)


def _run(command: Any, order: dict[str, Any]) -> int:
    """Run the command in this (forked) process; its exit status."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    steps = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in _STEPS or (event == "open" and arguments[2] & _WRITES):
            steps += 1
            if steps == order["events"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        command(order["words"], standalone_mode=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    _counted(order).write_text(str(steps))
    return status


if __name__ == "__main__":
    main()
