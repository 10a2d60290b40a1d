"""How long the demo's steps take; loads no torch, for the demo begins without it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from objnerf.console import format_seconds
from objnerf.dataset.files import write_text

#: Minutes that are kept back for what follows training.
AFTER_TRAINING = 1.25


class DemoClock:
    """How long the demo's steps took, over all calls, kept in a file so that an interrupted demo can go on.

    Args:
        path: the file; begun anew when it is missing or broken.
        minutes: for the whole demo.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path = path
        self.minutes = minutes
        self.seconds: dict[str, float] = {}
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))["seconds"]
            self.seconds = {str(name): float(value) for name, value in kept.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a step's, also when it is interrupted."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
            write_text(self.path, json.dumps({"seconds": self.seconds}, indent=2) + "\n")

    @property
    def left(self) -> str:
        """Time gone and time left, for people."""
        gone = sum(self.seconds.values(), 0.0)
        return f"{format_seconds(gone)} gone, about {format_seconds(max(0.0, 60 * self.minutes - gone))} left"

    def training_minutes(self) -> float:
        """What the steps before training leave for it, apart from what follows it; half a minute at least."""
        before = sum(self.seconds.get(name, 0.0) for name in ("generate", "validate"))
        return max(0.5, self.minutes - before / 60 - AFTER_TRAINING)
