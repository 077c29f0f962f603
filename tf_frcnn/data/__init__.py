"""Data sets: images with boxes, from any of the known formats, as `Example`s, and as batches."""
