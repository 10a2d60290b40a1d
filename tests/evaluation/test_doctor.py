"""The doctor looks at every part and never falls ill itself."""

import importlib
from importlib import metadata

import pytest

from objnerf.evaluation import doctor


def test_examines_every_part() -> None:
    found = {finding.name: finding for finding in doctor.examine()}
    assert {"Python", "machine", "packages", "Blender (bpy)", "torch", "GPU", "disk"} <= set(found)
    assert found["torch"].state == "ok"
    assert found["packages"].state == "ok"
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
