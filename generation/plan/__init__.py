"""What a scene is, as pure data: seeded, without Blender, ready to be shipped and rendered anywhere."""
