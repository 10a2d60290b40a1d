"""Scores of a rendered image and of a segmentation, as pure functions on numpy arrays.

Images are RGB in [0, 1], labels are integers with 0 for the background. The definitions are the field's own:

- ARI: adjusted Rand index (Hubert and Arabie, 1985) over *all* pixels of a view.
- FG-ARI: the same over the pixels that the *ground truth* gives to an object.
- NV-ARI, NV-FG-ARI: their means over all novel views of a scene.
- PSNR, SSIM, LPIPS: with the settings of uORF, so that figures can be set beside published ones.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

#: Added to the mean squared error, as uORF's library does; equal images score 80 dB, not infinity.
PSNR_EPSILON = 1e-8

#: Side of SSIM's Gaussian window (standard deviation 1.5, Wang et al. 2004), in pixels.
SSIM_WINDOW = 11

#: AlexNet's five stages need this many pixels a side.
LPIPS_MIN_SIDE = 35

#: Where torch.hub keeps the AlexNet weights that LPIPS stands on.
ALEXNET_WEIGHTS = "alexnet-owt-7be5be79.pth"


class MetricUnavailable(Exception):
    """A metric cannot be computed here; the message is the reason that stands beside the null."""


def ari(truth: Integer[np.ndarray, "*pixels"], predicted: Integer[np.ndarray, "*pixels"]) -> float:
    """Adjusted Rand index of two labellings of the same pixels: 1 for equal partitions, about 0 for chance.

    Args:
        truth: true labels; only which pixels share a label matters.
        predicted: predicted labels, of the same shape.
    Raises:
        MetricUnavailable: there are no pixels.
    """
    from sklearn.metrics import adjusted_rand_score

    if truth.size == 0:
        raise MetricUnavailable("no pixels to compare")
    return float(adjusted_rand_score(truth.ravel(), predicted.ravel()))


def fg_ari(
    truth: Integer[np.ndarray, "*pixels"], predicted: Integer[np.ndarray, "*pixels"], background: int = 0
) -> float:
    """Adjusted Rand index over the pixels whose *true* label is not ``background``.

    What the prediction says about background pixels does not count; a view with one object that is
    predicted whole scores 1.

    Raises:
        MetricUnavailable: no pixel shows an object.
    """
    foreground = truth != background
    if not foreground.any():
        raise MetricUnavailable("no pixel of the view shows an object")
    return ari(truth[foreground], predicted[foreground])


def psnr(image: Float[np.ndarray, "height width 3"], target: Float[np.ndarray, "height width 3"]) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]; at most 80 (see ``PSNR_EPSILON``)."""
    error = np.mean((np.asarray(image, np.float64) - np.asarray(target, np.float64)) ** 2)
    return float(-10.0 * math.log10(error + PSNR_EPSILON))


def ssim(image: Float[np.ndarray, "height width 3"], target: Float[np.ndarray, "height width 3"]) -> float:
    """Structural similarity (Wang et al., 2004) of images in [0, 1]: Gaussian window, mean over colours.

    Only pixels whose window lies inside the image count, as in uORF.

    Raises:
        MetricUnavailable: the images are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < SSIM_WINDOW:
        raise MetricUnavailable(
            f"SSIM needs images of at least {SSIM_WINDOW} pixels a side, these are "
            f"{image.shape[1]}x{image.shape[0]}"
        )
    return float(
        structural_similarity(
            np.asarray(image, np.float64),
            np.asarray(target, np.float64),
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


class Lpips:
    """Learned perceptual distance (Zhang et al., 2018), AlexNet version 0.1 as uORF uses it.

    Args:
        device: where the network runs, e.g. ``"cpu"`` or ``"cuda:0"``.
    Raises:
        MetricUnavailable: torchvision or the AlexNet weights are missing. Weights are never fetched behind
            the user's back: the message says how to put them into torch's usual cache.
    """

    def __init__(self, device: str = "cpu") -> None:
        try:
            import torchvision  # noqa: F401 (torchmetrics takes AlexNet from it)
        except Exception as error:  # a torchvision built for another torch fails in ways of its own
            raise MetricUnavailable(
                "LPIPS needs torchvision, which "
                + ("is not installed" if isinstance(error, ImportError) else f"does not load here ({error})")
                + "; install the extra objnerf[lpips]"
            ) from error
        weights = alexnet_weights()
        if not weights.is_file():
            raise MetricUnavailable(
                f"LPIPS needs the AlexNet weights {ALEXNET_WEIGHTS} in torch's cache ({weights.parent}); "
                "fetch them with: python -c "
                "\"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\""
            )
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        try:
            network = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
        except Exception as error:  # whatever torch.load finds in a broken file
            raise MetricUnavailable(f"LPIPS could not load the AlexNet weights {weights}: {error}") from error
        self._network = network.to(device).eval()
        self._device = device

    def __call__(
        self, image: Float[np.ndarray, "height width 3"], target: Float[np.ndarray, "height width 3"]
    ) -> float:
        """Distance of two images in [0, 1]: 0 for equal ones, larger for less alike.

        Raises:
            MetricUnavailable: the images are too small for AlexNet.
        """
        import torch

        if min(image.shape[:2]) < LPIPS_MIN_SIDE:
            raise MetricUnavailable(
                f"LPIPS needs images of at least {LPIPS_MIN_SIDE} pixels a side, these are "
                f"{image.shape[1]}x{image.shape[0]}"
            )
        first, second = (
            torch.tensor(np.clip(x, 0.0, 1.0), dtype=torch.float32, device=self._device).permute(2, 0, 1)[
                None
            ]
            for x in (image, target)
        )
        with torch.no_grad():
            distance = float(self._network(first, second))
        self._network.reset()
        return distance


def alexnet_weights() -> Path:
    """Where torch's cache holds the AlexNet weights, whether or not they are there."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_WEIGHTS


def mean_and_spread(
    scenes: Sequence[Mapping[str, float | None]], keys: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float | None], dict[str, int]]:
    """Mean and standard deviation over scenes (n in the denominator) and how many scenes had a figure.

    A scene whose figure is null or absent does not count; a metric that no scene has is null.

    Args:
        scenes: one mapping a scene, metric to figure.
        keys: the metrics to summarise, in the order of the result.
    Returns:
        ``(mean, std, count)``, each with all ``keys``.
    """
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    count: dict[str, int] = {}
    for key in keys:
        values = [value for scene in scenes if (value := scene.get(key)) is not None]
        count[key] = len(values)
        mean[key] = float(np.mean(values)) if values else None
        std[key] = float(np.std(values)) if values else None
    return mean, std, count
