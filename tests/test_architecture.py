"""Who may import whom (docs/architecture.md), and what starting up may cost."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Rooms, most specific first, and the rooms of this project that each may import.
MAY_IMPORT = {
    "objnerf.errors": set(),
    "objnerf.console": set(),
    "objnerf.extras": {"objnerf.errors"},
    "objnerf.dataset": {"objnerf.errors"},
    "objnerf.pictures": {"objnerf.dataset", "objnerf.errors"},
    "objnerf.cards": {"objnerf.dataset", "objnerf.pictures", "objnerf.errors"},
    "objnerf.rendering": {"objnerf.dataset", "objnerf.errors"},
    "objnerf.models": {"objnerf.rendering", "objnerf.dataset", "objnerf.errors"},
    "objnerf.training": {
        *("objnerf.models", "objnerf.rendering", "objnerf.dataset", "objnerf.errors", "objnerf.console"),
        *("objnerf.pictures", "objnerf.recipes"),
    },
    "objnerf.evaluation": {
        *("objnerf.models", "objnerf.rendering", "objnerf.training", "objnerf.dataset", "objnerf.pictures"),
        *("objnerf.errors", "objnerf.console"),
    },
    "objnerf.viewer": {
        *("objnerf.models", "objnerf.rendering", "objnerf.training", "objnerf.evaluation", "objnerf.dataset"),
        *("objnerf.pictures", "objnerf.errors"),
    },
    "generation": {"objnerf.dataset", "objnerf.pictures", "objnerf.errors", "objnerf.console"},
    "validate": {"objnerf.dataset", "objnerf.pictures", "objnerf.errors", "objnerf.console"},
}

#: Libraries that only the named rooms may import.
GUARDED = {
    "torch": (
        "objnerf.rendering",
        "objnerf.models",
        "objnerf.training",
        "objnerf.evaluation",
        "objnerf.viewer",
    ),
    "bpy": ("generation.render",),
    "mathutils": ("generation.render",),
}


def _modules():
    for package in ("objnerf", "generation", "validate"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide who imports whom"
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _inside(name, room):
    return name == room or name.startswith(room + ".")


@pytest.mark.parametrize(("name", "path"), list(_modules()), ids=lambda value: str(value))
def test_rooms_import_downwards_only(name, path):
    room = next((room for room in MAY_IMPORT if _inside(name, room)), None)
    for imported, line in _imports(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for library, rooms in GUARDED.items():
            if _inside(imported, library):
                assert any(_inside(name, allowed) for allowed in rooms), where
        own = imported.split(".")[0] in ("objnerf", "generation", "validate", "cli")
        if own and room is not None and not _inside(imported, room):
            allowed = MAY_IMPORT[room] | {"objnerf.__version__"}
            # `from objnerf import x` names the package itself on the way.
            assert imported == "objnerf" or any(_inside(imported, other) for other in allowed), where


def _fresh(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["objnerf.dataset", "validate", "generation", "generation.jobs", "cli"])
def test_importing_does_not_load_torch_or_blender(module):
    loaded = _fresh(f"import {module}, sys; print(*sys.modules)").split()
    assert not {"torch", "bpy", "plotly"} & set(loaded)


def test_help_is_instant():
    # CPU time of the best of three, since other tests run beside this one; nothing here waits.
    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cli", "--help"], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.5
