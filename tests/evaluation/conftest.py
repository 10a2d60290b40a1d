"""A scene model whose fields are known: balls on a floor. What it should score can be said beforehand."""

import shutil
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from objnerf.dataset.cameras import look_at
from objnerf.dataset.card import SceneScale
from objnerf.dataset.files import mask_from_labels, write_image, write_matrix, write_text
from objnerf.dataset.names import make_view_stem, movement_name
from objnerf.evaluation.scenes import RenderSettings, render_view
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.rendering.rays import points_on_rays
from objnerf.rendering.volume import Rendering, SlotRendering, SlotSamples, composite


@dataclass(frozen=True)
class Ball:
    """A solid ball; lengths in world units."""

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]
    density: float = 2000.0


class Balls(SceneModel):
    """A scene of balls (slots 1…) on a floor (slot 0), which takes its floor's colour from the input view.

    The floor's colour is that of the picture's lower left pixel, so that another scene brings another one.
    """

    def __init__(self, balls, geometry, floor_density=1000.0):
        super().__init__(geometry)
        self.balls = balls
        self.floor_density = floor_density
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images, world_from_camera, *, pinholes=None, world_from_azimuth=None, generator=None):
        scenes, slots = len(images), len(self.balls) + 1
        latents = torch.zeros(scenes, slots, 3)
        latents[:, 0] = images[:, :, -1, 0] / 2 + 0.5
        latents[:, 1:] = torch.tensor([ball.colour for ball in self.balls])
        return SceneCode(
            slots=latents,
            field_from_world=torch.eye(4).repeat(scenes, 1, 1),
            offsets=torch.zeros(scenes, slots, 3),
            active=torch.ones(scenes, slots, dtype=torch.bool),
        )

    def decode(self, code, points, *, locality):
        scenes, count, _ = points.shape
        slots = code.slots.shape[1]
        density = torch.zeros(scenes, slots, count)
        density[:, 0] = torch.where(points[..., 2] < 0, self.floor_density, 0.0)
        for slot in range(1, slots):
            # A copy is the last slot: it is the same ball as the one it was made from.
            ball = self._ball(code, slot)
            local = points - code.offsets[:, slot][:, None] - torch.tensor(ball.centre)
            density[:, slot] = torch.where(local.norm(dim=-1) < ball.radius, ball.density, 0.0)
        density = density * code.active[..., None]
        return SlotSamples(density, code.slots[:, :, None].expand(-1, -1, count, -1))

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
        chunks = []
        for first in range(0, origins.shape[1], chunk_rays or origins.shape[1]):
            part = slice(first, first + (chunk_rays or origins.shape[1]))
            points = points_on_rays(origins[:, part], directions[:, part], depths[:, part])
            samples = self.decode(code, points.flatten(1, 2), locality=locality)
            unit = self.geometry.depth_range
            chunks.append(
                composite(samples, depths[:, part], directions[:, part], unit=unit, per_slot=per_slot)
            )

        def joined(name):
            return torch.cat([attrgetter(name)(chunk) for chunk in chunks], dim=1)

        return Rendering(
            **{name: joined(name) for name in ("rgb", "depth", "opacity", "slot_opacity")},
            per_slot=SlotRendering(*(joined(f"per_slot.{name}") for name in ("rgb", "depth", "density_mask")))
            if per_slot
            else None,
        )

    def _ball(self, code, slot):
        colours = [ball.colour for ball in self.balls]
        found = min(colours, key=lambda c: float((torch.tensor(c) - code.slots[0, slot]).abs().sum()))
        return self.balls[colours.index(found)]


GEOMETRY = SceneScale(near=6.0, far=20.0, nss_scale=7.0, obj_scale=4.5, focal_ratio=(350 / 320, 350 / 240))


#: Small and quick; samples close enough that no ball falls between two.
SETTINGS = RenderSettings(size=(48, 36), samples=96, input_size=(16, 12))

#: Two balls that stand apart.
TWO = (Ball((1.6, 0.0, 0.9), 0.9, (0.9, 0.2, 0.2)), Ball((-1.6, 0.4, 0.9), 0.9, (0.2, 0.3, 0.9)))


