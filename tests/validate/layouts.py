"""Sound datasets of other camera layouts: balls on a floor, with images, masks and exact depth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from objnerf.dataset import files, names
from objnerf.dataset.cameras import Intrinsics, camera_rays, look_at, world_from_azimuth
from objnerf.dataset.card import DatasetCard, write_card


@dataclass(frozen=True)
class CameraLayout:
    """Cameras on a shell about the scenes' centre.

    Attributes:
        focal_ratio: fx / width, fy / height.
        size: width and height of the pictures.
        distance, elevation: of the cameras, world units and degrees.
        arc: degrees of azimuth that the views of a scene are spread over.
        scenes, views: how many; views of each scene.
    """

    focal_ratio: tuple[float, float] = (350 / 320, 350 / 240)
    size: tuple[int, int] = (160, 120)
    distance: float = 12.4
    elevation: tuple[float, float] = (30.0, 45.0)
    arc: float = 360.0
    scenes: int = 2
    views: int = 4


#: Where the balls of a scene may lie; each has a radius of its own.
_REACH = 3.0


def write(layout: CameraLayout, root: Path, seed: int = 0) -> Path:
    """Write a sound dataset of a layout."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    width, height = layout.size
    camera = Intrinsics.from_focal_ratio(layout.focal_ratio, width, height)
    for scene in range(layout.scenes):
        angles = 2 * np.pi * (np.arange(4) + rng.uniform(0.1, 0.4, 4)) / 4
        radii = rng.uniform(0.7, 1.1, 4)
        centres = np.stack([_REACH * np.cos(angles), _REACH * np.sin(angles), radii], axis=-1)
        centres[0, :2] *= 0.2
        start = rng.uniform(0, 360)
        for view in range(layout.views):
            azimuth = np.radians(start + layout.arc * view / layout.views)
            up = np.radians(rng.uniform(*layout.elevation))
            eye = np.array([np.cos(up) * np.cos(azimuth), np.cos(up) * np.sin(azimuth), np.sin(up)])
            pose = look_at(layout.distance * eye, rng.normal(0, 0.1, 3) * [1, 1, 0])
            stem = names.make_view_stem(scene * layout.views + view, scene, view, layout.scenes)
            _write_view(root / stem, pose, camera, centres, radii, rng)
    return root


def _write_view(
    stem: Path,
    pose: np.ndarray,
    camera: Intrinsics,
    centres: np.ndarray,
    radii: np.ndarray,
    rng: np.random.Generator,
) -> None:
    rays = camera_rays(camera) @ pose[:3, :3].T
    eye = pose[:3, 3]
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
    labels = np.zeros(depth.shape, dtype=np.int64)
    for label, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        # |eye + t ray - centre|² = radius², rays with z = 1 in the camera, so that t is the planar depth.
        offset = eye - centre
        a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - radius**2
        inside = b**2 - a * c
        t = (-b - np.sqrt(np.maximum(inside, 0))) / a
        nearer = (inside > 0) & (t > 0) & (t < depth)
        depth, labels = np.where(nearer, t, depth), np.where(nearer, label, labels)
    depth = np.minimum(depth, 60.0)
    points = eye + depth[..., None] * rays
    checks = (np.floor(points[..., 0]) + np.floor(points[..., 1])) % 2
    palette = np.array([(150, 140, 130), (190, 60, 50), (60, 160, 70), (70, 80, 190), (200, 180, 60)])
    shade = 0.7 + 0.3 * checks + 0.05 * rng.standard_normal(checks.shape)
    image = np.clip(palette[labels] * shade[..., None], 0, 255).astype(np.uint8)
    Image.fromarray(image).save(f"{stem}.png")
    files.write_image(f"{stem}_mask.png", files.mask_from_labels(labels))
    files.write_depth(f"{stem}_depth.npy", depth.astype(np.float32))
    files.write_matrix(f"{stem}_RT.txt", pose)
    files.write_matrix(f"{stem}_azi_rot.txt", world_from_azimuth(pose))


def write_settings(layout: CameraLayout, root: Path, far: float) -> None:
    """``dataset.yaml`` with what is not the reference's."""
    write_card(root, DatasetCard(focal_ratio=layout.focal_ratio, near=5.0, far=far))
