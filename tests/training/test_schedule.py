"""Stages, losses and learning rates over a run."""

from typing import Any

import pytest

from objnerf.training.recipe import Recipe, Schedule
from objnerf.training.recipe_files import load_recipe, parse_recipe
from objnerf.training.schedule import (
    learning_rate_factor,
    state_at,
    steps_per_epoch,
    ticks_after,
    total_steps,
)


def test_learning_rate_by_hand():
    """Warm-up of 4 ticks, halving every 10.

    tick 0: 1/4 · 1;  tick 1: 2/4 · 2^(-1/10) = 0.5 · 0.93303;  tick 3: 1 · 2^(-0.3) = 0.81225;
    tick 10: 1/2;  tick 30: 1/8.
    """
    schedule = Schedule(warmup_steps=4, attn_decay_steps=10)
    factors = [learning_rate_factor(schedule, tick) for tick in (0, 1, 3, 10, 30)]
    assert factors == pytest.approx([0.25, 0.466517, 0.812252, 0.5, 0.125], rel=1e-5)
    assert learning_rate_factor(Schedule(warmup_steps=0), 0) == 1.0


@pytest.fixture
def room_diverse() -> Recipe:
    return load_recipe("uorf_room_diverse")


EPOCH = 5000.0


def test_room_diverse_changes_when_the_reference_does(room_diverse: Recipe):
    """Perceptual from epoch 20, locality until 60, fine from 120, end at 240."""

    def at(epoch: int, last_of_the_one_before: bool = False) -> Any:
        return state_at(room_diverse, epoch * 5000 - int(last_of_the_one_before), EPOCH)

    assert not at(20, True).perceptual
    assert at(20).perceptual
    assert at(60, True).locality
    assert not at(60).locality
    assert at(120, True).stage.name == "coarse"
    assert at(120).stage.name == "fine"
    assert total_steps(room_diverse, EPOCH) == 240 * 5000


def test_discriminator_alone_then_in_turns(room_diverse: Recipe):
    """Epochs 20 to 25: odd steps are the discriminator's, even ones idle. Then the two take turns."""

    def who(first: int) -> list[tuple[bool, bool, bool]]:
        states = [state_at(room_diverse, step, EPOCH) for step in range(first, first + 4)]
        return [(m.generator, m.discriminator, m.adversarial) for m in states]

    assert who(99_996) == [(True, False, False)] * 4
    assert who(100_000) == [(False, False, False), (False, True, False)] * 2
    assert who(124_996) == [(False, False, False), (False, True, False)] * 2
    assert who(125_000) == [(True, False, True), (False, True, True)] * 2


def test_time_in_epochs_counts_whole_ones(small: dict[str, Any]):
    """3 training scenes, 2 a step: the second epoch begins within step 1 and counts from step 2 on."""
    small |= {"clock": "epoch", "locality": {"until": 1}}
    small["stages"][0]["until"] = 4
    recipe = parse_recipe(small, where="x")
    epoch = steps_per_epoch(recipe, 3)
    assert epoch == 1.5
    assert [state_at(recipe, step, epoch).locality for step in range(4)] == [True, True, False, False]
    assert total_steps(recipe, epoch) == 6
    # 6 steps of a third of an epoch are exactly 2 epochs, although 6 · (1/3) is computed.
    assert not state_at(recipe, 3, 3.0000000000000004).locality


def test_locality_forever_never_and_in_steps(small: dict[str, Any]):
    forever = parse_recipe(small, where="x")
    assert all(state_at(forever, step, 3.0).locality for step in (0, 5, 1000))
    never = parse_recipe(small | {"locality": {"until": 0}}, where="x")
    assert not state_at(never, 0, 3.0).locality
    some = parse_recipe(small | {"locality": {"until": 7}}, where="x")
    assert [state_at(some, step, 3.0).locality for step in (6, 7)] == [True, False]


def test_learning_rate_moves_in_the_coarse_stage_only(room_diverse: Recipe):
    coarse, fine = state_at(room_diverse, 10, EPOCH), state_at(room_diverse, 120 * 5000, EPOCH)
    assert ticks_after(room_diverse.schedule, 10, coarse, 10, EPOCH) == 11
    assert ticks_after(room_diverse.schedule, 500_000, fine, 120 * 5000, EPOCH) == 500_000
    # A step that the discriminator takes is none of the scene model's.
    alone = state_at(room_diverse, 100_001, EPOCH)
    assert ticks_after(room_diverse.schedule, 7, alone, 100_001, EPOCH) == 7


def test_learning_rate_by_epoch(small: dict[str, Any]):
    small["schedule"] = {"by": "epoch", "warmup_steps": 2, "attn_decay_steps": 5}
    recipe = parse_recipe(small, where="x")
    ticks, history = 0, []
    for step in range(7):
        history.append(ticks)
        ticks = ticks_after(recipe.schedule, ticks, state_at(recipe, step, 3.0), step, 3.0)
    assert history == [0, 0, 0, 1, 1, 1, 2]


def test_steps_shared_by_processes(small: dict[str, Any]):
    """12 scenes, 2 a step on each of 3 processes, in 2 parts: 12 scenes a step, one step an epoch."""
    small["batch"]["accumulate"] = 2
    assert steps_per_epoch(parse_recipe(small, where="x"), 12, processes=3) == 1.0
