"""Class names of which one may be a slip of the pen."""

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
