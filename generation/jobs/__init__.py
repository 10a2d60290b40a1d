"""Which scenes are left to do, and who does them: worker processes of this machine, or Ray's."""

from generation.jobs.dataset import Report, generate_dataset, read_plan, render_plan
from generation.jobs.tasks import AssetFolders

__all__ = ["AssetFolders", "Report", "generate_dataset", "read_plan", "render_plan"]
