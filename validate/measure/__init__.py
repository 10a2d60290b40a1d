"""Numbers from images, masks and depth maps, and across views. Nothing here judges."""
