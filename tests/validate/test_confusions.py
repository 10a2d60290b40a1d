"""Each fault by its own name on every layout: what is called by another is a fault of the validator."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import validate
from objnerf.dataset import files


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(
        f"confusions_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_layouts, _mutations = _beside("layouts"), _beside("test_mutations")

HIGH = (44.0, 52.0)

#: Rigs, and their own near and far where the reference's do not fit.
LAYOUTS = {
    "usual": (_layouts.CameraLayout(elevation=HIGH), None),
    "wide lens": (
        _layouts.CameraLayout(focal_ratio=(0.75, 1.0), distance=11.0, elevation=(55.0, 65.0)),
        30.0,
    ),
    "narrow arc": (_layouts.CameraLayout(arc=120.0, elevation=HIGH), None),
    "square": (
        _layouts.CameraLayout(size=(128, 128), focal_ratio=(350 / 320,) * 2, elevation=(55.0, 65.0)),
        20.0,
    ),
    "many views": (_layouts.CameraLayout(scenes=3, views=6, size=(96, 72), elevation=HIGH), None),
}

#: Mutations that are made for the layout of `blocks_depth`: its names, its lens, its number of pixels.
ONLY_THERE = {
    *("ids-from-one", "id-in-prefix", "card-promises-more-views", "ray-length", "anti-aliased-masks"),
    "rendered-square-with-depth",
}

#: What six views of a scene show beside what a mutation is called: that the turned view contradicts them.
ALSO = {("many views", "one-degree-of-yaw"): {"DEPTH-VIEWS"}}


def stretched(lens: tuple[float, float]) -> Callable[[Path], None]:
    """Depth turned into the rays' lengths."""

    def mutate(folder: Path) -> None:
        for path in folder.glob("*_depth.npy"):
            depth = np.load(path)
            height, width = depth.shape[:2]
            x = (np.arange(width) - (width - 1) / 2) / (lens[0] * width)
            y = (np.arange(height) - (height - 1) / 2) / (lens[1] * height)
            length = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
            np.save(path, (depth * length[..., None]).astype(np.float32))

    return mutate


def farther(factor: float) -> Callable[[Path], None]:
    """Cameras farther from the origin."""

    def mutate(folder: Path) -> None:
        for path in folder.glob("*_RT.txt"):
            pose = files.read_matrix(path)
            pose[:3, 3] *= factor
            files.write_matrix(path, pose)

    return mutate


def opaque(folder: Path) -> None:
    for path in folder.glob("*_img1.png"):
        with Image.open(path) as image:
            image.load()
        image.convert("RGBA").save(path)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    made, far = LAYOUTS[request.param]
    root = _layouts.write(made, tmp_path_factory.mktemp("layout") / "sound")
    if far is not None:
        _layouts.write_settings(made, root, far)
    return request.param, root


def found(folder: Path) -> set[str]:
    return {finding.id for finding in validate.run(folder).findings}


@pytest.mark.slow
def test_the_table_of_confusions_has_nothing_off_its_diagonal(
    layout: tuple[str, Path], tmp_path: Path
) -> None:
    name, sound = layout
    assert found(sound) == set()
    cases = {
        mutation.name: (mutation.mutate, mutation.ids)
        for mutation in _mutations.MUTATIONS
        if mutation.base == "blocks_depth"
        and not mutation.options
        and mutation.name not in ONLY_THERE
        # These write a dataset.yaml of their own.
        and not ((sound / "dataset.yaml").exists() and mutation.name.startswith(("card-", "near-beyond")))
    }
    cases["opaque-alpha"] = opaque, {"IMAGE-MODE"}
    if name not in ("wide lens", "square"):
        # There rays differ too little from depth in what is compared.
        cases["ray-length"] = stretched(LAYOUTS[name][0].focal_ratio), {"DEPTH-KIND"}
    confusions = {}
    for case, (mutate, wanted) in cases.items():
        folder = tmp_path / case
        shutil.copytree(sound, folder)
        mutate(folder)
        ids = found(folder)
        if ids != wanted | ALSO.get((name, case), set()):
            confusions[case] = ids
        shutil.rmtree(folder)
    assert confusions == {}
    assert len(cases) > 70


@pytest.mark.parametrize("factor", [1.05, 1.1, 1.25])
def test_cameras_too_far_away_are_not_called_ray_lengths(
    factor: float, layout: tuple[str, Path], tmp_path: Path
) -> None:
    """Depth is planar: it and the positions are not in one unit, and nothing tells which of them is off."""
    folder = tmp_path / "dataset"
    shutil.copytree(layout[1], folder)
    farther(factor)(folder)
    report = validate.run(folder)
    (finding,) = [f for f in report.findings if f.id.startswith("DEPTH")]
    assert finding.id == "DEPTH-KIND", validate.render_text(report)
    assert "or the cameras' positions are too large" in finding.message
    assert not [f for f in report.findings if f.id.startswith(("POSE", "INTRINSICS"))]


def test_opaque_alpha_in_all_pictures_is_a_note_and_in_some_a_warning(data: Path, tmp_path: Path) -> None:
    report = validate.run(data / "blocks")  # another program's, whose pictures are all RGBA
    assert report.findings == ()
    assert any("alpha channel that is opaque everywhere" in note for note in report.notes)
    folder = tmp_path / "dataset"
    shutil.copytree(data / "blocks", folder)
    path = folder / "00003_sc0000_img3.png"
    with Image.open(path) as image:
        image.load()
    image.convert("RGB").save(path)
    (finding,) = validate.run(folder, validate.Options(fix=tmp_path / "fixed")).findings
    assert (finding.id, finding.severity, finding.count) == ("IMAGE-MODE", "W", 11)
    assert "opaque everywhere" in finding.message
    assert validate.run(tmp_path / "fixed").findings == ()
    with Image.open(tmp_path / "fixed" / "00000_sc0000_img0.png") as image:
        assert image.mode == "RGB"


def test_a_name_with_two_ids_is_named_as_that(data: Path, tmp_path: Path) -> None:
    for other, severity in (("sc0000", "E"), ("sc0077", "W")):
        folder = tmp_path / severity
        shutil.copytree(data / "blocks", folder)
        for path in folder.glob("00005_*"):
            path.rename(folder / path.name.replace("00005_", f"{other}_"))
        (finding,) = validate.run(folder).findings
        assert (finding.id, finding.severity) == ("FILE-AMBIGUOUS", severity)
        assert f"holds 2 scene ids, {other}, sc0001" in finding.message
