"""What the terminal and the JSON file say of a step."""

import dataclasses
import json
import math

import pytest

from tests.training.non_finite.steps import NAN_TERMS
from tf_frcnn.training.non_finite.diagnosis import Diagnosis, ImageReport, LayerReport
from tf_frcnn.training.non_finite.layers import Magnitude
from tf_frcnn.training.non_finite.message import describe_diagnosis, diagnosis_to_json

FINE, HALF = Magnitude(2.0, 0.0), Magnitude(1234.5, 0.5)


def make_layers(count, broken):
    """Make layers l0, l1, ...; one answers with numbers of which half are not finite."""
    return tuple(
        LayerReport(f"l{i}", "float32", HALF if i == broken else FINE, FINE, None)
        for i in range(count)
    )


@pytest.fixture
def diagnosis():
    image = ImageReport(
        "a.jpg", (64, 96), Magnitude(255.0, 0.0), ((1.0, 2.0, 30.5, 40.25),), ("cat",)
    )
    return Diagnosis(
        step=7,
        learning_rate=0.5,
        start_from="none",
        reported_losses=NAN_TERMS,
        losses=NAN_TERMS,
        images=(image,),
        layers=make_layers(20, broken=10),
    )


def test_the_first_layer_stands_among_its_neighbours(diagnosis):
    lines = describe_diagnosis(diagnosis).splitlines()
    assert "Layers around l10, the first where something is not finite:" in lines
    table = lines[lines.index("  ... 4 more before") :]
    # Six before it and three after it: l4 to l13; 4 and 6 of the 20 are left.
    assert [line.split()[0] for line in table[2:-1]] == [f"l{i}" for i in range(4, 14)]
    assert table[-1] == "  ... 6 more after"
    assert table[8].split("  ")[1].strip() == "l10"
    assert "1.23e+03, 50.00% not finite" in table[8] and table[8].rstrip().endswith("-")
    assert len({len(line) for line in table[1:-1]}) == 1  # columns stand under each other


def test_images_and_boxes_are_named(diagnosis):
    text = describe_diagnosis(diagnosis)
    assert "  a.jpg: 64 x 96, pixels to 255, 1 box\n    cat [1.0, 2.0, 30.5, 40.2]" in text
    assert "Run again" not in text


def test_terms_are_said_again_where_they_differ(diagnosis):
    other = dataclasses.replace(diagnosis, losses={**NAN_TERMS, "rpn_box": math.inf})
    text = describe_diagnosis(other)
    assert "Run again, the terms are: rpn_objectness = nan, rpn_box = inf, roi_class" in text


def test_many_images_and_boxes_are_cut_short(diagnosis):
    image = diagnosis.images[0]
    crowded = dataclasses.replace(image, boxes=image.boxes * 9, class_names=("cat",) * 9)
    text = describe_diagnosis(dataclasses.replace(diagnosis, images=(crowded,) * 11))
    assert text.count("a.jpg") == 8 and "\n  ... 3 more\n" in text
    assert text.count("cat [") == 8 * 4 and text.count("\n    ... 5 more\n") == 8


def test_without_a_broken_layer_the_largest_numbers_are_shown(diagnosis):
    layers = list(make_layers(5, broken=None))
    layers[3] = dataclasses.replace(layers[3], activation=Magnitude(9.0, 0.0))
    text = describe_diagnosis(dataclasses.replace(diagnosis, layers=tuple(layers)))
    assert "Layers around the one with the largest numbers:" in text and "more after" not in text


def test_all_of_it_is_json_that_any_reader_takes(diagnosis):
    text = json.dumps(diagnosis_to_json(diagnosis), allow_nan=False)
    value = json.loads(text)
    assert (value["step"], value["first_layer"]) == (7, "l10")
    assert value["causes"] and value["losses"]["rpn_box"] == "nan"
    assert value["pictures"][0]["boxes"] == [[1.0, 2.0, 30.5, 40.25]]
    assert len(value["layers"]) == 20
    assert value["layers"][10]["activation"] == {"largest": 1234.5, "not_finite": 0.5}
    assert value["layers"][10]["gradient"] is None
