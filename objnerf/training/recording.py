"""A step's losses and gradients as a CUDA graph: recorded once, then replayed.

A step of object volumes is thousands of small kernels. Launched one by one from Python they leave a GPU idle
for most of the step; a graph launches all of them at once. What a recorded step reads must always lie in the
same memory, and what it does must not depend on values that the host has to wait for.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from objnerf.models.scene import SceneCode
from objnerf.rendering.volume import Rendering
from objnerf.training.batches import Batch
from objnerf.training.schedule import ScheduleState

WARM_UP_STEPS = 3
"""Before recording, so that libraries have chosen and allocated what they need."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class StepOutcome:
    """What a step computed; the gradients are left in the parameters."""

    metrics: dict[str, Tensor]
    """Scalars, detached."""
    code: SceneCode
    rendering: Rendering


Compute = Callable[[ScheduleState, Batch, Tensor], StepOutcome]


class StepRecorder:
    """Computes steps on a GPU by replaying a recording, which is made again when the batch's shape changes.

    Every replay *overwrites* the gradients; nothing may set them to None in between.

    Args:
        model: whose gradients they are.
        compute: forward and backward pass of a step; of the step's number it gets a tensor.
    """

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        self.model = model
        self.compute = compute
        self._key: tuple[Any, ...] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, scheduled: ScheduleState, batch: Batch, step: int) -> StepOutcome:
        """The outcome of a step; code and rendering are valid until the next call."""
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in tensors_of(batch).items())
        key = (scheduled.stage, scheduled.locality, shapes)
        if self._graph is None or key != self._key:
            self._record(scheduled, batch, step)
            self._key = key
        assert self._graph is not None
        static = tensors_of(self._batch)
        for name, tensor in tensors_of(batch).items():
            static[name].copy_(tensor)
        self._step.fill_(step)
        self._graph.replay()
        metrics = {name: value.clone() for name, value in self._outcome.metrics.items()}
        return replace(self._outcome, metrics=metrics)

    def _record(self, scheduled: ScheduleState, batch: Batch, step: int) -> None:
        self._graph = None
        self._batch = with_tensors(batch, {name: value.clone() for name, value in tensors_of(batch).items()})
        self._step = torch.full((), step, dtype=torch.int64, device=batch.images.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.model.zero_grad(set_to_none=True)
                self.compute(scheduled, self._batch, self._step)
        torch.cuda.current_stream().wait_stream(side)
        # Gradients are allocated while recording, in the graph's own memory.
        self.model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outcome = self.compute(scheduled, self._batch, self._step)
        self._graph = graph


def detached(record: Record) -> Record:
    """The same dataclass without its tensors' history."""
    return with_tensors(record, {name: value.detach() for name, value in tensors_of(record).items()})


def tensors_of(record: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a dataclass and of those in it, by dotted name."""
    found: dict[str, Tensor] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            found[prefix + field.name] = value
        elif is_dataclass(value):
            found |= tensors_of(value, f"{prefix}{field.name}.")
    return found


def with_tensors(record: Record, tensors: dict[str, Tensor], prefix: str = "") -> Record:
    """The same dataclass with other tensors; see ``tensors_of``."""
    changed: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = tensors[prefix + field.name]
        elif is_dataclass(value):
            changed[field.name] = with_tensors(value, tensors, f"{prefix}{field.name}.")
    return replace(record, **changed)  # type: ignore[type-var]
