"""Volumes fused from all views of a scene: what is pooled, what is drawn, and what they teach."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.models.config import VolumesConfig
from objnerf.models.volumes import ObjectVolumes, VolumesCode
from objnerf.models.volumes.consistency import explain_by_background, explained_by
from objnerf.models.volumes.fusion import pool_views
from objnerf.models.volumes.losses import unsupported
from objnerf.models.volumes.objectives import Objectives
from objnerf.models.volumes.palette import Palette
from objnerf.models.volumes.teacher import FusedScenes, Teacher

GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(350 / 320, 350 / 240))
CONFIG = VolumesConfig(num_slots=4, width=16, outline_width=16, cells=24, layers=10, fused_rays=64)
VIEWS = 3
BALL = torch.tensor([1.2, -0.8, 1.0])


@pytest.fixture(scope="module")
def model() -> ObjectVolumes:
    torch.manual_seed(0)
    return ObjectVolumes(CONFIG, GEOMETRY).eval()


@pytest.fixture(scope="module")
def teacher(model: ObjectVolumes) -> Teacher:
    return Teacher(CONFIG, model.renderer, model.columns, model.fusion)


def raw_ball(model: ObjectVolumes, middle: torch.Tensor) -> torch.Tensor:
    """Raw densities of a ball of radius 1 around a point of the field frame."""
    distance = (model.grid.centers() - middle).norm(dim=-1)
    return (8 * (1 - distance)).clamp(-8, 8).view(1, 10, 24, 24)


@pytest.fixture
def code(model: ObjectVolumes) -> VolumesCode:
    """Three views of one ball in the world, each volume in its own view's frame; nothing is outlined."""
    angles = np.linspace(0, 4, VIEWS)
    places = [[9.4 * np.cos(a), 9.4 * np.sin(a), 8.0] for a in angles]
    poses = torch.tensor(np.stack([look_at(np.array(p), np.zeros(3)) for p in places]), dtype=torch.float32)
    with torch.no_grad():
        made = model.encode(torch.rand(VIEWS, 3, 24, 32) * 2 - 1, poses, step=1000)
    middles = made.field_from_world[:, :3, :3] @ BALL
    volume = made.volume.clone()
    volume[:, 0] = torch.cat([raw_ball(model, middle) for middle in middles])
    pixels = made.pixels.clone()
    pixels[:, 3] = 0
    return replace(made, volume=volume, pixels=pixels)


@pytest.fixture
def fused(code: VolumesCode) -> FusedScenes:
    """The same ball, in the frame of the first view."""
    return FusedScenes(
        VIEWS,
        code.volume[:1].clone(),
        code.field_from_world[:1, :3, :3],
        explained=torch.zeros(VIEWS, 1, 12, 16),
        foreign=torch.zeros(VIEWS, 1, 12, 16),
        palette=Palette(torch.zeros(1, 2, 4, 4, 4)),
    )


def test_the_order_of_the_views_does_not_matter():
    seen, inside = torch.rand(2, 4, 6, 50), (torch.rand(2, 4, 1, 50) > 0.4).float()
    evidence = torch.rand(3, 2, 4, 1, 50).unbind(0)
    order = torch.tensor([2, 0, 3, 1])
    found = pool_views(seen, *evidence, inside)
    turned = pool_views(*(values[:, order] for values in (seen, *evidence, inside)))
    assert torch.allclose(found, turned, atol=1e-6)


def test_views_that_do_not_contain_a_voxel_do_not_count():
    """Two views see 1 and 3 there, mean 2, deviation 1; a third one does not contain the voxel."""
    seen = torch.tensor([1.0, 3.0, 100.0]).view(1, 3, 1, 1)
    explained = torch.tensor([0.2, 0.6, 1.0]).view(1, 3, 1, 1)
    outline = torch.tensor([0.9, 0.5, 0.0]).view(1, 3, 1, 1)
    foreign = torch.tensor([0.3, 0.1, 0.0]).view(1, 3, 1, 1)
    inside = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    found = pool_views(seen, explained, outline, foreign, inside)[0, :, 0].tolist()
    assert found == pytest.approx([2.0, 1.0, 0.6, 0.4, 0.5, 0.7, 0.1, 0.2, 2 / 3], abs=1e-5)


def test_a_voxel_that_no_view_contains_is_unknown():
    nothing = torch.zeros(1, 3, 1, 1)
    found = pool_views(torch.ones(1, 3, 1, 1), nothing, nothing, nothing, nothing)[0, :, 0].tolist()
    assert found == pytest.approx([0, 0, 0, 0, 1, 0, 1, 0, 0])


def test_the_background_is_never_that_of_the_rendered_view(teacher: Teacher, code: VolumesCode, fused):
    for step in range(4):
        target, _ = teacher._draw_pixels(code, fused, step)
        assert (target != torch.arange(VIEWS)).all()
        assert sorted(target.tolist()) == list(range(VIEWS))


def test_pixels_that_nothing_explains_are_drawn_more_often(teacher: Teacher, code: VolumesCode, fused):
    """The upper half is explained: weights 1 + .02 / .52 and 1 + 1.02 / .52, so it gets .26 of the pixels."""
    explained = torch.zeros(VIEWS, 1, 12, 16)
    explained[:, :, :6] = 1.0
    upper_half = replace(fused, explained=explained)
    index = torch.stack([teacher._draw_pixels(code, upper_half, step)[1] for step in range(50)])
    assert (index < 96).float().mean().item() == pytest.approx(0.26, abs=0.01)
    # Over the steps each pixel has its turn.
    assert len(index.unique()) == 12 * 16


