"""Rays, samples and compositing: pure functions on tensors, one module for each half of the mathematics."""
