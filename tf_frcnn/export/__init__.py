"""Exports of a trained detector: SavedModel."""
