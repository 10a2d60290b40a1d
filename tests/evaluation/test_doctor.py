"""The doctor looks at every part and never falls ill itself."""

import importlib
import subprocess
from importlib import metadata

import pytest

from objnerf.evaluation import doctor


def test_examines_every_part() -> None:
    found = {finding.name: finding for finding in doctor.examine()}
    assert {"Python", "machine", "packages", "Blender (bpy)", "torch", "GPU", "disk"} <= set(found)
    assert found["torch"].state == "ok"
    assert found["packages"].state == "ok"
    assert found["extra generate"].state == found["extra train"].state == "ok"
    assert {entry[0] for entry in doctor.OPTIONAL} <= set(found)


def test_nothing_installed_is_told_not_raised(monkeypatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", absent)
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["torch"].state == "missing"
    assert "evaluate" in found["torch"].detail
    assert "generate" in found["Blender (bpy)"].detail
    assert found["packages"].state == "broken"
    assert "objnerf[train]" in found["extra train"].detail
    assert "objnerf[viewer]" in found["viser"].detail


@pytest.mark.parametrize("error", [ImportError("no library"), OSError("bad ELF"), RuntimeError("")])
def test_broken_packages_are_told_not_raised(monkeypatch, error) -> None:
    def breaks(name: str):
        raise error

    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(importlib, "import_module", breaks)
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["viser"].state == "broken"
    assert found["torch"].state == "broken"


def blender_says(monkeypatch, *, stderr: str, listed: str = "", status: int = 1) -> doctor.Finding:
    """What the doctor finds where importing bpy and `ldd` say this."""

    def run(command, **_):
        if command[0] == "ldd":
            return subprocess.CompletedProcess(command, 0, listed, "")
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(doctor.metadata, "version", lambda name: "4.5.0")
    monkeypatch.setattr(
        doctor, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None, origin="x")
    )
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    monkeypatch.setattr(doctor.subprocess, "run", run)
    return next(finding for finding in doctor.examine() if finding.name == "Blender (bpy)")


def test_blender_is_really_loaded() -> None:
    found = next(finding for finding in doctor.examine() if finding.name == "Blender (bpy)")
    assert found.state == "ok"
    assert "loads" in found.detail


def test_all_missing_libraries_are_named_with_their_packages(monkeypatch) -> None:
    found = blender_says(
        monkeypatch,
        stderr="ImportError: libXrender.so.1: cannot open shared object file: No such file or directory",
        listed="\tlibXrender.so.1 => not found\n\tlibm.so.6 => /m.so (0x1)\n\tlibSM.so.6 => not found\n",
    )
    assert found.state == "broken"
    assert "missing libraries libXrender.so.1, libSM.so.6; " in found.detail
    assert found.detail.endswith("apt-get install libxrender1 libsm6")


def test_a_library_without_a_known_package_is_named(monkeypatch) -> None:
    found = blender_says(monkeypatch, stderr="ImportError: libodd.so.2: cannot open shared object file: No")
    assert found.detail.endswith("missing library libodd.so.2")


def test_another_fault_of_blender_is_told_in_its_own_words(monkeypatch) -> None:
    assert blender_says(monkeypatch, stderr="a\nRuntimeError: odd").detail.endswith("load: RuntimeError: odd")
    assert "status -11" in blender_says(monkeypatch, stderr="", status=-11).detail
