"""Who may import whom (docs/architecture.md), and what starting up may cost."""

import ast
import graphlib
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
    "objnerf.visualization": {"objnerf.dataset", "objnerf.errors"},
    "objnerf.cards": {"objnerf.dataset", "objnerf.visualization", "objnerf.errors"},
    "objnerf.rendering": {"objnerf.dataset", "objnerf.errors"},
    "objnerf.models": {"objnerf.rendering", "objnerf.dataset", "objnerf.errors"},
    "objnerf.training": {
        *("objnerf.models", "objnerf.rendering", "objnerf.dataset", "objnerf.errors", "objnerf.console"),
        *("objnerf.visualization", "objnerf.recipes"),
    },
    "objnerf.evaluation": {
        *(
            "objnerf.models",
            "objnerf.rendering",
            "objnerf.training",
            "objnerf.dataset",
            "objnerf.visualization",
        ),
        *("objnerf.errors", "objnerf.console"),
    },
    "objnerf.viewer": {
        *("objnerf.models", "objnerf.rendering", "objnerf.training", "objnerf.evaluation", "objnerf.dataset"),
        *("objnerf.visualization", "objnerf.errors"),
    },
    # The public face; it is loaded on demand, and nobody of ours stands on it.
    "objnerf.api": {
        *("objnerf.models", "objnerf.training", "objnerf.evaluation", "objnerf.dataset", "objnerf.errors"),
        "objnerf.console",
    },
    "generation": {"objnerf.dataset", "objnerf.visualization", "objnerf.errors", "objnerf.console"},
    "validate": {"objnerf.dataset", "objnerf.visualization", "objnerf.errors", "objnerf.console"},
}

#: Libraries that only the named rooms may import.
GUARDED = {
    "torch": (
        "objnerf.dataset.torch",
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


def _imports_at_start(path, modules):
    """Modules of ours that are loaded with this one: not those inside functions, nor for type checkers."""
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                named = f"{node.module}.{alias.name}"
                found = named if named in modules else node.module
                yield from (name for name in (found,) if name in modules)
        elif not isinstance(node, ast.FunctionDef | ast.Lambda) and not (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            waiting.extend(ast.iter_child_nodes(node))


def test_no_modules_import_each_other_in_a_circle():
    paths = dict(_modules())
    graph = {name: set(_imports_at_start(path, paths)) for name, path in paths.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(" ← ".join(circle.args[1]))


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
