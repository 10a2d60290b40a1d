"""Random sound layouts give no alarm, random corruption gives no traceback."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import validate
from cli import main
from objnerf.dataset.cameras import look_at
from objnerf.dataset.index import Dataset, Scene, View
from objnerf.dataset.names import POSE_SUFFIX, parse_view_name
from validate.analysis.model import Analysis
from validate.analysis.poses import analyse_poses
from validate.checks.catalogue import choose_checks
from validate.runner import judge
from validate.scan import DatasetScan, Matrices
from validate.settings import Limits, resolve_settings

N_SCENES, N_VIEWS = 3, 4


def analysis_of_poses(poses: np.ndarray, options: dict[str, float]) -> Analysis:
    """The analysis of poses that are in no file: 500 draws need no disk."""
    scenes, views = poses.shape[:2]
    stems = [f"{s * views + v:05d}_sc{s:04d}_img{v}" for s in range(scenes) for v in range(views)]
    index = {}
    for scene in range(scenes):
        own = []
        for stem in stems[scene * views : (scene + 1) * views]:
            name = parse_view_name(stem + ".png")
            assert name is not None
            own.append(View(Path("/nowhere"), name, stem, frozenset({POSE_SUFFIX})))
        index[scene] = Scene(scene, tuple(own))
    dataset = Dataset(Path("/nowhere"), index)
    # Written with 6 digits, as the format's own example is.
    stored = np.round(poses.reshape(-1, 4, 4), 6)
    matrices = Matrices(stored, np.full((len(stored), 3, 3), np.nan), {}, {})
    scan = DatasetScan(dataset, None, None, list(dataset.views()), matrices)
    return analyse_poses(scan, resolve_settings(None, validate.Options(**options)), Limits())


layouts = st.fixed_dictionaries(
    {
        "distance": st.floats(8.0, 16.0),
        "spread": st.floats(0.0, 1.5),
        "elevation": st.floats(5.0, 80.0),
        "arc": st.floats(12.0, 360.0),
        "jitter": st.floats(0.0, 0.35),
        "seed": st.integers(0, 2**32 - 1),
        "handed_in": st.booleans(),
    }
)


def draw_poses(layout: dict) -> tuple[np.ndarray, dict[str, object]]:
    """Poses of cameras on a shell that look about the centre, and the settings that go with them."""
    rng = np.random.default_rng(layout["seed"])
    poses = np.zeros((N_SCENES, N_VIEWS, 4, 4))
    for scene in range(N_SCENES):
        start = rng.uniform(0, 2 * np.pi)
        for view in range(N_VIEWS):
            # Evenly on the arc, so that views of narrow arcs differ as well.
            azimuth = start + np.radians(layout["arc"]) * (view + rng.uniform(0, 0.3)) / N_VIEWS
            height = np.radians(layout["elevation"] + rng.uniform(-2, 2))
            radius = layout["distance"] + rng.uniform(-layout["spread"], layout["spread"])
            eye = radius * np.array(
                [np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)]
            )
            poses[scene, view] = look_at(eye, rng.normal(0, layout["jitter"], 3))
    nearest = layout["distance"] - layout["spread"]
    options: dict[str, float] = {
        "near": nearest - 4.5 * 1.2,
        "far": layout["distance"] + layout["spread"] + 8.0,
    }
    options["near"] = max(0.5, float(options["near"]))  # type: ignore[arg-type]
    if layout["handed_in"]:
        # A longer lens sees less beside the box; pixels stay square at 4:3.
        longer = rng.uniform(1.0, 1.6)
        options["focal_ratio"] = (350 / 320 * longer, 350 / 240 * longer)
    # A box as large in the picture as the reference's.
    options["obj_scale"] = 4.5 * max(1.0, (layout["distance"] + layout["spread"]) / 12.4)
    return poses, options


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(layouts)
@example(
    # The scenes' foci, seen along a narrow arc, lie half way to the cameras.
    {
        **{"distance": 8.0, "spread": 0.0, "elevation": 53.0, "arc": 12.0, "jitter": 0.25, "seed": 0},
        "handed_in": False,
    }
)
def test_sound_layouts_give_no_alarm(layout: dict) -> None:
    # Views that span less than 4° as seen from the centre are rightly warned of (VIEWS-SPREAD).
    assume(0.75 * layout["arc"] * np.cos(np.radians(layout["elevation"])) > 4.0)
    poses, options = draw_poses(layout)
    analysis = analysis_of_poses(poses, options)
    checks = choose_checks(validate.Options(skip=("FILE",), quick=True))
    report = judge(analysis, checks, "layout")
    assert report.findings == (), f"{layout}\n{validate.render_text(report)}"


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(layouts, st.sampled_from(["opengl", "inverted", "transposed", "shifted"]))
def test_broken_layouts_are_named(layout: dict, mistake: str) -> None:
    """The same layouts, wide enough to tell, with the mistakes of the format's table."""
    poses, options = draw_poses(
        {**layout, "arc": 360.0, "elevation": min(max(layout["elevation"], 20.0), 65.0)}
    )
    if mistake == "opengl":
        poses = poses @ np.diag([1.0, -1, -1, 1])
    elif mistake == "inverted":
        poses = np.linalg.inv(poses)
    elif mistake == "transposed":
        poses[..., :3, :3] = np.swapaxes(poses[..., :3, :3], -1, -2).copy()
    else:
        poses[..., :3, 3] += [3.0, 2.0, 0.0]
    analysis = analysis_of_poses(poses, options)
    report = judge(analysis, choose_checks(validate.Options(skip=("FILE",), quick=True)), "layout")
    wanted = {
        "opengl": "POSE-AXES",
        "inverted": "POSE-INVERTED",
        "transposed": "POSE-TRANSPOSED",
        "shifted": "WORLD-CENTRE",
    }
    assert {finding.id for finding in report.findings} == {wanted[mistake]}, (
        f"{layout}\n{validate.render_text(report)}"
    )


