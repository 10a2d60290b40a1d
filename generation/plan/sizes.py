"""How large an object is: by its kind, by exact heights, or true to its real size."""

import math
from collections.abc import Callable

import numpy as np

from generation.assets.catalogue import Catalogue, ShapeAsset
from generation.assets.mesh import Extent
from generation.plan.request import GenerationRequest
from objnerf.errors import InputError


def draw_scale(
    request: GenerationRequest,
    catalogue: Catalogue,
    shape: ShapeAsset,
    extent: Extent,
    rng: np.random.Generator,
) -> float:
    """The bounding box's diagonal in world units.

    Raises:
        InputError: the real size is asked for, and not known.
    """
    rules = request.preset.objects
    if request.real_scale:
        return round(_metres(catalogue, shape) * rules.units_per_metre, 6)
    if rules.sizes is not None:
        return float(rng.choice(rules.sizes)) / float(extent.size[2])
    return float(rng.uniform(*rules.diagonals.get(shape.family.lower(), rules.diagonal)))


def size_check(request: GenerationRequest, catalogue: Catalogue) -> Callable[[ShapeAsset], str | None] | None:
    """With `real_scale`, what says why a shape in its real size is not for these scenes, or None where it is.

    Too large is what the locality box does not hold. Too small is what would cover less than
    `placement.min_pixels` of a view even as a ball of its diagonal at the cameras' least distance.
    """
    if not request.real_scale:
        return None
    preset = request.preset
    rules = preset.objects
    pixels = preset.placement.min_pixels * request.width * request.height
    least = 2 * math.sqrt(pixels / math.pi) * preset.cameras.distance[0] / request.intrinsics.fx

    def misfit(shape: ShapeAsset) -> str | None:
        metres = _metres(catalogue, shape)
        scale = metres * rules.units_per_metre
        width, depth, height = (catalogue.extent(shape).size * scale).tolist()
        found = (
            f"its diagonal of {metres:.3g} m is {scale:.3g} world units at {rules.units_per_metre:g} a metre"
        )
        hint = "another --unit, or units_per_metre in a copy of the preset, changes that"
        if height > preset.obj_scale or max(width, depth) > 2 * preset.obj_scale:
            return f"too large for the locality box: {found}; {hint}"
        if scale < least:
            return f"too small to be seen: {found}, expected at least {least:.2g}; {hint}"
        return None

    return misfit


def _metres(catalogue: Catalogue, shape: ShapeAsset) -> float:
    metres = catalogue.metres(shape)
    if metres is None:
        raise InputError(
            f"--real-scale: the real size of {shape.id} is unknown; it is known for procedural furniture and "
            "for mesh files (--meshes, with --unit)"
        )
    return metres
