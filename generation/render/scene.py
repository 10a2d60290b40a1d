"""A ScenePlan becomes a Blender scene."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import bpy
import mathutils
import numpy as np
from jaxtyping import Float, Integer

from generation.assets.catalogue import FloorAsset, Roots, WallAsset, build_mesh, floor_texture, wall_texture
from generation.assets.mesh import SMOOTH_ANGLE_DEG, ShapeMesh
from generation.assets.part_textures import box_uv, paint_texture, part_offset, tile_size
from generation.assets.recolour import recoloured
from generation.plan.materials import Material
from generation.plan.plan import ObjectPlan, RenderPlan, ScenePlan
from generation.plan.room import RoomPlan, Wall
from generation.plan.visibility import NEAR_CLIP
from generation.render.devices import use_device
from generation.render.materials import (
    CORNER_COLOURS,
    DIFFUSE_COLOUR,
    make_image,
    make_material,
    make_part_material,
    show_material,
)
from objnerf.dataset.cameras import opencv_from_blender

#: Half side of the floor's plane: far beyond what any camera sees.
_FLOOR_REACH = 400.0
_SKIRTING_HEIGHT, _SKIRTING_DEPTH = 0.32, 0.07
_TEXTURE_SIZE = 512
#: How far above the floor shapes with holes stand: a ray through a hole would miss a floor at the same place.
_HOVER = 1e-3
_GIVEN_NORMALS = "given normals"

MeshSource = Callable[[ObjectPlan], ShapeMesh]


def mesh_source(roots: Roots) -> MeshSource:
    """Builds the meshes of objects, remembering the last few shapes."""

    @lru_cache(maxsize=32)
    def build(shape_json: str) -> ShapeMesh:
        from generation.assets.catalogue import ShapeAsset

        return build_mesh(ShapeAsset.model_validate_json(shape_json), roots)

    return lambda plan: build(plan.shape.model_dump_json())


def build_scene(plan: ScenePlan, meshes: MeshSource, roots: Roots, device: str = "cpu") -> bpy.types.Scene:
    """Replace whatever Blender holds by the plan's scene, its camera at the first view.

    Starts from Blender's factory state, so that nothing of an earlier scene can change a pixel. Call `show`
    before an image is taken.

    Args:
        plan: the scene.
        meshes: gives each object's triangles.
        roots: folders of the files that textures come from.
        device: see `generation.render.devices`.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _set_up_rendering(scene, plan.render)
    scene.cycles.device = use_device(device)
    _add_camera(scene, plan.render)
    _add_lights(scene, plan)
    _add_room(scene, plan.room, roots)
    for item in plan.objects:
        _add_object(scene, item, meshes(item))
    point_camera(scene, plan.views[0].matrix())
    return scene


def point_camera(scene: bpy.types.Scene, world_from_camera: Float[np.ndarray, "4 4"]) -> None:
    """Move the camera. The pose has OpenCV axes; Blender's camera looks along -z with y up."""
    scene.camera.matrix_world = mathutils.Matrix(opencv_from_blender(world_from_camera).tolist())


