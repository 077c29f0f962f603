"""Why a step was not finite: rules over its diagnosis, the most telling first.

Each rule is a function of the diagnosis that answers with a sentence, or with "" where it does not
hold. They are asked in the order of `RULES`; a rule may rely on those before it having failed to
hold only where it says so.
"""

from collections.abc import Callable

import numpy as np

from tf_frcnn.training.non_finite.diagnosis import Diagnosis, LayerReport

# Pixels end at 255, give or take a resampling; anything near this was never an image.
LARGEST_PIXEL = 1000.0
# Initialisation and normalisation are made to keep the size of the numbers from layer to layer, so
# a network that works stays within a few powers of ten of its input, 255 at most, and coordinates
# end with the image. This is thousands of times either, and far below the end of float32: numbers
# that grow until they overflow pass it.
LARGEST_ACTIVATION = 1e6
# As many steps as it takes until wrong weights from a file have shown themselves.
FIRST_STEPS = 10

_LOWER_RATE = (
    "lower --train.learning-rate, lengthen --train.warmup-steps or lower --train.clip-norm "
    "(to 10 where it is 0)"
)
_OTHER_WEIGHTS = "give --train.start-from the file of this network (or imagenet)"


def find_causes(diagnosis: Diagnosis) -> list[str]:
    """List the likely causes, the likeliest first; at least one.

    Args:
        diagnosis: of a step that was reported as not finite.
    """
    found = [cause for cause in (rule(diagnosis) for rule in RULES) if cause]
    return found or [
        "none of the known ones; the layers and the images tell where it began. A rate that is "
        f"too high is the usual one: {_LOWER_RATE}."
    ]


def _not_repeated(diagnosis: Diagnosis) -> str:
    if not diagnosis.is_finite:
        return ""
    return (
        "none that a second run shows: operation by operation, the step is finite. What can differ "
        "is the order of sums in a compiled step, and the device; a fault of the machine's memory "
        "looks like this too."
    )


def _pixels(diagnosis: Diagnosis) -> str:
    for image in diagnosis.images:
        if not image.pixels.is_finite:
            return (
                f"{image.path}: {image.pixels.not_finite:.2%} of its pixels are not finite "
                "after decoding and augmentation. Look at the file; take it out of the data set "
                "if it is broken, or turn off the --data options that change colours and sizes."
            )
        if image.pixels.largest > LARGEST_PIXEL:
            return (
                f"{image.path}: its pixels reach {image.pixels.largest:.3g}, expected 0 to "
                "255. Look at the file, and take it out of the data set if it is broken."
            )
    return ""


def _weights(diagnosis: Diagnosis) -> str:
    layer = diagnosis.first_weight
    if layer is None:
        return ""
    problem = f"weights of layer {layer.name} were not finite before the step"
    if diagnosis.step == 1:
        return f"{problem}, and no update had been made: {_OTHER_WEIGHTS}."
    return (
        f"{problem}: the update of a step before was too large for float32, or they were loaded "
        f"so. Start anew: {_LOWER_RATE}."
    )


def _boxes(diagnosis: Diagnosis) -> str:
    """Blame a box only where every layer answered properly: then the terms alone are left."""
    if not diagnosis.wrong_terms or diagnosis.first_activation is not None:
        return ""
    for image in diagnosis.images:
        for box, name in zip(image.boxes, image.class_names, strict=True):
            problem = _box_problem(box)
            if problem:
                sides = ", ".join(f"{side:g}" for side in box)
                return (
                    f"{image.path}: the box [{sides}] ({name}) {problem}, and "
                    f"{' and '.join(diagnosis.wrong_terms)} overflowed on it. Mend it in the "
                    "annotations; `tf-frcnn check-data` lists such boxes."
                )
    return ""


def _box_problem(box: tuple[float, ...]) -> str:
    if not np.isfinite(box).all():
        return "has sides that are not finite"
    if box[2] <= box[0] or box[3] <= box[1]:
        return "has no area"
    return ""


def _float16(diagnosis: Diagnosis) -> str:
    layer = diagnosis.first_activation
    if layer is None or layer.dtype != "float16" or _has_wrong_weights(layer):
        return ""
    before = diagnosis.layers[: diagnosis.layers.index(layer)]
    reached = max((one.activation.largest for one in before), default=0.0)
    return (
        f"layer {layer.name} computes in float16, which ends at 65504, and overflowed; the layers "
        f"before it reach {reached:.3g}. Give --train.precision mixed_bfloat16 or float32."
    )


def _grown(diagnosis: Diagnosis) -> str:
    if diagnosis.first_weight is not None or _pixels(diagnosis):
        return ""  # what follows from these says nothing of the rate
    layers = diagnosis.layers
    if diagnosis.first_activation is not None:  # numbers after it say nothing
        layers = layers[: layers.index(diagnosis.first_activation) + 1]
    largest = max(layers, key=lambda one: one.activation.largest)
    if largest.activation.largest < LARGEST_ACTIVATION:
        return ""
    growth = (
        f"the numbers grow from layer to layer, from {layers[0].activation.largest:.3g} after "
        f"{layers[0].name} to {largest.activation.largest:.3g} after {largest.name}"
    )
    if diagnosis.step == 1:
        return (
            f"{growth}, and no update had been made: the weights at the start are not those of "
            f"this network; {_OTHER_WEIGHTS}."
        )
    way_out = _LOWER_RATE
    if diagnosis.step <= FIRST_STEPS and diagnosis.start_from != "none":
        way_out += f"; if that changes nothing, {_OTHER_WEIGHTS}"
    return (
        f"{growth}: the weights have diverged, as a learning rate makes them that is too high "
        f"(it is {diagnosis.learning_rate:.3g}). {way_out[0].upper()}{way_out[1:]}."
    )


def _gradient(diagnosis: Diagnosis) -> str:
    layer = diagnosis.first_gradient
    if layer is None or diagnosis.wrong_terms or _has_wrong_weights(layer):
        return ""
    if layer.dtype == "float16":
        return (
            f"the loss is finite, but the gradient overflowed in layer {layer.name}, which "
            "computes in float16. Give --train.precision mixed_bfloat16 or float32."
        )
    return (
        f"the loss is finite, but its gradient is not, from layer {layer.name} backwards: numbers "
        f"too large for {layer.dtype}. {_LOWER_RATE[0].upper()}{_LOWER_RATE[1:]}."
    )


def _has_wrong_weights(layer: LayerReport) -> bool:
    return layer.weight is not None and not layer.weight.is_finite


RULES: tuple[Callable[[Diagnosis], str], ...] = (
    _pixels,
    _weights,
    _boxes,
    _float16,
    _grown,
    _gradient,
    _not_repeated,
)
