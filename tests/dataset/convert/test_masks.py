"""Numbers of the objects in the masks of a scene."""

from pathlib import Path

import numpy as np
import pytest

from objnerf.dataset.convert.masks import InstanceMap, instance_masks, object_numbers
from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS, labels_from_mask, mask_from_labels
from objnerf.errors import InputError


def test_listed_colours_keep_their_numbers_and_others_take_the_lowest_free_ones() -> None:
    """Green, 3, is hidden in the first view, where purple must not take its number: 1 and 2 are free."""
    green, purple, brown = OBJECT_COLOURS[2], (90, 0, 90), (99, 60, 30)
    first = np.array([[BACKGROUND_COLOUR, purple, brown]], np.uint8)
    second = np.array([[BACKGROUND_COLOUR, green, purple]], np.uint8)
    numbered = object_numbers([first, second], "scene 0")
    # Grey levels: purple 0.299 · 90 + 0.114 · 90 = 37, brown 68.
    np.testing.assert_array_equal(numbered[0], [[0, 1, 2]])
    np.testing.assert_array_equal(numbered[1], [[0, 3, 1]])


def test_a_view_without_background_does_not_lose_an_object_to_it() -> None:
    """Alone, the second view would be read by the grey rule, with its second lowest level as background."""
    first = np.array([[BACKGROUND_COLOUR, (90, 0, 90), (200, 10, 10)]], np.uint8)
    second = np.array([[(90, 0, 90), (200, 10, 10), (200, 10, 10)]], np.uint8)
    numbered = object_numbers([first, second], "scene 0")
    np.testing.assert_array_equal(numbered[1], [[1, 2, 2]])


def test_smoothed_edges_are_refused() -> None:
    ramp = np.repeat(np.arange(70, 90, dtype=np.uint8)[None, :, None], 3, axis=-1)
    mask = np.concatenate([ramp, np.full_like(ramp, 64)])
    with pytest.raises(InputError, match=r"scene 0: .* found 20; are their edges anti-aliased"):
        object_numbers([mask], "scene 0")


def test_the_whole_palette_comes_back() -> None:
    labels = np.arange(len(OBJECT_COLOURS) + 1)[None]
    np.testing.assert_array_equal(object_numbers([mask_from_labels(labels)], "scene 0")[0], labels)


def _map(*ids: int) -> InstanceMap:
    return InstanceMap(Path("ids.png"), lambda: np.array([ids]))


def test_instances_have_one_number_in_all_views_and_the_first_is_in_each() -> None:
    """Of 4, 7 and 300 only 7 is seen everywhere."""
    masks = instance_masks([_map(0, 300, 7), None, _map(7, 4, 0)], "scene 0", [])
    labels = [None if mask is None else labels_from_mask(mask.array()).tolist() for mask in masks]
    assert labels == [[[0, 3, 1]], None, [[1, 2, 0]]]


def test_more_objects_than_colours_are_said() -> None:
    notes: list[str] = []
    assert instance_masks([_map(*range(65))], "scene 0", notes) == [None]
    assert notes == [
        "scene 0: its masks were left out: they show 64 objects, and a mask of our format holds at most 63"
    ]
