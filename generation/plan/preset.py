"""A preset: everything that tells one kind of dataset from another, as data that a user reads and copies."""

import importlib.resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from generation.plan.materials import MaterialKind
from objnerf.dataset.card import describe_validation_error
from objnerf.dataset.files import OBJECT_COLOURS
from objnerf.dataset.untrusted import read_yaml
from objnerf.errors import InputError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Finite, Finite]

Split = Literal["train", "test"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _ranges_rise(self) -> "_Part":
        for name, value in self:
            is_range = isinstance(value, tuple) and len(value) == 2 and name not in ("sizes", "lamps")
            if is_range and value[0] > value[1]:
                raise ValueError(f"{name}: expected [minimum, maximum], found {list(value)}")
        return self


class SceneCounts(_Part):
    """How many scenes a split has when --scenes is left out."""

    train: int = Field(ge=1)
    test: int = Field(ge=1)


class ObjectRules(_Part):
    """Which objects a scene has."""

    source: str = Field(description="entry or family of the asset manifest")
    shapes: int = Field(ge=1, description="distinct shapes to draw from, the default of --shapes")
    count: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=len(OBJECT_COLOURS))]] = Field(
        description="least and greatest number of objects"
    )
    one_shape: bool = Field(default=False, description="all objects of a scene are the same shape")
    diagonal: tuple[Positive, Positive] = Field(description="range of the bounding-box diagonal, world units")
    diagonals: dict[str, tuple[Positive, Positive]] = Field(
        default_factory=dict,
        description="the same for kinds of shapes (families of assets) of their own size",
    )
    units_per_metre: Positive = Field(default=2.8, description="world units a metre, under --real-scale")
    recolour: bool = Field(
        default=False, description="mesh files take the drawn colours; the default of --recolour"
    )
    sizes: tuple[Positive, ...] | None = Field(
        default=None, description="exact heights to choose from, world units; overrides diagonal"
    )
    materials: MaterialKind = Field(
        validation_alias=AliasChoices("materials", "finish"),  # presets that are older have the latter
        description="how colours and surfaces are drawn",
    )


class PlacementRules(_Part):
    """Where objects may stand, and how much of each must be seen in every view."""

    spread: Positive = Field(description="object centres lie within ± this along x and y, world units")
    gap: NotNegative = Field(description="least distance between two convex footprints, world units")
    tries: int = Field(ge=1, description="draws of a position for one object")
    min_pixels: Share = Field(description="least share of a view's pixels that shows the object")
    min_visible: Share = Field(description="least share of the object's silhouette not hidden by others")
    attempts: int = Field(ge=1, description="times a scene is planned anew before it counts as failed")


class CameraRules(_Part):
    """Cameras on a shell about the origin, all looking at it."""

    lens: Positive = Field(description="focal length, millimetres")
    sensor: Positive = Field(description="along the longer side of the image, millimetres; pixels are square")
    distance: tuple[Positive, Positive] = Field(description="from the origin, world units")
    elevation: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(lt=90)]] = Field(
        description="above the horizon, degrees"
    )
    min_angle: Annotated[float, Field(ge=0, lt=90)] = Field(
        description="least angle between two optical axes, degrees"
    )


class RoomRules(_Part):
    """Floor and walls."""

    floors: Literal["floors", "grey"] = Field(description="'floors': the manifest's; 'grey': one plain grey")
    backgrounds: int = Field(ge=1, description="distinct floors to draw from, the default of --bgs")
    walls: bool
    wall_clearance: tuple[NotNegative, NotNegative] = Field(
        description="between the locality box or the outermost camera and a wall, world units"
    )
    wall_height: Positive


class LampRules(_Part):
    """A square area lamp that faces the origin."""

    position: tuple[Finite, Finite, Positive] = Field(description="before jitter, world units")
    jitter: NotNegative = Field(description="the position moves within ± this along each axis")
    size: tuple[Positive, Positive] = Field(description="side, world units")
    power: tuple[NotNegative, NotNegative] = Field(description="watts")
    warmth: Range = Field(description="-1 blue, 0 white, 1 yellow")


class LightRules(_Part):
    """Lamps and the even light from all around."""

    exposure: Positive = 1.0
    ambient: tuple[NotNegative, NotNegative]
    lamps: tuple[LampRules, ...]
    turn: bool = Field(description="the lamps are turned together by a random angle")


class RenderRules(_Part):
    """How an image is sampled."""

    samples: int = Field(ge=1, description="samples of light a pixel, the default of --samples")
    surface_samples: int = Field(
        ge=1, description="samples of the surfaces' own colours for each one of light: more for fine textures"
    )


class Preset(_Part):
    """A kind of dataset. World: z up, ground at z = 0; lengths in world units."""

    name: str
    description: str
    scenes: SceneCounts
    views: int = Field(ge=1)
    split_shapes: Literal["shared", "disjoint"] = Field(description="do train and test share shapes?")
    near: Positive
    far: Positive
    nss_scale: Positive
    obj_scale: Positive = Field(description="half side of the locality box")
    objects: ObjectRules
    placement: PlacementRules
    cameras: CameraRules
    room: RoomRules
    lights: LightRules
    render: RenderRules

    @model_validator(mode="after")
    def _fits(self) -> "Preset":
        if self.near >= self.far:
            raise ValueError(f"near must be below far, found {self.near} and {self.far}")
        if self.placement.spread > self.obj_scale:
            raise ValueError(
                f"placement.spread must not exceed obj_scale, found {self.placement.spread} "
                f"and {self.obj_scale}"
            )
        lowest = self.cameras.distance[0]
        if lowest <= self.obj_scale * 2**0.5:
            raise ValueError(
                "cameras.distance must keep cameras outside the locality box "
                f"(over {self.obj_scale * 2**0.5:.2f}), found {lowest}"
            )
        return self


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    folder = importlib.resources.files("generation.plan") / "presets"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_preset(name: str) -> Preset:
    """Read a preset by its name, or from a YAML file of the user's.

    Raises:
        InputError: no such preset or file, or a key holds what it must not.
    """
    if name in preset_names():
        source = Path(str(importlib.resources.files("generation.plan") / "presets" / f"{name}.yaml"))
    elif name.endswith((".yaml", ".yml")):
        source = Path(name)
    else:
        raise InputError(
            f"--preset {name}: expected one of {', '.join(preset_names())}, or the path of a .yaml file"
        )
    content = read_yaml(source)
    try:
        return Preset.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {describe_validation_error(error)}") from error