def test_volumes_that_agree_with_the_teacher_cost_least(
    teacher: Teacher, model: ObjectVolumes, code: VolumesCode, fused
):
    right = teacher.distillation(code, fused).item()
    moved = code.volume.clone()
    moved[:, 0] = raw_ball(model, torch.tensor([-1.5, 1.5, 1.0]))
    assert right < 0.3 * teacher.distillation(replace(code, volume=moved), fused).item()
    empty = code.volume.clone()
    empty[:, 0] = -8
    assert right < 0.3 * teacher.distillation(replace(code, volume=empty), fused).item()


def test_the_teacher_does_not_learn_from_its_pupils(teacher: Teacher, code: VolumesCode, fused):
    volume = fused.volume.clone().requires_grad_()
    taught = replace(code, volume=code.volume.clone().requires_grad_())
    teacher.distillation(taught, replace(fused, volume=volume)).backward()
    assert volume.grad is None
    assert taught.volume.grad is not None


def test_objects_lie_where_each_view_sees_them(
    teacher: Teacher, model: ObjectVolumes, code: VolumesCode, fused
):
    """The labels of the fused volume, turned into each view's frame, are around the ball there."""
    objectives = Objectives(teacher)
    labels, centers, exists = teacher.pseudo_labels(fused)
    assert exists[0].tolist() == [True, False, False]
    assert (centers[0, 0] - (fused.field_from_world[0] @ BALL)[:2]).norm() < model.grid.cell
    own = objectives._labels_in_views(labels, teacher.rotations(code, fused))
    for view in range(VIEWS):
        middle = model.columns[own[view] == 1].mean(0)
        assert (middle - (code.field_from_world[view, :3, :3] @ BALL)[:2]).norm() < model.grid.cell


def test_colours_are_learned_where_the_background_shows(teacher: Teacher, code: VolumesCode, fused):
    """Where the other views explain every pixel, colours teach nothing, and opacity costs."""
    everything = replace(fused, explained=torch.ones(VIEWS, 1, 12, 16))
    assert teacher.losses(code, everything, 1000)["fused/colour"] == 0
    assert teacher.losses(code, everything, 1000)["fused/explained"] > 0
    assert teacher.losses(code, fused, 1000)["fused/explained"] == 0


def test_a_view_that_shows_an_object_explains_nothing(code: VolumesCode):
    """All views show one colour, so that each explains all others, until one and then both are outlined."""
    points = (torch.rand(VIEWS, 20, 3) - 0.5) * torch.tensor([3.0, 3.0, 0.0])
    flat = torch.cat(
        [torch.full_like(code.pixels[:, :3], 0.5), torch.full_like(code.pixels[:, 3:], -20.0)], 1
    )

    def explained(*outlined: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = flat.clone()
        pixels[list(outlined), 3] = 20.0
        view = torch.zeros(VIEWS, 20, dtype=torch.long)
        where = torch.zeros(VIEWS, 20, 2)
        seen = replace(code, pixels=pixels)
        found = explain_by_background(seen, VIEWS, view, where, points)
        assert torch.allclose(found.colours, torch.tensor(0.5))
        return found.shown, found.anyway

    assert explained()[0].min() > 0.9
    assert explained(1)[0].min() > 0.9
    shown, anyway = explained(1, 2)
    assert shown.max() == 0
    assert anyway.min() > 0.9


def test_colours_have_the_last_word():
    """The background's: any view that agrees will do; unknown: one that shows no object; foreign: none."""
    likeness = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    found = explained_by(torch.tensor(0.8).expand(5), torch.tensor(0.4).expand(5), likeness)
    assert found.tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])


def test_foreign_colours_on_the_ground_ask_for_an_object(teacher: Teacher, code: VolumesCode, fused):
    """Where nothing is opaque, every such ray below the grid costs; nothing else does."""
    empty = code.volume[:1].clone()
    empty[:, 0] = -20.0
    foreign = replace(fused, volume=empty, foreign=torch.ones(VIEWS, 1, 12, 16))
    found = teacher.losses(code, foreign, 1000)["fused/foreign"].item()
    assert 0.2 * CONFIG.foreign_weight < found < CONFIG.foreign_weight
    assert teacher.losses(code, replace(fused, volume=empty), 1000)["fused/foreign"] == 0
    full = empty.clone()
    full[:, 0] = 20.0
    # Some rays only touch the grid's edge.
    left = teacher.losses(code, replace(foreign, volume=full), 1000)["fused/foreign"].item()
    assert left < 0.05 * CONFIG.foreign_weight


def test_what_floats_has_no_support():
    """The third of four voxels is opaque to .8: the two below lack .8 and .5, the one above nothing."""
    column = torch.tensor([0.0, 0.3, 0.8, 0.1]).view(1, 4, 1, 1).requires_grad_()
    found = unsupported(column)
    assert found.item() == pytest.approx((0.8 + 0.5) / 4)
    found.backward()
    assert column.grad is not None
    assert column.grad.flatten().tolist() == pytest.approx([-0.25, -0.25, 0, 0])
