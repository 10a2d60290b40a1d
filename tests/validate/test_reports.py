"""The report in its three shapes, the exit status, and the documentation of the checks."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import validate
from objnerf.dataset import files
from objnerf.errors import InputError
from validate.report.html import render_html, write_html
from validate.report.json import as_json_object, render_json, write_json

DOCS = Path(__file__).parents[2] / "docs" / "checks"


@pytest.fixture
def opengl(copy_of: Callable[[str], Path]) -> Path:
    """A dataset whose camera axes are Blender's, with one broken picture."""
    folder = copy_of("blocks_depth")
    for path in folder.glob("*_RT.txt"):
        np.savetxt(path, files.read_matrix(path) @ np.diag([1.0, -1, -1, 1]))
    (folder / "00002_sc0000_img2.png").write_bytes(b"<html>not found</html>")
    return folder


def test_json_has_the_documented_shape(opengl: Path, tmp_path: Path) -> None:
    report = validate.run(opengl)
    write_json(report, tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["format_version"] == 1
    assert content["dataset"] == str(opengl)
    assert content["ok"] is False
    assert content["counts"] == {"scenes": 2, "views": 8, "errors": 2, "warnings": 0}
    assert {"near", "far", "nss_scale", "obj_scale"} <= set(content["suggested"])
    assert content["reasons"].keys() == content["suggested"].keys()
    for finding in content["findings"]:
        assert {"id", "severity", "path", "scene", "count", "message", "fix"} <= set(finding)
        assert finding["severity"] in ("E", "W")
    broken, axes = sorted(content["findings"], key=lambda finding: finding["id"])
    assert (broken["id"], broken["path"], broken["scene"], broken["count"]) == (
        "IMAGE-READ",
        "00002_sc0000_img2.png",
        0,
        1,
    )
    assert (axes["id"], axes["path"], axes["scene"], axes["count"]) == ("POSE-AXES", None, None, 8)


def test_json_is_strict(data: Path) -> None:
    """No NaN, which json.dumps would write and other parsers refuse."""
    text = render_json(validate.run(data / "blocks"))
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))


def test_text_folds_equal_findings(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    for path in sorted(folder.glob("*_mask.png"))[:5]:
        path.write_bytes(path.read_bytes()[:100])
    text = validate.render_text(validate.run(folder))
    lines = text.splitlines()
    assert sum(line.startswith("E ") for line in lines) == 1
    assert lines[0].startswith("E IMAGE-READ  5 of 12 views, first 3: 00000_sc0000_img0_mask.png,")
    assert lines[-1].endswith("1 error, 0 warnings")
    assert "\x1b[" not in text
    assert "\x1b[" in validate.render_text(validate.run(folder), colour=True)


def test_thresholds_are_printed_and_can_be_changed(data: Path) -> None:
    report = validate.run(data / "blocks", validate.Options(limits={"box_pixels": 0.999}))
    assert [finding.id for finding in report.findings] == ["BOX-PIXELS"]
    assert report.limits["box_pixels"] == 0.999
    with pytest.raises(InputError, match="no limit is called"):
        validate.run(data / "blocks", validate.Options(limits={"box_pixel": 0.5}))


def test_only_and_skip_take_ids_and_prefixes(opengl: Path) -> None:
    assert [finding.id for finding in validate.run(opengl, validate.Options(only=["POSE"])).findings] == [
        "POSE-AXES"
    ]
    assert [
        finding.id for finding in validate.run(opengl, validate.Options(skip=["POSE-AXES"])).findings
    ] == ["IMAGE-READ"]
    with pytest.raises(InputError, match="no check is called 'POSES'"):
        validate.run(opengl, validate.Options(only=["POSES"]))


def test_quick_opens_no_picture(opengl: Path) -> None:
    report = validate.run(opengl, validate.Options(quick=True))
    assert [finding.id for finding in report.findings] == ["POSE-AXES"]
    assert not any(id.startswith(("IMAGE", "MASK", "DEPTH")) for id in report.checked)


def test_sample_opens_some_scenes_only(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("blocks")
    broken = folder / "00004_sc0001_img0.png"
    broken.write_bytes(b"")
    assert not validate.run(folder).ok
    # Of three scenes, one is the first: scene 1 stays closed.
    assert validate.run(folder, validate.Options(sample=1)).ok


def test_processes_give_the_same_report(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from validate import runner

    alone = as_json_object(validate.run(data / "blocks_depth"))
    monkeypatch.setattr(runner, "_FEW_VIEWS", 1)
    assert as_json_object(validate.run(data / "blocks_depth", validate.Options(workers=2))) == alone


def test_every_check_is_documented() -> None:
    checks = validate.all_checks()
    assert {path.stem for path in DOCS.glob("*.md")} == {*checks, "README"}
    defaults = validate.Limits().as_dict()
    for id, check in checks.items():
        page = validate.explain(id)
        assert page == (DOCS / f"{id}.md").read_text()
        assert page.startswith(f"# {id}: ")
        highest = "error" if check.severity == "E" else "warning"
        assert f"Highest severity: {highest}." in page
        for heading in ("## Likely causes", "## How to fix it", "## Example"):
            assert heading in page, f"{id} lacks {heading}"
        for name in check.limits:
            assert f"| `{name}` | {defaults[name]:g} |" in page, f"{id} does not give {name}"
        assert f"[{id}]({id}.md)" in (DOCS / "README.md").read_text()


def test_every_limit_belongs_to_a_check() -> None:
    used = {name for check in validate.all_checks().values() for name in check.limits}
    assert used == {field.name for field in fields(validate.Limits)}


def test_html_names_the_findings_and_needs_no_network(opengl: Path, tmp_path: Path) -> None:
    page = render_html(validate.run(opengl))
    assert "POSE-AXES" in page
    assert "IMAGE-READ" in page
    assert page.count("data:image/png;base64,") >= 5
    body = page.split("<body>", 1)[1]
    for outside in ('src="http', "src='http", 'href="http', "@import", "url(http"):
        assert outside not in body


def test_html_runs_in_a_browser_without_network(opengl: Path, tmp_path: Path, open_page) -> None:
    page = tmp_path / "report.html"
    write_html(validate.run(opengl), page)
    opened = open_page(page.read_text())
    assert 'id="verdict">2 errors, 0 warnings' in opened.dom
    # What only plotly's script can have put there: the 3D scene and the areas of the histograms.
    assert opened.dom.count('class="gl-container"') >= 1
    assert opened.dom.count('class="js-fill"') >= 4
    assert opened.errors == ()
