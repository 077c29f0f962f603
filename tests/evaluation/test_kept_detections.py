"""What was found so far: an evaluation that was stopped goes on with the same numbers."""

import numpy as np
import pytest

from tf_frcnn.errors import UserError
from tf_frcnn.evaluation.kept_detections import keep_detections

MODEL = {"sha256": "ab", "version": "1"}
IMAGES = [np.full((4, 5 + number, 3), number, np.uint8) for number in range(3)]


class Counting:
    """Finds as many boxes as the image is light, of numbers that no decimal fraction ends."""

    def __init__(self):
        self.num_calls = 0

    def __call__(self, image):
        self.num_calls += 1
        count = int(image[0, 0, 0])
        boxes = np.linspace(0, 1 / 3, 4 * count, dtype=np.float32).reshape(-1, 4)
        return boxes, np.full(count, 0.1, np.float32), np.arange(1, 1 + count, dtype=np.int32)


def run(path, images, model=MODEL):
    detect = Counting()
    with keep_detections(detect, path, model) as kept:
        return [kept(image) for image in images], detect.num_calls


def test_what_was_found_is_not_looked_for_again(tmp_path):
    path = tmp_path / "kept"
    assert run(path, IMAGES[:2])[1] == 2
    found, num_calls = run(path, IMAGES[::-1])
    assert num_calls == 1
    for image, ours in zip(IMAGES[::-1], found, strict=True):
        for array, expected in zip(ours, Counting()(image), strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_a_line_that_was_cut_off_is_found_again(tmp_path):
    path = tmp_path / "kept"
    run(path, IMAGES)
    path.write_bytes(path.read_bytes()[:-9])
    assert run(path, IMAGES)[1] == 1
    assert run(path, IMAGES)[1] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("ab", "cd", 1), "of another model or version"),
        (lambda text: text.replace("[[", "[", 1), "is damaged"),
    ],
)
def test_a_file_that_does_not_fit_begins_anew(tmp_path, caplog, change, said):
    path = tmp_path / "kept"
    run(path, IMAGES)
    path.write_text(change(path.read_text()))
    caplog.set_level("INFO", logger="tf_frcnn")
    assert run(path, IMAGES)[1] == 3
    assert said in caplog.text


def test_no_room(tmp_path):
    with pytest.raises(UserError, match="kept: cannot be read or written.*give another --output"):
        run(tmp_path / "none" / "kept", IMAGES)
