"""``dataset.yaml`` and ``scenes/*.json`` against what is on disk."""

from collections.abc import Iterator

from objnerf.dataset.card import CARD_NAME, FORMAT_VERSION, SCENE_FOLDER
from validate.checks.images import opened, usual_size
from validate.checks.registry import check
from validate.figures import MAX_COLOURS
from validate.findings import Finding
from validate.survey import Survey


def _on_card(severity: str, message: str, fix: str, mendable: bool = False) -> Finding:
    return Finding(
        "META",
        "E" if severity == "E" else "W",
        message,
        fix,
        path=CARD_NAME,
        unit="files",
        examples=(CARD_NAME,),
        mendable=mendable,
    )


@check(
    "META", "E", "dataset.yaml and scenes/*.json say what is on disk", needs="pictures", limits=("meta_pose",)
)
def meta(survey: Survey) -> Iterator[Finding]:
    yield from _card(survey)
    yield from _scene_cards(survey)


def _card(survey: Survey) -> Iterator[Finding]:
    if survey.card_problem is not None:
        yield _on_card(
            "E",
            f"dataset.yaml cannot be used: {survey.card_problem}",
            "correct the file, or delete it: it is optional",
        )
        return
    card = survey.card
    if card is None:
        return
    if card.format_version > FORMAT_VERSION:
        yield _on_card(
            "W",
            f"dataset.yaml has format version {card.format_version}, this program knows up to "
            f"{FORMAT_VERSION}",
            "use a newer objnerf",
        )
    if survey.unfinished:
        yield _on_card(
            "W",
            f"{survey.n_scenes} of {card.scenes} scenes are there: the generator was stopped, or is at work. "
            "What is there can be used",
            "run the same `objnerf generate` again for the rest, or correct the number (--fix does)",
            mendable=True,
        )
    elif card.scenes is not None and card.scenes != survey.n_scenes:
        yield _on_card(
            "E",
            f"dataset.yaml says {card.scenes} scenes, on disk are {survey.n_scenes}: a copy or a generator "
            "was "
            "interrupted, or scenes were added",
            "bring the missing scenes (generate goes on where it stopped), or correct the number (--fix "
            "does)",
            mendable=True,
        )
    size = usual_size(survey)
    if card.image_size is not None and size is not None and tuple(card.image_size) != size:
        yield _on_card(
            "E",
            f"dataset.yaml says pictures of {card.image_size[0]}×{card.image_size[1]}, on disk they are "
            f"{size[0]}×{size[1]}: they were scaled afterwards",
            "correct image_size (--fix does), and focal_ratio where the aspect changed",
            mendable=True,
        )
    counts = [block.stop - block.start for block in survey.scene_blocks.values()]
    if card.views_per_scene is not None and counts and min(counts) > card.views_per_scene:
        yield _on_card(
            "W",
            f"dataset.yaml says {card.views_per_scene} views a scene, on disk are at least {min(counts)}",
            "correct views_per_scene (--fix does)",
            mendable=True,
        )


def _scene_cards(survey: Survey) -> Iterator[Finding]:
    notes = opened(survey).scene_notes
    ids = {int(name.removesuffix(".json")) for name in survey.dataset.scene_cards if _is_id(name)}
    if not ids:
        return
    lacking = sorted(set(survey.dataset.scenes) - ids)
    if lacking:
        yield survey.on_scenes(
            "META",
            "W",
            lacking,
            f"a scene has no description in {SCENE_FOLDER}/ though others have one",
            "bring the missing files, or generate the scenes again",
        )
    surplus = sorted(ids - set(survey.dataset.scenes))
    if surplus:
        yield Finding(
            "META",
            "W",
            f"{SCENE_FOLDER}/ describes scene {surplus[0]}, of which there is no view",
            "bring the views (generate goes on where it stopped), or delete the description (--fix leaves it "
            "out)",
            path=f"{SCENE_FOLDER}/{surplus[0]:04d}.json",
            count=len(surplus),
            unit="files",
            mendable=True,
        )
    unread = [scene for scene, note in notes.items() if note.problem is not None]
    if unread:
        yield survey.on_scenes(
            "META",
            "E",
            unread,
            f"the scene's description cannot be used: {notes[unread[0]].problem}",
            "generate the scene again, or delete the description: it is optional",
        )
    renamed = [scene for scene, note in notes.items() if note.problem is None and note.names_differ]
    if renamed:
        yield survey.on_scenes(
            "META",
            "E",
            renamed,
            "the scene's description names views that are not on disk, such as "
            f"{notes[renamed[0]].names_differ}",
            "generate the scene again, or delete the description",
        )
    moved: dict[int, float] = {}
    for note in notes.values():
        moved |= {view: error for view, error in note.pose_errors.items() if error > survey.limits.meta_pose}
    if moved:
        yield survey.on_views(
            "META",
            "E",
            sorted(moved),
            f"the pose differs from the one in the scene's description by up to {max(moved.values()):.3g}, "
            "expected "
            f"under {survey.limits.meta_pose:g}: the pose file was changed or belongs to another view",
            "take the pose from the description (--fix does), or generate the scene again",
            suffix="_RT.txt",
            mendable=True,
        )
    rows = opened(survey).rows
    blocks = survey.scene_blocks
    miscounted = []
    for scene, note in notes.items():
        if note.problem is not None or note.objects is None or scene not in blocks:
            continue
        views = blocks[scene]
        most = int(rows["n_colours"][views].max(initial=0))
        # Labels missing from single views are the mask checks' affair: the fullest view counts.
        if 0 < most <= MAX_COLOURS and most - 1 != note.objects:
            miscounted.append(scene)
    if miscounted:
        scene = miscounted[0]
        labels = int(rows["n_colours"][blocks[scene]].max()) - 1
        yield survey.on_scenes(
            "META",
            "W",
            miscounted,
            f"the scene's description has {notes[scene].objects} objects, its masks show {labels}",
            "generate the scene again",
        )


def _is_id(name: str) -> bool:
    stem = name.removesuffix(".json")
    return stem.isascii() and stem.isdigit() and len(stem) <= 18
