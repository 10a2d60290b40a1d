"""What the measurements mean: the poses' convention, where the cameras look, scale, boxes, depth, labels."""
