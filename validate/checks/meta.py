"""``dataset.yaml`` and ``scenes/*.json`` against what is on disk."""

from collections.abc import Iterator

from objnerf.dataset.card import CARD_NAME, FORMAT_VERSION, SCENE_FOLDER
from objnerf.dataset.names import POSE_SUFFIX
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, on_scenes, on_views
from validate.measure.figures import MAX_COLOURS


def _on_card(severity: str, message: str, fix: str, fixable: bool = False) -> Finding:
    return Finding(
        "META",
        "E" if severity == "E" else "W",
        message,
        fix,
        path=CARD_NAME,
        unit="files",
        examples=(CARD_NAME,),
        fixable=fixable,
    )


@check(
    "META", "E", "dataset.yaml and scenes/*.json say what is on disk", needs="pictures", limits=("meta_pose",)
)
def meta(analysis: Analysis) -> Iterator[Finding]:
    yield from _card(analysis)
    yield from _scene_cards(analysis)


def _card(analysis: Analysis) -> Iterator[Finding]:
    if analysis.scan.card_problem is not None:
        yield _on_card(
            "E",
            f"dataset.yaml cannot be used: {analysis.scan.card_problem}",
            "correct the file, or delete it: it is optional",
        )
        return
    card = analysis.scan.card
    if card is None:
        return
    if card.format_version > FORMAT_VERSION:
        yield _on_card(
            "W",
            f"dataset.yaml has format version {card.format_version}, this program knows up to "
            f"{FORMAT_VERSION}",
            "use a newer objnerf",
        )
    if analysis.scan.unfinished:
        yield _on_card(
            "W",
            f"{analysis.scan.n_scenes} of {card.scenes} scenes are there: the generator was stopped, or is "
            "at work. What is there can be used",
            "run the same `objnerf generate` again for the rest, or correct the number (--fix does)",
            fixable=True,
        )
    elif card.scenes is not None and card.scenes != analysis.scan.n_scenes:
        yield _on_card(
            "E",
            f"dataset.yaml says {card.scenes} scenes, on disk are {analysis.scan.n_scenes}: a copy or a "
            "generator was interrupted, or scenes were added",
            "bring the missing scenes (generate goes on where it stopped), or correct the number (--fix "
            "does)",
            fixable=True,
        )
    size = analysis.usual_size
    if card.image_size is not None and size is not None and tuple(card.image_size) != size:
        yield _on_card(
            "E",
            f"dataset.yaml says images of {card.image_size[0]}×{card.image_size[1]}, on disk they are "
            f"{size[0]}×{size[1]}: they were scaled afterwards",
            "correct image_size (--fix does), and focal_ratio where the aspect changed",
            fixable=True,
        )
    counts = [block.stop - block.start for block in analysis.scan.scene_blocks.values()]
    if card.views_per_scene is not None and counts and min(counts) > card.views_per_scene:
        yield _on_card(
            "W",
            f"dataset.yaml says {card.views_per_scene} views a scene, on disk are at least {min(counts)}",
            "correct views_per_scene (--fix does)",
            fixable=True,
        )


def _scene_cards(analysis: Analysis) -> Iterator[Finding]:
    names = analysis.scan.dataset.scene_cards
    ids = {int(name.removesuffix(".json")) for name in names if _is_id(name)}
    if not ids:
        return
    yield from _which_are_there(analysis, ids)
    yield from _unusable(analysis)
    yield from _against_poses(analysis)
    yield from _against_masks(analysis)


def _which_are_there(analysis: Analysis, ids: set[int]) -> Iterator[Finding]:
    """Scenes without a description, and descriptions without a scene."""
    scenes = set(analysis.scan.dataset.scenes)
    lacking = sorted(scenes - ids)
    if lacking:
        yield on_scenes(
            analysis.scan,
            "META",
            "W",
            lacking,
            f"a scene has no description in {SCENE_FOLDER}/ though others have one",
            "bring the missing files, or generate the scenes again",
        )
    surplus = sorted(ids - scenes)
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
            fixable=True,
        )


def _unusable(analysis: Analysis) -> Iterator[Finding]:
    """Descriptions that cannot be read, or name other views than there are."""
    notes = analysis.measured.scene_notes
    unread = [scene for scene, note in notes.items() if note.problem is not None]
    if unread:
        yield on_scenes(
            analysis.scan,
            "META",
            "E",
            unread,
            f"the scene's description cannot be used: {notes[unread[0]].problem}",
            "generate the scene again, or delete the description: it is optional",
        )
    renamed = [scene for scene, note in notes.items() if note.problem is None and note.names_differ]
    if renamed:
        yield on_scenes(
            analysis.scan,
            "META",
            "E",
            renamed,
            "the scene's description names views that are not on disk, such as "
            f"{notes[renamed[0]].names_differ}",
            "generate the scene again, or delete the description",
        )


def _against_poses(analysis: Analysis) -> Iterator[Finding]:
    limit = analysis.limits.meta_pose
    moved: dict[int, float] = {}
    for note in analysis.measured.scene_notes.values():
        moved |= {view: error for view, error in note.pose_errors.items() if error > limit}
    if moved:
        yield on_views(
            analysis.scan,
            "META",
            "E",
            sorted(moved),
            f"the pose differs from the one in the scene's description by up to {max(moved.values()):.3g}, "
            f"expected under {limit:g}: the pose file was changed or belongs to another view",
            "take the pose from the description (--fix does), or generate the scene again",
            suffix=POSE_SUFFIX,
            fixable=True,
        )


def _against_masks(analysis: Analysis) -> Iterator[Finding]:
    rows, blocks, notes = analysis.rows, analysis.scan.scene_blocks, analysis.measured.scene_notes
    miscounted = []
    for scene, note in notes.items():
        if note.problem is not None or note.objects is None or scene not in blocks:
            continue
        most = int(rows["n_colours"][blocks[scene]].max(initial=0))
        # Labels missing from single views are the mask checks' affair: the fullest view counts.
        if 0 < most <= MAX_COLOURS and most - 1 != note.objects:
            miscounted.append(scene)
    if miscounted:
        scene = miscounted[0]
        labels = int(rows["n_colours"][blocks[scene]].max()) - 1
        yield on_scenes(
            analysis.scan,
            "META",
            "W",
            miscounted,
            f"the scene's description has {notes[scene].objects} objects, its masks show {labels}",
            "generate the scene again",
        )


def _is_id(name: str) -> bool:
    stem = name.removesuffix(".json")
    return stem.isascii() and stem.isdigit() and len(stem) <= 18
