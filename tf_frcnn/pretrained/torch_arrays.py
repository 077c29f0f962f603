"""Arrays of a torch network, checked against the variables here and put into their order.

torch keeps kernels as [out, in, rows, columns], torchvision flattens features as [C, rows, columns]
and writes x before y. Every key must be used and every variable set: a leftover on either side
means that two networks differ.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_frcnn.errors import WeightsError

VARIABLES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",  # Keras 2
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What torch calls a layer's variables, by their names here."""

_COUNTER = ".num_batches_tracked"
_YXHW = (1, 0, 3, 2)  # of x, y, w, h
_LISTED_KEYS = 5


def without_counters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out the counters of batches, which nothing here has."""
    return {key: array for key, array in arrays.items() if not key.endswith(_COUNTER)}


def turned_values(
    variables: Mapping[str, Any],
    keys: Mapping[str, str],
    arrays: Mapping[str, np.ndarray],
    source: str,
    expected: str,
) -> dict[str, np.ndarray]:
    """Give each variable the array of its key, in the order of axes that it has here.

    Args:
        variables: LAYER/VARIABLE -> variable, of which the shape counts.
        keys: the same names -> keys.
        arrays: key -> array; no other keys than those.
        source: where they are from, for messages.
        expected: what they should have been, for messages.

    Returns:
        The same names -> values.

    Raises:
        WeightsError: an array is missing, left over, of another shape, or not finite.
    """
    _check_keys(set(keys.values()), set(arrays), source, expected)
    values = {}
    for name, variable in variables.items():
        array = np.asarray(arrays[keys[name]])
        value = _turn(name, array, tuple(variable.shape), source, keys[name])
        if not np.isfinite(value).all():
            raise WeightsError(
                f"{source}: {keys[name]} holds numbers that are NaN or infinite, expected finite "
                "ones. The file is damaged, or its training failed."
            )
        values[name] = value
    return values


def _check_keys(expected: set[str], found: set[str], source: str, what: str) -> None:
    for keys, fault in (
        (expected - found, "lacks"),
        (found - expected, "has, beyond what the network holds,"),
    ):
        if keys:
            listed = ", ".join(sorted(keys)[:_LISTED_KEYS])
            more = f" and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else ""
            raise WeightsError(f"{source}: {fault} {listed}{more}. Expected {what}.")


def _turn(
    name: str, array: np.ndarray, shape: tuple[int, ...], source: str, key: str
) -> np.ndarray:
    """Bring an array of torch into the order that it has here."""
    layer = name.rsplit("/", 1)[0]
    turned = array
    if array.ndim == 4:
        of_channels = layer.endswith("_depthwise")  # [C, 1, rows, columns]
        turned = array.transpose((2, 3, 0, 1) if of_channels else (2, 3, 1, 0))
    elif array.ndim == 2:
        turned = array.T
        if layer == "fc1" and array.shape[1] == shape[0]:  # [out, C * 7 * 7]
            by_channel = array.reshape(len(array), -1, 7, 7)
            turned = by_channel.transpose(2, 3, 1, 0).reshape(shape)
    if turned.shape != shape:
        raise WeightsError(
            f"{source}: {key} has the shape {array.shape}, which is {turned.shape} here; the "
            f"network's {name} has {shape}."
        )
    if layer.endswith("_deltas"):
        by_box = turned.reshape(*shape[:-1], -1, 4)
        turned = by_box[..., _YXHW].reshape(shape)
    return turned
