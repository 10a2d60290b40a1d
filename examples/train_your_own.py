"""# Train a model of your own

`objnerf.SceneDataset` hands out scenes as tensors, so that any PyTorch training loop can use them. Here a
small network learns to predict depth and the mask of all objects from a single image, and is scored on
held-out scenes.
"""

# %%
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import objnerf

OUT = Path("runs/examples/train")
SCENES = 24
HELD_OUT = 4
EPOCHS = 60
SIZE = (64, 48)

# %% [markdown]
# ## Data
# Each item is a scene: `images` (views, 3, height, width) in [0, 1], `world_from_camera`, `intrinsics`, and
# the passes that the dataset has, here `masks` and `depths`. A folder of your own images and poses, or one
# that `objnerf.convert` made from COLMAP or nerfstudio, works the same way.

# %%
torch.manual_seed(0)
objnerf.generate("clevr-567", OUT / "dataset", scenes=SCENES, size=SIZE, samples=4)
train_set = objnerf.SceneDataset(OUT / "dataset", scenes=range(SCENES - HELD_OUT))
test_set = objnerf.SceneDataset(OUT / "dataset", scenes=range(SCENES - HELD_OUT, SCENES))
# Where processes are spawned (macOS, Windows), workers need the usual `if __name__ == "__main__":`.
loader = DataLoader(train_set, batch_size=4, shuffle=True, num_workers=0)
for key, value in train_set[0].items():
    print(f"{key:<18} {tuple(value.shape) if isinstance(value, torch.Tensor) else value}")

# %% [markdown]
# ## Model
# Two downsampling steps, two upsampling ones. The first output channel is the difference of the depth from
# the mean over all training views, the second the logit of the foreground.


# %%
def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution with normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.GroupNorm(4, outputs), nn.SiLU()
    )


network = nn.Sequential(
    *(block(3, 16), block(16, 32, stride=2), block(32, 64, stride=2), block(64, 64)),
    *(nn.Upsample(scale_factor=2), block(64, 32), nn.Upsample(scale_factor=2), block(32, 16)),
    nn.Conv2d(16, 2, 1),
)


def predict(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Planar depth in world units, and the logit of the foreground."""
    difference, foreground = network(images).unbind(dim=1)
    return mean_depth + difference, foreground


mean_depth = torch.cat([scene["depths"] for scene in train_set]).mean(dim=0)


# %% [markdown]
# ## Training

# %%
optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
for epoch in range(EPOCHS):
    for batch in loader:
        # Views of all scenes in the batch, one after the other.
        images, depths = batch["images"].flatten(0, 1), batch["depths"].flatten(0, 1)
        is_object = (batch["masks"].flatten(0, 1) > 0).float()
        depth, foreground = predict(images)
        loss = nn.functional.l1_loss(depth, depths)
        loss = loss + nn.functional.binary_cross_entropy_with_logits(foreground, is_object)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if (epoch + 1) % 10 == 0:
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

# %% [markdown]
# ## Score
# On held-out scenes, beside what needs no learning: the mean depth of each pixel over the training views.

# %%
with torch.no_grad():
    images, depths, masks = (
        torch.cat([scene[key] for scene in test_set]) for key in ("images", "depths", "masks")
    )
    depth, foreground = predict(images)
    predicted, true = foreground > 0, masks > 0
    error = (depth - depths).abs()[true].mean().item()
    baseline_error = (mean_depth - depths).abs()[true].mean().item()
    iou = ((predicted & true).sum() / (predicted | true).sum().clamp(min=1)).item()
print(
    f"the depth of objects is off by {error:.2f} world units (mean depth: {baseline_error:.2f}); "
    f"IoU of their pixels {iou:.2f}"
)
