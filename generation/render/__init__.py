"""The only rooms that import bpy, and only inside a worker process of their own."""
