"""Everything a dataset may be made of, as data: the manifest turned into shapes, floors and walls.

An asset is a small record that travels in a scene's JSON. `build_mesh`, `floor_texture` and `wall_texture`
turn a record into triangles or pixels; procedural records need nothing else, records of files need the
`Roots` they lie under, so that a record holds no path of this machine.
"""

import hashlib
import importlib.resources
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, starmap
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict

from generation.assets.check import Inspector, Verdict, load_checked
from generation.assets.fetch import read_licences
from generation.assets.floors import FLOOR_FAMILIES, FloorFamily, Parameters, paint_floor, plan_surface
from generation.assets.manifest import (
    FolderShapes,
    ImageSurfaces,
    Manifest,
    ProceduralShapes,
    ProceduralSurfaces,
    ShapeNetShapes,
    Unit,
    read_manifest,
)
from generation.assets.mesh import Extent, ShapeMesh
from generation.assets.meshes import (
    READER_VERSION,
    SUFFIXES,
    Fit,
    Front,
    Limits,
    Up,
    family_of,
    importer_of,
    scan_folder,
    up_of,
)
from generation.assets.procedural import FAMILIES, MEASURED_FAMILIES, build_family
from generation.assets.shapenet import choose_synsets, find_models, find_release
from generation.assets.sweethome import LibraryModel, read_libraries
from generation.assets.textures import find_maps, find_textures, load_texture
from generation.assets.walls import WALL_FAMILIES, paint_wall
from generation.srgb import linear_from_srgb
from objnerf.errors import InputError

logger = logging.getLogger(__name__)

#: Metres of a unit that mesh files may be in.
_METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}

#: After so many shapes in a row that do not fit, made by code without end, none is taken to.
_MISFITS = 1000

_DRAWN_TO_CHECK = 20
_PAINTED_TO_CHECK = 64
_PAINTED_TO_MEASURE = 128

PROCEDURAL_VERSION = 1
"""Raised whenever the code of a family gives another mesh for the same parameters."""


class ShapeAsset(BaseModel):
    """One shape, as data.

    Attributes:
        id: unique and stable, as 'furniture/chair/5b1f0c9a2d3e' or 'shapenet/03001627/1a6f…'.
        kind: where the mesh comes from.
        family: 'chair', 'table', … or, for meshes of a folder, the folder's name.
        licence: licence of the mesh.
        source: name of the manifest's entry.
        sha256: of the content (procedural: of family and parameters).
        params: procedural: what the mesh is made from. Files: which way is up, and what reads them.
        file: path below its root, '/'-separated, for meshes from files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Literal["procedural", "shapenet", "folder"]
    family: str
    licence: str
    source: str
    sha256: str
    params: Parameters = {}
    file: str | None = None


class SurfaceAsset(BaseModel):
    """A tileable texture, as data.

    Attributes:
        id: unique and stable, as 'floors/herringbone/3'.
        kind: painted by code, or an image of the user's.
        family: 'planks', 'checker', …; for images the folder's name.
        licence: licence of the image.
        source: name of the manifest's entry.
        sha256: of the content (procedural: of family and parameters).
        params: procedural: what it is painted from.
        file: path below its root, '/'-separated, for images.
        tile_size: side of one tile in world units.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Literal["procedural", "image"]
    family: str
    licence: str
    source: str
    sha256: str
    params: Parameters = {}
    file: str | None = None
    tile_size: float


class FloorAsset(SurfaceAsset):
    """A floor."""


class WallAsset(SurfaceAsset):
    """What the walls are covered with."""


@dataclass(frozen=True)
class Roots:
    """Folders of this machine that the files of assets lie under.

    Attributes:
        shapenet: ShapeNetCore v1 or v2 (`--shapenet-root`).
        meshes: folder of mesh files (`--meshes`).
        textures: folder of images (`--textures`).
        entries: folders that the manifest itself names, by the name of the entry.
        limits: how large a mesh file may be.
    """

    shapenet: Path | None = None
    meshes: Path | None = None
    textures: Path | None = None
    entries: tuple[tuple[str, Path], ...] = ()
    limits: Limits = field(default_factory=Limits)

    def of(self, asset: ShapeAsset | SurfaceAsset) -> Path:
        """The folder that `asset.file` is relative to.

        Raises:
            InputError: that folder was not given.
        """
        named = dict(self.entries).get(asset.source)
        if named is not None:
            return named
        options: dict[str, tuple[str, Path | None]] = {
            "shapenet": ("--shapenet-root", self.shapenet),
            "folder": ("--meshes", self.meshes),
            "image": ("--textures", self.textures),
        }
        option, root = options[asset.kind]
        if root is None:
            raise InputError(
                f"asset {asset.id} needs the folder its file {asset.file} lies under: give {option} DIR."
            )
        return root


