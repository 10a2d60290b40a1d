"""Bring the world of a capture into ours: z up, the scene at the origin, cameras at the usual distance.

Structure from motion finds a world up to a similarity: turned, shifted and scaled at will. Phones know up and
the metre, and put the origin where they were switched on. Every scene is brought into our world by a
similarity of its own, in three steps that can be left out or asked for; depth is scaled along, images don't
change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float, Float32

from objnerf.dataset import names
from objnerf.dataset.cameras import box_pixel_share, camera_rays, ray_box, world_rays
from objnerf.dataset.card import UORF_CAMERA_DISTANCE, UORF_SCALE, DatasetCard
from objnerf.dataset.convert.ground import find_ground
from objnerf.dataset.convert.posed import (
    Blob,
    Companion,
    Computed,
    PosedScene,
    PosedScenes,
    PosedView,
    depth_map,
)
from objnerf.dataset.rigid import Similarity, estimate_focus, estimate_up, turn_to_z

#: A world that is off by less than this stays as it is, unless a step is asked for.
_LEVEL_ENOUGH = 2.0  # degrees
_CENTRED_ENOUGH = 0.25  # of obj_scale
_SCALED_ENOUGH = 1.25  # factor
#: A world is called level where the cameras' up is no further from z, degrees.
_STEEP = 10.0
#: Up that is known no better than this, degrees, is not known.
_UNCERTAIN = 30.0
#: Scales of scenes that are no farther apart than this factor are taken for one.
_ONE_UNIT = 1.25
#: The share of every view's pixels that the locality box should cover.
_BOX_PIXELS = 0.8
#: The share of a view's way through the box that near may cut off; the reference's own settings cut some as
#: well.
_CLIPPED = 0.05
_FEWEST_VIEWS = 3
#: What the cameras look at may be this far above the ground, as a share of their distance, for the ground's
#: point below it to be the origin: beyond that the locality box would leave half of the object out.
_HIGHEST_FOCUS = 0.2
#: Views that settings are measured on.
_MEASURED_VIEWS = 500
#: Depth maps that the ground is looked for in.
_DEPTH_VIEWS = 8


@dataclass(frozen=True)
class WorldSteps:
    """Which steps to take: True always, False never, None where a captured world needs it.

    Attributes:
        level: turn the world so that the cameras' up is z.
        centre: move what the cameras look at to the origin.
        scale: bring the cameras as far away as the reference's, for which ``nss_scale`` and ``obj_scale`` are
            meant.
    """

    level: bool | None = None
    centre: bool | None = None
    scale: bool | None = None

    @property
    def any_asked(self) -> bool:
        """Whether any step is to be taken always."""
        return True in (self.level, self.centre, self.scale)


def fitted(posed: PosedScenes, steps: WorldSteps) -> PosedScenes:
    """The same scenes, each in a world of ours.

    Worlds that mean something (``PosedScenes.world``) only change by the steps that are asked for. Every step
    that was taken is noted.
    """
    if not steps.any_asked and (posed.world == "stated" or steps == WorldSteps(False, False, False)):
        return posed
    needed = None if posed.world == "free" else False
    wanted = WorldSteps(*(needed if s is None else s for s in (steps.level, steps.centre, steps.scale)))
    notes: list[str] = []
    scenes = [_placed(scene, wanted, notes) for scene in posed.scenes]
    distances = [_distance(scene) for scene in scenes]
    factors = _scales([distance for distance in distances if distance is not None], wanted, notes)
    rest = iter(factors)
    scenes = [
        scene if distance is None else _moved(scene, Similarity(next(rest), np.eye(3), np.zeros(3)))
        for scene, distance in zip(scenes, distances, strict=True)
    ]
    for gone, what in ((posed.scene_cards, "scenes/*.json"), (posed.movements, "…_movement.txt")):
        if gone and notes:
            notes.append(f"{what} left out: they refer to the old world")
    placed = replace(
        posed, scenes=tuple(scenes), notes=(*posed.notes, *_folded(notes)), world_words=_words(scenes)
    )
    if notes:
        placed = replace(placed, scene_cards={}, movements={})
    return placed


def _words(scenes: Sequence[PosedScene]) -> str:
    """What can be said of the worlds, measured on the cameras as they stand now."""
    level, centred = True, True
    for scene in scenes:
        if len(scene.views) < _FEWEST_VIEWS:
            return "right-handed; as the source has it, which is not known to be level or centred"
        up, focus = estimate_up(_poses(scene)), estimate_focus(_poses(scene))
        level &= up.direction[2] > np.cos(np.radians(_STEEP)) and up.uncertainty_degrees <= _UNCERTAIN
        aside = float(np.linalg.norm(focus.point[:2]))
        centred &= (
            focus.is_crossing
            and aside <= _CENTRED_ENOUGH * UORF_SCALE.obj_scale * focus.distance / UORF_CAMERA_DISTANCE
        )
    words = ["right-handed", "z up, as the cameras were held" if level else "up is not known to be z"]
    words.append("origin at what the cameras look at" if centred else "origin as in the source")
    return ", ".join(words)


def _poses(scene: PosedScene) -> Float[np.ndarray, "views 4 4"]:
    return np.stack([view.world_from_camera for view in scene.views])


def _placed(scene: PosedScene, steps: WorldSteps, notes: list[str]) -> PosedScene:
    """A scene levelled and centred, as far as requested and determined by the cameras."""
    if len(scene.views) < _FEWEST_VIEWS:
        notes.append("neither levelled nor centred: three views are needed to determine up and centre")
        return scene
    if steps.level is not False:
        scene = _levelled(scene, steps.level is True, notes)
    if steps.centre is not False:
        scene = _centred(scene, steps, notes)
    return scene


def _levelled(scene: PosedScene, asked: bool, notes: list[str]) -> PosedScene:
    up = estimate_up(_poses(scene))
    angle = float(np.degrees(np.arccos(np.clip(up.direction[2], -1.0, 1.0))))
    if up.uncertainty_degrees > _UNCERTAIN:
        notes.append("not levelled: the cameras don't determine the up direction (their rolls differ)")
        return scene
    if angle <= _LEVEL_ENOUGH and not asked:
        return scene
    notes.append(
        f"levelled: the world was turned by {angle:.1f} degrees, so that the cameras' up is z (known to "
        f"{up.uncertainty_degrees:.1g} degrees; the cameras roll by {up.roll_degrees:.1f})"
    )
    return _moved(scene, Similarity(1.0, turn_to_z(up.direction), np.zeros(3)))


def _centred(scene: PosedScene, steps: WorldSteps, notes: list[str]) -> PosedScene:
    focus = estimate_focus(_poses(scene))
    if not focus.is_crossing or focus.ahead < 0.5:
        why = "look away from each other" if focus.is_crossing else "all look the same way"
        notes.append(f"not centred: the cameras {why}, so they look at no common point")
        return scene
    ground = None if steps.level is False else find_ground(_points(scene), focus.point, focus.distance)
    origin, turn, words = focus.point, np.eye(3), "the point that the cameras look at"
    if ground is not None:
        height = float(np.linalg.norm(focus.point - ground.point))
        if height <= _HIGHEST_FOCUS * focus.distance:
            origin, turn = ground.point, turn_to_z(ground.normal)
            words = (
                "the foot of the point that the cameras look at, on a ground that "
                f"{100 * ground.share:.0f} % of the points around it lie in"
            )
    off = float(np.linalg.norm(origin))
    tilt = float(np.degrees(np.arccos(np.clip(turn[2, 2], -1.0, 1.0))))
    small = (
        off <= _CENTRED_ENOUGH * UORF_SCALE.obj_scale * focus.distance / UORF_CAMERA_DISTANCE
        and tilt <= _LEVEL_ENOUGH
    )
    if small and not steps.centre:
        return scene
    tilted = f"; the ground was tilted by {tilt:.1f} degrees, and is level now" if tilt > 0.05 else ""
    notes.append(f"centred: {words}, {off:.3g} units from the origin, became the origin{tilted}")
    return _moved(scene, Similarity(1.0, turn, -turn @ origin))


def _points(scene: PosedScene) -> Float[np.ndarray, "points 3"]:
    """Points on the scene's surfaces, in its world: the source's, else some out of the depth maps."""
    if scene.points is not None:
        points = scene.points()
        return points[np.isfinite(points).all(axis=1)]
    found = [np.zeros((0, 3))]
    seen = [view for view in scene.views if names.DEPTH_SUFFIX in view.companions and view.lens is not None]
    for view in seen[:: max(1, len(seen) // _DEPTH_VIEWS)]:
        assert view.lens is not None
        if not view.lens.straight:
            continue
        depth = depth_map(view.companions[names.DEPTH_SUFFIX])
        step = max(1, depth.shape[0] // 48)
        rays = camera_rays(view.lens.scaled(depth.shape[1], depth.shape[0]).intrinsics())[::step, ::step]
        thin = depth[::step, ::step]
        measured = np.isfinite(thin) & (thin > 0)
        in_camera = rays[measured] * thin[measured][:, None]
        found.append(in_camera @ view.world_from_camera[:3, :3].T + view.world_from_camera[:3, 3])
    return np.concatenate(found)


def _distance(scene: PosedScene) -> float | None:
    """Median distance of the cameras from the origin; None where there is none that a scale could fix."""
    distance = float(np.median(np.linalg.norm(_poses(scene)[:, :3, 3], axis=1)))
    return distance if len(scene.views) >= _FEWEST_VIEWS and distance > 0 else None


def _scales(distances: Sequence[float], steps: WorldSteps, notes: list[str]) -> list[float]:
    """The factor of each scene: one for all where they seem to have one unit."""
    if steps.scale is False or not distances:
        return [1.0] * len(distances)
    middle = float(np.median(distances))
    own = max(distances) > _ONE_UNIT * middle or min(distances) * _ONE_UNIT < middle
    factors = [UORF_CAMERA_DISTANCE / (distance if own else middle) for distance in distances]
    if steps.scale is None:
        factors = [1.0 if 1 / _SCALED_ENOUGH <= factor <= _SCALED_ENOUGH else factor for factor in factors]
    changed = sorted({factor for factor in factors if factor != 1.0})
    if changed:
        shown = f"{changed[0]:.4g}" if len(changed) == 1 else f"{changed[0]:.4g} to {changed[-1]:.4g}"
        notes.append(
            f"scaled by {shown}: the cameras, {middle:.4g} units away (median), are now at uORF's distance"
        )
    return factors


def _folded(notes: Sequence[str]) -> list[str]:
    """Notes on scenes; the first of each kind with how many there are."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kinds.setdefault(note.split(":")[0].split(" by ")[0], []).append(note)
    return [
        group[0] if len(group) == 1 else f"{group[0]} (likewise in {len(group) - 1} more)"
        for group in kinds.values()
    ]


