"""Which scenes are left to do, and who does them: worker processes of this machine, or Ray's."""

from generation.jobs.dataset import Report, generate_dataset, plan_dataset, read_plan, render_plan
from generation.jobs.tasks import AssetFolders
from generation.jobs.workers import Workers

__all__ = [
    "AssetFolders",
    "Report",
    "Workers",
    "generate_dataset",
    "plan_dataset",
    "read_plan",
    "render_plan",
]
