"""A training step that is not finite: what it was made of, why, and a file to run it again."""
