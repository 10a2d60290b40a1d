"""The floor, and walls that stand outside everything: locality box, objects and cameras."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from generation.assets.catalogue import FloorAsset, WallAsset
from generation.plan.lights import LightPlan, white_radiance
from generation.plan.materials import Colour, draw_wall_colour
from generation.plan.preset import RoomRules

#: sRGB of the plain floor of CLEVR-like presets.
GREY_FLOOR: Colour = (0.47, 0.47, 0.46)

#: Of textured floors. More of it lays the walls' and the sky's light as a white haze over dark ones.
FLOOR_SPECULAR = 0.15

SKIRTING_COLOURS: tuple[Colour, ...] = ((0.92, 0.91, 0.89), (0.36, 0.24, 0.16), (0.22, 0.22, 0.23))


#: Linear value that the brightest spot of floor and walls has by direct light, at most. An image clips at 1;
#: the rest is for light that comes by way of the walls.
_BRIGHTEST = 0.88

#: No higher are the parts of walls that cameras see.
_WALL_SEEN = 3.0

Albedo = Callable[[FloorAsset | WallAsset], Float[np.ndarray, "3"]]


class Wall(BaseModel):
    """A vertical rectangle from the ground up. Its inner side is to the left of start → end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: tuple[float, float]
    end: tuple[float, float]


class RoomPlan(BaseModel):
    """Floor and walls, all outside the locality box except for the floor's plane z = 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: FloorAsset | None = Field(default=None, description="the floor's texture; None: plain colour")
    floor_colour: Colour | None = Field(default=None, description="sRGB of a plain floor")
    floor_offset: tuple[float, float] = Field(default=(0.0, 0.0), description="of the texture, world units")
    floor_yaw: float = Field(default=0.0, description="of the texture, radians")
    floor_roughness: float = 0.6
    floor_specular: float = Field(default=0.5, description="Blender's 'Specular IOR Level'")
    walls: tuple[Wall, ...] = ()
    wall: WallAsset | None = Field(default=None, description="the walls' texture; None: plain colour")
    wall_colour: Colour | None = Field(default=None, description="sRGB of plain walls")
    wall_height: float = 0.0
    skirting_colour: Colour | None = Field(default=None, description="sRGB of the boards at the walls' feet")


def plan_room(
    rules: RoomRules,
    obj_scale: float,
    cameras: Float[np.ndarray, "views 2"],
    floors: Sequence[FloorAsset],
    coverings: Sequence[WallAsset],
    rng: np.random.Generator,
) -> RoomPlan:
    """A rectangular room, turned at random, that holds the locality box and every camera.

    A convex room with all cameras inside has no wall between a camera and the scene. A side that no
    camera stands on comes close to the box, so that walls are seen.

    Args:
        rules: the preset's.
        obj_scale: half side of the locality box.
        cameras: x and y of the camera centres.
        floors: to draw one from; empty for the plain grey floor.
        coverings: wall textures to draw one from; empty for plain colours.
        rng: draws everything.
    """
    yaw = float(rng.uniform(0, np.pi / 2))
    clearances = rng.uniform(*rules.wall_clearance, 4)
    floor = floors[int(rng.integers(len(floors)))] if floors else None
    covering = coverings[int(rng.integers(len(coverings)))] if coverings else None
    wall_colour = draw_wall_colour(rng)
    skirting = SKIRTING_COLOURS[int(rng.integers(len(SKIRTING_COLOURS)))]
    offset = rng.uniform(-2, 2, 2)
    roughness = float(rng.uniform(0.35, 0.75))
    walls: tuple[Wall, ...] = ()
    if rules.walls:
        box = obj_scale * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        inside = np.concatenate([box, cameras])
        normals = np.array([[np.cos(yaw + i * np.pi / 2), np.sin(yaw + i * np.pi / 2)] for i in range(4)])
        distances = (inside @ normals.T).max(axis=0) + clearances
        # Corner i is where sides i and i + 1 meet; their normals are at right angles.
        corners = [
            np.round(distances[i] * normals[i] + distances[(i + 1) % 4] * normals[(i + 1) % 4], 6)
            for i in range(4)
        ]
        walls = tuple(
            Wall(start=tuple(corners[i - 1].tolist()), end=tuple(corners[i].tolist())) for i in range(4)
        )
    return RoomPlan(
        floor=floor,
        floor_colour=None if floor else GREY_FLOOR,
        floor_offset=(round(float(offset[0]), 4), round(float(offset[1]), 4)),
        floor_yaw=round(yaw, 6),
        floor_roughness=round(roughness, 4) if floor else 0.9,
        floor_specular=FLOOR_SPECULAR if floor else 0.5,
        walls=walls,
        wall=covering if walls else None,
        wall_colour=wall_colour if walls else None,
        wall_height=rules.wall_height if walls else 0.0,
        skirting_colour=skirting if walls else None,
    )


def unclipped_exposure(room: RoomPlan, lights: LightPlan, obj_scale: float, albedo: Albedo) -> float:
    """The greatest exposure, at most 1, under which textures of floor and walls are nowhere blown out.

    Args:
        room: floor and walls; plain colours are left as they are.
        lights: of the same scene.
        obj_scale: half side of the locality box: the floor is looked at inside it.
        albedo: linear RGB of a texture's light parts.
    """
    brightest = [0.0]
    if room.floor is not None:
        across = np.linspace(-obj_scale, obj_scale, 10)
        x, y = (axis.ravel() for axis in np.meshgrid(across, across))
        points = np.column_stack([x, y, np.zeros(len(x))])
        up = np.tile([0.0, 0.0, 1.0], (len(points), 1))
        brightest.append(float((albedo(room.floor) * white_radiance(lights, points, up)).max()))
    if room.wall is not None:
        for wall in room.walls:
            start, end = np.array(wall.start), np.array(wall.end)
            along = (end - start) / np.linalg.norm(end - start)
            feet = start + np.linspace(0, 1, 8)[:, None] * (end - start)
            heights = np.linspace(0, _WALL_SEEN, 4)
            points = np.concatenate([np.column_stack([feet, np.full(8, height)]) for height in heights])
            inward = np.tile([-along[1], along[0], 0.0], (len(points), 1))
            brightest.append(float((albedo(room.wall) * white_radiance(lights, points, inward)).max()))
    return min(1.0, _BRIGHTEST / max(brightest)) if max(brightest) > 0 else 1.0
