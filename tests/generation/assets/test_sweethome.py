"""Furniture libraries of Sweet Home 3D: a small one made by hand, as its ZIP unpacks."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import trimesh
from click.testing import CliRunner

import cli
from generation.assets.catalogue import Catalogue, build_mesh
from generation.assets.meshes import Fit, load_mesh
from generation.assets.sweethome import CATALOGUE, family_of_name, read_catalogue
from generation.jobs.dataset import make_card
from generation.plan.plan import AssetPool
from generation.plan.request import build_request

_HEAD = """# models made by hand
id=Test#library
license=Creative Commons Attribution 3.0 United States license  Copyright \u00a9 2003 A. Maker & B. Maker
"""

#: A wedge that rises towards +x, 10 × 1 × 4 in its file; z is up in the second one.
_WEDGE = np.array([[0, 0, 0], [10, 0, 0], [10, 1, 0], [0, 0, 4], [10, 0, 4], [10, 1, 4]], dtype=float)
_FACES = [[0, 2, 1], [3, 4, 5], [0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [0, 3, 5], [0, 5, 2]]


def _model(number: int, file: str, name: str, size: tuple[float, float, float], *lines: str) -> str:
    width, depth, height = size
    values = {"name": name, "category": "Living room", "model": f"/lib/{file}/{file}.obj"}
    values |= {"width": str(width), "depth": str(depth), "height": str(height), "creator": "Ann"}
    stated = [f"{key}#{number}={value}" for key, value in values.items()]
    return "\n".join([*stated, *(line.replace("=", f"#{number}=", 1) for line in lines), ""])


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A chair, a table that lies in its file, a lamp that hangs, a plant; beside them a mesh of nobody's."""
    folder = tmp_path / "furniture"
    for file in ("chair1", "table1", "lamp1", "plant1", "own"):
        (folder / "Maker" / "lib" / file).mkdir(parents=True)
        mesh = trimesh.Trimesh(_WEDGE, _FACES, process=False)
        mesh.export(folder / "Maker" / "lib" / file / f"{file}.obj")
    text = "\n".join(
        [
            _HEAD,
            _model(1, "chair1", "Chair with cushion", (50, 40, 100)),
            _model(2, "table1", "Coffee table", (100, 10, 40), "modelRotation=1 0 0 0 0 1 0 -1 0"),
            _model(3, "lamp1", "Pendant lamp", (30, 30, 30), "elevation=150"),
            _model(4, "plant1", "Caf\\u00e9 plant", (30, 30, 30)),
        ]
    )
    (folder / "Maker" / CATALOGUE).write_bytes(text.encode("latin-1"))
    return folder


def _catalogue(library: Path, tmp_path: Path) -> Catalogue:
    return Catalogue.load(meshes=library, cache_dir=tmp_path / "cache")


def test_what_a_catalogue_states(library: Path) -> None:
    models = read_catalogue(library / "Maker" / CATALOGUE)
    chair = models[PurePosixPath("lib/chair1/chair1.obj")]
    # width, height and depth are x, y and z of the file
    assert chair.fit == Fit((50.0, 100.0, 40.0))
    assert (chair.family, chair.licence) == ("chair", "CC-BY-3.0-US")
    assert chair.creator == "Ann, © 2003 A. Maker & B. Maker"
    assert models[PurePosixPath("lib/table1/table1.obj")].fit.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert models[PurePosixPath("lib/lamp1/lamp1.obj")].elevation_cm == 150
    assert models[PurePosixPath("lib/plant1/plant1.obj")].name == "Café plant"
    assert models[PurePosixPath("lib/plant1/plant1.obj")].family == "living-room"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Sofa 2 seats", "sofa"),
        ("Chest of drawers", "cabinet"),
        ("Table lamp", "lamp"),
        ("Table with 4 chairs", "table"),
        ("Table tennis bat", None),
        ("Wheelchair", None),
        ("", None),
    ],
)
def test_families_of_names(name: str, family: str | None) -> None:
    assert family_of_name(name) == family


def test_a_model_has_the_size_and_the_orientation_of_the_catalogue(library: Path, tmp_path: Path) -> None:
    catalogue = _catalogue(library, tmp_path)
    shapes = {shape.family: shape for shape in catalogue.offered_shapes("furniture", 10, 0)}
    # The mesh that no catalogue knows is a mesh file like any other.
    assert set(shapes) == {"chair", "table", "own"}

    chair = build_mesh(shapes["chair"], catalogue.roots)
    diagonal = np.sqrt(50**2 + 40**2 + 100**2)
    assert chair.size * diagonal == pytest.approx([50, 40, 100], abs=1e-3)
    assert catalogue.metres(shapes["chair"]) == pytest.approx(diagonal / 100)
    # The wedge's thin edge is at -x, so its centroid is towards +x.
    assert chair.vertices[chair.faces].mean(axis=(0, 1))[0] > 0.01

    # Row by row (x, z, -y): the file's z becomes y, which is up; its y becomes the depth.
    table = build_mesh(shapes["table"], catalogue.roots)
    diagonal = np.sqrt(100**2 + 10**2 + 40**2)
    assert table.size * diagonal == pytest.approx([100, 10, 40], abs=1e-3)

    own = build_mesh(shapes["own"], catalogue.roots)
    assert own.size * np.sqrt(117) == pytest.approx([10, 4, 1], abs=1e-3)
    assert shapes["own"].licence.startswith("unknown")


