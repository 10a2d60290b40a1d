"""Settings of torch that hold while a run trains: determinism and precision; and what takes less memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from objnerf.errors import WorkError
from objnerf.training.recipe import Recipe


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On the CPU, use deterministic algorithms only, so that a run gives the same weights each time.

    That costs nothing there. On GPUs some sums of ours have no deterministic form, so nothing is changed.
    """
    if device.type != "cpu":
        yield
        return
    settings: Any = torch.utils.deterministic
    enabled, fills = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # it helps to find errors, and takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled)
        settings.fill_uninitialized_memory = fills


def set_precision(recipe: Recipe) -> None:
    """Let matrix products of float32 run in TF32 if the recipe asks for it (a global setting of torch)."""
    torch.set_float32_matmul_precision("high" if recipe.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"


@contextmanager
def memory_explained() -> Iterator[None]:
    """Replace torch's error on exhausted memory by one that says what takes less.

    Raises:
        WorkError: a step does not fit into the device's memory.
    """
    try:
        yield
    except RuntimeError as error:  # OutOfMemoryError on GPUs is one, too
        text = str(error)
        if "out of memory" not in text and "can't allocate memory" not in text:
            raise
        raise WorkError(
            "the memory of the device does not suffice for a step. What takes less: "
            "--set sampling.training_chunk=1024 (rays at a time, computed twice), fewer batch.scenes with "
            "batch.accumulate in their place, fewer stages.0.rays, --set precision=bf16. "
            f"({text.splitlines()[0]})"
        ) from error