#: Says why a shape is not to be used, or None.
Misfit = Callable[[ShapeAsset], str | None]


@dataclass(frozen=True)
class CheckedAsset:
    """An asset that was looked at.

    Attributes:
        source: the manifest's entry.
        id: of the asset.
        reason: why it can't be used; None where it can.
        notes: what its file says and a scene won't show.
    """

    source: str
    id: str
    reason: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DroppedAsset:
    """An asset that can't be used, and why."""

    id: str
    reason: str


def default_manifest_path() -> Path:
    """`assets_manifest.yaml` of the repository; in an installed package, the copy inside `generation/assets`.

    Raises:
        InputError: neither is there.
    """
    packaged = Path(str(importlib.resources.files("generation.assets")))
    for candidate in (packaged.parents[1] / "assets_manifest.yaml", packaged / "assets_manifest.yaml"):
        if candidate.is_file():
            return candidate
    raise InputError(
        "assets_manifest.yaml was not found at the top of the repository, nor in the installed package. "
        "Give one with --assets FILE."
    )


def build_mesh(asset: ShapeAsset, roots: Roots | None = None) -> ShapeMesh:
    """The triangles of a shape, in the frame that `generation.assets.mesh` describes.

    Args:
        asset: the shape.
        roots: folders of files; procedural shapes need none.
    Raises:
        InputError: an unknown family, a folder that was not given, or a shape of another version's.
        WorkError: a file is gone, changed, or can't be used.
    """
    if asset.kind == "procedural":
        mesh = build_family(asset.family, asset.params)
        _require_digest(asset, f"shape/{asset.family}")
        return mesh
    roots = roots or Roots()
    assert asset.file is not None
    root = roots.of(asset)
    path = root / asset.file
    expected, found = _read_by(path), {"reader": 1, **asset.params}
    for key in expected:
        if found.get(key) != expected[key]:
            raise InputError(
                f"asset {asset.id}: the scene was planned with {key} {found.get(key, 'unknown')!r} for mesh "
                f"files, and this is {expected[key]!r}, which may give the file another look. Plan the scene "
                "anew, or make it with the version it was planned with."
            )
    up: Up = "z" if asset.params.get("up") == "z" else "y"
    front: Front = "-z" if asset.kind == "shapenet" else "+z"
    fit = Fit.of_params(asset.params)
    return load_checked(path, asset.id, asset.sha256, up, front, roots.limits, root, fit)


def _read_by(path: Path) -> Parameters:
    """What turns a file into a mesh, as part of an asset's parameters."""
    importer = importer_of(path)
    return (
        {"reader": READER_VERSION} if importer is None else {"reader": READER_VERSION, "importer": importer}
    )


def floor_texture(
    floor: FloorAsset, size: int = 512, roots: Roots | None = None
) -> UInt8[np.ndarray, "size size 3"]:
    """Tileable sRGB image of a floor, `size` pixels a side; it covers `floor.tile_size` world units.

    Raises:
        InputError: unknown family, or a folder that was not given.
        WorkError: the image is gone, changed, or can't be read.
    """
    if floor.kind == "procedural":
        picture = paint_floor(floor.family, floor.params, size)
        _require_digest(floor, f"floor/{floor.family}")
        return picture
    return _image(floor, size, roots)


def wall_texture(
    wall: WallAsset, size: int = 512, roots: Roots | None = None
) -> UInt8[np.ndarray, "size size 3"]:
    """Tileable sRGB image of a wall covering; as `floor_texture`."""
    if wall.kind == "procedural":
        picture = paint_wall(wall.family, wall.params, size)
        _require_digest(wall, f"wall/{wall.family}")
        return picture
    return _image(wall, size, roots)


def _image(surface: SurfaceAsset, size: int, roots: Roots | None) -> UInt8[np.ndarray, "size size 3"]:
    assert surface.file is not None
    path = (roots or Roots()).of(surface) / surface.file
    params = surface.params
    copies = int(params.get("across", 1)), int(params.get("down", 1))
    return load_texture(path, size, surface.sha256, bool(params.get("mirrored", False)), copies)


