"""Class names of which one may be a slip of the pen."""

from difflib import SequenceMatcher
from itertools import combinations

import pytest

from tf_frcnn.data.class_names import similar_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "dog", "duck"), []),
        (("Cat", "cat", "dog"), [("Cat", "cat")]),
        (("traffic light", "traffic_light"), [("traffic light", "traffic_light")]),
        (("person", "persom", "car"), []),  # 5 of 6 letters each: 10 / 12 = 0.83 < 0.85
        (("bicycle", "bicylce"), [("bicycle", "bicylce")]),  # bicyl e or so: 12 / 14 = 0.857
        (("class10", "class11"), []),  # numbered on purpose
    ],
)
def test_similar_names(names, expected):
    assert similar_names(names) == expected


def test_names_that_differ_in_what_cannot_be_seen_look_alike():
    assert similar_names(("cat", "c\u200bat", "dog")) == [("cat", "c\u200bat")]


def test_pairs_are_those_of_a_comparison_of_all():
    names = [f"{first}{second}" for first in ("bicycle", "cat", "traffic") for second in "xyz12"]
    expected = [
        (first, second)
        for first, second in combinations(names, 2)
        if SequenceMatcher(None, first, second).ratio() >= 0.85
        and first.strip("12") != second.strip("12")
    ]
    assert similar_names(names) == expected and len(expected) > 10
