"""The wheel, installed into an empty environment: what the base does without torch and Blender."""

import os
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of the programs of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    # From a copy: building leaves folders behind, of which a later wheel would be made.
    unwanted = shutil.ignore_patterns(".*", "build", "runs", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=unwanted)
    built = _run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder / "wheel", source, cwd=folder
    )
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = (folder / "wheel").glob("objnerf-*.whl")
    command = (programs / "python", "-m", "pip", "install", "-c", ROOT / "constraints.txt", wheel)
    done = _run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    return programs


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
