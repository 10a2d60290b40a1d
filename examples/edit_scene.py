"""# Edit a scene, and compare with the truth

A model is trained without labels; then an object of a held-out scene is moved and removed, and the scene is
rendered from another camera. Blender renders the same edits from the scene's plan, as ground truth.
"""

# %%
from pathlib import Path

import numpy as np

import objnerf
from objnerf.evaluation.edits import delete_object, move_object
from objnerf.evaluation.metrics import psnr
from objnerf.evaluation.segmentation import best_slot
from objnerf.visualization.contact_sheets import contact_sheet

OUT = Path("runs/examples/edit")
SCENES = 32
SIZE = (128, 96)
MINUTES = 5.0
MAX_STEPS = None
MOVE = (-1.5, 1.0)

# %% [markdown]
# ## A model
# The recipe `tiny` trains on a CPU. The last scenes are held out of training.

# %%
dataset = objnerf.generate("clevr-567", OUT / "dataset", scenes=SCENES, size=SIZE, samples=8)
run = OUT / "run"
outcome = objnerf.train(
    dataset.root,
    run,
    recipe="tiny",
    settings={"held_out.scenes": 2},
    max_minutes=MINUTES,
    max_steps=MAX_STEPS,
    resume=run.exists(),
)
print(f"{outcome.step} steps in {outcome.seconds:.0f} s ({outcome.reason})")

# %% [markdown]
# ## What it sees
# From one view of a held-out scene the model finds objects: slots, each a radiance field of its own. The
# slot of an object is the one whose pixels overlap its mask most.

# %%
model = objnerf.load_model(run)
scene = dataset.scenes[SCENES - 1]
first, second = scene.views[:2]
code = model.encode(scene)
seen = objnerf.render_view(model, code, first.pose(), size=SIZE)
labels = first.labels()
target = int(np.bincount(labels[labels > 0]).argmax())
slot, overlap = best_slot(seen.labels, labels == target, code.slots.shape[1])
print(f"object {target} is slot {slot} (overlap {overlap:.0%})")

# %% [markdown]
# ## The edits, learned and true
# A `ScenePlan` holds everything that a scene's files follow from. An edited copy is rendered as edited.

# %%
plan = objnerf.ScenePlan.model_validate_json((dataset.root / "scenes" / f"{scene.id:04d}.json").read_text())
# The scene is as we want it: nobody needs to judge what is visible.
plan = plan.model_copy(update={"acceptance": None})
others = tuple(item for item in plan.objects if item.label != target)
(item,) = (item for item in plan.objects if item.label == target)
x, y, z = item.position
moved = item.model_copy(update={"position": (x + MOVE[0], y + MOVE[1], z)})

learned = {
    "as it is": code,
    "moved": move_object(code, slot, *MOVE),
    "removed": delete_object(code, slot),
}
true = {
    "as it is": plan,
    "moved": plan.model_copy(update={"objects": (*others, moved)}),
    "removed": plan.model_copy(update={"objects": others}),
}

# %% [markdown]
# ## Both from the second camera

# %%
images = []
for name, edited in learned.items():
    ours = objnerf.render_view(model, edited, second.pose(), size=SIZE)
    folder = OUT / "truth" / name.replace(" ", "_")
    truth = objnerf.render_scene(true[name], folder, world_from_camera=second.pose()[None])
    image = truth.views[0].image()
    images += [ours.picture, image]
    print(f"{name:<10} PSNR {psnr(ours.rgb, image.astype(np.float32) / 255):.1f} dB")
sheet = contact_sheet(images, columns=2, column_labels=["learned", "true"], row_labels=list(learned))
sheet.save(OUT / "edits.png")
print(f"see {OUT / 'edits.png'}")
