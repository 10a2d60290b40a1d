"""A model whose scene is known: a red and a green ball on a grey floor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.dataset.files import write_image, write_matrix
from objnerf.evaluation.evaluate import OpenedRun
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.rendering.rays import points_on_rays
from objnerf.rendering.volume import SlotSamples, composite
from objnerf.training.recipe_files import load_recipe

pytest.importorskip("viser", reason="the optional part `viewer` is not installed")

CENTRES = ((-2.0, 0.0, 1.0), (2.0, 1.0, 1.0))
COLOURS = ((0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
RADIUS = 1.0


class TwoBalls(SceneModel):
    """Slot 0 is the floor, slots 1 and 2 are balls, slot 3 is empty."""

    def __init__(self) -> None:
        super().__init__(
            SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(1.1, 1.46))
        )
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images, world_from_camera, *, pinholes=None, world_from_azimuth=None, generator=None):
        scenes = len(images)
        return SceneCode(
            slots=torch.tensor(COLOURS).expand(scenes, 4, 3).clone(),
            field_from_world=torch.eye(4).repeat(scenes, 1, 1),
            offsets=torch.zeros(scenes, 4, 3),
            active=torch.ones(scenes, 4, dtype=torch.bool),
        )

    def decode(self, code, points, *, locality):
        density = torch.zeros(len(points), 4, points.shape[1])
        density[:, 0] = torch.where(points[..., 2] < 0, 2000.0, 0.0)
        for slot, centre in enumerate(CENTRES, start=1):
            distance = (points - torch.tensor(centre) - code.offsets[:, slot, None]).norm(dim=-1)
            density[:, slot] = torch.where(distance < RADIUS, 2000.0, 0.0)
        density = density * code.active[..., None]
        return SlotSamples(density, code.slots[:, :, None].expand(-1, -1, points.shape[1], -1))

    def render(
        self,
        code,
        origins,
        directions,
        depths,
        *,
        locality,
        chunk_rays=None,
        per_slot=False,
        pixel=0.0,
    ):
        points = points_on_rays(origins, directions, depths).flatten(1, 2)
        samples = self.decode(code, points, locality=locality)
        return composite(samples, depths, directions, unit=self.geometry.depth_range, per_slot=per_slot)


@pytest.fixture
def run(tmp_path: Path) -> OpenedRun:
    """The model as if a run of the tiny recipe had made it."""
    return OpenedRun(tmp_path / "balls", TwoBalls().eval(), load_recipe("tiny"), None, 7)


@pytest.fixture
def make_ring(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a dataset of `scenes` scenes, four views each from all round; blank pictures."""

    def make(scenes: int = 1) -> Path:
        root = tmp_path / "ring"
        for index in range(4 * scenes):
            angle = np.pi / 2 * index + 0.4
            position = np.array([9 * np.cos(angle), 9 * np.sin(angle), 8.0])
            stem = f"{index:05d}_sc{index // 4:04d}_img{index % 4}"
            write_matrix(root / f"{stem}_RT.txt", look_at(position, np.zeros(3)))
            write_image(root / f"{stem}.png", np.full((24, 32, 3), 120, np.uint8))
        return root

    return make


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    """A function that takes a viewer and sees to it that it ends with the test."""
    viewers: list[Any] = []

    def keep(viewer: Any) -> Any:
        viewers.append(viewer)
        return viewer

    yield keep
    for viewer in viewers:
        viewer.stop()
