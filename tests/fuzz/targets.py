"""What reads foreign bytes, one target a reader: used by the tests beside it and by ``fuzz.py``.

A target has seeds (sound files), and a function that takes the bytes of a file and reads them as the package
would. It may return or raise one of ``MESSAGES``; whatever else it raises is a fault.
"""

import io
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from generation.assets import manifest, meshes, shapenet, textures
from generation.jobs import read_plan
from generation.plan.compose import read_poses
from generation.plan.plan import PlacementError
from generation.plan.preset import load_preset
from objnerf.dataset import card, files, names
from objnerf.dataset.cameras import look_at
from objnerf.dataset.convert import convert
from objnerf.dataset.untrusted import Unreadable
from objnerf.errors import ObjnerfError
from objnerf.evaluation.edits import read_movement
from objnerf.models.weights import read_weights
from objnerf.training.checkpoints import read_state
from objnerf.training.recipe import DatasetFacts, RunConfig
from objnerf.training.recipe_files import dump_yaml, load_recipe, parse_assignment, read_run_config
from validate.read import decode_depth, decode_image, read_matrix_text

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"

#: How a reader says that a file cannot be used.
MESSAGES = (ObjnerfError, Unreadable, PlacementError, meshes.UnusableMesh, textures.UnusableTexture)


@dataclass(frozen=True)
class Target:
    """A reader of one kind of file."""

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]


