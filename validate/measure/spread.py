"""Choose some of many, spread evenly."""

import numpy as np
from jaxtyping import Shaped


def spread_evenly(items: Shaped[np.ndarray, "all"], most: int) -> Shaped[np.ndarray, " some"]:
    """At most ``most`` of the items, the first and the last among them, in their order."""
    count = len(items)
    if count <= most:
        return items
    chosen: Shaped[np.ndarray, " some"] = items[np.linspace(0, count - 1, most).astype(int)]
    return chosen
