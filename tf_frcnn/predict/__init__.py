"""`tf-frcnn predict`: draw what a model finds in images and videos, and write it as JSON."""