def _moved(scene: PosedScene, similarity: Similarity) -> PosedScene:
    """A scene in another world; its depth is scaled along."""
    poses = similarity.apply(_poses(scene))
    views = [_view(view, pose, similarity.scale) for view, pose in zip(scene.views, poses, strict=True)]
    points, depths = scene.points, scene.depth_range
    return replace(
        scene,
        views=tuple(views),
        points=None if points is None else lambda: _mapped(similarity, points()),
        depth_range=None if depths is None else (similarity.scale * depths[0], similarity.scale * depths[1]),
    )


def _mapped(similarity: Similarity, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    return similarity.scale * points @ similarity.rotation.T + similarity.shift


def _view(view: PosedView, pose: Float[np.ndarray, "4 4"], scale: float) -> PosedView:
    # What says the old pose has to go.
    gone = (names.POSE_SUFFIX, names.AZIMUTH_SUFFIX)
    companions: dict[str, Companion] = {
        suffix: companion for suffix, companion in view.companions.items() if suffix not in gone
    }
    depth = companions.get(names.DEPTH_SUFFIX)
    if depth is not None and scale != 1.0:
        path = depth.path if isinstance(depth, Blob | Computed) else view.image.path
        companions[names.DEPTH_SUFFIX] = Computed(path, partial(_scaled_depth, depth, scale))
    return replace(view, world_from_camera=pose, companions=companions)


def _scaled_depth(companion: Companion, scale: float) -> Float32[np.ndarray, "height width"]:
    return depth_map(companion) * np.float32(scale)


def with_settings(posed: PosedScenes) -> PosedScenes:
    """The scenes with near, far, ``nss_scale`` and ``obj_scale`` in the card, measured on the cameras.

    near and far are the source's where it states them for every scene. For scenes that were ``fitted``, once
    their cameras are settled; others pass through.
    """
    if posed.world_words is None:
        return posed
    measured = [scene for scene in posed.scenes if len(scene.views) >= _FEWEST_VIEWS]
    views = [view for scene in measured for view in scene.views]
    views = views[:: max(1, len(views) // _MEASURED_VIEWS)]
    if not views:
        return posed
    poses = np.stack([view.world_from_camera for view in views])
    distance = float(np.median(np.linalg.norm(poses[:, :3, 3], axis=1)))
    if not distance > 0:
        return posed
    unit = distance / UORF_CAMERA_DISTANCE
    half = UORF_SCALE.obj_scale * unit
    # A few pixels are enough to measure what share of them sees the box.
    cameras = [posed.intrinsics_of(view).pinhole.at(32, 24) for view in views]
    # The least half side, in steps of 5 %, whose box covers enough of nearly all views.
    while half < 0.9 * distance:
        shares = [box_pixel_share(c, pose, half) for c, pose in zip(cameras, poses, strict=True)]
        if np.quantile(shares, 0.02) >= _BOX_PIXELS:
            break
        half *= 1.05
    rays = [world_rays(camera, pose) for camera, pose in zip(cameras, poses, strict=True)]
    enter, leave = (np.stack(ends) for ends in zip(*(ray_box(o, d, half) for o, d in rays), strict=True))
    near = float(np.clip(_latest_near(enter, leave), 0.05 * distance, UORF_SCALE.near * unit))
    far = float(max(np.quantile(leave[leave > enter], 0.998), UORF_SCALE.far * unit))
    stated = [scene.depth_range for scene in posed.scenes if scene.depth_range is not None]
    if len(stated) == len(posed.scenes):
        near, far = min(nearest for nearest, _ in stated), max(farthest for _, farthest in stated)
    found = {"near": near, "far": far, "nss_scale": UORF_SCALE.nss_scale * unit, "obj_scale": half}
    card = (posed.card or DatasetCard()).model_copy(
        update={key: float(f"{value:.4g}") for key, value in found.items()}
    )
    words = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
    whence = "near and far as the source has them, the others " if len(stated) == len(posed.scenes) else ""
    note = f"dataset.yaml: {words}, {whence}measured on the cameras"
    return replace(posed, card=card, notes=(*posed.notes, note))


def _latest_near(
    enter: Float[np.ndarray, "views height width"], leave: Float[np.ndarray, "views height width"]
) -> float:
    """The greatest depth before which no view has more than ``_CLIPPED`` of its way through the box."""
    leave = np.maximum(leave, enter)
    way = (leave - enter).sum(axis=(1, 2))
    low, high = 0.0, float(leave.max())
    for _ in range(40):
        middle = (low + high) / 2
        cut = (np.clip(middle, enter, leave) - enter).sum(axis=(1, 2))
        low, high = (middle, high) if (cut <= _CLIPPED * way).all() else (low, middle)
    return low