def targets(scratch: Path) -> list[Target]:
    """All targets, working in an empty folder."""
    found = [*_matrices(scratch), *_pictures(scratch), *_depths(scratch), *_descriptions(scratch)]
    return [*found, *_weights(scratch), *_conversions(scratch), *_meshes(scratch), _names()]


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Read the bytes from a file."""

    def run(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return run


def _in_folder(
    sound: Path, scratch: Path, name: str, read: Callable[[Path], object]
) -> tuple[tuple[bytes, ...], Callable[[bytes], object]]:
    """One file of a copy of a sound folder: its bytes as seed, and what reads the folder with others."""
    work = scratch / f"{sound.name}-{name.replace('/', '-')}"
    shutil.copytree(sound, work, copy_function=shutil.copyfile)
    return ((sound / name).read_bytes(),), _file(work / name, lambda path: read(work))


def _matrices(scratch: Path) -> list[Target]:
    pose = (DATA / "blocks" / "00000_sc0000_img0_RT.txt").read_bytes()
    lens = (DATA / "uocf_lens" / "00000_sc0000_az00_intrinsics.txt").read_bytes()
    pixels = b"350 0 159.5\n0 350 119.5\n0 0 1\n"
    return [
        Target("matrix", (pose,), _file(scratch / "x_RT.txt", files.read_matrix)),
        Target("matrix-validate", (pose,), _file(scratch / "y_RT.txt", lambda p: read_matrix_text(p, 4, 4))),
        Target(
            "intrinsics",
            (lens, pixels),
            _file(scratch / "x_intrinsics.txt", lambda path: files.read_pinhole(path, (320, 240))),
        ),
    ]


def _encoded(mode: str, file_format: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, file_format)
    return stream.getvalue()


def _pictures(scratch: Path) -> list[Target]:
    kinds = [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("L", "PNG"), ("RGB", "JPEG")]
    kinds += [("RGB", "WEBP"), ("RGB", "TIFF"), ("RGB", "BMP"), ("P", "GIF"), ("RGB", "PPM"), ("RGB", "TGA")]
    seeds = tuple(_encoded(*kind) for kind in kinds)
    mask = (DATA / "blocks" / "00000_sc0000_img0_mask.png").read_bytes()
    return [
        Target("picture", seeds, _file(scratch / "x.png", files.read_image)),
        Target("picture-validate", seeds, decode_image),
        Target("texture", seeds, _file(scratch / "t.png", textures.read_texture)),
        Target(
            "mask",
            (mask,),
            _file(scratch / "x_mask.png", lambda path: files.labels_from_mask(files.read_mask(path))),
        ),
    ]


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _depths(scratch: Path) -> list[Target]:
    seeds = (
        _npy(np.ones((4, 5, 1), np.float32)),
        _npy(np.ones((4, 5), ">f8")),
        _npy(np.ones((4, 5), np.int16)),
    )
    return [
        Target("depth", seeds, _file(scratch / "x_depth.npy", files.read_depth)),
        Target("depth-validate", seeds, decode_depth),
    ]


def _descriptions(scratch: Path) -> list[Target]:
    folder = scratch / "described"
    folder.mkdir()
    written = card.DatasetCard(
        image_size=(16, 12), focal_ratio=(1.0, 1.5), near=6, far=20, scenes=2, conventions=card.CONVENTIONS
    )
    card.write_card(folder, written)
    dataset = (folder / card.CARD_NAME).read_bytes()
    view = {"stem": "00000_sc0000_img0", "world_from_camera": np.eye(4).tolist()}
    item = {"label": 1, "asset": "cube", "position": [0, 0, 0]}
    scene = {"format_version": 1, "scene": 0, "seed": 0, "objects": [item], "views": [view]}
    taxonomy = [{"synsetId": "03001627", "name": "chair,seat", "children": [], "numInstances": 1}]
    recipes = tuple(path.read_bytes() for path in sorted((ROOT / "objnerf" / "recipes").glob("*.yaml")))
    facts = DatasetFacts(
        path="/data", scenes=2, views=8, image_size=(16, 12), train_scenes=(0,), held_out_scenes=(1,)
    )
    config = RunConfig(objnerf_version="0.1.0", recipe=load_recipe("tiny"), dataset=facts)
    run = dump_yaml(config).encode()
    presets = tuple(path.read_bytes() for path in sorted((ROOT / "generation/plan/presets").glob("*.yaml")))
    assets = (ROOT / "generation" / "assets" / "assets_manifest.yaml").read_bytes()
    return [
        Target("dataset.yaml", (dataset,), _file(folder / card.CARD_NAME, lambda p: card.read_card(folder))),
        Target(
            "scene-json", (json.dumps(scene).encode(),), _file(folder / "0000.json", card.read_scene_card)
        ),
        Target("recipe", recipes, _file(scratch / "r.yaml", lambda path: load_recipe(str(path)))),
        Target("run-config", (run,), _file(scratch / "config.yaml", lambda path: read_run_config(scratch))),
        Target(
            "assignment",
            (b"optimiser.lr=1e-3", b"stages.0.size=[64, 64]"),
            lambda content: parse_assignment(content.decode("utf-8", "replace")),
        ),
        Target("preset", presets, _file(scratch / "p.yaml", lambda path: load_preset(str(path)))),
        Target("manifest", (assets,), _file(scratch / "m.yaml", manifest.read_manifest)),
        Target(
            "taxonomy",
            (json.dumps(taxonomy).encode(),),
            _file(scratch / "taxonomy.json", lambda path: shapenet.read_taxonomy(scratch)),
        ),
        Target(
            "plan",
            ((DATA / "plans" / "room-diverse.json").read_bytes(),),
            _file(scratch / "plan.json", read_plan),
        ),
        Target(
            "poses-json",
            (json.dumps([np.eye(4).tolist()]).encode(),),
            _file(scratch / "poses.json", read_poses),
        ),
        Target("movement", (b"1.5\n-0.25\n",), _file(scratch / "movement.txt", read_movement)),
    ]


def _weights(scratch: Path) -> list[Target]:
    stream = io.BytesIO()
    torch.save({"a.weight": torch.zeros(2, 3), "b": torch.ones(2)}, stream)
    old = io.BytesIO()
    torch.save({"a.weight": torch.zeros(2, 3)}, old, _use_new_zipfile_serialization=False)
    header = json.dumps(
        {
            "__metadata__": {"objnerf": json.dumps({"format_version": 1, "step": 3})},
            "rng.cpu": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        }
    ).encode()
    checkpoint = struct.pack("<Q", len(header)) + header + b"\0" * 4
    return [
        Target("uorf-weights", (stream.getvalue(), old.getvalue()), _file(scratch / "w.pth", read_weights)),
        Target("checkpoint", (checkpoint,), _file(scratch / "last.safetensors", read_state)),
    ]


#: Files of foreign formats, as our own conversion writes them.
_FOREIGN = {
    "nerfstudio": ("sc0000/transforms.json",),
    "colmap": ("sc0000/sparse/0/cameras.txt", "sc0000/sparse/0/images.txt"),
    "colmap-binary": (
        *("sc0000/sparse/0/cameras.bin", "sc0000/sparse/0/images.bin"),
        "sc0000/sparse/0/points3D.bin",
    ),
    "webdataset": ("shard-000000.tar",),
    "webdataset-scenes": ("shard-000000.tar",),
    "obsurf": ("metadata.npz",),
    "parquet": ("data/train-00000-of-00001.parquet",),
}


def _tiny_dataset(root: Path) -> Path:
    """A scene of two views of 16 × 12 pixels with masks and depth, so that reading it takes little time."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for view, turn in enumerate((0.0, 1.0)):
        base = root / names.make_view_stem(view, 0, view, 1)
        files.write_image(base.with_suffix(".png"), rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        labels = np.zeros((12, 16), np.int64)
        labels[4:8, 5:9] = 1
        files.write_image(base.with_name(base.name + names.MASK_SUFFIX), files.mask_from_labels(labels))
        files.write_depth(
            base.with_name(base.name + names.DEPTH_SUFFIX), np.full((12, 16), 9.0 + view, np.float32)
        )
        eye = np.array([9.0 * np.cos(turn), 9.0 * np.sin(turn), 8.0])
        files.write_matrix(base.with_name(base.name + names.POSE_SUFFIX), look_at(eye, np.zeros(3)))
    return root


def _idr(root: Path) -> Path:
    """A scene in the layout of IDR and NeuS, with a projection a view."""
    (root / "image").mkdir(parents=True)
    arrays = {}
    for view, turn in enumerate((0.0, 1.0)):
        Image.new("RGB", (16, 12), (view, 99, 0)).save(root / "image" / f"{view:03d}.png")
        pose = look_at(np.array([3 * np.cos(turn), 3 * np.sin(turn), 2.0]), np.zeros(3))
        lens = np.array([[17.5, 0, 8, 0], [0, 17.5, 6, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        arrays[f"world_mat_{view}"], arrays[f"scale_mat_{view}"] = lens @ np.linalg.inv(pose), np.eye(4)
    np.savez(root / "cameras_sphere.npz", **arrays)
    return root


def _conversions(scratch: Path) -> list[Target]:
    found = []
    source = _tiny_dataset(scratch / "source")

    def read_idr(folder: Path) -> None:
        shutil.rmtree(scratch / "converted", ignore_errors=True)
        convert(folder, scratch / "converted", source_format="idr", target_format="objnerf")

    seeds, run = _in_folder(_idr(scratch / "idr"), scratch, "cameras_sphere.npz", read_idr)
    found.append(Target("idr-cameras_sphere.npz", seeds, run))
    for name, members in _FOREIGN.items():
        sound = scratch / name
        convert(source, sound, target_format=name)

        def read(folder: Path, name: str = name) -> None:
            out = scratch / "converted"
            shutil.rmtree(out, ignore_errors=True)
            convert(folder, out, source_format=name, target_format="objnerf")

        for member in members:
            seeds, run = _in_folder(sound, scratch, member, read)
            found.append(Target(f"{name}-{Path(member).name}", seeds, run))
    return found


def _meshes(scratch: Path) -> list[Target]:
    def read(path: Path) -> None:
        meshes.content_sha256(path)
        meshes.load_mesh(path, meshes.up_of(path, "auto"))

    found = []
    refused = ("gltf_basisu_used", "obj_missing_texture")
    for sound in sorted(folder for folder in (DATA / "meshes").iterdir() if folder.name not in refused):
        main = next((path for path in sound.iterdir() if path.suffix in meshes.SUFFIXES), None)
        if main is None:
            continue
        for path in sorted(sound.iterdir()):
            if path.suffix in (*meshes.SUFFIXES, ".mtl", ".bin"):
                seeds, run = _in_folder(
                    sound, scratch, path.name, lambda folder, name=main.name: read(folder / name)
                )
                found.append(Target(f"mesh-{sound.name}-{path.name}", seeds, run))
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    for kind in ("glb", "stl", "off", "ply"):
        content = box.export(file_type=kind)
        content = content.encode() if isinstance(content, str) else content
        found.append(Target(f"mesh-box.{kind}", (content,), _file(scratch / f"box.{kind}", read)))
    return found


def _names() -> Target:
    def read(content: bytes) -> None:
        name = content.decode("utf-8", "surrogateescape")
        for parse in (names.parse_view_name, names.split_companion, names.parse_movement_name):
            parse(name)
        view = names.parse_view_name(name)
        assert view is None or names.parse_view_name(f"{view.stem}.png") == view

    return Target("name", (b"00011_sc0002_img3.png", b"x_sc0001_RT.txt", b"002_movement.txt"), read)
