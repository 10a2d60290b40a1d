"""Figures and images of trained models: metrics, segmentation, the manipulation test, reports."""
