"""Checks on single matrices, and on the convention that all of them were written in."""

from collections.abc import Iterator

import numpy as np

from validate.analysis.convention import Convention, common_layouts
from validate.analysis.duplicates import same_pose_pairs
from validate.analysis.model import Analysis
from validate.analysis.pose_files import Fault
from validate.checks.check import check
from validate.findings import Finding, on_views
from validate.measure.geometry import rolls

_POSE = "_RT.txt"


def _with_fault(analysis: Analysis, *faults: Fault) -> np.ndarray:
    return np.flatnonzero(np.isin(analysis.pose_files.fault, faults))


@check("POSE-READ", "E", "a pose file holds numbers")
def pose_read(analysis: Analysis) -> Iterator[Finding]:
    views = _with_fault(analysis, Fault.UNREAD)
    if len(views):
        yield on_views(
            analysis.scan,
            "POSE-READ",
            "E",
            views,
            f"the pose is no matrix of numbers: {analysis.pose_files.text[int(views[0])].unread}; expected "
            "4 rows of 4 numbers separated by spaces",
            "write the 4×4 camera-to-world matrix as plain text, a row a line",
            suffix=_POSE,
        )


@check("POSE-SHAPE", "E", "a pose is a 4×4 matrix")
def pose_shape(analysis: Analysis) -> Iterator[Finding]:
    views = _with_fault(analysis, Fault.SHAPE)
    if len(views):
        shape = analysis.pose_files.text[int(views[0])].shape
        cause = {
            "3×4": "the last row 0 0 0 1 is left out",
            "3×3": "only the rotation is there, the position is missing",
            "1×16": "all numbers stand on one line",
            "4×3": "the translation is missing, or the matrix is stored transposed",
            "1×7": "probably a position and a quaternion",
        }.get(shape or "", "the file may belong to something else")
        yield on_views(
            analysis.scan,
            "POSE-SHAPE",
            "E",
            views,
            f"the pose is {shape}, expected 4×4; {cause}",
            "write the whole 4×4 camera-to-world matrix",
            suffix=_POSE,
        )


@check("POSE-FINITE", "E", "a pose holds neither nan nor inf")
def pose_finite(analysis: Analysis) -> Iterator[Finding]:
    views = _with_fault(analysis, Fault.NOT_FINITE)
    if len(views):
        bad = analysis.pose_files.stored[views[0]]
        value = bad[~(np.abs(bad) < 1e12)].flat[0]
        yield on_views(
            analysis.scan,
            "POSE-FINITE",
            "E",
            views,
            f"the pose holds {value:g}, expected finite numbers; often a look-at from straight above, or a "
            "division by zero when the pose was exported",
            "export the pose again",
            suffix=_POSE,
        )


@check("POSE-BOTTOM", "E", "the last row of a pose is 0 0 0 1", limits=("bottom_error",))
def pose_bottom(analysis: Analysis) -> Iterator[Finding]:
    views = _with_fault(analysis, Fault.BOTTOM)
    if len(views):
        row = " ".join(f"{value:.4g}" for value in analysis.pose_files.stored[views[0], 3])
        yield on_views(
            analysis.scan,
            "POSE-BOTTOM",
            "E",
            views,
            f"the last row is {row}, expected 0 0 0 1; a projection matrix, or rows in another order",
            "write a rigid camera-to-world matrix; where only the last row is wrong, --fix corrects it",
            suffix=_POSE,
            fixable=True,
        )


@check("POSE-ORTHO", "E", "the rotation block is orthonormal", limits=("ortho_error",))
def pose_ortho(analysis: Analysis) -> Iterator[Finding]:
    views = _with_fault(analysis, Fault.NOT_ROTATION)
    if len(views):
        worst = float(analysis.pose_files.measure[views].max())
        yield on_views(
            analysis.scan,
            "POSE-ORTHO",
            "E",
            views,
            f"the rotation block is not orthonormal: |RᵀR - 1| is up to {worst:.2g}, expected at most "
            f"{analysis.limits.ortho_error:g}; too few digits, averaged matrices, or a scaled object's "
            "matrix",
            "export the pose with at least 6 digits and without scale or shear (--fix takes the nearest "
            "rotation where it is close)",
            suffix=_POSE,
            fixable=bool(analysis.pose_files.valid[views].all()),
        )


