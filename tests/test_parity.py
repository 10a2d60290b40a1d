"""Every array of the reference's own runs, reproduced from its weights and inputs.

A parity set is a folder with ``config.json``, the three checkpoint files and ``expected.npz``. One comes
with the clone; ``OBJNERF_PARITY_DIR`` names a folder with more. What the arrays hold was worked out from
their names, shapes and values: features keep every 4th row and column, attention every 37th token, samples
every 5th depth and every 3rd row and column; volumes are ordered view, depth, row, column.
"""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from objnerf.dataset.card import SceneScale
from objnerf.models.uorf import UORF
from objnerf.models.uorf_checkpoint import load_uorf_checkpoint
from objnerf.rendering.rays import (
    azimuth_rotation,
    camera_directions,
    points_on_rays,
    uniform_depths,
    world_rays,
)
from objnerf.rendering.volume import density_shares

RELATIVE, ABSOLUTE = 1e-4, 1e-5
VARIANTS = {  # locality box, fixed locality (with the reference's quirk)
    "box_azimuth": (True, False),
    "nobox_azimuth": (False, False),
    "box_fixed": (True, True),
}
INPUTS = {"image", "cam2world", "azi_rot"}


def _sets() -> list[Path]:
    folders = [Path(__file__).parent / "data" / "parity"]
    if extra := os.environ.get("OBJNERF_PARITY_DIR"):
        folders.append(Path(extra))
    found = {path.parent.name: path.parent for folder in folders for path in folder.glob("*/expected.npz")}
    return [found[name] for name in sorted(found)]


