"""The two optional descriptions in a dataset: ``dataset.yaml`` and ``scenes/{scene:04d}.json``.

Both are pydantic models. They keep keys that they do not know, so that a newer file passes through an
older program unharmed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO
from objnerf.dataset.files import write_text
from objnerf.dataset.untrusted import Unreadable, read_bytes, read_yaml
from objnerf.errors import InputError

CARD_NAME = "dataset.yaml"
SCENE_FOLDER = "scenes"
FORMAT_VERSION = 1

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SceneScale(BaseModel):
    """The five numbers that a dataset and the models trained on it have to agree on.

    The defaults are the published values of uORF's datasets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    near: Positive = Field(default=6.0, description="planar depth of the first sample, world units")
    far: Positive = Field(default=20.0, description="planar depth of the last sample, world units")
    nss_scale: Positive = Field(
        default=7.0, description="world units are divided by this before they reach a network"
    )
    obj_scale: Positive = Field(default=4.5, description="half side of the locality box, world units")
    focal_ratio: tuple[Positive, Positive] = Field(
        default=REFERENCE_FOCAL_RATIO, description="(fx / width, fy / height) of the images"
    )

    @model_validator(mode="after")
    def _near_before_far(self) -> "SceneScale":
        if self.near >= self.far:
            raise ValueError(f"near must be smaller than far, but near is {self.near} and far is {self.far}")
        return self

    @classmethod
    def of(cls, stated: Mapping[str, Any], where: str) -> "SceneScale":
        """The values that a dataset states, completed by the defaults.

        Args:
            stated: fields by name; those that are left out keep their default.
            where: what an error message calls their source.
        Raises:
            InputError: together they make no sense, such as a far that is not beyond near.
        """
        try:
            return cls(**stated)
        except ValidationError as error:
            raise InputError(f"{where}: {describe_validation_error(error)}") from error

    @property
    def depth_range(self) -> float:
        """far - near, world units: the unit of length of densities."""
        return self.far - self.near


#: The published values of uORF's datasets, and the distance from the origin at which its cameras stand.
UORF_SCALE = SceneScale()
UORF_CAMERA_DISTANCE = 12.39


Share = Annotated[float, Field(ge=0, le=1)]


class AssetUse(BaseModel):
    """An asset that the dataset's images show, with what its licence asks to be said."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str = Field(description="the asset's id in the manifest")
    licence: str = Field(description="SPDX expression or the name of the terms")
    source: str | None = Field(default=None, description="where it comes from")
    creator: str | None = Field(default=None, description="who is to be named as its author")
    sha256: str | None = Field(default=None, description="checksum of the file that was used")


class DatasetCard(BaseModel):
    """``dataset.yaml``: what a program needs to know beyond the files, and what a person wants to know.

    The fields of `SceneScale` are None where the file does not hold them.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    image_size: tuple[int, int] | None = Field(default=None, description="width and height in pixels")
    focal_ratio: tuple[Positive, Positive] | None = None
    near: Positive | None = None
    far: Positive | None = None
    nss_scale: Positive | None = None
    obj_scale: Positive | None = None
    scenes: int | None = Field(default=None, ge=0, description="number of scenes")
    views_per_scene: int | None = Field(default=None, ge=1)
    split: Literal["train", "test"] | None = Field(default=None, description="which split this folder is")
    splits: dict[str, Any] | None = Field(default=None, description="how the splits are related")
    conventions: dict[str, str] | None = Field(default=None, description="axes and units in words")
    preset: str | None = None
    seed: int | None = None
    versions: dict[str, str] | None = Field(default=None, description="package and Blender versions")
    assets: list[AssetUse] | None = None
    command: str | None = Field(default=None, description="the command that made the dataset")

    @property
    def stated_scale(self) -> dict[str, Any]:
        """The fields of `SceneScale` that the file holds."""
        stated = {name: getattr(self, name) for name in SceneScale.model_fields}
        return {name: value for name, value in stated.items() if value is not None}


