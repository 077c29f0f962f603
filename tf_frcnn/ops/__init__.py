"""Pure functions on tensors: no weights, no configuration, no Keras."""
