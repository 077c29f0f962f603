"""How long a model takes: `tf-frcnn benchmark`."""
