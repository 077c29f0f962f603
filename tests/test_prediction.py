"""What was found in one image, and parts of it; `to_supervision` is tested with the detector."""

import numpy as np
import pytest

from tf_frcnn.prediction import Prediction

FOUND = Prediction(
    np.array([[1, 2, 11, 32], [4, 0, 6, 8], [0, 5, 9, 7]], np.float32),
    np.array([0.9, 0.5, 0.1], np.float32),
    np.array([2, 1, 2], np.int32),
    ("dog", "cat", "dog"),
)


@pytest.mark.parametrize("indices", [[2, 0], np.array([2, 0])])
def test_some_of_the_detections_in_the_order_asked_for(indices):
    some = FOUND.select(indices)
    assert some.boxes.tolist() == [[0, 5, 9, 7], [1, 2, 11, 32]]
    np.testing.assert_array_equal(some.scores, np.array([0.1, 0.9], np.float32))
    assert some.class_ids.tolist() == [2, 2] and some.class_names == ("dog", "dog")


def test_none_of_them_keeps_shapes_and_types():
    none = FOUND.select([])
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.class_names == ()
    assert (none.boxes.dtype, none.class_ids.dtype) == (np.float32, np.int32)