def test_normals_stay_perpendicular_when_a_mesh_is_stretched(tmp_path: Path) -> None:
    """A ramp y = x / 10 over 10 × 1 × 4, stretched to 10 × 10 × 4: y = x, normal (-1, 1, 0) / √2."""
    normal = np.array([-0.1, 1, 0]) / np.hypot(0.1, 1)
    lines = [f"v {x} {y} {z}" for x, y, z in _WEDGE] + [f"vn {normal[0]} {normal[1]} {normal[2]}"]
    lines += ["f 1//1 4//1 6//1", "f 1//1 6//1 3//1", "f 1 2 5", "f 1 5 4"]
    (tmp_path / "ramp.obj").write_text("\n".join(lines))
    mesh = load_mesh(tmp_path / "ramp.obj", "y", fit=Fit((10.0, 10.0, 4.0)))
    assert mesh.normals is not None
    stated = mesh.normals[np.linalg.norm(mesh.normals, axis=2) > 0]
    # The shape's axes are x, -z and y of the file.
    assert stated == pytest.approx(np.tile([-(0.5**0.5), 0, 0.5**0.5], (len(stated), 1)), abs=1e-6)
    assert len(stated) == 6


def test_a_shape_of_a_library_is_made_again_from_its_record(library: Path, tmp_path: Path) -> None:
    """The record holds size and orientation: it needs the mesh file, not the catalogue."""
    catalogue = _catalogue(library, tmp_path)
    table = next(s for s in catalogue.offered_shapes("furniture", 10, 0) if s.family == "table")
    before = build_mesh(table, catalogue.roots)
    (library / "Maker" / CATALOGUE).unlink()
    again = build_mesh(type(table).model_validate_json(table.model_dump_json()), catalogue.roots)
    assert (again.vertices == before.vertices).all()
    assert (again.faces == before.faces).all()


def test_what_is_left_out_is_named(library: Path, tmp_path: Path) -> None:
    environment = {"OBJNERF_CACHE": str(tmp_path / "cache")}
    done = CliRunner().invoke(cli.main, ["assets", "check", "--meshes", str(library)], env=environment)
    assert done.exit_code == 0, done.output
    assert "plant1.obj: note: left out: 'Café plant' (living-room) is none of the manifest's" in done.output
    assert "lamp1.obj: note: left out: 'Pendant lamp' hangs 150 cm above the floor" in done.output
    (library / "library.sh3f").write_bytes(b"PK")
    done = CliRunner().invoke(cli.main, ["assets", "check", "--meshes", str(library)], env=environment)
    assert "library.sh3f: archives are not looked into; unpack it" in done.output


def test_the_card_names_licence_and_creator(library: Path, tmp_path: Path) -> None:
    request = build_request("room-diverse", scenes=2, shapes=3, backgrounds=1)
    card = make_card(request, AssetPool.draw(_catalogue(library, tmp_path), request))
    uses = {use.id.rpartition("/")[2]: use for use in card.assets or ()}
    assert uses["chair1.obj"].licence == "CC-BY-3.0-US"
    assert uses["chair1.obj"].creator == "Ann, © 2003 A. Maker & B. Maker"
    assert uses["own.obj"].creator is None


@pytest.mark.parametrize(
    "line",
    [
        "width#1=nan\nheight#1=2\ndepth#1=3",
        "width#1=-1\nheight#1=2\ndepth#1=3",
        "height#1=2\ndepth#1=3",
        "\x00\xff\n\\u12",
    ],
)
def test_a_model_without_a_size_is_a_file_like_any_other(tmp_path: Path, line: str) -> None:
    (tmp_path / CATALOGUE).write_bytes(f"name#1=Chair\nmodel#1=/a.obj\n{line}\n".encode("latin-1"))
    assert read_catalogue(tmp_path / CATALOGUE) == {}


@pytest.mark.parametrize(
    "rotation", ["1 0 0", "1 0 0 0 1 0 0 0 -1", "2 0 0 0 1 0 0 0 1", "a b c d e f g h i"]
)
def test_what_is_no_rotation_is_passed_over(tmp_path: Path, rotation: str) -> None:
    sizes = "width#1=1\nheight#1=2\ndepth#1=3\n"
    (tmp_path / CATALOGUE).write_text(f"name#1=Chair\nmodel#1=/a.obj\n{sizes}modelRotation#1={rotation}\n")
    (model,) = read_catalogue(tmp_path / CATALOGUE).values()
    assert model.fit == Fit((1.0, 2.0, 3.0))