def corrupt(path: Path, rng: np.random.Generator) -> str:
    """Do something bad to a file; what was done."""
    kind = rng.choice(
        [
            "bytes",
            "cut",
            "grow",
            "empty",
            "folder",
            "link",
            "loop",
            "unreadable",
            "swap",
            "nul",
            "text",
            "pipe",
        ]
    )
    content = bytearray(path.read_bytes())
    if kind == "bytes" and content:
        for _ in range(int(rng.integers(1, 20))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(bytes(content))
    elif kind == "cut":
        path.write_bytes(bytes(content[: int(rng.integers(len(content) + 1))]))
    elif kind == "grow":
        path.write_bytes(bytes(content) + rng.bytes(int(rng.integers(1, 4000))))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "link":
        path.unlink()
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.unlink()
        path.symlink_to(path.name)
    elif kind == "unreadable":
        path.chmod(0)
    elif kind == "swap":
        others = [other for other in path.parent.iterdir() if other.is_file()]
        other = others[int(rng.integers(len(others)))]
        if other != path:
            path.write_bytes(other.read_bytes())
    elif kind == "nul":
        path.write_bytes(b"\x00" * int(rng.integers(1, 3000)))
    elif kind == "text":
        path.write_text("1e999 nan -inf 0x1 " * int(rng.integers(1, 6)) + "\n")
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    return f"{kind} {path.name}"


@pytest.mark.parametrize("seed", range(24))
def test_random_corruption_gives_no_traceback(
    seed: int, copy_of: Callable[[str], Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    folder = copy_of("blocks_depth")
    (folder / "dataset.yaml").write_text("format_version: 1\nnear: 6.0\nscenes: 2\n")
    shutil.copytree(folder, folder / "scenes", dirs_exist_ok=True) if seed % 8 == 7 else None
    names = sorted(path for path in folder.iterdir() if path.is_file())
    done = [
        corrupt(path, rng)
        for path in rng.choice(np.array(names, dtype=object), int(rng.integers(1, 9)), replace=False)
        if path.is_file()
    ]
    words = ["validate", str(folder), "--json", str(tmp_path / "r.json")]
    if seed % 3 == 0:
        words += ["--fix", str(tmp_path / "fixed")]
    if seed % 4 == 0:
        words += ["--html", str(tmp_path / "r.html")]
    result = CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), (done, result.exc_info)
    assert result.exit_code in (0, 1, 2), done
    assert "Traceback" not in result.output


@pytest.mark.parametrize("seed", range(6))
def test_random_names_give_no_traceback(seed: int, copy_of: Callable[[str], Path]) -> None:
    rng = np.random.default_rng(seed)
    folder = copy_of("blocks")
    letters = [*"sc01_.", "\udcff", "é", "\n", "png", "_RT.txt", "_mask", "9" * 30, " "]
    for path in list(folder.iterdir())[:: int(rng.integers(2, 6))]:
        new = "".join(rng.choice(letters, int(rng.integers(1, 9)))) + str(rng.choice(["", ".png", "_RT.txt"]))
        if new not in (".", "..") and len(os.fsencode(new)) < 200 and not (folder / new).exists():
            path.rename(folder / new)
    result = CliRunner().invoke(main, ["validate", str(folder)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1, 2)


def test_a_picture_that_unfolds_to_gigabytes_is_refused_unopened(copy_of: Callable[[str], Path]) -> None:
    import struct
    import zlib

    folder = copy_of("blocks")

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9))
        + chunk(b"IEND", b"")
    )
    (folder / "00000_sc0000_img0.png").write_bytes(bomb)
    report = validate.run(folder)
    assert [finding.id for finding in report.findings] == ["IMAGE-READ"]
    assert "60000×60000" in report.findings[0].message