def camera_pose(scene: bpy.types.Scene) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` (OpenCV axes) of the camera as Blender has it, float32 inside."""
    # matrix_world is stale until the dependency graph was evaluated.
    bpy.context.view_layer.update()
    return opencv_from_blender(np.array(scene.camera.matrix_world, dtype=np.float64))


def _set_up_rendering(scene: bpy.types.Scene, plan: RenderPlan) -> None:
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y, render.resolution_percentage = plan.width, plan.height, 100
    render.use_persistent_data = True
    render.use_compositing = render.use_sequencer = False
    render.threads_mode, render.threads = "FIXED", 1
    render.dither_intensity = 0.0
    render.film_transparent = False
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0.0, 1.0
    settings = render.image_settings
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    # Adaptive sampling and its thresholds would make a pixel depend on more than its own samples.
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.use_light_tree = False
    diffuse_colour = scene.view_layers[0].aovs.add()
    diffuse_colour.name, diffuse_colour.type = DIFFUSE_COLOUR, "COLOR"


def show(scene: bpy.types.Scene, what: Literal["light", "surfaces"]) -> None:
    """What the next images are of: light, with all its ways; or surfaces, with their own colour, unlit.

    The second costs a sixth of the first a sample, having no light to follow.
    """
    light = what == "light"
    for item in scene.objects:
        if item.type == "LIGHT":
            item.hide_render = not light
        elif item.type == "MESH":
            for material in item.data.materials:
                show_material(material, what)
    if light:
        scene.cycles.property_unset("max_bounces")
    else:
        scene.cycles.max_bounces = 0
    # For so little work a sample, the better pattern would be the greater part of it.
    scene.cycles.sampling_pattern = "AUTOMATIC" if light else "TABULATED_SOBOL"
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_object_index = layer.use_pass_normal = not light
    layer.use_pass_diffuse_direct = layer.use_pass_diffuse_indirect = layer.use_pass_diffuse_color = light
    # Only for the normals among them: unlike the normal pass, they look through mirrors.
    layer.cycles.denoising_store_passes = light


def _add_camera(scene: bpy.types.Scene, plan: RenderPlan) -> None:
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", 32.0
    data.lens = plan.fx / plan.width * data.sensor_width
    data.clip_start, data.clip_end = NEAR_CLIP, 4 * _FLOOR_REACH
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera


def _add_lights(scene: bpy.types.Scene, plan: ScenePlan) -> None:
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (*plan.lights.ambient_colour, 1.0)
    background.inputs["Strength"].default_value = plan.lights.ambient
    # One colour all around needs no importance map.
    world.cycles.sampling_method = "NONE"
    for number, lamp in enumerate(plan.lights.lamps):
        data = bpy.data.lights.new(f"lamp{number}", "AREA")
        data.energy, data.size, data.color = lamp.power, lamp.size, lamp.colour
        light = bpy.data.objects.new(f"lamp{number}", data)
        position = mathutils.Vector(lamp.position)
        light.matrix_world = mathutils.Matrix.LocRotScale(position, position.to_track_quat("Z", "Y"), None)
        # A lamp is seen by what it lights, not as a bright square in an image.
        light.visible_camera = False
        scene.collection.objects.link(light)


def _add_room(scene: bpy.types.Scene, room: RoomPlan, roots: Roots) -> None:
    if room.floor is not None:
        floor_material = make_material(
            "floor",
            roughness=room.floor_roughness,
            specular=room.floor_specular,
            image=make_image("floor", _floor_pixels(room.floor, roots)),
        )
        tile = room.floor.tile_size
    else:
        floor_material = make_material(
            "floor",
            roughness=room.floor_roughness,
            specular=room.floor_specular,
            colour=room.floor_colour,
        )
        tile = 1.0
    reach = _FLOOR_REACH if not room.walls else 1.0 + max(abs(x) for wall in room.walls for x in wall.start)
    corners = reach * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    cos, sin = np.cos(room.floor_yaw), np.sin(room.floor_yaw)
    uv = corners[:, :2] @ np.array([[cos, -sin], [sin, cos]]) / tile + np.array(room.floor_offset)
    floor = _Geometry(corners, np.array([[0, 1, 2, 3]]), uv=uv)
    _add_mesh(scene, "floor", floor, [floor_material])
    if not room.walls:
        return
    if room.wall is not None:
        wall_material = make_material(
            "wall", roughness=0.85, image=make_image("wall", _wall_pixels(room.wall, roots))
        )
        tile = room.wall.tile_size
    else:
        wall_material = make_material("wall", roughness=0.85, colour=room.wall_colour)
    skirting_material = make_material("skirting", roughness=0.5, colour=room.skirting_colour)
    for number, wall in enumerate(room.walls):
        _add_wall(scene, number, wall, room.wall_height, tile, wall_material)
        _add_skirting(scene, number, wall, skirting_material)


def _add_wall(
    scene: bpy.types.Scene,
    number: int,
    wall: Wall,
    height: float,
    tile: float,
    material: bpy.types.Material,
) -> None:
    start, end = np.array(wall.start), np.array(wall.end)
    length = float(np.linalg.norm(end - start))
    corners = np.array([[*end, 0.0], [*start, 0.0], [*start, height], [*end, height]])
    uv = np.array([[length, 0.0], [0, 0], [0, height], [length, height]]) / tile
    geometry = _Geometry(corners, np.array([[0, 1, 2, 3]]), uv=uv)
    _add_mesh(scene, f"wall{number}", geometry, [material])


def _add_skirting(scene: bpy.types.Scene, number: int, wall: Wall, material: bpy.types.Material) -> None:
    start, end = np.array(wall.start), np.array(wall.end)
    along = (end - start) / np.linalg.norm(end - start)
    inner = np.array([-along[1], along[0]]) * _SKIRTING_DEPTH
    front, low, high = [start + inner, end + inner], 0.0, _SKIRTING_HEIGHT
    corners = np.array(
        [
            [*front[0], low],
            [*front[1], low],
            [*front[1], high],
            [*front[0], high],
            [*end, high],
            [*start, high],
        ]
    )
    faces = np.array([[1, 0, 3, 2], [2, 3, 5, 4]])
    _add_mesh(scene, f"skirting{number}", _Geometry(corners, faces), [material])


def _add_object(scene: bpy.types.Scene, plan: ObjectPlan, mesh: ShapeMesh) -> None:
    if plan.tint is not None:
        mesh = recoloured(mesh, plan.tint)
    materials, tiles = [], np.ones(len(mesh.materials))
    for number, part in enumerate(mesh.materials):
        name = f"object{plan.label}.{number}"
        if part.role == "own":
            materials.append(make_part_material(name, part, coloured=mesh.colours is not None))
        else:
            planned = plan.materials[part.role]
            materials.append(_role_material(name, planned, f"object{plan.label}.{part.role}"))
            if planned.texture is not None:
                tiles[number] = tile_size(planned.texture)
    uv = mesh.uv
    if uv is None and any(plan.materials[part.role].texture for part in mesh.materials if part.role != "own"):
        offsets = np.stack([part_offset(number) for number in range(len(mesh.materials))])
        part_of_corner = np.repeat(mesh.part_of_face[:, None], 3, axis=1)
        uv = box_uv(mesh) * plan.scale / tiles[part_of_corner][..., None] + offsets[part_of_corner]
    geometry = _Geometry(
        mesh.vertices,
        mesh.faces,
        uv=None if uv is None else uv.reshape(-1, 2),
        part_of_face=mesh.part_of_face,
        normals=mesh.normals,
        colours=mesh.colours,
    )
    item = _add_mesh(scene, f"object{plan.label}", geometry, materials)
    item.data.shade_smooth()
    item.data.set_sharp_from_angle(angle=np.radians(SMOOTH_ANGLE_DEG))
    given = item.data.attributes.get(_GIVEN_NORMALS)
    if given is not None:
        normals = np.empty(3 * len(item.data.loops), dtype=np.float32)
        given.data.foreach_get("vector", normals)
        item.data.attributes.remove(given)
        # zero stands for Blender's own
        item.data.normals_split_custom_set(normals.reshape(-1, 3))
    pose = plan.world_from_object()
    if any(part.cutout is not None for part in mesh.materials):
        pose[2, 3] += _HOVER
    item.matrix_world = mathutils.Matrix(pose.tolist())
    item.pass_index = plan.label


def _role_material(name: str, planned: Material, role: str) -> bpy.types.Material:
    """The material of one part; parts of one role share its image, by the name `role`."""
    image = None
    if planned.texture is not None:
        image = bpy.data.images.get(role)
        if image is None:
            image = make_image(role, paint_texture(planned.texture, planned.colour, planned.texture_seed))
    return make_material(
        name,
        planned.roughness,
        metallic=planned.metallic,
        specular=planned.specular,
        colour=planned.colour,
        image=image,
    )


@dataclass(frozen=True, eq=False)
class _Geometry:
    """A mesh whose faces all have as many corners.

    Attributes:
        uv: texture coordinates of each corner of each face in turn.
        part_of_face: number of each face's material; None for the first.
        normals: of the corners; zero stands for Blender's own.
        colours: of the corners.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Integer[np.ndarray, "faces corners"]
    uv: Float[np.ndarray, "loops 2"] | None = None
    part_of_face: Integer[np.ndarray, " faces"] | None = None
    normals: Float[np.ndarray, "faces corners 3"] | None = None
    colours: Float[np.ndarray, "faces corners 3"] | None = None


def _add_mesh(
    scene: bpy.types.Scene, name: str, geometry: _Geometry, materials: list[bpy.types.Material]
) -> bpy.types.Object:
    """A mesh object.

    Normals are only noted, as _GIVEN_NORMALS: Blender keeps them relative to the shading that is set later.
    """
    data = bpy.data.meshes.new(name)
    count, corners = geometry.faces.shape
    data.vertices.add(len(geometry.vertices))
    data.vertices.foreach_set("co", np.ascontiguousarray(geometry.vertices, dtype=np.float32).ravel())
    data.loops.add(count * corners)
    data.loops.foreach_set("vertex_index", np.ascontiguousarray(geometry.faces, dtype=np.int32).ravel())
    data.polygons.add(count)
    data.polygons.foreach_set("loop_start", np.arange(0, count * corners, corners, dtype=np.int32))
    for material in materials:
        data.materials.append(material)
    if geometry.part_of_face is not None:
        data.polygons.foreach_set(
            "material_index", np.ascontiguousarray(geometry.part_of_face, dtype=np.int32)
        )
    if geometry.uv is not None:
        layer = data.uv_layers.new(name="UVMap")
        layer.uv.foreach_set("vector", np.ascontiguousarray(geometry.uv, dtype=np.float32).ravel())
    # All before `validate`, which takes out faces with what belongs to them.
    if geometry.normals is not None:
        vectors = data.attributes.new(_GIVEN_NORMALS, "FLOAT_VECTOR", "CORNER")
        vectors.data.foreach_set("vector", np.ascontiguousarray(geometry.normals, dtype=np.float32).ravel())
    if geometry.colours is not None:
        rgba = np.ones((count * corners, 4), dtype=np.float32)
        rgba[:, :3] = geometry.colours.reshape(-1, 3)
        attribute = data.color_attributes.new(CORNER_COLOURS, "FLOAT_COLOR", "CORNER")
        attribute.data.foreach_set("color", rgba.ravel())
    data.update(calc_edges=True)
    data.validate(clean_customdata=False)
    item = bpy.data.objects.new(name, data)
    scene.collection.objects.link(item)
    return item


@lru_cache(maxsize=64)
def _painted_floor(asset_json: str, roots: Roots) -> bytes:
    return floor_texture(FloorAsset.model_validate_json(asset_json), _TEXTURE_SIZE, roots).tobytes()


@lru_cache(maxsize=64)
def _painted_wall(asset_json: str, roots: Roots) -> bytes:
    return wall_texture(WallAsset.model_validate_json(asset_json), _TEXTURE_SIZE, roots).tobytes()


def _floor_pixels(asset: FloorAsset, roots: Roots) -> np.ndarray:
    return _square(_painted_floor(asset.model_dump_json(), roots))


def _wall_pixels(asset: WallAsset, roots: Roots) -> np.ndarray:
    return _square(_painted_wall(asset.model_dump_json(), roots))


def _square(pixels: bytes) -> np.ndarray:
    return np.frombuffer(pixels, dtype=np.uint8).reshape(_TEXTURE_SIZE, _TEXTURE_SIZE, 3)
