"""The readers of mesh files against Blender's own importers: `python benchmarks/importers.py FOLDER`.

Each file of a format that objnerf reads itself is also imported by Blender. Compared are the surface's
area (diagonal 1, so that units play no part) and its mean albedo over points on the surface. A file differs
when its area is off by more than 1 %, or a channel of its albedo by more than 8 levels of 255.

Blender takes seconds a file. With --keep DIR what it imported is kept there, and so are the figures, by
content and version of the readers: an interrupted run goes on where it stopped. --part 2/4 looks at a quarter
of the files; after all four a run without --part sums up.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from generation.assets.mesh import ShapeMesh
from generation.assets.meshes import (
    READER_VERSION,
    companions,
    content_sha256,
    load_mesh,
    scan_folder,
    up_of,
)
from generation.assets.reading import blender
from generation.assets.reading.pieces import UnusableMesh
from generation.assets.sampling import surface_colours
from objnerf.dataset.files import atomic_path, write_text

#: What a surface without a material gets by way of glTF; here it has a paint of the preset's.
_BARE = (1.0, 1.0, 1.0)
_POINTS = 20_000
_MAX_AREA, _MAX_LEVELS = 0.01, 8.0
_SECONDS_BETWEEN_LINES = 60


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
    parser.add_argument("--keep", type=Path, help="folder for what Blender imported")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="only the Ith of N parts of the files")
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
    part, parts = (int(word) for word in arguments.part.split("/"))
    files = files[part - 1 :: parts]
    with tempfile.TemporaryDirectory(prefix="objnerf-importers-") as scratch:
        kept: Path = arguments.keep or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        report(folder, files, kept)


def report(folder: Path, files: list[Path], kept: Path) -> None:
    """One line for each file that differs or that could not be compared, and the sums."""
    different = compared = 0
    start = said = time.monotonic()
    for number, path in enumerate(files):
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{number} of {len(files)} files after {said - start:.0f} s", file=sys.stderr, flush=True)
        difference = compare(folder, path, kept)
        compared += not difference.problem
        different += difference.is_one
        if difference.problem:
            print(f"{difference.name}: not compared: {difference.problem}", flush=True)
        elif difference.is_one:
            print(
                f"{difference.name}: area {difference.area:+.1%}, albedo {difference.levels:.1f} levels",
                flush=True,
            )
    share = different / max(compared, 1)
    print(f"{different} of {compared} files differ ({share:.1%}); {len(files) - compared} were not compared")


def compare(folder: Path, name: Path, kept: Path) -> Difference:
    """Both readings of a file.

    Args:
        folder: that holds it.
        name: its path below that folder.
        kept: where Blender's own import is looked for, and put.
    """
    path = folder / name
    record = kept / f"{content_sha256(path, folder)}-{READER_VERSION}.json"
    if record.is_file():
        return Difference(**{**json.loads(record.read_text(encoding="utf-8")), "name": name.as_posix()})
    difference = _compared(folder, name, kept)
    write_text(record, json.dumps(asdict(difference)))
    return difference


def _compared(folder: Path, name: Path, kept: Path) -> Difference:
    path = folder / name
    try:
        ours = load_mesh(path, up_of(path, "auto"), root=folder)
        # what Blender writes is y-up again, whatever it read
        theirs = load_mesh(imported(folder, path, kept), "y")
    except UnusableMesh as error:
        return Difference(name.as_posix(), problem=str(error))
    (area, albedo), (expected_area, expected_albedo) = _figures(ours), _figures(theirs)
    return Difference(
        name.as_posix(), area / expected_area - 1, float(np.abs(albedo - expected_albedo).max()) * 255
    )


def imported(folder: Path, path: Path, kept: Path) -> Path:
    """The GLB that Blender makes of a file, found by the file's content where it was made before."""
    glb = kept / f"{content_sha256(path, folder)}.glb"
    if not glb.is_file():
        near: list[tuple[str, Path | None]] = [
            (os.path.relpath(found, path.parent), found)
            for _, found in companions(path, folder)
            if found is not None
        ]
        with atomic_path(glb) as temporary:
            blender.convert(path, near, temporary)
    return glb


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
