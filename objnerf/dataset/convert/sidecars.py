"""What our format says about a dataset and a foreign one does not: it travels beside the foreign files."""

from pathlib import Path
from typing import Literal

from objnerf.dataset.card import CARD_NAME, CONVENTIONS, SCENE_FOLDER, DatasetCard, read_card, write_card
from objnerf.dataset.convert.posed import Blob, PosedScenes


def write_sidecars(posed: PosedScenes, folder: Path) -> None:
    """Write ``dataset.yaml``, and ``scenes/`` when the source has it, beside the foreign files."""
    write_card(folder, card_of(posed))
    if posed.scene_cards:
        (folder / SCENE_FOLDER).mkdir()
        for name, path in posed.scene_cards.items():
            Blob(path).copy_to(folder / SCENE_FOLDER / name)


def card_of(posed: PosedScenes) -> DatasetCard:
    """``dataset.yaml`` for what was written: what the source said, corrected by what is there."""
    counts = {len(scene.views) for scene in posed.scenes}
    words = posed.world_words
    if words is None and posed.world == "free":
        words = UNKNOWN_WORLD
    facts = {
        "image_size": (posed.camera.width, posed.camera.height),
        "focal_ratio": posed.camera.focal_ratio,
        "scenes": len(posed.scenes),
        "views_per_scene": counts.pop() if len(counts) == 1 else None,
        "conventions": CONVENTIONS | ({} if words is None else {"world": words}),
    }
    return (posed.card or DatasetCard()).model_copy(update=facts)


#: What ``dataset.yaml`` says of a world that was taken over as a reconstruction left it.
UNKNOWN_WORLD = "right-handed; as the source has it: up, origin and unit are not known"


def world_of(card: DatasetCard | None) -> Literal["stated", "free"]:
    """Whether the world beside a ``dataset.yaml`` means something: only where one says so."""
    unknown = card is None or (card.conventions or {}).get("world") == UNKNOWN_WORLD
    return "free" if unknown else "stated"


def read_sidecars(folder: Path) -> tuple[DatasetCard | None, dict[str, Path]]:
    """``dataset.yaml`` and the files of ``scenes/`` beside foreign files, as far as they are there."""
    card = read_card(folder) if (folder / CARD_NAME).is_file() else None
    scenes = folder / SCENE_FOLDER
    found = sorted(scenes.glob("*.json")) if scenes.is_dir() else []
    return card, {path.name: path for path in found}


def left_out(
    posed: PosedScenes, carried: set[str], *, amodal: bool = False, movements: bool = False
) -> list[str]:
    """What a target cannot carry, in words.

    Args:
        carried: the companions' suffixes that it does carry.
        amodal: whether it carries amodal masks.
        movements: whether it carries the movements of the manipulation test.
    """
    present = {suffix for scene in posed.scenes for view in scene.views for suffix in view.companions}
    missing = sorted(present - carried - {"_RT.txt", "_azi_rot.txt", "_intrinsics.txt"})
    notes = [f"the files …{suffix}" for suffix in missing]
    if not amodal and any(view.amodal for view in posed.views):
        notes.append("the amodal masks")
    if not movements and posed.movements:
        notes.append("the movements of the manipulation test")
    return notes