@check("POSE-DET", "E", "the rotation block has determinant 1", limits=("det_error",))
def pose_det(analysis: Analysis) -> Iterator[Finding]:
    yield from _mirrored(analysis)
    scaled = _with_fault(analysis, Fault.SCALED)
    if len(scaled):
        yield on_views(
            analysis.scan,
            "POSE-DET",
            "E",
            scaled,
            f"the rotation is scaled by {analysis.pose_files.measure[scaled[0]]:.4g}, expected a "
            "determinant of 1; the camera or its parent has a scale",
            "divide the 3×3 block by its scale (--fix does); check whether the positions are in the same "
            "unit",
            suffix=_POSE,
            fixable=True,
        )


def _mirrored(analysis: Analysis) -> Iterator[Finding]:
    """Matrices with determinant -1: all of them, for which there are two readings, or single ones."""
    diagnosis = analysis.diagnosis
    mirrored = _with_fault(analysis, Fault.MIRRORED)
    if not len(mirrored) or (diagnosis.flipped and diagnosis.convention.mirrored):
        # A left-handed world has a name of its own.
        return
    determinant = analysis.pose_files.measure[mirrored[0]]
    message = f"the rotation is mirrored: its determinant is {determinant:.3g}, expected 1; "
    if not diagnosis.flipped or not diagnosis.known:
        yield on_views(
            analysis.scan,
            "POSE-DET",
            "E",
            mirrored,
            message + "one camera axis was flipped alone",
            "flip two camera axes, not one (OpenGL to OpenCV is diag(1, -1, -1)); --fix turns the flipped "
            "axis back where the other cameras tell which it is",
            suffix=_POSE,
            fixable=all(view in diagnosis.turned_round for view in mirrored.tolist()),
        )
        return
    words = diagnosis.convention.axis_words(flipped=True)
    if diagnosis.is_undecided:
        message += (
            f"the poses alone leave two readings, mirror images of each other: the camera axes are {words}, "
            "or the world is left-handed"
        )
        fix = (
            "use --photo, which compares poses and images, or add depth maps; then --fix flips the "
            "camera axis back, or mirrors the world: diag(1, -1, 1, 1) @ RT, from the left"
        )
    else:
        message += f"the camera axes are {words} ({_what_decided(analysis)})"
        fix = "flip two camera axes, not one (OpenGL to OpenCV is diag(1, -1, -1)); --fix turns the axis back"
    yield on_views(
        analysis.scan,
        "POSE-DET",
        "E",
        mirrored,
        message,
        fix,
        suffix=_POSE,
        fixable=not diagnosis.is_undecided,
    )


def _what_decided(analysis: Analysis) -> str:
    """What decided between two readings, in words."""
    return {
        "depth": "the views' depth agrees in this reading alone",
        "photo": "feature matches fit this reading alone",
    }.get(analysis.diagnosis.decided_by or "", "the other reading is unlikely")


def _convention_groups(analysis: Analysis) -> list[tuple[Convention, list[int] | None]]:
    """The dataset's convention (views None) where it is not the right one, and those of single views."""
    diagnosis = analysis.diagnosis
    groups: list[tuple[Convention, list[int] | None]] = []
    if diagnosis.known and not diagnosis.convention.is_right:
        groups.append((diagnosis.convention, None))
    for convention, views in common_layouts(diagnosis.single):
        if not convention.is_right:
            groups.append((convention, list(views)))
        else:
            # The dataset is in another convention and these few are right: they are the odd ones only after
            # the dataset is fixed, and the dataset's finding says how many it concerns.
            continue
    return groups


def _on(
    analysis: Analysis,
    id: str,
    views: list[int] | None,
    message: str,
    fix: str,
    fixable: bool = True,
    severity: str = "E",
) -> Finding:
    """A finding on single views, or one for the dataset as a whole."""
    if views is None:
        odd = set(analysis.diagnosis.single) | set(analysis.diagnosis.astray)
        concerned = [int(view) for view in np.flatnonzero(analysis.pose_files.valid) if int(view) not in odd]
        return Finding(
            id,
            "E" if severity == "E" else "W",
            message,
            fix,
            count=len(concerned),
            total=len(analysis.scan.views),
            examples=tuple(analysis.scan.views[view].stem + _POSE for view in concerned[:3]),
            views=tuple(concerned[:8]),
            fixable=fixable,
        )
    return on_views(
        analysis.scan,
        id,
        "E" if severity == "E" else "W",
        views,
        message,
        fix,
        suffix=_POSE,
        fixable=fixable,
    )


