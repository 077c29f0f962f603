"""Names of drawings and objects of `detections.json`."""

import numpy as np

from tf_frcnn.predict.outputs import coco_results, drawing_paths
from tf_frcnn.prediction import Prediction


def test_drawings_differ_where_case_does_not_count():
    names = drawing_paths(["a.jpg", "a-2.gif", "A.png", "b/a.png", "v1.5.bmp"], ".jpg")
    assert list(names.values()) == ["a.jpg", "a-2.jpg", "A-3.jpg", "b/a.jpg", "v1.5.jpg"]


def test_only_detections_in_videos_have_a_frame():
    found = Prediction(
        np.array([[1, 2, 11, 32]], np.float32),
        np.array([0.75], np.float32),
        np.array([2], np.int32),
        ("dog",),
    )
    # yxyx [1, 2, 11, 32] begins at x 2, y 1, and is 30 wide, 10 high.
    expected = {
        "file_name": "a",
        "category_name": "dog",
        "category_id": 2,
        "bbox": [2, 1, 30, 10],
        "score": 0.75,
    }
    assert coco_results("a", found) == [expected]
    assert coco_results("a", found, frame=0) == [{**expected, "frame": 0}]


def test_categories_have_the_ids_of_the_model():
    boxes, scores = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
    found = Prediction(boxes, scores, np.array([1, 3], np.int32), ("cat", "duck"))
    ids = [one["category_id"] for one in coco_results("a", found, category_ids=(17, 18, 25))]
    assert ids == [17, 25]


def test_a_name_that_is_too_long_for_a_drawing_is_cut():
    # .png is taken off; 247 bytes are left, so that .partial can stand behind it: 243 and .jpg.
    long = "x" * 251
    names = list(
        drawing_paths([f"a/{long}.png", f"a/{long}.gif", "ü" * 125 + ".jpeg"], ".jpg").values()
    )
    assert names == ["a/" + "x" * 243 + ".jpg", "a/" + "x" * 241 + "-2.jpg", "ü" * 121 + ".jpg"]


def test_a_files_name_in_latin_1_can_be_kept_by_any_reader():
    found = Prediction(np.zeros((1, 4), np.float32), np.ones(1), np.ones(1, np.int32), ("cat",))
    (result,) = coco_results("caf\udce9.jpg", found)
    assert result["file_name"] == "bytes:caf%E9.jpg"
