"""Keras layers: thin shells over `ops`, and the two heads with their weights."""
