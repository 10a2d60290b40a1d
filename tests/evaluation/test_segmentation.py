"""Labels from rendered slots and stored masks: hand-worked cases and the law of mutual occlusion."""

import numpy as np
import pytest
import torch

from objnerf.dataset.files import mask_from_labels
from objnerf.evaluation import metrics, segmentation
from objnerf.evaluation.gallery import slot_colours
from objnerf.evaluation.scenes import render_view


def test_labels_by_hand() -> None:
    opacity = torch.tensor(
        [
            [0.7, 0.2, 0.1],  # the background is seen most
            [0.2, 0.3, 0.5],  # slot 2 is
            [0.1, 0.3, 0.0],  # 0.6 of the light passes: background 0.1 + 0.6 against 0.3
            [0.0, 0.6, 0.1],  # 0.3 passes, which is less than 0.6
            [0.0, 0.0, 0.0],  # nothing is there
        ]
    )
    assert segmentation.labels_from_opacity(opacity).tolist() == [0, 2, 0, 1, 0]
    assert opacity[2, 0] == pytest.approx(0.1)  # the argument stays as it was


def test_the_front_ball_hides_the_other_only_by_our_rule(world, settings) -> None:
    # Seen from the camera, ball 2 stands before ball 1, which is denser: rendered alone, ball 1 has the
    # larger density-weighted mask, so the reference gives it the pixels where only ball 2 is seen.
    behind = world.Ball((0.0, 1.1, 0.9), 1.2, (0.9, 0.2, 0.2), density=3000.0)
    before = world.Ball((0.0, -1.1, 2.2), 0.9, (0.2, 0.3, 0.9), density=1500.0)
    both = world.Balls((behind, before), world.geometry).eval()
    only_front = world.Balls((before,), world.geometry).eval()
    pose = world.camera(-90.0)
    seen = render_view(both, world.code_of(both), pose, settings, reference=True)
    outline = render_view(only_front, world.code_of(only_front), pose, settings).labels == 1
    whole_back = render_view(both, world.code_of(both).delete(2), pose, settings).labels == 1
    overlap = outline & whole_back
    assert overlap.sum() > 30

    assert (seen.labels[outline] == 2).all()
    assert seen.reference_labels is not None
    assert (seen.reference_labels[overlap] == 1).all()
    # Only where they overlap do the two rules differ.
    assert (seen.labels == seen.reference_labels)[~overlap].mean() > 0.99


def test_every_pixel_of_an_opaque_scene_belongs_to_what_is_seen(world, model, settings) -> None:
    pose = world.camera(20.0)
    seen = render_view(model, world.code_of(model), pose, settings)
    colours = np.array([(0.6, 0.6, 0.5), *(ball.colour for ball in model.balls)])
    by_colour = np.linalg.norm(seen.rgb[:, :, None] - colours, axis=-1).argmin(-1)
    assert (by_colour == seen.labels).mean() > 0.97  # mixed pixels at outlines may differ


def test_reference_background_is_the_second_lowest_grey() -> None:
    # Grey levels: first object (0,0,255) 29, background (64,64,64) 64, second (255,0,0) 76.
    mask = mask_from_labels(np.array([[1, 0, 2], [1, 0, 0]]))
    labels, background = segmentation.reference_true_labels(mask)
    assert labels.tolist() == [[0, 1, 2], [0, 1, 1]]
    assert background == 1
    # Without the blue object the rule takes the red one for the background; ours goes by the colour.
    mask = mask_from_labels(np.array([[0, 0, 2]]))
    labels, background = segmentation.reference_true_labels(mask)
    assert (labels == background).tolist() == [[False, False, True]]
    assert (segmentation.true_labels(mask) == 0).tolist() == [[True, True, False]]


def test_reference_background_needs_two_greys() -> None:
    with pytest.raises(metrics.MetricUnavailable, match="single grey level"):
        segmentation.reference_true_labels(mask_from_labels(np.zeros((2, 3), int)))


def test_best_slot_by_hand() -> None:
    wanted = np.array([[True, True, True, False]])
    # Slot 1 has 1 of 3 and nothing else: 1/3. Slot 2 has 2 of 3 and one pixel outside: 2/4.
    predicted = np.array([[1, 2, 2, 2]])
    assert segmentation.best_slot(predicted, wanted, 4) == (2, pytest.approx(0.5))
    assert segmentation.best_slot(np.zeros((1, 4), int), wanted, 3) == (1, 0.0)


def test_slots_take_the_colours_of_their_objects() -> None:
    truth = np.array([[0, 1, 1, 2, 2, 3]])
    predicted = np.array([[0, 2, 2, 1, 1, 0]])
    colours = slot_colours([(truth, predicted)], 4)
    masks = mask_from_labels(np.array([[0, 1, 2, 3]]))[0]
    assert colours[0].tolist() == masks[0].tolist()
    assert colours[2].tolist() == masks[1].tolist()
    assert colours[1].tolist() == masks[2].tolist()
    # Slot 3 matches nothing and gets a colour that no other slot has; object 3 was not found.
    assert len({tuple(colour) for colour in colours.tolist()}) == 4