@pytest.fixture
def settings() -> RenderSettings:
    return SETTINGS


@pytest.fixture
def model() -> Balls:
    """Two balls on a floor."""
    return Balls(TWO, GEOMETRY).eval()


def camera(azimuth: float) -> np.ndarray:
    """``world_from_camera`` at the reference's distance and elevation; azimuth in degrees."""
    turn = np.radians(azimuth)
    ground = 12.4 * np.cos(np.radians(40.0))
    position = np.array([ground * np.cos(turn), ground * np.sin(turn), 12.4 * np.sin(np.radians(40.0))])
    return look_at(position, np.zeros(3))


def code_of(model: Balls, floor: tuple[float, float, float] = (0.6, 0.6, 0.5)) -> SceneCode:
    """The model's scene with a floor of the given colour."""
    picture = torch.tensor(floor)[None, :, None, None].expand(1, 3, 2, 2) * 2 - 1
    return model.encode(picture, torch.eye(4)[None])


def write_scene(
    root: Path,
    model: Balls,
    settings: RenderSettings,
    *,
    scene: int = 0,
    n_scenes: int = 1,
    views: int = 3,
    floor: tuple[float, float, float] = (0.6, 0.6, 0.5),
    move: tuple[int, float, float] | None = None,
    other_floor: tuple[float, float, float] | None = None,
) -> None:
    """Write a scene as the model itself draws it, so that the model understands it perfectly.

    Args:
        move: slot, dx, dy: also write the manipulation test of a moved object.
        other_floor: also write that of a changed background.
    """
    code = code_of(model, floor)
    for number in range(views):
        pose = camera(-90.0 + 50.0 * number)
        stem = root / make_view_stem(scene * views + number, scene, number, n_scenes)
        seen = render_view(model, code, pose, settings)
        write_image(f"{stem}.png", seen.picture)
        write_image(f"{stem}_mask.png", mask_from_labels(seen.labels))
        write_matrix(f"{stem}_RT.txt", pose)
        if move is not None:
            slot, dx, dy = move
            moved = render_view(model, code.move(slot, torch.tensor([dx, dy, 0.0])), pose, settings)
            write_image(f"{stem}_moved.png", moved.picture)
            # The lowest grey level is what stays: grey below white, as the format's own files have it.
            moving = np.where((seen.labels == slot)[..., None], np.uint8(255), np.uint8(64))
            write_image(f"{stem}_mask_for_moving.png", moving.repeat(3, axis=-1))
            write_text(root / movement_name(scene), f"{dx}\n{dy}\n")
        if other_floor is not None:
            other = code_of(model, other_floor)
            changed = render_view(model, code.with_background(other), pose, settings)
            write_image(f"{stem}_changed.png", changed.picture)
            write_image(f"{stem}_providing_bg.png", render_view(model, other, pose, settings).picture)


@pytest.fixture
def world() -> SimpleNamespace:
    """What makes scenes of balls, for tests that need others than the fixtures' own."""
    return SimpleNamespace(
        Ball=Ball, Balls=Balls, geometry=GEOMETRY, camera=camera, code_of=code_of, write_scene=write_scene
    )


@pytest.fixture(scope="session")
def balls_once(tmp_path_factory) -> Path:
    """Three scenes as the model itself draws them, with the manipulation test; to be copied, not touched."""
    root = tmp_path_factory.mktemp("scenes") / "balls"
    root.mkdir()
    for scene in range(3):
        write_scene(
            root,
            Balls(TWO, GEOMETRY).eval(),
            SETTINGS,
            scene=scene,
            n_scenes=3,
            floor=(0.4 + 0.1 * scene, 0.6, 0.5),
            move=(1, -0.8, 0.9),
            other_floor=(0.2, 0.5, 0.3),
        )
    return root


@pytest.fixture
def balls_dataset(balls_once, tmp_path) -> Path:
    """A copy of these scenes that a test may spoil."""
    return Path(shutil.copytree(balls_once, tmp_path / "balls"))
