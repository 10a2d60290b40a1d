"""Scores against values worked out by hand, and the laws they obey."""

import math
from types import ModuleType

import numpy as np
import pytest
import torch

from objnerf.evaluation import metrics


def test_ari_by_hand() -> None:
    # Contingency of truth 000111 and prediction 001122: {0: (2, 1, 0), 1: (0, 1, 2)}.
    # Pairs together in both: C(2,2) + C(2,2) = 2. In truth: 2 C(3,2) = 6. In prediction: 3 C(2,2) = 3.
    # By chance 6 * 3 / C(6,2) = 18 / 15 = 1.2, at most (6 + 3) / 2 = 4.5: (2 - 1.2) / (4.5 - 1.2) = 8 / 33.
    truth = np.array([0, 0, 0, 1, 1, 1])
    predicted = np.array([0, 0, 1, 1, 2, 2])
    assert metrics.ari(truth, predicted) == pytest.approx(8 / 33)


def test_ari_below_chance_by_hand() -> None:
    # Every true pair is split: contingency all ones. Together in both: 0. In truth and in prediction: 2 each.
    # By chance 2 * 2 / C(4,2) = 2 / 3, at most 2: (0 - 2/3) / (2 - 2/3) = -1/2.
    assert metrics.ari(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(-0.5)


def test_fg_ari_by_hand() -> None:
    # Background pixels (0) drop out whatever is predicted there. What is left: truth 1 1 1 2 2, prediction
    # 5 5 0 0 0. Together in both: C(2,2) + C(2,2) = 2. In truth 3 + 1 = 4, in prediction 1 + 3 = 4.
    # By chance 4 * 4 / C(5,2) = 1.6, at most 4: (2 - 1.6) / (4 - 1.6) = 1/6.
    truth = np.array([[0, 1, 1, 1], [2, 2, 0, 0]])
    predicted = np.array([[7, 5, 5, 0], [0, 0, 5, 3]])
    assert metrics.fg_ari(truth, predicted) == pytest.approx(1 / 6)


def test_fg_ari_counts_an_object_lost_to_the_background() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    assert metrics.fg_ari(truth, np.array([0, 0, 3, 3, 0, 0])) == 1.0  # still distinguished
    assert metrics.fg_ari(truth, np.array([0, 0, 0, 0, 0, 0])) == 0.0  # both lost


def test_ari_ignores_the_names_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 30, 40))
    names = np.array([9, 3, 100, 7])
    score = metrics.ari(truth, predicted)
    assert metrics.ari(names[truth], predicted) == pytest.approx(score)
    assert metrics.ari(predicted, truth) == pytest.approx(score)
    assert metrics.ari(truth, names[truth]) == 1.0
    assert abs(score) < 0.02  # independent labels score about nothing


def test_ari_without_pixels_says_why() -> None:
    with pytest.raises(metrics.MetricUnavailable, match="no pixel of the view shows an object"):
        metrics.fg_ari(np.zeros((3, 4), int), np.ones((3, 4), int))
    with pytest.raises(metrics.MetricUnavailable, match="no pixels"):
        metrics.ari(np.zeros(0, int), np.zeros(0, int))


def test_psnr_by_hand() -> None:
    # An error of 0.1 everywhere: mean square 0.01, 10 log10(1 / 0.01) = 20 dB.
    black = np.zeros((4, 5, 3))
    assert metrics.psnr(black + 0.1, black) == pytest.approx(20.0, abs=1e-5)
    assert metrics.psnr(black, black) == pytest.approx(80.0)


def test_ssim_of_constant_images_by_hand() -> None:
    # Without contrast only the luminance term is left: (2 a b + c1) / (a² + b² + c1), c1 = 0.01².
    a, b = np.full((12, 16, 3), 0.2), np.full((12, 16, 3), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert metrics.ssim(a, b) == pytest.approx(expected)
    assert metrics.ssim(a, a) == pytest.approx(1.0)


def test_ssim_against_its_definition() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 13, 12, 3))
    # Direct sum over every 11x11 window that fits, Gaussian weights of standard deviation 1.5.
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    scores = []
    for y in range(3):
        for x in range(2):
            for c in range(3):
                p, q = a[y : y + 11, x : x + 11, c], b[y : y + 11, x : x + 11, c]
                mean_p, mean_q = (window * p).sum(), (window * q).sum()
                var_p, var_q = (window * p * p).sum() - mean_p**2, (window * q * q).sum() - mean_q**2
                covariance = (window * p * q).sum() - mean_p * mean_q
                scores.append(
                    (2 * mean_p * mean_q + 1e-4)
                    * (2 * covariance + 9e-4)
                    / ((mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4))
                )
    assert metrics.ssim(a, b) == pytest.approx(np.mean(scores), abs=1e-9)


def test_ssim_of_too_small_an_image_says_why() -> None:
    with pytest.raises(metrics.MetricUnavailable, match="at least 11 pixels a side, these are 40x10"):
        metrics.ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)))


@pytest.fixture
def torchvision() -> ModuleType:
    """torchvision, or the test is skipped: it belongs to the extra objnerf[lpips]."""
    try:
        import torchvision
    except Exception as error:  # not installed, or built for another torch
        pytest.skip(f"LPIPS needs torchvision ({error})")
    return torchvision


def test_lpips_says_why_it_cannot_be_computed(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(metrics.MetricUnavailable, match=r"torchvision|alexnet-owt"):
        metrics.Lpips()


def test_lpips_without_weights_says_where_they_go(tmp_path, monkeypatch, torchvision) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(metrics.MetricUnavailable, match=r"alexnet-owt-7be5be79\.pth in torch's cache"):
        metrics.Lpips()


def test_lpips_loads_weights_from_the_cache_and_measures(tmp_path, monkeypatch, torchvision) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None)
    target = metrics.alexnet_weights()
    target.parent.mkdir(parents=True)
    torch.save(network.state_dict(), target)
    lpips = metrics.Lpips()

    rng = np.random.default_rng(0)
    image, other = rng.random((2, 40, 48, 3))
    near = np.clip(image + 0.02, 0, 1)
    assert lpips(image, image) == pytest.approx(0.0, abs=1e-6)
    assert 0 < lpips(near, image) < lpips(other, image)
    # The first figure again after others: nothing is accumulated between calls.
    assert lpips(other, image) == pytest.approx(lpips(other, image), abs=1e-9)
    with pytest.raises(metrics.MetricUnavailable, match="at least 35 pixels"):
        lpips(image[:20], image[:20])

    target.write_bytes(b"no weights")
    with pytest.raises(metrics.MetricUnavailable, match="could not load the AlexNet weights"):
        metrics.Lpips()


def test_mean_and_spread_skip_what_is_missing() -> None:
    scenes = [{"ari": 0.2, "lpips": None}, {"ari": 0.6}, {"ari": None, "lpips": None}]
    mean, std, count = metrics.mean_and_spread(scenes, ["ari", "lpips"])
    assert mean == {"ari": pytest.approx(0.4), "lpips": None}
    assert std == {"ari": pytest.approx(0.2), "lpips": None}
    assert count == {"ari": 2, "lpips": 0}
    assert all(math.isfinite(x) for x in (mean["ari"], std["ari"]))
