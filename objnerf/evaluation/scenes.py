"""One scene through a trained model: read its files, look at its input view, render what is asked for.

Poses are ``world_from_camera`` with OpenCV axes; lengths are world units; images are RGB in [0, 1].
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from objnerf.dataset.cameras import Pinhole, look_at
from objnerf.dataset.files import read_image
from objnerf.dataset.index import Scene, View
from objnerf.dataset.resize import nearest_pixels, resize_by_area
from objnerf.errors import InputError
from objnerf.evaluation.segmentation import labels_from_opacity, reference_labels
from objnerf.models.scene import SceneCode, SceneModel
from objnerf.rendering.rays import camera_directions, pinhole_tensor, uniform_depths, world_rays
from objnerf.training.seeds import derive_seed

#: Stream of randomness that evaluation draws the slots' start from, apart from training's own streams.
EVALUATION_STREAM = 1000


@dataclass(frozen=True)
class RenderSettings:
    """How views are rendered."""

    size: tuple[int, int]
    """(width, height) of the rendered views, pixels."""
    samples: int
    """Samples a ray, uniform in planar depth between the model's near and far."""
    input_size: tuple[int, int]
    """(width, height) of the image that the encoder sees, pixels."""
    locality: bool = True
    """Whether foreground slots are confined to the locality box."""
    chunk_rays: int = 4096
    """Rays in flight at once; changes no figure."""
    seed: int = 0
    """Of the slots' random start; every scene derives its own from it."""
    own_intrinsics: bool = True
    """See views that have intrinsics of their own through these; otherwise through ``pinhole``."""
    pinhole: Pinhole | None = None
    """Lens of all other views; None for the model's."""
    stored_azimuth: bool = False
    """Take the input view's azimuth frame from ``_azi_rot.txt`` instead of the pose: for uORF's
    weights, which were trained on files whose zero direction may be another than ours."""


@dataclass(frozen=True)
class SceneImages:
    """A scene's files, read and brought to the size of the rendered views."""

    id: int
    stems: tuple[str, ...]
    world_from_camera: Float[np.ndarray, "views 4 4"]
    images: Float32[np.ndarray, "views height width 3"]
    """In [0, 1]."""
    masks: tuple[UInt8[np.ndarray, "height width 3"] | None, ...]
    """Flat colours of each view's instances; None where a view has no mask."""
    input_image: Float32[np.ndarray, "input_height input_width 3"]
    """The first view at the encoder's size, in [0, 1]."""
    pinholes: tuple[Pinhole | None, ...]
    """Each view's lens; None where the model's serves."""
    world_from_azimuth: Float[np.ndarray, "3 3"] | None = None
    """The first view's azimuth frame, where the stored one is asked for."""


@dataclass(frozen=True)
class ViewRendering:
    """A rendered view, on the CPU."""

    rgb: Float32[np.ndarray, "height width 3"]
    """In [0, 1]."""
    depth: Float32[np.ndarray, "height width"]
    """Expected planar depth, world units."""
    opacity: Float32[np.ndarray, "height width"]
    labels: Int[np.ndarray, "height width"]
    """Slot that each pixel sees most of; 0 is the background."""
    reference_labels: Int[np.ndarray, "height width"] | None = None
    """Slots by uORF's rule, where it was asked for."""

    @property
    def picture(self) -> UInt8[np.ndarray, "height width 3"]:
        """The colours in 8 bits."""
        return to_uint8(self.rgb)


