"""Reads a model into a snapshot. Nothing here changes a model."""
