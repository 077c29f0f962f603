"""`tf-frcnn check-data`: what a data set holds, and what in it looks wrong. No TensorFlow here."""