@check(
    "POSE-AXES",
    "E",
    "cameras look along +z with y down (OpenCV), towards the scene",
    limits=("off_axis_degrees",),
)
def pose_axes(analysis: Analysis) -> Iterator[Finding]:
    diagnosis = analysis.diagnosis
    for convention, views in _convention_groups(analysis):
        flipped = diagnosis.flipped and views is None
        if flipped and not convention.mirrored:
            # POSE-DET names the axes.
            continue
        if convention.axes == 0 or (convention.mirrored and not flipped):
            continue
        program = convention.program() if not flipped else None
        words = convention.axis_words(flipped)
        called = f"{program} ({words})" if program else words
        if convention.is_opengl:
            message = (
                "cameras look away from the scene: the camera axes are OpenGL's or Blender's (x right, y up, "
                "looking along -z), expected OpenCV's (x right, y down, z forward)"
            )
            fix = "RT = RT @ diag(1, -1, -1, 1): flip the camera's y and z, not the world's (--fix does)"
        elif views is None and diagnosis.is_undecided:
            twin = next(reading for reading in diagnosis.readings if reading.mirrored)
            message = (
                f"the camera axes are {called}, expected OpenCV's (x right, y down, z forward). The poses "
                f"alone leave another reading, the mirror image: axes {twin.program()} "
                f"({twin.axis_words()}) in a left-handed world"
            )
            fix = "use --photo, which compares poses and images, or add depth maps; then --fix corrects it"
            yield _on(analysis, "POSE-AXES", views, message, fix, fixable=False)
            continue
        else:
            message = f"the camera axes are {called}, expected OpenCV's (x right, y down, z forward)"
            if views is None and len(diagnosis.readings) > 1:
                message += f": {_what_decided(analysis)}"
            fix = "reorder the camera's axes: multiply RT from the right (--fix does)"
        yield _on(analysis, "POSE-AXES", views, message, fix)


@check("POSE-HANDED", "E", "the world is right-handed")
def pose_handed(analysis: Analysis) -> Iterator[Finding]:
    diagnosis = analysis.diagnosis
    convention = diagnosis.convention
    if not diagnosis.known or not convention.mirrored:
        return
    program = convention.program() if not diagnosis.flipped else None
    words = convention.axis_words(diagnosis.flipped)
    cameras = f", with the camera axes {words}" + (f", as {program}" if program else "")
    if diagnosis.flipped:
        cameras = ": the determinant of the rotations is -1"
    yield _on(
        analysis,
        "POSE-HANDED",
        None,
        f"the world is left-handed{cameras}; expected a right-handed world. Poses alone would fit a mirrored "
        f"camera as well; {_what_decided(analysis)}",
        "mirror the world, not the cameras: RT = diag(1, -1, 1, 1) @ RT, from the left"
        + ("" if diagnosis.flipped else ", then reorder the camera's axes from the right")
        + " (--fix does)",
    )


@check("POSE-INVERTED", "E", "poses are camera-to-world, not world-to-camera")
def pose_inverted(analysis: Analysis) -> Iterator[Finding]:
    for convention, views in _convention_groups(analysis):
        if convention.layout == "inverted":
            yield _on(
                analysis,
                "POSE-INVERTED",
                views,
                "the matrix is world-to-camera (an extrinsic, as in COLMAP or OpenCV), expected "
                "camera-to-world: its inverse looks at the scene, the matrix does not",
                "store the inverse of each matrix (--fix does)",
            )


@check("POSE-TRANSPOSED", "E", "the rotation is not transposed")
def pose_transposed(analysis: Analysis) -> Iterator[Finding]:
    whole = _with_fault(analysis, Fault.WHOLE_TRANSPOSED)
    if len(whole):
        yield on_views(
            analysis.scan,
            "POSE-TRANSPOSED",
            "E",
            whole,
            "the whole 4×4 matrix is transposed: its translation stands in the last row; written by a "
            "program that multiplies row vectors, or in column order",
            "transpose each matrix (--fix does)",
            suffix=_POSE,
            fixable=True,
        )
    for convention, views in _convention_groups(analysis):
        if convention.layout == "transposed":
            yield _on(
                analysis,
                "POSE-TRANSPOSED",
                views,
                "the 3×3 rotation is transposed beside a position that is right: half of an inversion",
                "transpose the rotation block and leave the last column as it is (--fix does)",
            )


@check("POSE-TRANSLATION", "E", "the last column is the camera's position in the world")
def pose_translation(analysis: Analysis) -> Iterator[Finding]:
    for convention, views in _convention_groups(analysis):
        if convention.layout not in ("unrotated", "uninverted"):
            continue
        negated = convention.layout == "unrotated"
        form = "[Rᵀ | -t]" if negated else "[Rᵀ | t]"
        position = analysis.pose_files.rigid[analysis.diagnosis.usable][:, :3, 3]
        near = " ".join(f"{value:.3g}" for value in np.median(position, axis=0))
        yield _on(
            analysis,
            "POSE-TRANSLATION",
            views,
            f"the last column is the translation of the world-to-camera matrix [R | t], beside a rotation "
            f"that was inverted: {form}, all cameras are about ({near}); expected the position -Rᵀ t",
            f"position = {'R' if negated else '-R'} @ last column, R being the stored rotation (--fix does)",
        )


