"""objnerf: object radiance fields, from the data generator to the trained model.

Importing this package is cheap: neither torch nor bpy is loaded before a part that needs it is imported.
"""

__version__ = "0.1.0"
