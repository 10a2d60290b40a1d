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
            allowed = MAY_IMPORT[room] | {"objnerf.version"}
            # `from objnerf import x` names the package itself on the way.
            assert imported == "objnerf" or any(_inside(imported, other) for other in allowed), where


def _graph():
    """Which module of ours imports which. Imports within functions and for type checkers count as well."""
    paths = dict(_modules())
    graph = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                # A module of the package where there is one of that name, and else a name of its __init__.
                found = (f"{node.module}.{alias.name}" for alias in node.names)
                graph[name] |= {module if module in paths else node.module for module in found}
    return {name: imported & paths.keys() for name, imported in graph.items()}


def test_no_modules_import_each_other_in_a_circle():
    try:
        graphlib.TopologicalSorter(_graph()).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(" ← ".join(circle.args[1]))


#: The rooms of the validator: a module imports from its own room and from those before it.
VALIDATE_ROOMS = (
    *(
        "options",
        "settings",
        "workers",
        "read",
        "scan",
        "findings",
        "measure",
        "analysis",
        "checks",
        "result",
    ),
    *("suggest", "repair", "report", "runner", "command"),
)


def test_the_rooms_of_the_validator_stand_on_each_other_in_order():
    names = {name.split(".")[1] for name, _ in _modules() if name.startswith("validate.")}
    assert names == set(VALIDATE_ROOMS)
    for name, path in _modules():
        if not name.startswith("validate."):
            continue
        room = VALIDATE_ROOMS.index(name.split(".")[1])
        for imported, line in _imports(path):
            if imported.startswith("validate."):
                found = VALIDATE_ROOMS.index(imported.split(".")[1])
                assert found <= room, f"{path.relative_to(ROOT)}:{line} imports {imported}"


#: No function is longer, counted with its signature and docstring, or takes more, self not counted. The
#: command line's functions take as many as there are options, and are not among these modules.
MOST_LINES, MOST_PARAMETERS = 60, 8


def _too_large():
    for name, path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                stars = [star for star in (node.args.vararg, node.args.kwarg) if star is not None]
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *stars]
                count = sum(argument.arg not in ("self", "cls") for argument in arguments)
                if lines > MOST_LINES or count > MOST_PARAMETERS:
                    yield f"{name}.{node.name}", f"{lines} lines, {count} parameters"


def test_functions_are_short_and_take_few_parameters():
    assert dict(_too_large()) == {}


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


#: Where packages that read datasets open files without ``objnerf.dataset.untrusted``, and how often.
DIRECT_READS = {
    # Files that they have just written themselves, in a temporary folder.
    "objnerf/dataset/convert/parquet.py": 1,
    "objnerf/dataset/convert/posed.py": 1,
    "objnerf/dataset/convert/shards.py": 5,
    # ``untrusted`` has checked the file a line before.
    "objnerf/dataset/convert/extras.py": 1,
    "objnerf/dataset/files.py": 1,
    # A page of this package.
    "validate/checks/catalogue.py": 1,
}


def direct_reads(path: Path) -> int:
    """Calls in a source file that open a file for reading."""
    found = 0
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        words = [
            word.value
            for word in (*node.args, *(k.value for k in node.keywords))
            if isinstance(word, ast.Constant)
        ]
        writes = any(isinstance(word, str) and set(word) & set("wax+") and len(word) < 4 for word in words)
        method = name.rpartition(".")[2]
        opens = name == "open" or (
            method == "open" and name.partition(".")[0] not in ("os", "tarfile", "Image", "webbrowser")
        )
        found += (
            method in ("read_bytes", "read_text") and isinstance(node.func, ast.Attribute) and not node.args
        )
        found += (opens and not writes) or name in ("np.load", "np.loadtxt", "np.genfromtxt", "np.fromfile")
        found += (
            name == "tarfile.open" and "w" not in words and "fileobj" not in {k.arg for k in node.keywords}
        )
    return found


def test_files_of_datasets_are_opened_by_one_module() -> None:
    """``objnerf.dataset.untrusted`` opens regular files of bounded size only: docs/security.md."""
    sources = [
        path
        for room in ("objnerf/dataset", "objnerf/cards", "validate")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "untrusted.py"
    ]
    found = {str(path.relative_to(ROOT)): number for path in sources if (number := direct_reads(path))}
    assert found == DIRECT_READS


@pytest.mark.parametrize(
    "call",
    [
        'path.open("rb")',
        "path.read_bytes()",
        "open(path)",
        "np.load(path)",
        "path.read_text()",
        'tarfile.open(p, "r:")',
    ],
)
def test_a_direct_read_would_be_found(call: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(f"content = {call}\n")
    assert direct_reads(tmp_path / "module.py") == 1