def read_scene(scene: Scene, settings: RenderSettings) -> SceneImages:
    """Read a scene's images, poses and masks.

    Raises:
        InputError: a file that is missing or cannot be read.
    """
    images, masks = [], []
    for view in scene.views:
        images.append(as_float(resize_by_area(view.image(), settings.size)))
        masks.append(nearest_pixels(view.mask(), settings.size) if view.mask_path is not None else None)
    first = scene.views[0]
    return SceneImages(
        id=scene.id,
        stems=tuple(view.stem for view in scene.views),
        world_from_camera=np.stack([finite_pose(view) for view in scene.views]),
        images=np.stack(images),
        masks=tuple(masks),
        input_image=as_float(resize_by_area(first.image(), settings.input_size)),
        pinholes=tuple(own_pinhole(view, settings) for view in scene.views),
        world_from_azimuth=first.azimuth() if settings.stored_azimuth else None,
    )


def encode_images(model: SceneModel, images: SceneImages, settings: RenderSettings) -> SceneCode:
    """What a model, in evaluation mode, makes of a scene's first view."""
    return encode(
        model,
        images.input_image,
        images.world_from_camera[0],
        pinhole=images.pinholes[0],
        world_from_azimuth=images.world_from_azimuth,
        seed=settings.seed,
        scene=images.id,
    )


def encode_scene(
    model: SceneModel, scene: Scene, settings: RenderSettings, *, picture: Path | None = None
) -> SceneCode:
    """What a model, in evaluation mode, makes of a scene's first view, of which alone the files are read.

    Args:
        picture: taken instead of the view's own, from the same camera.
    Raises:
        InputError: a file that is missing or cannot be read.
    """
    view = scene.views[0]
    image = view.image() if picture is None else read_image(picture)
    return encode(
        model,
        as_float(resize_by_area(image, settings.input_size)),
        finite_pose(view),
        pinhole=own_pinhole(view, settings),
        world_from_azimuth=view.azimuth() if settings.stored_azimuth else None,
        seed=settings.seed,
        scene=scene.id,
    )


def own_pinhole(view: View, settings: RenderSettings) -> Pinhole | None:
    """The view's own lens, else that of the settings; None where the model's serves.

    Raises:
        InputError: its file is there and cannot be used.
    """
    own = view.pinhole() if settings.own_intrinsics else None
    return settings.pinhole if own is None else own


def finite_pose(view: View) -> Float[np.ndarray, "4 4"]:
    """A view's camera-to-world matrix.

    Raises:
        InputError: it is missing, cannot be read, or holds nan or inf.
    """
    pose = view.pose()
    if not np.isfinite(pose).all():
        raise InputError(f"{view.pose_path}: expected finite numbers, found nan or inf")
    return pose