def _expected(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as arrays:
        return dict(arrays)


CASES = [
    pytest.param(folder, name, id=f"{folder.name}-{name}")
    for folder in _sets()
    for name in _expected(folder)
    if name not in INPUTS
]


def _load(folder: Path, fixed_locality: bool = False) -> UORF:
    config = json.loads((folder / "config.json").read_text())
    geometry = SceneScale(
        near=float(config["near"]),
        far=float(config["far"]),
        nss_scale=float(config["nss_scale"]),
        obj_scale=float(config["obj_scale"]),
        focal_ratio=tuple(config["focal_ratio"]),
    )
    model = load_uorf_checkpoint(
        folder,
        geometry,
        num_slots=config["num_slots"],
        attn_iter=config["attn_iter"],
        fixed_locality=fixed_locality,
        translation_quirk=fixed_locality,
    )
    read_off = model.config
    assert (read_off.z_dim, read_off.bottom, read_off.n_freq, read_off.n_layers) == (
        config["z_dim"],
        config["bottom"],
        config["n_freq"],
        config["n_layer"],
    )
    return model


@functools.cache
@torch.no_grad()
def _computed(folder: Path) -> dict[str, np.ndarray]:
    """Our own answer under the names of ``expected.npz``."""
    config = json.loads((folder / "config.json").read_text())
    inputs = _expected(folder)
    model = _load(folder)
    geometry = model.geometry
    width, height, samples = config["frustum_whd"]
    poses = torch.from_numpy(inputs["cam2world"])
    views = len(poses)
    image = F.interpolate(
        torch.from_numpy(inputs["image"])[None],
        size=config["input_size"],
        mode="bilinear",
        align_corners=False,
    )
    azimuth = torch.from_numpy(inputs["azi_rot"])[:1]

    features = model.encoder(image)[0]
    code = model.encode(image, poses[:1], world_from_azimuth=azimuth)
    assert code.attention is not None
    grid = camera_directions(geometry.focal_ratio, width, height)
    origins, directions = world_rays(grid.flatten(0, 1), poses)
    depths = uniform_depths(geometry.near, geometry.far, samples).expand(views, height * width, samples)
    points = points_on_rays(origins, directions, depths)

    def volume(values: torch.Tensor) -> torch.Tensor:
        """(… views × rows × columns × samples, c) to every 5th depth, 3rd row and 3rd column of a volume."""
        split = values.unflatten(-2, (views, height, width, samples)).movedim(-2, -4)
        return split[..., ::5, ::3, ::3, :]

    answer = {
        "feature_map_sub": features[:, :: features.shape[1] // 16, :: features.shape[2] // 16],
        "slots": code.slots[0],
        "attention_sub": code.attention[0, :, ::37],
        "coords_sub": volume(points.flatten(0, 2) / geometry.nss_scale),
        "z_vals_ray0": (depths[0, 0] - geometry.near) / geometry.depth_range,
        "ray_dir_sub": grid[::3, ::3].expand(views, -1, -1, -1),
    }
    for variant, (locality, fixed_locality) in VARIANTS.items():
        model = _load(folder, fixed_locality)
        code = model.encode(image, poses[:1], world_from_azimuth=azimuth)
        samples_ = model.decode(code, points.flatten(0, 2)[None], locality=locality)
        share = density_shares(samples_.density)[0, ..., None]
        raws = torch.cat([samples_.colour[0], samples_.density[0, ..., None]], dim=-1)
        rendering = model.render(
            code,
            origins.flatten(0, 1)[None],
            directions.flatten(0, 1)[None],
            depths.flatten(0, 1)[None],
            locality=locality,
            per_slot=True,
            chunk_rays=100,
        )
        assert rendering.per_slot is not None
        answer |= {
            f"{variant}_masked_raws_sub": volume(share * raws),
            f"{variant}_raws_sub": volume((share * raws).sum(dim=0)),
            f"{variant}_rgb": rendering.rgb[0].unflatten(0, (views, height, width)),
            f"{variant}_depth": ((rendering.depth[0] - geometry.near) / geometry.depth_range).unflatten(
                0, (views, height, width)
            ),
            f"{variant}_mask_maps": rendering.per_slot.density_mask[0].T.unflatten(1, (views, height, width)),
        }
    return {name: array.numpy() for name, array in answer.items()}


def test_parity_sets_are_there():
    assert _sets(), "no parity set in tests/data/parity"


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_parity_with_the_reference(folder: Path, name: str):
    expected = _expected(folder)[name]
    computed = _computed(folder)[name]
    assert computed.shape == expected.shape
    assert computed.dtype == np.float32
    np.testing.assert_allclose(computed, expected, rtol=RELATIVE, atol=ABSOLUTE)


@pytest.mark.parametrize("folder", _sets(), ids=lambda folder: folder.name)
def test_parity_of_the_derived_azimuth_frame(folder: Path):
    inputs = _expected(folder)
    derived = azimuth_rotation(torch.from_numpy(inputs["cam2world"]))
    np.testing.assert_allclose(derived, inputs["azi_rot"], rtol=RELATIVE, atol=ABSOLUTE)


@pytest.mark.parametrize("folder", _sets(), ids=lambda folder: folder.name)
def test_parity_needs_the_quirk(folder: Path):
    """Without the named quirk, fixed locality gives other numbers: the switch is not idle."""
    inputs = _expected(folder)
    model = _load(folder, fixed_locality=True)
    poses = torch.from_numpy(inputs["cam2world"])
    frame = model.field_from_world(poses)
    model.config = model.config.model_copy(update={"reference_translation_quirk": False})
    plain = model.field_from_world(poses)
    torch.testing.assert_close(frame[:, :3, :3], plain[:, :3, :3])
    torch.testing.assert_close(frame[:, :3, 3], plain[:, :3, 3] * model.geometry.nss_scale)
    # A rigid frame takes the camera's centre to the origin; with the quirk it does not.
    centre = poses[0, :, 3]
    torch.testing.assert_close((plain[0] @ centre)[:3], torch.zeros(3), rtol=0, atol=1e-5)
    assert (frame[0] @ centre)[:3].norm() > 1


def test_parity_set_is_small():
    """The set in the clone stays under 2.5 MB."""
    folder = Path(__file__).parent / "data" / "parity"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2.5e6
