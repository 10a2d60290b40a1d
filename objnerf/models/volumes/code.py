"""Codes and renderings of object volumes, as data."""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.scene import SceneCode
from objnerf.rendering.volume import Rendering

Code = TypeVar("Code", bound="VolumesCode")


@dataclass(frozen=True, kw_only=True)
class VolumesCode(SceneCode):
    """What object volumes predict for some scenes."""

    volume: Float[Tensor, "scenes 5 layers rows columns"]
    """Raw density, raw colour and raw share of the looked-up colour; field frame."""
    owner: Float[Tensor, "scenes objects rows columns"]
    """Share of each foreground slot in each cell seen from above; they sum to 1."""
    centers: Float[Tensor, "scenes objects 2"]
    """Of the foreground slots on the ground, field frame, world units."""
    heat: Float[Tensor, "scenes rows columns"]
    """Logits of the centre heatmap."""
    votes: Float[Tensor, "scenes rows columns 2"]
    """Offsets from cells to their objects' centres, world units."""
    pixels: Float[Tensor, "scenes 4 half_height half_width"]
    """Colour in [0, 1] and outline logit of the input view."""
    world_from_camera: Float[Tensor, "scenes 4 4"]
    """Pose of the input view."""
    pinholes: Float[Tensor, "scenes 4"]
    """Lens of the input view."""
    ground: Float[Tensor, "scenes 8 height width"]
    """What the background is looked up in; see ``background.source_image``."""
    ground_means: Float[Tensor, "scenes 2 3"]
    """Mean colour of its ground and of its walls."""
    pattern: Float[Tensor, "scenes 4 side side"]
    """The ground seen from above with its pattern continued, and how well it is known; its field frame."""
    walls: Float[Tensor, "scenes directions distances"]
    """How likely each distance of the walls is, in directions of the ground's field frame; see ``layout``."""
    seen: Float[Tensor, "scenes features half_height half_width"]
    """Features and colours of the input view's pixels."""
    shade: Float[Tensor, "scenes 1 rows columns"]
    """Logarithm of the light on the ground seen from above."""
    ground_world_from_camera: Float[Tensor, "scenes 4 4"]
    """Pose of the view that the ground is looked up in."""
    ground_pinholes: Float[Tensor, "scenes 4"]
    ground_field_from_world: Float[Tensor, "scenes 3 3"]
    shadows: Float[Tensor, "scenes objects side side"] | None = None
    """Logarithm of the light that each foreground slot leaves on the ground, field frame. These four are only
    known outside of training; see ``shadows``."""
    zones: Float[Tensor, "scenes objects side side"] | None = None
    """Where the ground differs from what it would be without the slot, field frame."""
    cleared: Float[Tensor, "scenes 3 side side"] | None = None
    """The ground without shadows and objects, its field frame."""
    ground_zone: Float[Tensor, "scenes 1 side side"] | None = None
    """The zones of all objects in the view that the ground is looked up in, the ground's field frame."""
    own_ground: bool = True
    """Whether these objects are the slots."""

    def select_scenes(self: Code, index: Int[Tensor, " chosen"]) -> Code:
        """See ``SceneCode.select_scenes``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: value.index_select(0, index) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **chosen)

    def select_slots(self: Code, index: Int[Tensor, " chosen"]) -> Code:
        """See ``SceneCode.select_slots``. A repeated slot owns the same cells."""
        objects = index[1:] - 1
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            active=self.active[:, index],
            owner=self.owner[:, objects],
            shadows=None if self.shadows is None else self.shadows[:, objects],
            zones=None if self.zones is None else self.zones[:, objects],
            centers=self.centers[:, objects],
        )

    def with_background(self: Code, other: Code) -> Code:
        """See ``SceneCode.with_background``."""
        return replace(
            super().with_background(other),
            ground=other.ground,
            ground_means=other.ground_means,
            pattern=other.pattern,
            walls=other.walls,
            shade=other.shade,
            ground_world_from_camera=other.ground_world_from_camera,
            ground_pinholes=other.ground_pinholes,
            ground_field_from_world=other.ground_field_from_world,
            cleared=other.cleared,
            ground_zone=other.ground_zone,
            own_ground=False,
        )


@dataclass(frozen=True, kw_only=True)
class VolumesRendering(Rendering):
    """What rays see, the spread of the foreground along them, and where they meet the background."""

    spread: Float[Tensor, "scenes rays"]
    """Distortion of the foreground's weights; see ``compositing.distortion``."""
    behind: Float[Tensor, "scenes rays 3"]
    """Where they meet the ground or a wall, world units; without a gradient."""
