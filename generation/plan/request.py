"""What the user asked for: one dataset, as data. A scene's plan follows from it and the scene's number."""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from generation.plan.preset import Preset, Split, load_preset
from objnerf.dataset.cameras import Intrinsics
from objnerf.dataset.card import SceneScale, describe_validation_error
from objnerf.errors import InputError

PassName = Literal["depth", "mask", "normal", "albedo", "amodal"]
DEFAULT_PASSES: tuple[PassName, ...] = ("depth", "mask")

#: Width and height of an image when none is asked for.
DEFAULT_SIZE = (192, 144)

#: Raised whenever the same request comes to give other images, so that a dataset that an earlier version
#: began is refused and not gone on with. Plans say everything, and are made again by any later version.
GENERATOR_VERSION = 2

#: One seed is one 32-bit word of entropy, so that no two (seed, scene, …) tuples collide.
MAX_SEED = 2**32 - 1


class GenerationRequest(BaseModel):
    """A dataset to make. Two equal requests give equal files, on however many workers and machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generator: int = Field(default=1, description="version of the planner; 1 where none is said")
    preset: Preset
    split: Split = "train"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    scenes: int = Field(ge=1, le=10**8)
    views: int = Field(ge=1, le=1000)
    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    samples: int = Field(ge=1, le=65536)
    shapes: int = Field(ge=1)
    backgrounds: int = Field(ge=1)
    passes: tuple[PassName, ...] = DEFAULT_PASSES
    manipulations: bool = False
    real_scale: bool = Field(
        default=False, description="objects have their real sizes, at the preset's scale"
    )
    recolour: bool = Field(default=False, description="mesh files take the drawn colours")

    @model_validator(mode="after")
    def _passes_are_different(self) -> "GenerationRequest":
        if len(set(self.passes)) != len(self.passes):
            raise ValueError(f"expected every pass at most once, found {list(self.passes)}")
        return self

    @property
    def intrinsics(self) -> Intrinsics:
        """The preset's lens at the requested size: square pixels, the sensor along the longer side.

        At 4:3 the focal ratio is (lens / sensor, lens / sensor · 4/3), uORF's for 35 mm on 32 mm.
        """
        focal = self.preset.cameras.lens / self.preset.cameras.sensor * max(self.width, self.height)
        return Intrinsics(self.width, self.height, focal, focal)

    @property
    def scale(self) -> SceneScale:
        """What a model has to know of the dataset: the preset's values; ``far`` and lens fit the size."""
        preset = self.preset
        return SceneScale(
            near=preset.near,
            far=self.far,
            nss_scale=preset.nss_scale,
            obj_scale=preset.obj_scale,
            focal_ratio=self.intrinsics.focal_ratio,
        )

    @property
    def far(self) -> float:
        """A planar depth that no pixel exceeds: the preset's, or more where the image is taller than 4:3.

        The greatest depth is at the top of an image: of the floor, without walls in front of it, it is
        h / (sin e - cos e · t) at camera height h, elevation e and half field of view tan⁻¹ t.
        """
        cameras, intrinsics = self.preset.cameras, self.intrinsics
        elevation = math.radians(cameras.elevation[0])
        height = cameras.distance[1] * math.sin(elevation)
        half_view = self.height / 2 / intrinsics.fy
        slope = math.sin(elevation) - math.cos(elevation) * half_view
        floor = height / slope if slope > 0 else math.inf
        if self.preset.room.walls:
            # No point of a room is farther from a camera than the room's diagonal.
            reach = max(self.preset.obj_scale * 2**0.5, cameras.distance[1] * math.cos(elevation))
            diagonal = 2**0.5 * 2 * (reach + self.preset.room.wall_clearance[1])
            floor = min(floor, diagonal * math.cos(elevation) + height * math.sin(elevation))
        if not math.isfinite(floor):
            raise InputError(
                f"--size {self.width}x{self.height}: images of this shape would show the horizon; use a "
                "wider size, or a higher elevation in a copy of the preset"
            )
        return max(self.preset.far, float(math.ceil(floor)))


class SceneOptions(TypedDict, total=False):
    """How scenes are rendered; what is left out is the preset's."""

    size: tuple[int, int]
    """(width, height) in pixels; (192, 144) when left out."""
    samples: int | None
    """Samples of light a pixel, before denoising."""
    passes: Sequence[str]
    """Of "depth", "mask", "normal", "albedo", "amodal"; depth and mask when left out."""
    seed: int
    """0 is a seed, and what is used when left out."""


class DatasetOptions(SceneOptions, total=False):
    """What a generated dataset holds; what is left out, or None, is the preset's."""

    scenes: int | None
    split: Split
    """Train when left out."""
    views: int | None
    """Views of each scene."""
    shapes: int | None
    """Distinct shapes to draw from."""
    backgrounds: int | None
    """Distinct floors to draw from."""
    manipulations: bool
    """Also the scene-manipulation test: an object moved, the background changed."""
    real_scale: bool
    """Objects keep their real sizes; otherwise each kind has a range of sizes."""
    recolour: bool | None
    """Mesh files take the colours that are drawn for objects."""


def build_request(preset: str, **options: Unpack[DatasetOptions]) -> GenerationRequest:
    """A request with the preset's own values wherever none, or None, is given.

    Args:
        preset: a name, or the path of a YAML file.
        **options: see `DatasetOptions`.
    Raises:
        InputError: a value can't be used.
        TypeError: there is no such option.
    """
    unknown = sorted(options.keys() - DatasetOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no option {unknown[0]}; see DatasetOptions for those there are")
    rules = load_preset(preset)
    split = options.get("split", "train")
    width, height = options.get("size", DEFAULT_SIZE)
    asked: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    asked.pop("size", None)
    values = {
        "generator": GENERATOR_VERSION,
        "preset": rules,
        "split": split,
        "scenes": getattr(rules.scenes, split),
        "views": rules.views,
        "width": width,
        "height": height,
        "samples": rules.render.samples,
        "shapes": rules.objects.shapes,
        "backgrounds": rules.room.backgrounds,
        "recolour": rules.objects.recolour,
        **asked,
    }
    try:
        return GenerationRequest.model_validate(values)
    except ValidationError as error:
        raise InputError(describe_validation_error(error)) from error
