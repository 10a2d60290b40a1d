"""The scene-manipulation test: the same scene with one object moved, and with another scene's background.

Each edit is a ScenePlan of its own, so that it is rendered by the code that renders everything else. All keep
the scene's cameras and lamps; the scene that provides the background has objects of its own.
"""

import numpy as np

from generation.assets.catalogue import Catalogue
from generation.plan.placement import Placed, PlacementError, place_one, placed_footprint
from generation.plan.plan import AssetPool, EditPlan, ObjectPlan, ScenePlan, plan_objects
from generation.plan.request import GenerationRequest
from generation.plan.room import RoomPlan, plan_room, unclipped_exposure
from generation.plan.seeds import Stream, stream_rng

#: A move shorter than this would hardly be one, world units.
MIN_MOVE = 1.0

#: Draws of an edit before the whole scene is planned anew.
EDIT_TRIES = 20


def plan_edits(request: GenerationRequest, pool: AssetPool, plan: ScenePlan, number: int) -> EditPlan:
    """Choose the object that moves, where to, and the scene that provides the other background.

    Args:
        request: the dataset.
        pool: what it draws from.
        plan: the scene to edit.
        number: 0, or how many earlier edits of this plan were given up.
    Raises:
        PlacementError: this draw came to nothing; try the next number.
    """
    rng = stream_rng(plan.seed, plan.scene, Stream.EDITS, plan.split, plan.attempt * EDIT_TRIES + number)
    label = int(rng.integers(1, len(plan.objects) + 1))
    preset = request.preset
    moving = plan.objects[label - 1]
    others = [_footprint(pool.catalogue, item) for item in plan.objects if item is not moving]
    extent = pool.catalogue.extent(moving.shape)
    spot = place_one(preset.placement, preset.obj_scale, extent, moving.scale, others, rng, yaw=moving.yaw)
    movement = round(spot.x - moving.position[0], 6), round(spot.y - moving.position[1], 6)
    if np.hypot(*movement) < MIN_MOVE:
        raise PlacementError("a move that is none")
    cameras = np.stack([view.matrix()[:2, 3] for view in plan.views])
    other_floors = [floor for floor in pool.floors if floor != plan.room.floor] or pool.floors
    room = plan_room(preset.room, preset.obj_scale, cameras, other_floors, pool.walls, rng)
    if room.floor == plan.room.floor:
        room = _other_plain_floor(room, rng)
    return EditPlan(
        moved_label=label,
        movement=movement,
        providing_room=room,
        providing_objects=plan_objects(request, pool, rng, rng),
    )


def edited_plan(request: GenerationRequest, pool: AssetPool, plan: ScenePlan, number: int) -> ScenePlan:
    """The plan with its edits, exposed for both backgrounds alike; otherwise as `plan_edits`."""
    edits = plan_edits(request, pool, plan, number)
    unclipped = unclipped_exposure(
        edits.providing_room, plan.lights, request.preset.obj_scale, pool.catalogue.light_albedo
    )
    exposure = min(plan.render.exposure, round(request.preset.lights.exposure * unclipped, 4))
    render = plan.render.model_copy(update={"exposure": exposure})
    return plan.model_copy(update={"edits": edits, "render": render})


def moved_plan(plan: ScenePlan) -> ScenePlan:
    """The scene with one object moved."""
    edits = _edits(plan)

    def move(item: ObjectPlan) -> ObjectPlan:
        if item.label != edits.moved_label:
            return item
        x, y, z = item.position
        moved = (x + edits.movement[0], y + edits.movement[1], z)
        return item.model_copy(update={"position": moved})

    return _derived(plan, objects=tuple(move(item) for item in plan.objects))


def changed_plan(plan: ScenePlan) -> ScenePlan:
    """The scene with the providing scene's background."""
    return _derived(plan, room=_edits(plan).providing_room)


def providing_plan(plan: ScenePlan) -> ScenePlan:
    """The scene that provides the background, from the same cameras, in the same light."""
    edits = _edits(plan)
    return _derived(plan, room=edits.providing_room, objects=edits.providing_objects)


def _edits(plan: ScenePlan) -> EditPlan:
    if plan.edits is None:
        raise ValueError(f"scene {plan.scene} was planned without manipulations")
    return plan.edits


def _derived(plan: ScenePlan, **changes: object) -> ScenePlan:
    return plan.model_copy(update={"edits": None, "seen": None, **changes})


def _footprint(catalogue: Catalogue, item: ObjectPlan) -> np.ndarray:
    spot = Placed(item.position[0], item.position[1], item.yaw)
    return placed_footprint(catalogue.extent(item.shape).footprint, spot, item.scale)


def _other_plain_floor(room: RoomPlan, rng: np.random.Generator) -> RoomPlan:
    """Where there is one floor alone, the other background has a plain one of some colour."""
    red, green, blue = (round(float(value), 4) for value in rng.uniform(0.25, 0.75, 3))
    return room.model_copy(update={"floor": None, "floor_colour": (red, green, blue)})
