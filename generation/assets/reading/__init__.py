"""Readers of mesh files, one a format. What a file says becomes `Piece`s; what can't is in their notes."""