def encode(
    model: SceneModel,
    image: Float32[np.ndarray, "height width 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
    *,
    pinhole: Pinhole | None = None,
    world_from_azimuth: Float[np.ndarray, "3 3"] | None = None,
    seed: int,
    scene: int,
) -> SceneCode:
    """Slots of one scene from one posed image.

    Args:
        model: in evaluation mode.
        image: in [0, 1], at the size that the encoder is to see.
        world_from_camera: the image's pose, OpenCV axes.
        pinhole: its lens; the model's when None.
        world_from_azimuth: its azimuth frame; derived from the pose when None.
        seed: of the slots' random start.
        scene: the scene's id, so that each scene has its own start whatever was evaluated before it.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(derive_seed(seed, 0, EVALUATION_STREAM, scene))
    images = torch.tensor(image * 2 - 1, dtype=torch.float32, device=device).permute(2, 0, 1)[None]
    pose = torch.tensor(world_from_camera, dtype=torch.float32, device=device)[None]
    azimuth = None
    if world_from_azimuth is not None:
        azimuth = torch.tensor(world_from_azimuth, dtype=torch.float32, device=device)[None]
    with torch.no_grad():
        return model.encode(
            images.contiguous(),
            pose,
            pinholes=None if pinhole is None else pinhole_tensor([pinhole], device),
            world_from_azimuth=azimuth,
            generator=generator,
        )


def render_view(
    model: SceneModel,
    code: SceneCode,
    world_from_camera: Float[np.ndarray, "4 4"],
    settings: RenderSettings,
    *,
    pinhole: Pinhole | None = None,
    reference: bool = False,
) -> ViewRendering:
    """Render one view of one scene.

    Args:
        model: the model that made ``code``.
        code: a single scene, perhaps edited.
        world_from_camera: of the view, OpenCV axes.
        settings: size, samples and locality.
        pinhole: the view's lens; the model's when None.
        reference: also label the pixels by uORF's rule, which renders each slot alone.
    """
    device = next(model.parameters()).device
    width, height = settings.size
    geometry = model.geometry
    directions = view_directions(model, width, height, pinhole)
    pose = torch.tensor(world_from_camera, dtype=torch.float32, device=device)[None]
    origins, directions = world_rays(directions[None], pose)
    depths = uniform_depths(geometry.near, geometry.far, settings.samples, device=device)
    with torch.no_grad():
        rendering = model.render(
            code,
            origins,
            directions,
            depths.expand(1, width * height, -1),
            locality=settings.locality,
            chunk_rays=settings.chunk_rays,
            per_slot=reference,
            pixel=1 / (geometry.focal_ratio[0] * width),
        )

    def pixels(values: Tensor) -> np.ndarray:
        return values[0].unflatten(0, (height, width)).cpu().numpy()

    return ViewRendering(
        rgb=pixels(rendering.rgb.clamp(0, 1)),
        depth=pixels(rendering.depth),
        opacity=pixels(rendering.opacity),
        labels=pixels(labels_from_opacity(rendering.slot_opacity)),
        reference_labels=pixels(reference_labels(rendering.per_slot.density_mask))
        if rendering.per_slot is not None
        else None,
    )


def view_directions(
    model: SceneModel, width: int, height: int, pinhole: Pinhole | None
) -> Float[Tensor, "pixels 3"]:
    """Row-major directions through a view's pixels, camera frame, z = 1, on the model's device.

    Args:
        pinhole: the view's lens; the model's when None.
    """
    device = next(model.parameters()).device
    if pinhole is None:
        return camera_directions(model.geometry.focal_ratio, width, height, device).flatten(0, 1)
    return camera_directions(pinhole_tensor([pinhole], device)[0], width, height).flatten(0, 1)


def slot_alone(code: SceneCode, slot: int) -> SceneCode:
    """The scene with one slot and nothing else, so that its hidden parts are seen too."""
    for other in range(code.slots.shape[1]):
        if other != slot:
            code = code.delete(other)
    return code


def on_paper(
    view: ViewRendering, paper: tuple[int, int, int] = (255, 255, 255)
) -> UInt8[np.ndarray, "height width 3"]:
    """A rendering on flat paper instead of black where light passes through: for slots that stand alone."""
    rest = (1 - view.opacity)[..., None] * (np.array(paper, np.float32) / 255)
    return to_uint8(view.rgb + rest)


def orbit_poses(
    world_from_camera: Float[np.ndarray, "4 4"],
    count: int,
) -> Float[np.ndarray, "count 4 4"]:
    """Cameras on the circle about world z that goes through a camera, all looking where it looks.

    The point looked at is where the optical axis comes nearest to the world's z axis.

    Args:
        world_from_camera: the camera that the orbit starts at, OpenCV axes.
        count: number of cameras; the first is at the start.
    """
    position, forward = world_from_camera[:3, 3], world_from_camera[:3, 2]
    horizontal = forward[:2] @ forward[:2]
    along = -(position[:2] @ forward[:2]) / horizontal if horizontal > 1e-9 else 0.0
    target = np.array([0.0, 0.0, position[2] + along * forward[2]])
    poses = []
    for angle in 2 * np.pi * np.arange(count) / count:
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        poses.append(look_at(turn @ position, target))
    return np.stack(poses)


def as_float(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """8-bit RGB to [0, 1]."""
    return image.astype(np.float32) / 255


def to_uint8(image: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """[0, 1] to 8-bit RGB, rounded."""
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
