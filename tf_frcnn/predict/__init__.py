"""`tf-frcnn predict`: draw what a model finds in pictures and videos, and write it as JSON."""
