"""Object volumes as a scene model: what its slots are, how they move, and what a step learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.errors import InputError
from objnerf.models.config import VolumesConfig
from objnerf.models.scene import NovelRays
from objnerf.models.volumes import ObjectVolumes, VolumesCode
from objnerf.models.volumes.background import growing_mask, source_image
from objnerf.models.volumes.losses import ramp
from objnerf.models.volumes.surfaces import Surfaces
from objnerf.rendering.rays import camera_directions, world_rays
from objnerf.rendering.volume import composite

GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(350 / 320, 350 / 240))
CONFIG = VolumesConfig(num_slots=4, width=16, outline_width=16, cells=24, layers=10)
SIZE = (32, 24)


@pytest.fixture(scope="module")
def model() -> ObjectVolumes:
    torch.manual_seed(0)
    return ObjectVolumes(CONFIG, GEOMETRY).eval()


def _poses(*angles: float) -> torch.Tensor:
    places = [[9.4 * np.cos(a), 9.4 * np.sin(a), 8.0] for a in angles]
    return torch.tensor(np.stack([look_at(np.array(p), np.zeros(3)) for p in places]), dtype=torch.float32)


def _rays(pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    directions = camera_directions(GEOMETRY.focal_ratio, *SIZE).flatten(0, 1)
    return world_rays(directions[None], pose)


def _depths(samples: int = 64) -> torch.Tensor:
    return torch.linspace(GEOMETRY.near, GEOMETRY.far, samples).expand(1, SIZE[0] * SIZE[1], -1)


@pytest.fixture
def code(model: ObjectVolumes) -> VolumesCode:
    """Two balls of radius 1 at (-1.5, 0, 1) and (1.5, 0.5, 1) of the field frame, owned by slots 1 and 2."""
    with torch.no_grad():
        made = model.encode(torch.rand(1, 3, 24, 32) * 2 - 1, _poses(0.4))
    points = model.grid.centers()
    middles = torch.tensor([[-1.5, 0.0, 1.0], [1.5, 0.5, 1.0]])
    distance = torch.cdist(points, middles).amin(1)
    raw = (12 * (1 - distance)).clamp(-12, 12).view(1, 1, 10, 24, 24)
    left = (model.columns[..., 0] < 0).float()
    owner = torch.stack([left, 1 - left, torch.zeros_like(left)])[None]
    pixels = made.pixels.clone()
    pixels[:, 3] = 0
    return replace(
        made,
        volume=torch.cat([raw, made.volume[:, 1:]], dim=1),
        owner=owner,
        pixels=pixels,
        active=torch.tensor([[True, True, True, False]]),
    )


def _no_walls(code: VolumesCode) -> torch.Tensor:
    return torch.eye(code.walls.shape[-1])[-1].expand(code.walls.shape)


@pytest.fixture
def shadowed(model: ObjectVolumes, code: VolumesCode) -> VolumesCode:
    """On an even ground, slot 1 leaves half of the light within 1 of (-1.5, 0), and slot 2 a quarter around
    (1.5, 0.5). Without them, it would be seen in .6 there."""
    columns = model.renderer.square.columns()
    cast = torch.zeros(1, 3, *columns.shape[:2])
    for slot, (middle, left) in enumerate((((-1.5, 0.0), 0.5), ((1.5, 0.5), 0.25))):
        near = (columns - torch.tensor(middle)).norm(dim=-1) < 1
        cast[0, slot] = near * np.log(left)
    zones = (cast < 0).float()
    return replace(
        code,
        ground=source_image(torch.full((1, 3, 24, 32), 0.2), torch.zeros(1, 1, 24, 32)),
        ground_means=torch.full((1, 2, 3), 0.2),
        pattern=torch.full_like(code.pattern, 0.2),
        walls=_no_walls(code),
        shade=torch.zeros_like(code.shade),
        shadows=cast,
        zones=zones,
        cleared=torch.full((1, 3, *columns.shape[:2]), 0.6),
        ground_zone=zones.sum(1, keepdim=True),
    )


FIRST, SECOND, APART = (-1.5, 0.0), (1.5, 0.5), (4.0, -3.0)
"""Places with the shadows of both slots, and one without."""


def _ground(model: ObjectVolumes, code: VolumesCode, *places: tuple[float, float]) -> torch.Tensor:
    """Red of the ground at places of the field frame."""
    local = torch.tensor([[*place, 0.0] for place in places])[None]
    points = (local @ code.field_from_world[:, :3, :3])[:, :, None]
    with torch.no_grad():
        at = Surfaces(points, points, torch.zeros_like(points[..., 0, 0]))
        return model.renderer.background_colour(code, at)[0, :, 0]


def test_shadows_change_nothing_in_a_scene_that_is_not_edited(model: ObjectVolumes, shadowed: VolumesCode):
    rays = _rays(_poses(0.4))
    with torch.no_grad():
        with_them = model.render(shadowed, *rays, _depths(), locality=True)
        without = model.render(replace(shadowed, shadows=None), *rays, _depths(), locality=True)
    assert torch.equal(with_them.rgb, without.rgb)


@pytest.mark.parametrize("slot", [1, 2])
def test_an_object_that_is_deleted_takes_its_shadow(model: ObjectVolumes, shadowed: VolumesCode, slot: int):
    """The ground is seen as it is without it there; the other object keeps its shadow."""
    expected = _ground(model, shadowed, FIRST, SECOND, APART)
    expected[slot - 1] = 0.6
    found = _ground(model, shadowed.delete(slot), FIRST, SECOND, APART)
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_object_that_is_moved_takes_its_shadow_along(model: ObjectVolumes, shadowed: VolumesCode):
    offset = (
        torch.tensor([APART[0] - FIRST[0], APART[1] - FIRST[1], 0.0]) @ shadowed.field_from_world[0, :3, :3]
    )
    before = _ground(model, shadowed, FIRST, SECOND, APART)
    half = before * torch.tensor([1, 1, 0.5])
    copied = _ground(model, shadowed.duplicate(1, offset), FIRST, SECOND, APART)
    assert torch.allclose(copied, half, atol=1e-5)
    half[0] = 0.6
    moved = _ground(model, shadowed.move(1, offset), FIRST, SECOND, APART)
    assert torch.allclose(moved, half, atol=1e-5)


def test_where_shadows_overlap_the_other_one_stays(model: ObjectVolumes, shadowed: VolumesCode):
    """Slot 2's shadow reaches over slot 1's: without slot 1, a quarter of .6 is left there."""
    cast = shadowed.shadows.clone()
    cast[:, 1] = np.log(0.25)
    found = _ground(model, replace(shadowed, shadows=cast).delete(1), FIRST)
    assert found.item() == pytest.approx(0.15, rel=1e-3)


def test_another_background_comes_without_the_shadows_of_its_objects(
    model: ObjectVolumes, shadowed: VolumesCode
):
    """The other scene has a shadow at SECOND, and is seen in .4 without: there, slot 2 leaves a quarter."""
    other = replace(
        shadowed, cleared=torch.full_like(shadowed.cleared, 0.4), ground_zone=shadowed.zones[:, 1:2]
    )
    seen = _ground(model, replace(other, shadows=None), FIRST, APART).tolist()
    found = _ground(model, shadowed.with_background(other), FIRST, SECOND, APART)
    assert found.tolist() == pytest.approx([seen[0] / 2, 0.1, seen[1]], rel=1e-3)


def test_sizes_that_cannot_be_halved_are_refused(model: ObjectVolumes):
    with pytest.raises(InputError, match=r"multiples of 8, got 30 × 24"):
        model.encode(torch.zeros(1, 3, 24, 30), _poses(0.0))


def test_a_scene_does_not_depend_on_its_batch(model: ObjectVolumes):
    images, poses = torch.rand(3, 3, 24, 32) * 2 - 1, _poses(0.0, 1.0, 2.0)
    with torch.no_grad():
        together = model.encode(images, poses).select_scenes(torch.tensor([1]))
        single = model.encode(images[1:2], poses[1:2])
    for name in ("volume", "owner", "pixels", "ground", "walls", "slots"):
        assert torch.allclose(getattr(together, name), getattr(single, name), atol=1e-4), name


def test_every_cell_has_owners_that_sum_to_one(model: ObjectVolumes):
    with torch.no_grad():
        made = model.encode(torch.rand(2, 3, 24, 32) * 2 - 1, _poses(0.0, 2.0))
    assert torch.allclose(made.owner.sum(1), torch.ones(2, 24, 24))
    assert made.active[:, :2].all()


def test_light_is_shared_out(model: ObjectVolumes, code: VolumesCode):
    origins, directions = _rays(_poses(1.3))
    with torch.no_grad():
        seen = model.render(code, origins, directions, _depths(), locality=True, per_slot=True)
    assert torch.allclose(seen.slot_opacity.sum(-1), seen.opacity, atol=1e-4)
    assert torch.allclose(seen.opacity, torch.ones_like(seen.opacity), atol=1e-3)
    assert seen.slot_opacity[..., 1].max() > 0.95
    assert seen.slot_opacity[..., 2].max() > 0.95
    assert not seen.slot_opacity[..., 3].any()


def test_chunks_change_nothing(model: ObjectVolumes, code: VolumesCode):
    origins, directions = _rays(_poses(1.3))
    with torch.no_grad():
        whole = model.render(code, origins, directions, _depths(), locality=True, per_slot=True)
        parts = model.render(
            code, origins, directions, _depths(), locality=True, per_slot=True, chunk_rays=100
        )
    assert torch.allclose(whole.rgb, parts.rgb, atol=1e-5)
    assert whole.per_slot is not None
    assert parts.per_slot is not None
    assert torch.allclose(whole.per_slot.density_mask, parts.per_slot.density_mask, atol=1e-5)


def test_a_slot_alone_is_the_scene_without_the_others(model: ObjectVolumes, code: VolumesCode):
    origins, directions = _rays(_poses(1.3))
    with torch.no_grad():
        seen = model.render(code, origins, directions, _depths(), locality=True, per_slot=True)
        only = model.render(code.delete(0).delete(2), origins, directions, _depths(), locality=True)
    assert seen.per_slot is not None
    assert torch.allclose(seen.per_slot.density_mask[..., 1], only.opacity, atol=1e-4)
    assert torch.allclose(seen.per_slot.rgb[:, :, 1], only.rgb, atol=1e-4)
    # The background alone counts by half.
    assert (seen.per_slot.density_mask[..., 0] == 0.5).all()


def test_moving_an_object_is_moving_the_camera_the_other_way(model: ObjectVolumes, code: VolumesCode):
    """Without background and other objects, what is seen of a moved object is the same."""
    offset = torch.tensor([0.8, -0.6, 0.0])
    single = code.delete(0).delete(2)
    origins, directions = _rays(_poses(1.3))
    with torch.no_grad():
        moved = model.render(single.move(1, offset), origins, directions, _depths(512), locality=True)
        still = model.render(single, origins - offset, directions, _depths(512), locality=True)
    assert still.opacity.max() > 0.95
    assert (moved.opacity - still.opacity).abs().max() < 0.05
    assert (moved.rgb - still.rgb).abs().max() < 0.05


def test_a_copy_stands_beside_its_original(model: ObjectVolumes, code: VolumesCode):
    """Two copies half a turn of the picture apart show about twice as much of the object."""
    single = code.delete(0).delete(2)
    # Sideways, as the camera sees it, so that neither hides the other.
    copied = single.duplicate(1, 2.4 * torch.tensor([-np.sin(1.3), np.cos(1.3), 0.0], dtype=torch.float32))
    origins, directions = _rays(_poses(1.3))
    with torch.no_grad():
        one = model.render(single, origins, directions, _depths(256), locality=True)
        two = model.render(copied, origins, directions, _depths(256), locality=True)
    assert two.slot_opacity.shape[-1] == 5
    assert two.slot_opacity[..., 4].max() > 0.9
    assert (two.slot_opacity[..., 1] - one.slot_opacity[..., 1]).abs().max() < 0.15
    assert two.slot_opacity[..., 4].sum() == pytest.approx(one.slot_opacity[..., 1].sum().item(), rel=0.5)


def test_another_background_leaves_the_objects(model: ObjectVolumes, code: VolumesCode):
    with torch.no_grad():
        other = model.encode(torch.zeros(1, 3, 24, 32), _poses(2.0))
        # An untrained model takes all for objects; here nothing is.
        bright = source_image(torch.full((1, 3, 24, 32), 0.9), torch.zeros(1, 1, 24, 32))
        other = replace(other, ground=bright)
        origins, directions = _rays(_poses(1.3))
        before = model.render(code, origins, directions, _depths(), locality=True)
        after = model.render(code.with_background(other), origins, directions, _depths(), locality=True)
    assert torch.allclose(before.slot_opacity, after.slot_opacity, atol=1e-4)
    background = before.slot_opacity[0, :, 0] > 0.99
    assert (before.rgb - after.rgb)[0, background].abs().mean() > 0.01


def test_decode_agrees_with_render(model: ObjectVolumes, code: VolumesCode):
    """Densities of ``decode``, composited with dense samples, are opaque where the rendering is.

    Only a ray meets a wall, so there is none.
    """
    code = replace(code, walls=_no_walls(code))
    origins, directions = _rays(_poses(1.3))
    depths = _depths(600)
    points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).flatten(1, 2)
    with torch.no_grad():
        seen = model.render(code, origins, directions, _depths(600), locality=True)
        samples = model.decode(code, points, locality=True)
        dense = composite(samples, depths, directions, unit=GEOMETRY.depth_range)
    assert (seen.slot_opacity - dense.slot_opacity).abs().mean() < 0.02
    assert (seen.rgb - dense.rgb).abs().mean() < 0.03


def _step(model: ObjectVolumes, views: int = 3) -> tuple[VolumesCode, torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    poses = _poses(*np.linspace(0, 4, views))
    code = model.encode(torch.rand(views, 3, 24, 32) * 2 - 1, poses, step=1000)
    view = (torch.arange(views)[:, None] + 1 + torch.arange(10)[None] % (views - 1)) % views
    pixel = torch.randint(32 * 24, (views, 10))
    where = torch.stack([(2 * (pixel % 32) + 1) / 32 - 1, (2 * (pixel // 32) + 1) / 24 - 1], dim=-1)
    directions = camera_directions(GEOMETRY.focal_ratio, *SIZE).flatten(0, 1)[pixel]
    directions = torch.einsum("vrij,vrj->vri", poses[view][..., :3, :3], directions)
    origins = poses[view][..., :3, 3]
    depths = torch.linspace(6, 20, 12).expand(views, 10, -1)
    rendering = model.render(code, origins, directions, depths, locality=True, pixel=0.03)
    auxiliary = model.auxiliary_losses(code, rendering, NovelRays(views, view, where), 1000)
    assert 0 <= auxiliary.metrics["slots/explained_opacity"] <= 1
    return code, rendering.rgb, auxiliary.weighted


def test_a_step_reaches_every_parameter(model: ObjectVolumes):
    torch.manual_seed(2)
    learner = ObjectVolumes(CONFIG, GEOMETRY)
    _, rgb, losses = _step(learner)
    (rgb.square().mean() + torch.stack(list(losses.values())).sum()).backward()
    without = [name for name, value in learner.named_parameters() if value.grad is None]
    assert not without
    assert all(torch.isfinite(value).all() for value in losses.values())


def test_no_gradient_reaches_the_ground_through_the_objects_mask(model: ObjectVolumes):
    """Outlines decide what is left out of the ground, but do not learn from leaving it out."""
    torch.manual_seed(2)
    learner = ObjectVolumes(CONFIG, GEOMETRY)
    code = learner.encode(torch.rand(1, 3, 24, 32) * 2 - 1, _poses(0.3), step=1000)
    assert code.pixels.requires_grad
    assert not code.ground.requires_grad


def test_the_mask_grows_with_the_steps():
    """At first the surest pixels and their neighbours are left out, in the end all around them too."""
    shown = torch.zeros(1, 1, 12, 16)
    shown[0, 0, 6, 8] = 0.5
    begin, end = CONFIG.mask_steps
    early, late = (
        growing_mask(shown, CONFIG.mask_gain, ramp(step, *CONFIG.mask_steps)) for step in (begin, end)
    )
    assert early.max().item() == pytest.approx(0.5)
    assert int((early > 0).sum()) == 9
    assert late.max().item() == pytest.approx(min(1.0, 0.5 * CONFIG.mask_gain))
    assert int((late > 0).sum()) == 25


def test_lenses_of_the_inputs_count(model: ObjectVolumes):
    """A lens that is said to be the dataset's own changes nothing; another one does."""
    image, pose = torch.rand(1, 3, 24, 32) * 2 - 1, _poses(0.3)
    with torch.no_grad():
        plain = model.encode(image, pose)
        same = model.encode(image, pose, pinholes=torch.tensor([[*GEOMETRY.focal_ratio, 0.0, 0.0]]))
        other = model.encode(image, pose, pinholes=torch.tensor([[0.9, 1.2, 0.01, 0.0]]))
    assert torch.allclose(plain.volume, same.volume, atol=1e-5)
    assert not torch.allclose(plain.volume, other.volume, atol=1e-3)
