"""The readers of mesh files against Blender's own importers: `python benchmarks/importers.py FOLDER`.

Each file of a format that objnerf reads itself is also imported by Blender. Compared are the surface's
area (diagonal 1, so that units play no part) and its mean albedo over points on the surface. A file differs
when its area is off by more than 1 %, or a channel of its albedo by more than 8 levels of 255.
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generation.assets.mesh import ShapeMesh
from generation.assets.meshes import companions, load_mesh, scan_folder, up_of
from generation.assets.reading import blender
from generation.assets.reading.pieces import UnusableMesh
from generation.assets.sampling import surface_colours

#: What a surface without a material gets by way of glTF; here it has a paint of the preset's.
_BARE = (1.0, 1.0, 1.0)
_POINTS = 20_000
_MAX_AREA, _MAX_LEVELS = 0.01, 8.0


@dataclass(frozen=True)
class Difference:
    """Of one file; `problem` says why it could not be compared."""

    name: str
    area: float = 0.0
    levels: float = 0.0
    problem: str = ""

    @property
    def is_one(self) -> bool:
        return abs(self.area) > _MAX_AREA or self.levels > _MAX_LEVELS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, help="so many files, chosen by chance")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    files = [
        path
        for path in scan_folder(folder).meshes
        if path.suffix.lower() in (".obj", ".ply", ".gltf", ".glb")
    ]
    if arguments.sample is not None and arguments.sample < len(files):
        chosen = np.random.default_rng(0).choice(len(files), arguments.sample, replace=False)
        files = [files[index] for index in sorted(chosen)]
    different = compared = 0
    for path in files:
        difference = compare(folder, path)
        compared += not difference.problem
        different += difference.is_one
        if difference.problem:
            print(f"{difference.name}: not compared: {difference.problem}", flush=True)
        elif difference.is_one:
            print(
                f"{difference.name}: area {difference.area:+.1%}, albedo {difference.levels:.1f} levels",
                flush=True,
            )
    print(f"{different} of {compared} files differ ({different / max(compared, 1):.1%})")


def compare(folder: Path, name: Path) -> Difference:
    """Both readings of a file."""
    path = folder / name
    up = up_of(path, "auto")
    try:
        ours = load_mesh(path, up, root=folder)
        with tempfile.TemporaryDirectory() as scratch:
            glb = Path(scratch) / "model.glb"
            near: list[tuple[str, Path | None]] = [
                (os.path.relpath(found, path.parent), found)
                for _, found in companions(path, folder)
                if found is not None
            ]
            blender.convert(path, near, glb)
            # what Blender writes is y-up again, whatever it read
            theirs = load_mesh(glb, "y")
    except UnusableMesh as error:
        return Difference(name.as_posix(), problem=str(error))
    (area, albedo), (expected_area, expected_albedo) = _figures(ours), _figures(theirs)
    return Difference(
        name.as_posix(), area / expected_area - 1, float(np.abs(albedo - expected_albedo).max()) * 255
    )


def _figures(mesh: ShapeMesh) -> tuple[float, np.ndarray]:
    """Area, and mean sRGB over the surface."""
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    rng = np.random.default_rng(0)
    face = rng.choice(len(areas), _POINTS, p=areas / areas.sum())
    weights = rng.dirichlet((1, 1, 1), _POINTS)
    colours = surface_colours(mesh, face, weights, [_BARE] * len(mesh.materials))
    return float(areas.sum()), colours.mean(axis=0)


if __name__ == "__main__":
    main()
