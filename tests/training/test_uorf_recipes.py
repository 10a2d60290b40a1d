"""The published recipes: figures of the paper's code, and what follows from them."""

import pytest

from objnerf.models.config import UorfConfig
from objnerf.training import schedule
from objnerf.training.recipe import Recipe
from objnerf.training.recipe_files import load_recipe

# scenes, slots, z_dim, bottom, encoder side, coarse until, box until, perceptual from
PUBLISHED = {
    "uorf_clevr_567": (1000, 8, 40, False, 64, 600, 300, 100),
    "uorf_room_chair": (1000, 5, 64, False, 64, 600, 300, 100),
    "uorf_room_diverse": (5000, 5, 64, True, 128, 120, 60, 20),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name: str):
    recipe = load_recipe(name)
    scenes, slots, z_dim, bottom, side, coarse, box, perceptual = PUBLISHED[name]
    assert isinstance(recipe.model, UorfConfig)
    assert (recipe.model.num_slots, recipe.model.z_dim, recipe.model.bottom) == (slots, z_dim, bottom)
    assert recipe.input_size == (side, side)
    per_epoch = schedule.steps_per_epoch(recipe, scenes)
    assert (
        schedule.total_steps(recipe, per_epoch) == 1_200_000
    )  # 1200 × 1000 and 240 × 5000, one scene a step

    def at(epoch: float) -> schedule.ScheduleState:
        return schedule.state_at(recipe, round(epoch * scenes), per_epoch)

    assert (at(coarse - 0.5).stage.name, at(coarse).stage.name) == ("coarse", "fine")
    assert (at(box - 0.5).locality, at(box).locality) == (True, False)
    assert (at(perceptual - 0.5).perceptual, at(perceptual).perceptual) == (False, True)


def test_only_room_diverse_is_adversarial():
    adversarial = [name for name in PUBLISHED if load_recipe(name).adversarial is not None]
    assert adversarial == ["uorf_room_diverse"]
    recipe: Recipe = load_recipe("uorf_room_diverse")

    def who_learns(step: int) -> tuple[bool, bool, bool]:
        scheduled = schedule.state_at(recipe, step, 5000.0)
        return scheduled.generator, scheduled.discriminator, scheduled.adversarial

    assert who_learns(20 * 5000 - 1) == (True, False, False)
    # For five epochs the discriminator learns in odd steps, and nobody in the even ones.
    assert who_learns(20 * 5000) == (False, False, False)
    assert who_learns(20 * 5000 + 1) == (False, True, False)
    assert who_learns(25 * 5000) == (True, False, True)
    assert who_learns(25 * 5000 + 1) == (False, True, True)
