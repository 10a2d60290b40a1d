"""The whole model: chunks, scenes, precision, the box, edits. That it equals the dense formulation is tested
where that is written down, in tests/benchmarks/test_reference.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.models import UORF, SceneCode, UorfConfig, VolumesConfig, build_model
from objnerf.rendering.rays import camera_directions, uniform_depths, world_rays
from objnerf.rendering.volume import Rendering

GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(350 / 320, 350 / 240))


def _poses(count: int, seed: int = 0) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    eyes = generator.normal(size=(count, 3))
    eyes[:, 2] = np.abs(eyes[:, 2]) + 0.5
    eyes *= 12 / np.linalg.norm(eyes, axis=1, keepdims=True)
    return torch.from_numpy(np.stack([look_at(eye, np.zeros(3)) for eye in eyes])).float()


def _rays(poses: torch.Tensor, side: int = 6, samples: int = 12) -> dict[str, torch.Tensor]:
    grid = camera_directions(GEOMETRY.focal_ratio, side, side).flatten(0, 1)
    origins, directions = world_rays(grid, poses)
    depths = uniform_depths(GEOMETRY.near, GEOMETRY.far, samples).expand(*origins.shape[:2], samples)
    return {"origins": origins, "directions": directions, "depths": depths}


def _model(seed: int = 0, **config: int | bool) -> UORF:
    torch.manual_seed(seed)
    return UORF(UorfConfig(num_slots=4, z_dim=8, **config), GEOMETRY)


def _code(model: UORF, poses: torch.Tensor, spread: float = 1.0) -> SceneCode:
    images = torch.rand((len(poses), 3, 16, 16), generator=torch.Generator().manual_seed(5)) * 2 - 1
    code = model.encode(images, poses, generator=torch.Generator().manual_seed(6))
    return replace(code, slots=code.slots * spread)


def _gradients(model: UORF, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("fixed_locality", [False, True])
def test_several_scenes_equal_one_by_one(fixed_locality: bool):
    model = _model(fixed_locality=fixed_locality)
    poses = _poses(3)
    code, rays = _code(model, poses, spread=3.0), _rays(_poses(3, seed=1))
    together = model.render(code, **rays, locality=True, per_slot=True)
    for scene in range(3):
        index = torch.tensor([scene])
        single = model.render(
            code.select_scenes(index), **{k: v[index] for k, v in rays.items()}, locality=True, per_slot=True
        )
        torch.testing.assert_close(single.rgb[0], together.rgb[scene])
        torch.testing.assert_close(single.slot_opacity[0], together.slot_opacity[scene])


def _parts(rendering: Rendering) -> list[torch.Tensor]:
    assert rendering.per_slot is not None
    per_slot = rendering.per_slot
    return [
        *(rendering.rgb, rendering.depth, rendering.opacity, rendering.slot_opacity),
        *(per_slot.rgb, per_slot.depth, per_slot.density_mask),
    ]


def test_chunks_change_nothing():
    """Every output, and the gradient through every output."""
    model = _model(2)
    code, rays = _code(model, _poses(2)), _rays(_poses(2, seed=1))
    whole = _parts(model.render(code, **rays, locality=True, per_slot=True))
    expected = _gradients(model, torch.stack([part.sum() for part in whole]).sum())
    code = _code(model, _poses(2))
    chunked = _parts(model.render(code, **rays, locality=True, per_slot=True, chunk_rays=11))
    computed = _gradients(model, torch.stack([part.sum() for part in chunked]).sum())
    for one, other in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    scale = max(gradient.abs().max().item() for gradient in expected.values())
    for name in expected:
        torch.testing.assert_close(
            computed[name],
            expected[name],
            rtol=1e-3,
            atol=1e-4 * scale,
            msg=lambda text, n=name: f"{n}: {text}",
        )


def test_chunks_keep_no_activations():
    """Between forward and backward, chunks keep references to weights and code, and nothing new."""
    model = _model()
    code, rays = _code(model, _poses(1)), _rays(_poses(1, seed=1), side=8, samples=16)
    there = {tensor.data_ptr() for tensor in [*model.parameters(), code.slots, code.attention]}
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in there:
            kept.append(tensor.numel())
        return tensor

    sizes = {}
    for chunk_rays in (None, 16):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.render(code, **rays, locality=True, chunk_rays=chunk_rays)
        sizes[chunk_rays] = sum(kept)
    points = 8 * 8 * 16
    assert sizes[None] > points * 8 * 6  # at least six layers of the background field
    assert sizes[16] == 0


def test_bfloat16_is_close_and_trains():
    model = _model(3)
    code, rays = _code(model, _poses(1)), _rays(_poses(1, seed=1))
    expected = model.render(code, **rays, locality=True)
    with torch.autocast("cpu", torch.bfloat16):
        code = _code(model, _poses(1))
        seen = model.render(code, **rays, locality=True, chunk_rays=10)
    assert seen.rgb.dtype == torch.float32
    torch.testing.assert_close(seen.rgb, expected.rgb, rtol=0, atol=0.05)
    gradients = _gradients(model, seen.rgb.sum())
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["encoder.enc_down_1.0.weight"].abs().max() > 0


def test_no_foreground_outside_the_box():
    model = _model()
    code = _code(model, _poses(1))
    points = (torch.rand((1, 4000, 3), generator=torch.Generator().manual_seed(0)) - 0.5) * 20
    local = points[0] @ code.field_from_world[0, :3, :3].T
    inside = (local.abs() <= 4.5).all(dim=-1)
    confined = model.decode(code, points, locality=True)
    free = model.decode(code, points, locality=False)
    assert (confined.density[0, 1:][:, ~inside] == 0).all()
    assert (free.density[0, 1:][:, ~inside] > 0).any()
    torch.testing.assert_close(confined.density[0, 1:][:, inside], free.density[0, 1:][:, inside])
    torch.testing.assert_close(confined.density[0, 0], free.density[0, 0])


class TestEdits:
    """Moving, deleting, copying slots and changing the background, seen through ``decode``."""

    points = (torch.rand((1, 500, 3), generator=torch.Generator().manual_seed(1)) - 0.5) * 12

    def test_move(self):
        model = _model()
        code = _code(model, _poses(1), spread=3.0)
        offset = torch.tensor([1.0, -2.0, 0.0])
        before = model.decode(code, self.points, locality=False)
        after = model.decode(code.move(2, offset), self.points + offset, locality=False)
        torch.testing.assert_close(after.density[0, 2], before.density[0, 2], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(after.colour[0, 2], before.colour[0, 2], rtol=1e-3, atol=1e-4)
        still = model.decode(code.move(2, offset), self.points, locality=False)
        torch.testing.assert_close(still.density[0, [0, 1, 3]], before.density[0, [0, 1, 3]])
        assert code.offsets.abs().sum() == 0

    def test_delete_and_duplicate(self):
        model = _model()
        code = _code(model, _poses(1), spread=3.0)
        before = model.decode(code, self.points, locality=True)
        without = model.decode(code.delete(1), self.points, locality=True)
        assert without.density[0, 1].abs().sum() == 0
        torch.testing.assert_close(without.density[0, [0, 2, 3]], before.density[0, [0, 2, 3]])
        assert model.decode(code.delete(0), self.points, locality=True).density[0, 0].abs().sum() == 0
        copied = model.decode(code.duplicate(3, torch.zeros(3)), self.points, locality=True)
        assert copied.density.shape[1] == 5
        torch.testing.assert_close(copied.density[0, 4], before.density[0, 3])

    def test_background(self):
        model = _model()
        code = _code(model, _poses(2), spread=3.0)
        one, other = code.select_scenes(torch.tensor([0])), code.select_scenes(torch.tensor([1]))
        mixed = model.decode(one.with_background(other), self.points, locality=True)
        torch.testing.assert_close(
            mixed.density[0, 0], model.decode(other, self.points, locality=True).density[0, 0]
        )
        torch.testing.assert_close(
            mixed.density[0, 1:], model.decode(one, self.points, locality=True).density[0, 1:]
        )


def test_seeded_slots():
    model = _model()
    images, poses = torch.zeros(2, 3, 16, 16), _poses(2)
    first, again, other = (
        model.encode(images, poses, generator=torch.Generator().manual_seed(seed)).slots for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_attention_sums_to_one_over_slots():
    code = _code(_model(bottom=True), _poses(2))
    assert code.attention is not None
    assert code.attention.shape == (2, 4, 8 * 8)  # bottom: features at half the size of 16 × 16
    torch.testing.assert_close(code.attention.sum(dim=1), torch.ones(2, 64))


def test_kinds_of_models():
    assert isinstance(build_model(UorfConfig(), GEOMETRY), UORF)
    assert not isinstance(build_model(VolumesConfig(), GEOMETRY), UORF)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_image_and_gradients():
    model = _model(1)
    code, rays = _code(model, _poses(2)), _rays(_poses(2, seed=1))
    expected = model.render(code, **rays, locality=True)
    gradients = _gradients(model, expected.rgb.square().sum())
    model.cuda()
    code = replace(
        code,
        slots=code.slots.detach().cuda().requires_grad_(),
        field_from_world=code.field_from_world.cuda(),
        offsets=code.offsets.cuda(),
        active=code.active.cuda(),
        attention=None,
    )
    on_gpu = {name: tensor.cuda() for name, tensor in rays.items()}
    seen = model.render(code, **on_gpu, locality=True, chunk_rays=13)
    torch.testing.assert_close(seen.rgb.cpu(), expected.rgb, rtol=1e-3, atol=1e-4)
    for name, gradient in _gradients(model, seen.rgb.square().sum()).items():
        largest = gradients[name].abs().max().item()
        torch.testing.assert_close(gradient.cpu(), gradients[name], rtol=1e-2, atol=1e-3 * largest)
