"""# Generate a dataset, check it, look at it

Blender renders a few scenes, the validator checks them, and every pixel is unprojected to a point in the
world. Everything is written to `OUT`.
"""

# %%
from pathlib import Path

import numpy as np

import objnerf
from objnerf.dataset.cameras import unproject
from objnerf.visualization.camera_plot import read_camera_plot
from objnerf.visualization.cameras import write_cameras
from objnerf.visualization.contact_sheets import contact_sheet
from validate import render_text

OUT = Path("runs/examples/generate")
SCENES = 8
SIZE = (192, 144)

# %% [markdown]
# A preset says what kind of scenes to make, and options change single values. The call may be interrupted:
# made again, it continues where it stopped. Equal calls give equal files.

# %%
dataset = objnerf.generate("clevr-567", OUT / "dataset", scenes=SCENES, size=SIZE, samples=8, seed=0)
print(f"{len(dataset.scenes)} scenes, {dataset.n_views} views")

# %% [markdown]
# The validator looks for what makes training fail silently: axes of another convention, inverted poses, a
# world off centre, depth that contradicts the poses. Each finding says what was measured and how to fix it.

# %%
report = objnerf.validate(dataset.root)
print(render_text(report))
assert report.ok

# %% [markdown]
# A view is an image, a pose (camera to world, OpenCV axes), instance labels and planar depth. With these,
# every pixel can be unprojected to a point in the world, and the points of an object show where it is.

# %%
scene = dataset.scenes[0]
view = scene.views[0]
depth, labels = view.depth(), view.labels()
points = unproject(depth.astype(np.float64), dataset.intrinsics(*SIZE), view.pose())
for label in range(1, labels.max() + 1):
    x, y, z = points[labels == label].mean(axis=0)
    print(f"object {label}: its visible points lie around ({x:+.2f}, {y:+.2f}, {z:+.2f})")

# %% [markdown]
# A contact sheet of the scene, and all cameras as one page that turns with the mouse and opens offline.

# %%
images = [image for view in scene.views for image in (view.image(), view.mask())]
sheet = contact_sheet(images, columns=2, column_labels=["image", "instances"])
sheet.save(OUT / "views.png")
write_cameras(read_camera_plot(dataset), OUT / "cameras.html")
print(f"see {OUT / 'views.png'} and {OUT / 'cameras.html'}")
