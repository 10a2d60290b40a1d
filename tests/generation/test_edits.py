"""The manipulation test: its files, and that they show what they say."""

import contextlib
import dataclasses

import numpy as np
import pytest

from generation.edits import EDIT_TRIES, MIN_MOVE, changed_plan, edited_plan, moved_plan, providing_plan
from generation.jobs import Workers, generate_dataset, read_plan, render_plan
from generation.plan.placement import PlacementError
from generation.plan.plan import ScenePlan, plan_scene
from generation.plan.request import build_request
from objnerf.dataset import open_dataset
from objnerf.dataset.files import grey_levels, read_image
from objnerf.dataset.names import EDIT_SUFFIXES


def edits_of(setting, preset="room-diverse", **values):
    request, pool = setting(preset, **values)
    for scene in range(10):
        try:
            plan = plan_scene(request, pool, scene)
            yield request, edited_plan(request, pool, plan, 0)
        except PlacementError:
            continue


def test_edits_change_what_they_say_and_nothing_else(setting):
    count = 0
    for _, plan in edits_of(setting):
        moved, changed, providing = moved_plan(plan), changed_plan(plan), providing_plan(plan)
        dx, dy = plan.edits.movement
        assert np.hypot(dx, dy) >= MIN_MOVE
        for before, after in zip(plan.objects, moved.objects, strict=True):
            if before.label == plan.edits.moved_label:
                shift = np.subtract(after.position, before.position)
                assert np.allclose(shift, [dx, dy, 0], atol=1e-9)
                assert after.model_copy(update={"position": before.position}) == before
            else:
                assert after == before
        assert moved.room == plan.room
        assert changed.objects == plan.objects
        assert changed.room.floor != plan.room.floor
        assert providing.room == changed.room
        assert {plan.views, moved.views, changed.views, providing.views} == {plan.views}
        assert moved.lights == changed.lights == providing.lights == plan.lights
        count += 1
    assert count >= 3


def test_all_pictures_of_an_edited_scene_are_exposed_alike(setting):
    """For the lighter of the two rooms: what is compared between pictures must not change its brightness."""
    request, pool = setting(backgrounds=20)
    white = next(floor for floor in pool.floors if floor.family == "hexagons")
    dark = next(floor for floor in pool.floors if floor.family == "bricks")
    for own, other in ((dark, white), (white, dark)):
        plan = plan_scene(request, dataclasses.replace(pool, floors=(own,)), 0)
        both = dataclasses.replace(pool, floors=(own, other))
        edited = next(_edited(request, both, plan))
        derived = [moved_plan(edited), changed_plan(edited), providing_plan(edited)]
        assert {each.render.exposure for each in (edited, *derived)} == {edited.render.exposure}
        assert edited.render.exposure <= plan.render.exposure
        assert edited.render.exposure < 0.8


def _edited(request, pool, plan):
    for number in range(EDIT_TRIES):
        with contextlib.suppress(PlacementError):
            yield edited_plan(request, pool, plan, number)


def test_a_single_plain_floor_gets_another_colour(setting):
    for _, plan in edits_of(setting, "clevr-567", shapes=3):
        assert changed_plan(plan).room.floor_colour != plan.room.floor_colour


def test_plans_survive_json_with_their_edits(setting):
    _, plan = next(iter(edits_of(setting)))
    assert ScenePlan.model_validate_json(plan.model_dump_json()) == plan


def test_a_plan_without_edits_has_none_to_derive(setting):
    request, pool = setting()
    with pytest.raises(ValueError, match="without manipulations"):
        moved_plan(plan_scene(request, pool, 0))


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    out = tmp_path_factory.mktemp("edited") / "dataset"
    request = build_request("clevr-567", scenes=1, size=(48, 36), samples=2, seed=4, manipulations=True)
    report = generate_dataset(request, out, workers=Workers(1))
    assert report.made == 1
    return out


def test_files_of_the_manipulation_test_show_the_edits(edited):
    dataset = open_dataset(edited)
    assert not dataset.strays
    assert not dataset.orphans
    plan = ScenePlan.model_validate_json((edited / "scenes" / "0000.json").read_bytes())
    words = dataset.movements[0].read_text().split("\n")
    assert tuple(map(float, words[:2])) == plan.edits.movement
    for view in dataset.scenes[0].views:
        pictures = {suffix: read_image(edited / f"{view.stem}{suffix}") for suffix in EDIT_SUFFIXES}
        moving = grey_levels(pictures["_mask_for_moving.png"])
        # The reference: what has not the lowest grey level is meant.
        assert np.array_equal(moving != moving.min(), view.labels() == _grey_label(view, plan))
        background = grey_levels(pictures["_mask_for_bg.png"])
        assert np.array_equal(background == background.min(), view.labels() == 0)
        floor = (view.labels() == 0) & (grey_levels(pictures["_mask_for_providing_bg.png"]) == 64)
        image = view.image().astype(int)
        changed = pictures["_changed.png"].astype(int)
        providing = pictures["_providing_bg.png"].astype(int)
        # Where both scenes show the floor, the changed picture has the providing scene's, not its own.
        near = np.abs(changed - providing)[floor].mean()
        assert near < np.abs(changed - image)[floor].mean() / 2


def _grey_label(view, plan):
    """The label by grey level of the object that moves."""
    from objnerf.dataset.files import OBJECT_COLOURS

    mask = view.mask()
    where = (mask == OBJECT_COLOURS[plan.edits.moved_label - 1]).all(axis=-1)
    return int(view.labels()[where][0])


def test_a_scene_with_edits_is_made_again_from_its_json(edited, tmp_path):
    render_plan(read_plan(edited / "scenes" / "0000.json"), tmp_path / "again")
    for path in (tmp_path / "again").rglob("*"):
        if path.is_file() and path.name != "dataset.yaml":
            assert path.read_bytes() == (edited / path.relative_to(tmp_path / "again")).read_bytes()
