"""The wheel, installed into an empty environment: what the base does without torch and Blender."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def _run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def _programs(environment):
    return environment / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: building leaves folders behind, of which a later wheel would be made."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "build", "runs", "site", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=unwanted)
    built = _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source, cwd=folder)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("objnerf-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder of the programs of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    programs = _programs(folder / "venv")
    command = (programs / "python", "-m", "pip", "install", "-c", ROOT / "constraints.txt", wheel)
    done = _run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    return programs


@pytest.fixture(scope="module")
def with_extras(wheel, tmp_path_factory):
    """The same with the libraries of all extras, which are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("extras")
    venv.create(folder / "venv", with_pip=True)
    programs = _programs(folder / "venv")
    done = _run(programs / "python", "-m", "pip", "install", "--no-deps", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    own = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
    # Behind the wheel: an editable install of objnerf there is not found by this line.
    Path(own, "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = _run(programs / "python", "-c", "import objnerf; print(objnerf.__file__)", cwd=folder).stdout
    assert Path(found.strip()).is_relative_to(folder), found
    return programs


def test_the_demo_runs_from_the_wheel(with_extras, tmp_path):
    """Two minutes: with presets, manifest, recipes and pages as the wheel has them."""
    done = _run(with_extras / "objnerf", "demo", "--minutes", 2, "--scenes", 8, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert "data:image" in page
    assert (tmp_path / "runs" / "demo" / "report.json").is_file()


def test_the_base_has_neither_torch_nor_blender(installed, tmp_path):
    for module in ("torch", "bpy", "scipy", "beartype"):
        assert _run(installed / "python", "-c", f"import {module}", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "DATASET", "--json", "report.json", "--html", "report.html"),
        ("validate", "--explain", "POSE-AXES"),
        ("poses", "DATASET", "--out", "cameras.html"),
        ("poses", "DATASET", "--out", "cameras.glb"),
        ("poses", "DATASET", "--out", "cameras.ply"),
        ("poses", "DATASET", "--out", "cameras.png"),
        ("convert", "DATASET", "shards", "--to", "webdataset"),
        ("convert", "DATASET", "nerfstudio", "--to", "nerfstudio"),
        ("convert", "DATASET", "colmap", "--to", "colmap-binary"),
        ("doctor",),
        ("assets", "--help"),
    ],
    ids=lambda words: " ".join(words),
)
def test_the_base_runs_what_it_promises(installed, tmp_path, words):
    words = [ROOT / "tests" / "data" / "blocks" if word == "DATASET" else word for word in words]
    done = _run(installed / "objnerf", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("generate", "--scenes", "1"), "generate"),
        (("train", "DATASET", "--max-steps", "1"), "train"),
        (("evaluate", "run", "DATASET"), "train"),
        (("render", "run", "DATASET"), "train"),
        (("view", "DATASET"), "viewer"),
    ],
)
def test_other_verbs_name_the_extra_that_they_need(installed, tmp_path, words, extra):
    words = [ROOT / "tests" / "data" / "blocks" if word == "DATASET" else word for word in words]
    done = _run(installed / "objnerf", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"pip install 'objnerf[{extra}]'" in done.stderr


def test_the_public_face_names_the_extra_of_what_is_missing(installed, tmp_path):
    output = _run(installed / "python", "-c", "import objnerf; objnerf.SceneDataset", cwd=tmp_path).stderr
    assert "pip install 'objnerf[train]'" in output
    opened = f"import objnerf; print(len(objnerf.open_dataset({str(ROOT / 'tests/data/blocks')!r}).scenes))"
    assert _run(installed / "python", "-c", opened, cwd=tmp_path).stdout == "3\n"


def test_recipes_presets_and_check_pages_are_in_the_wheel(installed, tmp_path):
    counts = (
        "from importlib import resources as r; "
        "print(*(sum(e.name.endswith(s) for e in r.files(p).joinpath(*f).iterdir()) for p, f, s in ["
        "('objnerf', ('recipes',), '.yaml'), ('generation', ('plan', 'presets'), '.yaml'), "
        "('validate', ('checks', 'pages'), '.md'), ('generation', ('assets',), '.yaml')]), "
        "*(r.files(p).joinpath('py.typed').is_file() for p in ('objnerf', 'generation', 'validate')))"
    )
    output = _run(installed / "python", "-c", counts, cwd=tmp_path)
    in_repository = [
        len(list((ROOT / folder).glob(pattern)))
        for folder, pattern in (
            ("objnerf/recipes", "*.yaml"),
            ("generation/plan/presets", "*.yaml"),
            ("docs/checks", "*.md"),
        )
    ]
    assert output.stdout.split() == [*map(str, in_repository), "1", "True", "True", "True"]
