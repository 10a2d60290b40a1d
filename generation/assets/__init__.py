"""What scenes are made of: shapes, floors and walls, from code or from the user's own files."""
