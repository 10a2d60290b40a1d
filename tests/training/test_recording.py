"""Steps that a GPU replays: what they may hold, and that a replay is the step itself."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from objnerf.dataset.index import open_dataset
from objnerf.models import build_model
from objnerf.training import schedule
from objnerf.training.checkpoints import scene_geometry
from objnerf.training.context import TrainContext, can_record
from objnerf.training.processes import Processes
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import parse_recipe
from objnerf.training.recording import detached, tensors_of, with_tensors
from objnerf.training.scenes import load_scenes
from objnerf.training.steps import draw, part_of_step, set_up

WAITS = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique")
"""Operators whose answer the host waits for, or that copy a value of the host to the device."""


@pytest.fixture
def recipe(small_volumes: dict[str, Any]) -> Recipe:
    small_volumes["batch"] = {"scenes": 2, "views": 3, "mirror": True, "permute_colours": True}
    return parse_recipe(small_volumes, where="small")


def make_context(recipe: Recipe, coded: Path, device: str = "cpu") -> TrainContext:
    processes = Processes(torch.device(device))
    sizes = [recipe.input_size, recipe.stages[0].size]
    scenes = load_scenes(open_dataset(coded), range(4), sizes, processes.device)
    return set_up(recipe, 0, scenes, processes)


def gradients(context: TrainContext) -> dict[str, torch.Tensor]:
    found = {name: value.grad for name, value in context.model.named_parameters() if value.grad is not None}
    return {name: value.clone() for name, value in found.items()}


def test_tensors_of_a_batch_are_named_and_replaced(recipe: Recipe, coded: Path):
    context = make_context(recipe, coded)
    batch, _ = draw(context, schedule.state_at(recipe, 0, 4.0), 0, 0)
    named = tensors_of(batch)
    assert {"images", "origins", "colours", "novel.view", "novel.where"} <= set(named)
    other = with_tensors(batch, {name: value + 1 for name, value in named.items()})
    assert other.pixel == batch.pixel
    assert other.novel is not None
    assert batch.novel is not None
    assert other.novel.views == batch.novel.views
    for name, value in tensors_of(other).items():
        assert torch.equal(value, named[name] + 1), name


def test_what_is_detached_has_no_history():
    @dataclasses.dataclass(frozen=True)
    class Pair:
        first: torch.Tensor
        second: str

    pair = Pair(torch.ones(2, requires_grad=True) * 2, "kept")
    assert detached(pair).first.grad_fn is None
    assert torch.equal(detached(pair).first, pair.first)
    assert detached(pair).second == "kept"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"record": False}, False),
        ({"precision": "tf32"}, True),
        ({"precision": "bf16"}, False),
        ({"compile": True}, False),
    ],
)
def test_what_can_be_recorded(recipe: Recipe, change: dict[str, Any], expected: bool):
    model = build_model(recipe.model, scene_geometry(recipe))
    cuda = Processes(torch.device("cuda"))
    assert can_record(recipe.model_copy(update=change), model, cuda) is expected
    assert not can_record(recipe.model_copy(update=change), model, Processes(torch.device("cpu")))
    assert not can_record(recipe, model, Processes(torch.device("cuda"), rank=0, count=2))


def test_uorf_cannot_be_recorded(small: dict[str, Any]):
    recipe = parse_recipe(small, where="small")
    model = build_model(recipe.model, scene_geometry(recipe))
    assert not can_record(recipe, model, Processes(torch.device("cuda")))


class Operators(TorchDispatchMode):
    """Counts the operators that run, of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_of_object_volumes_never_waits_for_the_device(recipe: Recipe, coded: Path):
    context = make_context(recipe, coded)
    scheduled = schedule.state_at(recipe, 0, 4.0)
    batch, _ = draw(context, scheduled, 0, 0)
    step = torch.tensor(1000)
    with Operators() as seen:
        part_of_step(context, scheduled, batch, None, step)
    assert len(seen.names) > 1000
    assert [name for name in seen.names if any(wait in name for wait in WAITS)] == []


@pytest.mark.parametrize("step", [0, 299, 300, 500, 2000])
def test_a_steps_number_may_be_a_tensor(recipe: Recipe, coded: Path, step: int):
    context = make_context(recipe, coded)
    scheduled = schedule.state_at(recipe, 0, 4.0)
    batch, noise = draw(context, scheduled, step, 0)
    expected = part_of_step(context, scheduled, batch, noise, step).metrics
    there = gradients(context)
    context.model.zero_grad()
    found = part_of_step(context, scheduled, batch, noise, torch.tensor(step)).metrics
    # Before the instances are taught, a step that is recorded computes them for nothing.
    extra = set() if step >= 300 else {"loss/centers", "loss/votes"}
    assert set(found) - set(expected) == extra
    assert all(found[name] == 0 for name in extra)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    for name, value in there.items():
        torch.testing.assert_close(gradients(context)[name], value, msg=name)


@pytest.mark.gpu
def test_a_replay_is_the_step(recipe: Recipe, coded: Path):
    context = make_context(recipe, coded, "cuda")
    assert context.recorder is not None
    scheduled = schedule.state_at(recipe, 0, 4.0)
    for step in (1000, 1001, 400):
        batch, noise = draw(context, scheduled, step, 0)
        outcome = context.recorder(scheduled, batch, step)
        found, metrics = gradients(context), outcome.metrics
        other = make_context(recipe, coded, "cuda")
        expected = part_of_step(other, scheduled, batch, noise, step).metrics
        for name, value in expected.items():
            torch.testing.assert_close(metrics[name], value, rtol=1e-4, atol=1e-6, msg=name)
        for name, value in gradients(other).items():
            assert (found[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name
