"""Figures and pictures of trained models: metrics, segmentation, the manipulation test, reports."""