#: What ``conventions`` says in every dataset that this package writes.
CONVENTIONS = {
    "world": "right-handed, z up, ground at z = 0, origin at the centre of the scene",
    "camera": "OpenCV axes: x right, y down, z forward",
    "pose": "_RT.txt is the 4x4 camera-to-world matrix",
    "azimuth": "_azi_rot.txt maps x = camera right, y = horizontal forward, z = up to the world",
    "depth": "planar z-depth in world units",
    "principal_point": "((width - 1) / 2, (height - 1) / 2), integer pixel centres",
}


class ViewCard(BaseModel):
    """A view as ``scenes/*.json`` has it; the generator's plan says more."""

    model_config = ConfigDict(frozen=True, extra="allow")

    stem: str = Field(description="the view's file name without .png")
    world_from_camera: list[list[float]] = Field(description="4x4 camera-to-world, OpenCV axes")

    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """The pose as an array."""
        return np.array(self.world_from_camera, dtype=np.float64)


class ShapeCard(BaseModel):
    """The shape of an object as ``scenes/*.json`` has it; the generator's plan says more."""

    model_config = ConfigDict(frozen=True, extra="allow")

    family: str = Field(description="its category: chair, table, …; of mesh files their folder's name")


class ObjectCard(BaseModel):
    """An object as ``scenes/*.json`` has it; the generator's plan says more.

    Its frame has z up, the footprint's centre as origin and the front of furniture towards -y.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    label: int = Field(ge=1, description="its label in the masks: 1 is the first colour")
    asset: str = Field(description="the asset's id in the manifest")
    position: tuple[float, float, float] = Field(
        description="centre of its footprint on the ground, world units"
    )
    yaw: float | None = Field(default=None, allow_inf_nan=False, description="about world z, radians")
    size: tuple[Positive, Positive, Positive] | None = Field(
        default=None, description="of its bounding box along its own axes, world units"
    )
    shape: ShapeCard | None = None


class SceneCard(BaseModel):
    """``scenes/{scene:04d}.json``: the least that every such file holds."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    scene: int = Field(ge=0)
    seed: int = Field(ge=0)
    objects: list[ObjectCard]
    views: list[ViewCard]
    seen: list[list[Share]] | None = Field(
        default=None,
        description="for each view, the share of each object's silhouette in the image that is visible",
    )


def scene_card_path(root: str | os.PathLike[str], scene: int, digits: int = 4) -> Path:
    """Where a scene's description lies: ``scenes/0002.json``."""
    return Path(root) / SCENE_FOLDER / f"{scene:0{digits}d}.json"


def read_card(root: str | os.PathLike[str]) -> DatasetCard | None:
    """The dataset's ``dataset.yaml``; None when there is none.

    Raises:
        InputError: the file is there and cannot be read, or a key holds what it must not.
    """
    path = Path(root) / CARD_NAME
    if not os.path.lexists(path):
        return None
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values, found {type(content).__name__}")
    try:
        return DatasetCard.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_validation_error(error)}") from error


def write_card(root: str | os.PathLike[str], card: DatasetCard) -> None:
    """Write ``dataset.yaml``, atomically, without the keys that are not set."""
    content = card.model_dump(mode="json", exclude_none=True)
    write_text(Path(root) / CARD_NAME, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_scene_card(path: str | os.PathLike[str]) -> SceneCard:
    """Read a ``scenes/*.json``.

    Raises:
        InputError: the file cannot be read or a key holds what it must not.
    """
    try:
        return SceneCard.model_validate_json(read_bytes(path))
    except Unreadable as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    except ValidationError as error:
        raise InputError(f"{path}: {describe_validation_error(error)}") from error


def what_is_wrong(problem: Mapping[str, Any]) -> str:
    """The message of one of a pydantic error's problems, as it reads after a key and a colon."""
    message: str = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return message if problem["type"] == "value_error" else message[0].lower() + message[1:]


def describe_validation_error(error: ValidationError) -> str:
    """A pydantic error in one line: which key, what was expected, what was found."""
    parts = []
    for item in error.errors(include_url=False)[:5]:
        key = ".".join(str(part) for part in item["loc"]) or "the whole file"
        found = repr(item.get("input"))
        found = found if len(found) <= 60 else found[:57] + "..."
        message = what_is_wrong(item)
        parts.append(f"{key}: {message}" + ("" if item["type"] == "value_error" else f", found {found}"))
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