class Catalogue:
    """The manifest, with the user's folders, as lists of assets.

    Attributes:
        manifest: what the file says.
        roots: hand this to `build_mesh` and `floor_texture` for assets of this catalogue.
        mixed: shapes made by code come beside those of files, as many of each.
        options: what was said about files, as words of a command.
        dropped: assets that were left out so far, and why.
    """

    def __init__(
        self,
        manifest: Manifest,
        roots: Roots,
        cache_dir: Path | None = None,
        mixed: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        self.manifest = manifest
        self.roots = roots
        self.mixed = mixed
        self.options = options
        self.dropped: list[DroppedAsset] = []
        self._inspector = Inspector(cache_dir, roots.limits)
        self._extents: dict[str, Extent] = {}
        self._albedos: dict[str, np.ndarray] = {}

    @classmethod
    def load(
        cls,
        manifest: Path | None = None,
        shapenet_root: Path | None = None,
        meshes: Path | None = None,
        textures: Path | None = None,
        cache_dir: Path | None = None,
        *,
        up: Literal["auto", "y", "z"] | None = None,
        unit: Unit | None = None,
        mixed: bool = False,
    ) -> "Catalogue":
        """Read a manifest and look at the folders that go with it.

        Args:
            manifest: None for the one that comes with the package.
            shapenet_root: ShapeNetCore v1 or v2; its shapes then stand in for the procedural ones.
            meshes: folder of mesh files; they then stand in for the procedural shapes.
            textures: folder of images; they then stand in for the procedural floors.
            cache_dir: where verdicts about files are remembered; None for the user's cache folder.
            up: the upward axis of mesh files; None for what the manifest says.
            unit: of mesh files; None for what the manifest says.
            mixed: shapes made by code come beside those of files.
        Raises:
            InputError: the manifest or a folder can't be used.
        """
        path = manifest or default_manifest_path()
        content = read_manifest(path)
        said = {key: value for key, value in (("up", up), ("unit", unit)) if value is not None}
        shapes = [
            entry.model_copy(update=said) if isinstance(entry, FolderShapes) else entry
            for entry in content.shapes
        ]
        content = content.model_copy(update={"shapes": shapes})
        for option, folder in (
            ("--shapenet-root", shapenet_root),
            ("--meshes", meshes),
            ("--textures", textures),
        ):
            if folder is not None and not folder.is_dir():
                raise InputError(f"{option} {folder}: there is no such folder.")
        named = []
        for entry in (*content.shapes, *content.floors):
            if isinstance(entry, FolderShapes | ImageSurfaces) and entry.path is not None:
                folder = entry.path if entry.path.is_absolute() else path.parent / entry.path
                if not folder.is_dir():
                    raise InputError(
                        f"asset manifest {path}: entry {entry.name!r}: there is no folder {folder}."
                    )
                named.append((entry.name, folder))
        limits = Limits(content.limits.max_file_mb, content.limits.max_faces)
        roots = Roots(shapenet_root, meshes, textures, tuple(named), limits)
        options = tuple(f"--{key} {value}" for key, value in said.items()) + (("--mix",) if mixed else ())
        return cls(content, roots, cache_dir, mixed, options)

    def shapes(
        self,
        shape_source: str,
        count: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        misfit: Misfit | None = None,
    ) -> list[ShapeAsset]:
        """`count` different shapes; a longer list begins with the shorter one.

        Args:
            shape_source: an entry of the manifest ('furniture', 'primitives') or a family ('chair').
                ShapeNet and mesh folders that the user gave stand in for it.
            count: how many.
            seed: chooses the shapes; 0 is a seed.
            progress: called with (shapes so far, count) while files are being checked.
            misfit: says why a shape is to be left out, or None.
        Raises:
            InputError: nothing of that name, or fewer shapes than asked for.
        """
        shapes = self.offered_shapes(shape_source, count, seed, progress, misfit)
        if len(shapes) < count:
            dropped = (
                f" ({len(self.dropped)} more can't be used; `objnerf assets check` says why)"
                if self.dropped
                else ""
            )
            raise InputError(
                f"{count} shapes were asked for, and {shape_source!r} offers {len(shapes)}{dropped}. "
                f"Ask for at most --shapes {len(shapes)}, or offer more with --meshes or --shapenet-root."
            )
        return shapes

    def offered_shapes(
        self,
        shape_source: str,
        count: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        misfit: Misfit | None = None,
    ) -> list[ShapeAsset]:
        """`count` different shapes, or as many as there are; otherwise as `shapes`.

        Raises:
            InputError: nothing of that name, or none of its files can be used.
        """
        if count < 1:
            raise InputError(f"--shapes must be at least 1, found {count}.")
        shapes: list[ShapeAsset] = []
        for asset in islice(self.usable_shapes(shape_source, seed, misfit), count):
            shapes.append(asset)
            if progress is not None:
                progress(len(shapes), count)
        if not shapes:
            if not self.dropped:
                raise InputError(f"no shape of {shape_source!r} fits the preset's scenes in its real size.")
            last = self.dropped[-1]
            raise InputError(
                f"none of the {len(self.dropped)} files that stand in for {shape_source!r} can be used; the "
                f"last of them, {last.id}: {last.reason}."
            )
        return shapes

    def _fitting(self, shapes: Iterator[ShapeAsset], misfit: Misfit | None) -> Iterator[ShapeAsset]:
        """Those that fit; files that don't are named, shapes made by code are only passed over."""
        in_a_row = 0
        for shape in shapes:
            reason = None if misfit is None else misfit(shape)
            if reason is None:
                in_a_row = 0
                yield shape
                continue
            if shape.kind != "procedural":
                self._drop(shape.id, reason)
            in_a_row += 1
            if in_a_row == _MISFITS:
                return

    def _drop(self, name: str, reason: str) -> None:
        dropped = DroppedAsset(name, reason)
        if dropped not in self.dropped:
            self.dropped.append(dropped)
            logger.warning("left out %s: %s", dropped.id, dropped.reason)

    def usable_shapes(
        self, shape_source: str, seed: int, misfit: Misfit | None = None
    ) -> Iterator[ShapeAsset]:
        """The shapes of a source in their order for `seed`, without end for procedural sources.

        Files are checked as they come; those that can't be used are left out and noted in `dropped`. Where
        files are mixed with shapes made by code, one of each comes in turn, until there are no more files.

        Raises:
            InputError: nothing of that name, or a folder was given that doesn't stand in for it.
        """
        given = [
            entry
            for entry in self.manifest.shapes
            if isinstance(entry, ShapeNetShapes | FolderShapes) and self._is_given(entry)
        ]
        fitting = [entry for entry in given if self._stands_for(entry, shape_source)]
        if fitting:
            made = self._fitting(self._made_shapes(shape_source, seed), misfit) if self.mixed else iter(())
            for asset in self._fitting(self._file_shapes(fitting, shape_source, seed), misfit):
                yield asset
                yield from islice(made, 1)
            return
        if given:
            raise InputError(
                f"shapes of {given[0].name!r} were given, which stand in for {given[0].stands_for!r}, "
                f"and {shape_source!r} was asked for. Leave --meshes and --shapenet-root out, or write a "
                f"manifest with `stands_for: {shape_source}` and give it with --assets."
            )
        if self.mixed:
            raise InputError(
                "--mix puts shapes made by code beside those of files: give --meshes or --shapenet-root."
            )
        yield from self._fitting(self._made_shapes(shape_source, seed), misfit)

    def _file_shapes(
        self, entries: Sequence[ShapeNetShapes | FolderShapes], shape_source: str, seed: int
    ) -> Iterator[ShapeAsset]:
        """The usable files of some entries."""
        wanted = [candidate for entry in entries for candidate in self._candidates(entry, shape_source)]
        order = np.random.default_rng([seed, zlib.crc32(b"files")]).permutation(len(wanted))
        for place in order:
            asset = self._checked_shape(wanted[place])
            if asset is not None:
                yield asset

    def _made_shapes(self, shape_source: str, seed: int) -> Iterator[ShapeAsset]:
        """The shapes made by code of a source.

        Raises:
            InputError: nothing of that name.
        """
        for procedural in self.manifest.shapes:
            if isinstance(procedural, ProceduralShapes):
                if procedural.name == shape_source:
                    yield from _procedural_shapes(procedural, procedural.families, seed)
                    return
                if shape_source in procedural.families:
                    yield from _procedural_shapes(procedural, {shape_source: 1}, seed)
                    return
        names = ", ".join(entry.name for entry in self.manifest.shapes)
        raise InputError(
            f"no shape source {shape_source!r}; the manifest has {names}, and the families "
            f"{', '.join(FAMILIES)}."
        )

    def check(self, progress: Callable[[int, int, str], None] | None = None) -> list[CheckedAsset]:
        """Look at every file that this catalogue could use, and at a few shapes and floors of every family.

        Args:
            progress: called with (assets so far, assets in all, name).
        Returns:
            One record an asset, sound ones included.
        Raises:
            InputError: a folder can't be used at all.
        """
        files = self._mesh_files()
        left_out = self.left_out()
        images = self._floor_images()
        shapes = self._sample_shapes()
        surfaces = self._sample_surfaces()
        total = len(files) + len(left_out) + len(images) + len(shapes) + len(surfaces)
        results: list[CheckedAsset] = []
        for checked in chain(
            map(self._check_file, files),
            left_out,
            starmap(self._check_image, images),
            map(_check_shape, shapes),
            map(_check_surface, surfaces),
        ):
            results.append(checked)
            if progress is not None:
                progress(len(results), total, checked.id)
        return results

    def _mesh_files(self) -> list["_Candidate"]:
        """Every mesh file of the folders that are given."""
        return [
            candidate
            for entry in self.manifest.shapes
            if isinstance(entry, ShapeNetShapes | FolderShapes) and self._is_given(entry)
            for candidate in self._candidates(entry, entry.stands_for)
        ]

    def _floor_images(self) -> list[tuple[ImageSurfaces, Path]]:
        """Every image of the folders of floors that are given, below its folder."""
        return [
            (entry, path)
            for entry in self.manifest.floors
            if isinstance(entry, ImageSurfaces) and self._is_given(entry)
            for path in find_textures(self._folder(entry))
        ]

    def _sample_shapes(self) -> list[ShapeAsset]:
        """A few different shapes of every procedural family."""
        drawn = {
            asset.id: asset
            for entry in self.manifest.shapes
            if isinstance(entry, ProceduralShapes)
            for family in entry.families
            for number in range(_DRAWN_TO_CHECK)
            for asset in [_procedural_shape(entry, family, 0, number)]
        }
        return list(drawn.values())

    def _sample_surfaces(self) -> list[FloorAsset | WallAsset]:
        """Every look of the procedural floors and walls."""
        floors = [
            FloorAsset.model_validate(_painted(entry, f"floor/{family}", FLOOR_FAMILIES[family], variant))
            for entry in self.manifest.floors
            if isinstance(entry, ProceduralSurfaces)
            for family in entry.families
            for variant in range(FLOOR_FAMILIES[family].looks)
        ]
        walls = [
            WallAsset.model_validate(_painted(entry, f"wall/{family}", WALL_FAMILIES[family], variant))
            for entry in self.manifest.walls
            for family in entry.families
            for variant in range(WALL_FAMILIES[family].looks)
        ]
        return [*floors, *walls]

    def _check_file(self, candidate: "_Candidate") -> CheckedAsset:
        verdict = self._inspect(candidate)
        return CheckedAsset(candidate.entry.name, candidate.id, verdict.reason, verdict.notes)

    def _check_image(self, entry: ImageSurfaces, path: Path) -> CheckedAsset:
        verdict = self._inspector.texture(self._folder(entry) / path)
        return CheckedAsset(entry.name, f"{entry.name}/{path.as_posix()}", verdict.reason)

    def left_out(self) -> list[CheckedAsset]:
        """Files of given folders that offer nothing of their own: doubles, maps, and what can't be read."""
        found = []
        for entry in self.manifest.shapes:
            if isinstance(entry, FolderShapes) and self._is_given(entry):
                content = scan_folder(self._folder(entry))
                found += [
                    CheckedAsset(entry.name, f"{entry.name}/{path.as_posix()}", reason)
                    for path, reason in content.unread
                ]
                found += [
                    _left_out(entry, path, f"the shape of {other.name}") for path, other in content.doubles
                ]
                found += [
                    _left_out(entry, Path(candidate.file), reason)
                    for candidate in _of_folder(entry, self._folder(entry), content.meshes)
                    if (reason := candidate.why_left_out()) is not None
                ]
        for surface in self.manifest.floors:
            if isinstance(surface, ImageSurfaces) and self._is_given(surface):
                maps = find_maps(self._folder(surface))
                found += [
                    _left_out(surface, path, f"a map of {other.name}, which holds the colours")
                    for path, other in maps
                ]
        return found

    def candidates(self) -> dict[str, dict[str, int]]:
        """How many files each given entry offers, by entry and synset or folder; none of them looked at."""
        counts: dict[str, dict[str, int]] = {}
        for entry in self.manifest.shapes:
            if isinstance(entry, ShapeNetShapes | FolderShapes) and self._is_given(entry):
                of_entry = counts.setdefault(entry.name, {})
                for candidate in self._candidates(entry, entry.stands_for):
                    of_entry[candidate.family] = of_entry.get(candidate.family, 0) + 1
        for surface in self.manifest.floors:
            if isinstance(surface, ImageSurfaces) and self._is_given(surface):
                for path in find_textures(self._folder(surface)):
                    of_entry = counts.setdefault(surface.name, {})
                    family = path.parent.name or "images"
                    of_entry[family] = of_entry.get(family, 0) + 1
        return counts

    def extent(self, asset: ShapeAsset) -> Extent:
        """Bounding box and footprint of a shape, built once and remembered."""
        known = self._extents.get(asset.id)
        if known is None:
            mesh = build_mesh(asset, self.roots)
            known = self._extents[asset.id] = Extent(mesh.size, mesh.footprint(), mesh.diagonal)
        return known

    def metres(self, asset: ShapeAsset) -> float | None:
        """Real diagonal of a shape's bounding box; None for solids and ShapeNet, which have no real size."""
        if asset.kind == "procedural" and asset.family in MEASURED_FAMILIES:
            return _METRES["cm"] * self.extent(asset).diagonal
        if asset.kind == "folder":
            return _METRES[str(asset.params.get("unit", "m"))] * self.extent(asset).diagonal
        return None

    def light_albedo(self, surface: FloorAsset | WallAsset) -> Float[np.ndarray, "3"]:
        """Linear RGB that 98 % of a texture don't exceed, channel by channel; painted once and remembered."""
        known = self._albedos.get(surface.id)
        if known is None:
            if isinstance(surface, FloorAsset):
                pixels = floor_texture(surface, _PAINTED_TO_MEASURE, self.roots)
            else:
                pixels = wall_texture(surface, _PAINTED_TO_MEASURE, self.roots)
            share = np.percentile(pixels.reshape(-1, 3), 98, axis=0) / 255
            known = self._albedos[surface.id] = linear_from_srgb(share)
        return known

    def floors(self, count: int) -> list[FloorAsset]:
        """`count` different floors; a longer list begins with the shorter one.

        Raises:
            InputError: an image folder was given and holds fewer.
        """
        floors = self.offered_floors(count)
        if len(floors) < count:
            raise InputError(
                f"{count} backgrounds were asked for, and {self._image_folders()} offers {len(floors)} "
                f"usable images. Ask for at most --bgs {len(floors)}, or add images (PNG, JPEG, "
                "WebP, BMP or TIFF)."
            )
        return floors

    def offered_floors(self, count: int) -> list[FloorAsset]:
        """`count` different floors, or as many as there are; otherwise as `floors`.

        Raises:
            InputError: an image folder was given, and none of its images can be used.
        """
        if count < 1:
            raise InputError(f"--bgs must be at least 1, found {count}.")
        images = self._given_images()
        if images:
            return self._image_floors(images, count)
        return [
            FloorAsset.model_validate(_painted(entry, f"floor/{family}", FLOOR_FAMILIES[family], variant))
            for entry, family, variant in islice(_in_turn(self.manifest.floors), count)
        ]

    def _given_images(self) -> list[ImageSurfaces]:
        return [
            entry
            for entry in self.manifest.floors
            if isinstance(entry, ImageSurfaces) and self._is_given(entry)
        ]

    def _image_folders(self) -> str:
        return ", ".join(str(self._folder(entry)) for entry in self._given_images())

    def walls(self, count: int) -> list[WallAsset]:
        """`count` different wall coverings; a longer list begins with the shorter one."""
        return [
            WallAsset.model_validate(_painted(entry, f"wall/{family}", WALL_FAMILIES[family], variant))
            for entry, family, variant in islice(_in_turn(self.manifest.walls), count)
        ]

    def _is_given(self, entry: ShapeNetShapes | FolderShapes | ImageSurfaces) -> bool:
        if isinstance(entry, ShapeNetShapes):
            return self.roots.shapenet is not None
        given = self.roots.meshes if isinstance(entry, FolderShapes) else self.roots.textures
        return entry.path is not None or given is not None

    def _stands_for(self, entry: ShapeNetShapes | FolderShapes, shape_source: str) -> bool:
        """Whether a given entry is what is asked for: by name, or for a procedural source or family."""
        if shape_source in (entry.name, entry.stands_for):
            return True
        replaced = [
            p for p in self.manifest.shapes if isinstance(p, ProceduralShapes) and p.name == entry.stands_for
        ]
        return any(shape_source in procedural.families for procedural in replaced)

    def _folder(self, entry: ShapeNetShapes | FolderShapes | ImageSurfaces) -> Path:
        named = dict(self.roots.entries).get(entry.name)
        if isinstance(entry, ShapeNetShapes):
            folder = self.roots.shapenet
        else:
            folder = named or (self.roots.meshes if isinstance(entry, FolderShapes) else self.roots.textures)
        assert folder is not None
        return folder

    def _candidates(self, entry: ShapeNetShapes | FolderShapes, shape_source: str) -> list["_Candidate"]:
        """The files of an entry, sorted; for a family those of its synset, or of its folder."""
        folder = self._folder(entry)
        if isinstance(entry, ShapeNetShapes):
            release = find_release(folder)
            synsets = choose_synsets(release, entry.synsets)
            if shape_source not in (entry.name, entry.stands_for):
                narrow = {synset.id for synset in choose_synsets(release, [shape_source])}
                synsets = [synset for synset in synsets if synset.id in narrow]
            if not synsets:
                raise InputError(
                    f"{shape_source!r} was asked for, and entry {entry.name!r} of the manifest has the "
                    f"synsets {', '.join(entry.synsets)}."
                )
            found = [
                _Candidate(
                    entry, model.synset.names[0], f"{entry.name}/{model.synset.id}/{model.id}", model.file
                )
                for synset in synsets
                for model in find_models(folder, synset)
            ]
        else:
            meshes = scan_folder(folder).meshes
            found = [
                candidate
                for candidate in _of_folder(entry, folder, meshes)
                if candidate.why_left_out() is None
            ]
            if meshes and not found:
                raise InputError(
                    f"{folder}: none of its {len(meshes)} models is used; `objnerf assets check` says why. "
                    "Those of the manifest's library_families are."
                )
            if not found:
                raise InputError(
                    f"{folder}: expected mesh files here or in its folders ({', '.join(SUFFIXES)}); found "
                    f"none{_unread_hint(folder)}."
                )
        if isinstance(entry, ShapeNetShapes) or shape_source in (entry.name, entry.stands_for):
            return found
        return [candidate for candidate in found if candidate.family == shape_source] or found

    def _inspect(self, candidate: "_Candidate") -> Verdict:
        path = self._folder(candidate.entry) / candidate.file
        root, fit = self._folder(candidate.entry), candidate.fit
        return self._inspector.shape(path, candidate.up, candidate.front, root, fit)

    def _checked_shape(self, candidate: "_Candidate") -> ShapeAsset | None:
        verdict = self._inspect(candidate)
        if verdict.reason is not None:
            self._drop(candidate.id, verdict.reason)
            return None
        self._extents[candidate.id] = verdict.extent
        entry, model = candidate.entry, candidate.model
        note = read_licences((self._folder(entry) / candidate.file).parent).get(Path(candidate.file).name, {})
        return ShapeAsset(
            id=candidate.id,
            kind=entry.kind,
            family=candidate.family,
            licence=note.get("licence", entry.licence if model is None else model.licence),
            source=entry.name,
            sha256=verdict.sha256,
            params={"up": candidate.up, **_read_by(Path(candidate.file))}
            | ({"unit": entry.unit} if isinstance(entry, FolderShapes) else {})
            | ({} if model is None else {**model.fit.params(), "unit": "cm", "creator": model.creator}),
            file=candidate.file,
        )

    def _image_floors(self, entries: list[ImageSurfaces], count: int) -> list[FloorAsset]:
        floors: list[FloorAsset] = []
        for entry in entries:
            folder = self._folder(entry)
            for path in find_textures(folder):
                if len(floors) == count:
                    return floors
                verdict = self._inspector.texture(folder / path)
                name = f"{entry.name}/{path.as_posix()}"
                if verdict.reason is not None:
                    self._drop(name, verdict.reason)
                    continue
                note = read_licences((folder / path).parent).get(path.name, {})
                floors.append(
                    FloorAsset(
                        id=name,
                        kind="image",
                        family=path.parent.name or "images",
                        licence=note.get("licence", entry.licence),
                        source=entry.name,
                        sha256=verdict.sha256,
                        params={"mirrored": verdict.mirrored, **_copies(verdict)},
                        file=path.as_posix(),
                        # the longer side of the image is one tile_size
                        tile_size=entry.tile_size
                        * min(verdict.across, verdict.down)
                        * (2 if verdict.mirrored else 1),
                    )
                )
        if not floors:
            raise InputError(
                f"--textures: no usable image (PNG, JPEG, WebP, BMP or TIFF) below {self._image_folders()}."
            )
        return floors


def _check_shape(asset: ShapeAsset) -> CheckedAsset:
    finite = bool(np.isfinite(build_mesh(asset).vertices).all())
    return CheckedAsset(asset.source, asset.id, None if finite else "its vertices are not finite")


def _check_surface(asset: FloorAsset | WallAsset) -> CheckedAsset:
    paint = paint_floor if isinstance(asset, FloorAsset) else paint_wall
    plain = int(np.ptp(paint(asset.family, asset.params, _PAINTED_TO_CHECK))) == 0
    return CheckedAsset(asset.source, asset.id, "all its pixels are the same" if plain else None)


def _copies(verdict: Verdict) -> Parameters:
    square = (verdict.across, verdict.down) == (1, 1)
    return {} if square else {"across": verdict.across, "down": verdict.down}


def _left_out(entry: FolderShapes | ImageSurfaces, path: Path, why: str) -> CheckedAsset:
    return CheckedAsset(entry.name, f"{entry.name}/{path.as_posix()}", None, (f"left out: {why}",))


def _unread_hint(folder: Path) -> str:
    """What else is there, for whoever gave the folder."""
    unread = scan_folder(folder).unread
    if not unread:
        return ""
    path, reason = unread[0]
    return f", but {len(unread)} that can't be used, as {path.as_posix()} ({reason})"


@dataclass(frozen=True)
class _Candidate:
    """A mesh file that nobody has looked at yet."""

    entry: ShapeNetShapes | FolderShapes
    family: str
    id: str
    file: str
    model: LibraryModel | None = None

    @property
    def up(self) -> Up:
        if isinstance(self.entry, ShapeNetShapes) or self.model is not None:
            return "y"
        return up_of(Path(self.file), self.entry.up)

    @property
    def fit(self) -> Fit | None:
        return None if self.model is None else self.model.fit

    def why_left_out(self) -> str | None:
        """Why a model of a library is not used although its file may be sound; None where it is."""
        if self.model is None or not isinstance(self.entry, FolderShapes):
            return None
        families = self.entry.library_families
        if families is not None and self.family not in families:
            return f"{self.model.name!r} ({self.family}) is none of the manifest's library_families"
        if self.model.elevation_cm > 0:
            return f"{self.model.name!r} hangs {self.model.elevation_cm:g} cm above the floor"
        return None

    @property
    def front(self) -> Front:
        return "-z" if isinstance(self.entry, ShapeNetShapes) else "+z"


def _of_folder(entry: FolderShapes, folder: Path, meshes: list[Path]) -> list[_Candidate]:
    """All mesh files of a folder, with what libraries of Sweet Home 3D in it state about them."""
    models = read_libraries(folder, meshes)
    return [
        _Candidate(
            entry,
            models[path].family if path in models else family_of(path),
            f"{entry.name}/{path.as_posix()}",
            path.as_posix(),
            models.get(path),
        )
        for path in meshes
    ]


def _digest(name: str, params: Parameters) -> str:
    """Hash of what a procedural asset is made from."""
    record = json.dumps([PROCEDURAL_VERSION, name, params], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()


def _require_digest(asset: ShapeAsset | SurfaceAsset, name: str) -> None:
    """Refuse a record whose parameters this version would not give its checksum.

    Raises:
        InputError: it was changed, or the code has changed since.
    """
    if _digest(name, asset.params) != asset.sha256:
        raise InputError(
            f"asset {asset.id}: its checksum is not that of its parameters. The record was changed, or "
            "written by another version of the package; make the scene with that version."
        )


def _painted(entry: ProceduralSurfaces, name: str, family: FloorFamily, variant: int) -> dict[str, Any]:
    """Fields of the record of a painted surface; `name` is 'floor/planks' or 'wall/dots'."""
    params = plan_surface(family, name, variant)
    bare = name.partition("/")[2]
    return {
        "id": f"{entry.name}/{bare}/{variant}",
        "kind": "procedural",
        "family": bare,
        "licence": entry.licence,
        "source": entry.name,
        "sha256": _digest(name, params),
        "params": params,
        "tile_size": family.tile_size,
    }


def _in_turn(
    entries: Sequence[ProceduralSurfaces | ImageSurfaces],
) -> Iterator[tuple[ProceduralSurfaces, str, int]]:
    """All procedural families in turn, again and again: entry, family, variant."""
    offered = [
        (entry, family)
        for entry in entries
        if isinstance(entry, ProceduralSurfaces)
        for family in entry.families
    ]
    variant = 0
    while offered:
        for entry, family in offered:
            yield entry, family, variant
        variant += 1


def _procedural_shapes(entry: ProceduralShapes, families: dict[str, int], seed: int) -> Iterator[ShapeAsset]:
    """Shapes of several families by their weights; ends when every family has shown all it has."""
    seen: set[str] = set()
    drawn = dict.fromkeys(families, 0)
    open_families = dict(families)
    while open_families:
        # the family that is furthest behind its share; so every beginning of the list is balanced
        family = max(open_families, key=lambda name: open_families[name] / (drawn[name] + 1))
        drawn[family] += 1
        asset = _procedural_shape(entry, family, seed, drawn[family] - 1)
        if asset.id in seen:
            # only a family without parameters draws the same shape again
            del open_families[family]
            continue
        seen.add(asset.id)
        yield asset


def _procedural_shape(entry: ProceduralShapes, family: str, seed: int, number: int) -> ShapeAsset:
    stream = np.random.SeedSequence([seed, zlib.crc32(family.encode()), number])
    shape = FAMILIES[family].draw(np.random.default_rng(stream))
    params: Parameters = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(shape).items()  # type: ignore[call-overload]
    }
    digest = _digest(f"shape/{family}", params)
    return ShapeAsset(
        id=f"{entry.name}/{family}/{digest[:12]}",
        kind="procedural",
        family=family,
        licence=entry.licence,
        source=entry.name,
        sha256=digest,
        params=params,
    )
