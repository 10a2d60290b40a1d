"""What a catalogue offers, in words."""

from generation.assets.catalogue import Catalogue
from generation.assets.floors import FLOOR_FAMILIES
from generation.assets.manifest import (
    FolderShapes,
    ImageSurfaces,
    ProceduralShapes,
    ProceduralSurfaces,
    ShapeNetShapes,
)
from generation.assets.walls import WALL_FAMILIES


def describe(catalogue: Catalogue) -> str:
    """Lines for people: every entry of the manifest, how much it offers, and its licence.

    Raises:
        InputError: a folder that was given can't be used.
    """
    counts = catalogue.candidates()
    lines = ["shapes"]
    for entry in catalogue.manifest.shapes:
        if isinstance(entry, ProceduralShapes):
            total = sum(entry.families.values())
            shares = ", ".join(
                f"{name} {100 * weight / total:.0f} %" for name, weight in entry.families.items()
            )
            offer = f"made by code: {shares}"
        else:
            offer = _files(entry, counts.get(entry.name))
        lines += _entry(entry.name, offer, entry.licence)
        lines += _left_out(catalogue, entry.name)
    lines.append("floors")
    for floor in catalogue.manifest.floors:
        if isinstance(floor, ProceduralSurfaces):
            looks = sum(FLOOR_FAMILIES[family].looks for family in floor.families)
            offer = _painted(looks, floor.families)
        else:
            offer = _files(floor, counts.get(floor.name))
        lines += _entry(floor.name, offer, floor.licence)
        lines += _left_out(catalogue, floor.name)
    lines.append("walls")
    for wall in catalogue.manifest.walls:
        looks = sum(WALL_FAMILIES[family].looks for family in wall.families)
        offer = _painted(looks, wall.families)
        lines += _entry(wall.name, offer, wall.licence)
    lines.append("downloads")
    for download in catalogue.manifest.downloads:
        offer = f"{download.kind} of {download.size_bytes / 1e6:.1f} MB from {download.url}"
        lines += _entry(download.name, offer, download.licence)
    return "\n".join(lines)


def _painted(looks: int, families: list[str]) -> str:
    return f"painted by code: {looks} looks in {len(families)} families: {', '.join(families)}"


def _files(entry: ShapeNetShapes | FolderShapes | ImageSurfaces, found: dict[str, int] | None) -> str:
    if found is not None:
        parts = ", ".join(f"{family} {count}" for family, count in sorted(found.items()))
        return f"{sum(found.values())} files, not yet looked at: {parts}"
    if isinstance(entry, ShapeNetShapes):
        return f"not given (--shapenet-root DIR); would offer {', '.join(entry.synsets)}"
    return f"not given ({'--meshes' if isinstance(entry, FolderShapes) else '--textures'} DIR)"


def _left_out(catalogue: Catalogue, source: str) -> list[str]:
    """One line of the files that are not used, with the first three of them."""
    names = [other.id.partition("/")[2] for other in catalogue.left_out() if other.source == source]
    if not names:
        return []
    more = ", …" if len(names) > 3 else ""
    return [
        f"    not used: {len(names)} files: {', '.join(names[:3])}{more} (`objnerf assets check` says why)"
    ]


def _entry(name: str, offer: str, licence: str) -> list[str]:
    return [f"  {name}: {offer}", f"    licence: {licence}"]
