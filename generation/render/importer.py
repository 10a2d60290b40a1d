"""A process that imports one file and writes it as GLB: ``python -m generation.render.importer IN OUT``.

Beside OUT it writes a JSON file: {"notes": […]} or {"error": "…"}. Nothing of the file runs: no scripts, no
drivers, no animation. What it names outside of its folder's parent is left out.
"""

import json
import os
import sys
from pathlib import Path

import bpy


def main(source: Path, target: Path) -> None:
    """Import, take out what is not wanted, export."""
    try:
        _import(source)
        notes = _confined(source.parent.parent)
        _still()
        if not any(item.type in ("MESH", "CURVE", "SURFACE", "META", "FONT") for item in bpy.data.objects):
            raise RuntimeError("it holds no surfaces")
        _export(target)
        report: dict[str, object] = {"notes": notes}
    except RuntimeError as error:
        report = {"error": " ".join(str(error).removeprefix("Error: ").split())[:200]}
    # last, and whole: its being there says that the process has come to its end
    target.with_suffix(".json").write_text(json.dumps(report), encoding="utf-8")


def _import(source: Path) -> None:
    path, suffix = str(source), source.suffix.lower()
    if suffix == ".blend":
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
        return
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=path, use_anim=False)
    elif suffix == ".dae":
        bpy.ops.wm.collada_import(filepath=path)
    elif suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=path)
    elif suffix == ".ply":
        bpy.ops.wm.ply_import(filepath=path)
    elif suffix == ".stl":
        bpy.ops.wm.stl_import(filepath=path)
    elif suffix in (".gltf", ".glb"):
        bpy.ops.import_scene.gltf(filepath=path)
    else:
        bpy.ops.wm.usd_import(filepath=path, import_cameras=False, import_lights=False, set_frame_range=False)


def _confined(root: Path) -> list[str]:
    """Drop images and libraries that lie outside of `root`, or nowhere; say so."""
    notes = []
    limit = root.resolve()
    for library in list(bpy.data.libraries):
        notes.append(f"library {Path(library.filepath).name!r} left out")
        bpy.data.libraries.remove(library)
    for image in list(bpy.data.images):
        if image.source != "FILE" or image.packed_file is not None:
            continue
        # a name alone would be looked for in the working directory
        path = Path(bpy.path.abspath(image.filepath))
        name = Path(image.filepath.replace("\\", "/")).name
        if not (path.is_file() and path.resolve().is_relative_to(limit)):
            # where exporters wrote a path of their own machine, the file often lies beside
            beside = sorted(found for found in root.rglob("*") if found.name.lower() == name.lower())
            if beside:
                image.filepath = str(beside[0])
                image.reload()
                continue
            notes.append(f"texture {name!r} is missing")
            bpy.data.images.remove(image)
    return notes


def _still() -> None:
    """Without animation and drivers."""
    for collection in (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.shape_keys):
        for block in collection:
            block.animation_data_clear()


def _export(target: Path) -> None:
    bpy.ops.export_scene.gltf(
        filepath=str(target),
        export_format="GLB",
        use_active_scene=True,
        use_renderable=True,
        export_apply=True,
        export_animations=False,
        export_skins=False,
        export_morph=False,
        export_cameras=False,
        export_lights=False,
        export_yup=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    # Nothing is left to do; Blender's own way out takes long, and may hang.
    os._exit(0)
