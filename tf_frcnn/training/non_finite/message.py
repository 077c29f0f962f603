"""The report of a step that is not finite: some lines for the terminal, everything as JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tf_frcnn.data.faults import counted
from tf_frcnn.names import shown
from tf_frcnn.training.non_finite.causes import find_causes
from tf_frcnn.training.non_finite.diagnosis import Diagnosis, LayerReport
from tf_frcnn.training.non_finite.layers import Magnitude

# Limits of the terminal's report; the JSON file has everything.
SHOWN_IMAGES = 8
SHOWN_BOXES = 4
LAYERS_BEFORE, LAYERS_AFTER = 6, 3


def describe_terms(losses: Mapping[str, float]) -> str:
    """Name each loss term with its value, in one line."""
    return ", ".join(f"{name} = {value:g}" for name, value in losses.items())


def describe_diagnosis(diagnosis: Diagnosis) -> str:
    """Describe the likely causes, the images and the layers; lines, no newline at the end."""
    causes = find_causes(diagnosis)
    lines = [f"Likely cause: {causes[0]}", *(f"Also: {cause}" for cause in causes[1:])]
    again = describe_terms(diagnosis.losses)
    if again != describe_terms(diagnosis.reported_losses):
        lines.append(f"Run again, the terms are: {again}.")
    lines += ["", *_image_lines(diagnosis), "", *_layer_lines(diagnosis)]
    return "\n".join(lines)


def _image_lines(diagnosis: Diagnosis) -> list[str]:
    lines = ["Images, as the network got them:"]
    for image in diagnosis.images[:SHOWN_IMAGES]:
        height, width = image.size
        lines.append(
            f"  {shown(image.path, 1000)}: {height} x {width}, pixels to {_number(image.pixels)}, "
            f"{counted(len(image.boxes), 'box', 'boxes')}"
        )
        pairs = list(zip(image.boxes, image.class_names, strict=True))
        for box, name in pairs[:SHOWN_BOXES]:
            lines.append(f"    {shown(name)} [{', '.join(f'{side:.1f}' for side in box)}]")
        lines += _more(len(pairs) - SHOWN_BOXES, "    ")
    return [*lines, *_more(len(diagnosis.images) - SHOWN_IMAGES, "  ")]


def _layer_lines(diagnosis: Diagnosis) -> list[str]:
    """Tabulate the layers around the first one that is not finite, or around the largest."""
    first, layers = diagnosis.first_layer, diagnosis.layers
    if first is None:
        first = max(layers, key=lambda layer: layer.activation.largest)
        lines = ["Layers around the one with the largest numbers:"]
    else:
        lines = [f"Layers around {first.name}, the first where something is not finite:"]
    place = layers.index(first)
    start, stop = max(place - LAYERS_BEFORE, 0), place + 1 + LAYERS_AFTER
    rows = [_row(layer) for layer in layers[start:stop]]
    head = ("", "largest activation", "weight", "gradient")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines += _more(start, "  ", " before")
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    return [*lines, *_more(len(layers) - stop, "  ", " after")]


def _row(layer: LayerReport) -> tuple[str, ...]:
    return layer.name, _number(layer.activation), _number(layer.weight), _number(layer.gradient)


def _number(magnitude: Magnitude | None) -> str:
    if magnitude is None:
        return "-"
    if magnitude.is_finite:
        return f"{magnitude.largest:.3g}"
    return f"{magnitude.largest:.3g}, {magnitude.not_finite:.2%} not finite"


def _more(count: int, indent: str, where: str = "") -> list[str]:
    return [f"{indent}... {count} more{where}"] if count > 0 else []


def diagnosis_to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Turn a diagnosis into a JSON value: its fields and those of its parts, with the causes.

    Returns:
        The fields of `Diagnosis` (its `images` under the older key `pictures`), `causes` and the
        name of `first_layer`; numbers that are not finite are text.
    """
    first = diagnosis.first_layer
    fields = _plain(dataclasses.asdict(diagnosis))
    return {
        "step": diagnosis.step,
        "causes": find_causes(diagnosis),
        "first_layer": None if first is None else first.name,
        "pictures": fields.pop("images"),
        **fields,
    }


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