@check("POSE-UP", "E", "the world's up is z", limits=("roll_degrees",))
def pose_up(analysis: Analysis) -> Iterator[Finding]:
    diagnosis = analysis.diagnosis
    world = diagnosis.world
    if not diagnosis.known or world.is_level:
        return
    turn = {
        "y": "(x, y, z) → (x, -z, y)",
        "-y": "(x, y, z) → (x, z, -y)",
        "-z": "(x, y, z) → (x, -y, -z)",
        "x": "(x, y, z) → (-z, y, x)",
        "-x": "(x, y, z) → (z, y, -x)",
    }.get(world.name)
    fix = "turn the world, not the cameras (--fix does)"
    if world.up is None:
        message = (
            f"every scene has an up of its own, {world.tilt:.0f}° from z (median), as the cameras tell: "
            "expected z, with the ground at z = 0"
        )
        fix = "turn each scene's world, not the cameras (--fix does)"
    elif turn is not None:
        message = (
            f"the world's up is {world.name}, expected z with the ground at z = 0: cameras stand upright "
            f"only against {world.name}"
        )
        fix = (
            f"turn the world, not the cameras: {turn} on positions and on every column of the rotations "
            "(--fix does)"
        )
    else:
        up = ", ".join(f"{value:.3f}" for value in world.up)
        accuracy = f" ± {world.uncertainty:.0f}°" if world.uncertainty >= 1.0 else ""
        message = (
            f"the world is tilted: up, as the cameras tell, is ({up}){accuracy}, {world.tilt:.0f}° from z; "
            "expected z, with the ground at z = 0"
        )
    severity = "W" if world.name == "tilted" and world.tilt < 10.0 else "E"
    yield _on(analysis, "POSE-UP", None, message, fix, severity=severity)


@check("POSE-ROLL", "E", "cameras are not rolled about their optical axis", limits=("roll_degrees",))
def pose_roll(analysis: Analysis) -> Iterator[Finding]:
    diagnosis = analysis.diagnosis
    usable = np.flatnonzero(diagnosis.usable)
    if not len(usable) or not diagnosis.known:
        return
    held = diagnosis.convention
    roll = rolls(held.upright(diagnosis.poses[usable]))
    if held.held:
        decided = f": {_what_decided(analysis)}" if diagnosis.decided_by else ""
        yield _on(
            analysis,
            "POSE-ROLL",
            None,
            f"all cameras are rolled by about {held.held_degrees:.0f}°; expected upright ones{decided}",
            "leave the poses where the images lie on their side as well; where the images stand upright, "
            "the camera axes are mislabelled, which --photo or depth maps would tell",
            severity="W",
            fixable=False,
        )
    rolled = usable[np.abs(roll) > analysis.limits.roll_degrees]
    if len(rolled):
        amount = roll[np.abs(roll) > analysis.limits.roll_degrees]
        worst = float(amount[np.argmax(np.abs(amount))])
        most = len(rolled) > 0.5 * len(usable)
        yield on_views(
            analysis.scan,
            "POSE-ROLL",
            "W",
            rolled,
            f"the camera is rolled by up to {worst:.0f}° about its optical axis, expected under "
            f"{analysis.limits.roll_degrees:g}°"
            + (
                "; most cameras are, as when held by hand"
                if most
                else "; a wrong pose, unless the image is tilted as well"
            ),
            "check the pose against its image; where the image is tilted as well, the pose is right",
            suffix=_POSE,
        )


@check("POSE-DUP", "E", "no two views of a scene have the same pose", limits=("same_pose",))
def pose_dup(analysis: Analysis) -> Iterator[Finding]:
    pairs = same_pose_pairs(analysis)
    if not pairs:
        return
    first, second = pairs[0]
    yield on_views(
        analysis.scan,
        "POSE-DUP",
        "E",
        sorted({second for _, second in pairs}),
        f"the same pose twice in a scene: {analysis.scan.views[second].stem} has that of "
        f"{analysis.scan.views[first].stem}; a pose "
        "file was copied over another, or the camera did not move",
        "export the poses of this scene again, or remove the repeated view",
        suffix=_POSE,
    )
