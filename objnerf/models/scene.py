"""What every scene model shares.

A scene model has three methods: ``encode`` predicts a ``SceneCode`` from one posed image of each scene,
``decode`` evaluates the slots' fields at points, ``render`` composites rays.
"""

from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from objnerf.dataset.card import SceneScale
from objnerf.rendering.volume import Rendering, SlotSamples

# Spelled out because the run-time shape checks of the tests don't take typing.Self.
Code = TypeVar("Code", bound="SceneCode")


@dataclass(frozen=True)
class SceneCode:
    """What a model predicts for some scenes from one view of each.

    Every tensor's first axis is the scene, its second, where it has slots, the slot; slot 0 is the
    background.
    """

    slots: Float[Tensor, "scenes slots channels"]
    """Latents of the slots."""
    field_from_world: Float[Tensor, "scenes 4 4"]
    """Takes world points to the frame in which the foreground fields work, both in world units. The
    background field always works in the world frame."""
    offsets: Float[Tensor, "scenes slots 3"]
    """How far each foreground slot was moved from where it was seen; world frame, world units."""
    active: Bool[Tensor, "scenes slots"]
    """False for slots that show no object, or were deleted; they have no density."""
    moved: bool = False
    """Whether any offset may differ from 0; kept on the host, so that no device has to be asked."""
    attention: Float[Tensor, "scenes slots tokens"] | None = None
    """Attention over the feature map's tokens, row-major, summing to 1 over the slots."""

    def select_scenes(self: Code, index: Int[Tensor, " chosen"]) -> Code:
        """The same scenes in another order, or some of them, or one repeatedly."""
        return replace(
            self,
            slots=self.slots[index],
            field_from_world=self.field_from_world[index],
            offsets=self.offsets[index],
            active=self.active[index],
            attention=None if self.attention is None else self.attention[index],
        )

    def select_slots(self: Code, index: Int[Tensor, " chosen"]) -> Code:
        """The same slots in another order, or some repeated (a copy to be moved); index 0 must stay first."""
        return replace(
            self,
            slots=self.slots[:, index],
            offsets=self.offsets[:, index],
            active=self.active[:, index],
            attention=None if self.attention is None else self.attention[:, index],
        )

    def move(self: Code, slot: int, offset: Float[Tensor, "3"]) -> Code:
        """Move one foreground slot by ``offset`` world units."""
        offsets = self.offsets.clone()
        offsets[:, slot] += offset
        return replace(self, offsets=offsets, moved=True)

    def delete(self: Code, slot: int) -> Code:
        """Remove one slot from the scene."""
        active = self.active.clone()
        active[:, slot] = False
        return replace(self, active=active)

    def duplicate(self: Code, slot: int, offset: Float[Tensor, "3"]) -> Code:
        """Add a copy of a foreground slot, ``offset`` world units from the original, as the last slot."""
        count = self.slots.shape[1]
        index = torch.tensor([*range(count), slot], device=self.slots.device)
        return self.select_slots(index).move(count, offset)

    def with_background(self: Code, other: Code) -> Code:
        """Take the background slots of other scenes, one for one."""
        slots = torch.cat([other.slots[:, :1], self.slots[:, 1:]], dim=1)
        return replace(self, slots=slots)


@dataclass(frozen=True)
class NovelRays:
    """Rays of views that are inputs themselves.

    Each scene has ``views`` inputs after each other, and the rays of each input belong to the others.
    """

    views: int
    """Inputs of each scene."""
    view: Int[Tensor, "inputs rays"]
    """Which of its scene's inputs each ray belongs to."""
    where: Float[Tensor, "inputs rays 2"]
    """The ray's pixel in that view: (x, y), the image's outer edges at -1 and 1."""


@dataclass(frozen=True)
class AuxiliaryLosses:
    """What a model is trained by beside the colour error, in one step."""

    weighted: dict[str, Tensor] = field(default_factory=dict)
    """Scalars by name, with a gradient; their sum is added to the loss."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Scalars for the log, detached: ``slots/explained_opacity`` is watched by the collapse monitor."""


class SceneModel(nn.Module):
    """The interface of a model to training and evaluation.

    Args:
        geometry: of the dataset.
    """

    recordable = False
    """Whether a training step does the same work for any input, and never waits for the device, so that a GPU
    can replay a recording of it."""

    def __init__(self, geometry: SceneScale) -> None:
        super().__init__()
        self.geometry = geometry

    def encode(
        self,
        images: Float[Tensor, "scenes 3 height width"],
        world_from_camera: Float[Tensor, "scenes 4 4"],
        *,
        pinholes: Float[Tensor, "scenes 4"] | None = None,
        world_from_azimuth: Float[Tensor, "scenes 3 3"] | None = None,
        generator: torch.Generator | None = None,
        step: int | Tensor | None = None,
    ) -> SceneCode:
        """Predict the slots of scenes, each seen in one image.

        Args:
            images: values in [-1, 1], of the size that the network is used at.
            world_from_camera: the images' poses, OpenCV axes.
            pinholes: the images' lenses (``rays.pinhole_tensor``); when None all are centred and have the
                geometry's focal ratio.
            world_from_azimuth: the images' azimuth frames; derived from the poses when None. Give the
                dataset's own where its zero direction differs (uORF's published files).
            generator: of the random numbers that the model draws, on the images' device.
            step: training steps done, for models with a schedule of their own; None outside of training. A
                scalar tensor where the step is recorded to be replayed.
        """
        raise NotImplementedError

    def decode(
        self, code: SceneCode, points: Float[Tensor, "scenes points 3"], *, locality: bool
    ) -> SlotSamples:
        """Density and colour of every slot at points in the world.

        Args:
            code: the scenes.
            points: world units.
            locality: whether foreground slots are confined to the locality box.
        """
        raise NotImplementedError

    def render(
        self,
        code: SceneCode,
        origins: Float[Tensor, "scenes rays 3"],
        directions: Float[Tensor, "scenes rays 3"],
        depths: Float[Tensor, "scenes rays samples"],
        *,
        locality: bool,
        chunk_rays: int | None = None,
        per_slot: bool = False,
        pixel: float = 0.0,
    ) -> Rendering:
        """Decode and composite rays, a chunk at a time where asked.

        Args:
            code: the scenes.
            origins: ray origins, world units.
            directions: ray directions with camera z-depth 1.
            depths: planar depths of the samples, ascending, world units.
            locality: whether foreground slots are confined to the locality box.
            chunk_rays: rays of every scene that are rendered at a time; None for all at once. The result is
                the same. While gradients are recorded, chunks keep no activations but compute them again in
                the backward pass, and gradients reach the code and the weights, not the rays.
            per_slot: also composite each slot by itself, as if the others were not there.
            pixel: side of the pixels that the rays look through, in the plane of depth 1 before the camera,
                for models that average over it; 0 for rays without width.
        """
        raise NotImplementedError

    def auxiliary_losses(
        self, code: SceneCode, rendering: Rendering, novel: NovelRays, step: int | Tensor
    ) -> AuxiliaryLosses:
        """Losses beside the colour error, where every view of a scene is an input.

        Args:
            code: of all inputs.
            rendering: of the rays.
            novel: which view each ray belongs to.
            step: training steps done.
        """
        return AuxiliaryLosses()
