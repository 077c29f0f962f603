"""The state of a training, and whether two of them are the same."""

import numpy as np


def state_of(trainer):
    optimizer = trainer.optimizer.variables
    variables = optimizer() if callable(optimizer) else optimizer
    return [np.asarray(value) for value in [*trainer.network.weights, *variables]]


def assert_same(state, expected):
    for value, other in zip(state, expected, strict=True):
        np.testing.assert_array_equal(value, other)


def assert_close(values, expected, atol=1e-6):
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=atol)
