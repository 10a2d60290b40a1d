"""The version of objnerf, apart from the package's public face: what every room may import."""

__version__ = "0.1.0"
