"""Which way is up in the world of the poses, as the cameras tell."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.rigid import estimate_up, turn_to_z
from validate.analysis.convention import Convention
from validate.measure.geometry import UP_DIRECTIONS, rolls
from validate.measure.spread import spread_evenly

#: Views, spread evenly, from which a common up is measured; more would not change it.
_UP_VIEWS = 2000

#: Roll of all cameras alike up to which a convention of axes needs no second thought, degrees.
LEVEL_DEGREES = 8.0

#: A world whose measured up is nearer to an axis than this is meant to have that axis up, degrees.
_SNAP_DEGREES = 1.0

#: A tilt that rolled cameras leave open is not reported up to this, degrees.
MOST_UNCERTAIN_DEGREES = 15.0


@dataclass(frozen=True)
class World:
    """Which way is up in the stored world.

    Attributes:
        turns: brings each scene's up to +z; the identity where it is there already.
        up: the measured direction in the stored world (before a mirrored one is mirrored back, if it is);
            None where each scene has its own.
        name: ``z`` or another axis, ``tilted`` for another direction, ``own`` for a direction a scene.
        tilt: angle between up and z, degrees; the median over the scenes where each has its own.
        uncertainty: standard deviation of the direction, degrees.
    """

    turns: Float[np.ndarray, "scenes 3 3"]
    up: Float[np.ndarray, "3"] | None
    name: str
    tilt: float
    uncertainty: float

    @property
    def is_level(self) -> bool:
        return self.name == "z"


def level_world(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    n_scenes: int,
    convention: Convention,
    good: Bool[np.ndarray, " views"],
    roll_degrees: float,
) -> World:
    """Measure the world's up from the cameras: for all scenes, or for each where they don't agree.

    Args:
        poses: with the convention undone.
        good: views to measure it from.
        roll_degrees: tilt of the world to put up with.
    """
    upright = convention.upright(poses)
    spread = spread_evenly(np.flatnonzero(good), _UP_VIEWS)
    up = estimate_up(upright[spread])
    against_z = float(np.median(np.abs(rolls(upright[spread]))))
    roll = float(np.median(np.abs(rolls(upright[spread], up.direction))))
    turns = np.tile(np.eye(3), (n_scenes, 1, 1))
    if min(roll, against_z) > LEVEL_DEGREES and len(np.unique(scenes[spread])) > 1:
        own = _own_worlds(upright, scenes, good, min(roll, against_z), turns, roll_degrees)
        if own is not None:
            return own
    name, tilt, direction = _name_up(up.direction, up.uncertainty_degrees, roll_degrees)
    if name != "z":
        turns[:] = turn_to_z(direction)
    return World(turns, direction, name, tilt, up.uncertainty_degrees)


def _own_worlds(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    good: Bool[np.ndarray, " views"],
    together: float,
    turns: Float[np.ndarray, "scenes 3 3"],
    roll_degrees: float,
) -> World | None:
    """A turn for each scene; None where the cameras are no more upright for it than ``together``."""
    tilts, uncertain, own_rolls = [], [], []
    for scene in np.unique(scenes[good]):
        views = np.flatnonzero(good & (scenes == scene))
        if len(views) < 3:
            continue
        up = estimate_up(poses[views])
        name, tilt, direction = _name_up(up.direction, up.uncertainty_degrees, roll_degrees)
        tilts.append(tilt)
        uncertain.append(up.uncertainty_degrees)
        own_rolls.append(float(np.median(np.abs(rolls(poses[views], up.direction)))))
        if name != "z":
            turns[scene] = turn_to_z(direction)
    if not own_rolls or float(np.median(own_rolls)) > together / 3.0:
        turns[:] = np.eye(3)
        return None
    return World(turns, None, "own", float(np.median(tilts)), float(np.median(uncertain)))


def _name_up(
    up: Float[np.ndarray, "3"], uncertainty: float, roll_degrees: float
) -> tuple[str, float, Float[np.ndarray, "3"]]:
    """The axis that was meant to be up, or ``tilted``; the angle to z; and the direction, without noise."""
    allowed = {"z": max(roll_degrees, min(3.0 * uncertainty, MOST_UNCERTAIN_DEGREES))}
    tilt = float(np.degrees(np.arccos(np.clip(up[2], -1.0, 1.0))))
    for name, axis in UP_DIRECTIONS.items():
        angle = float(np.degrees(np.arccos(np.clip(axis @ up, -1.0, 1.0))))
        if angle <= allowed.get(name, max(_SNAP_DEGREES, min(2.0 * uncertainty, roll_degrees))):
            return name, tilt, axis
    return "tilted", tilt, up
