"""Messages to and from the server, by hand and against its documentation."""

import base64
import json

import messages
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.stand_ins import ROW
from tf_frcnn.errors import UserError

SERVER = "http://server"

# === Requests ===


def test_a_request_is_that_of_the_documentation():
    # https://www.tensorflow.org/tfx/serving/api_rest, "Encoding binary values": these two texts.
    assert messages.to_request([b"image bytes", b"awesome image bytes"]) == {
        "signature_name": "serve_encoded",
        "instances": [
            {"image_bytes": {"b64": "aW1hZ2UgYnl0ZXM="}},
            {"image_bytes": {"b64": "YXdlc29tZSBpbWFnZSBieXRlcw=="}},
        ],
    }


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_every_byte_arrives(images):
    sent = json.loads(json.dumps(messages.to_request(images)))
    assert [
        base64.b64decode(instance["image_bytes"]["b64"], validate=True)
        for instance in sent["instances"]
    ] == images


# === Answers ===


def test_an_answer_without_its_padding():
    (answer,) = messages.from_response([ROW], 1, SERVER)
    np.testing.assert_array_equal(answer.boxes, [[1, 2, 11, 32], [4.5, 0, 6, 8]])
    np.testing.assert_array_equal(answer.scores, np.array([0.75, 0.5]))
    assert answer.class_ids.tolist() == [2, 1] and answer.class_names == ("dog", "cat")
    assert answer.boxes.dtype == answer.scores.dtype == np.float32
    assert answer.class_ids.dtype == np.int32 and len(answer) == 2


def test_rows_of_tensors_are_read_as_well():
    row = {
        "detection_boxes": np.array(ROW["detection_boxes"], np.float32),
        "detection_scores": np.array(ROW["detection_scores"], np.float32),
        "detection_classes": np.array(ROW["detection_classes"], np.int32),
        "detection_names": np.array(["häuser".encode(), "天".encode(), b""], object),
        "num_detections": np.int32(2),
    }
    (answer,) = messages.from_response([row], 1, SERVER)
    assert answer.boxes.tolist() == ROW["detection_boxes"][:2]
    assert answer.class_names == ("häuser", "天")


def test_an_image_in_which_nothing_was_found():
    (answer,) = messages.from_response([{**ROW, "num_detections": 0}], 1, SERVER)
    assert len(answer) == 0 and answer.boxes.shape == (0, 4) and answer.class_names == ()


def test_answers_keep_the_order_of_the_images():
    rows = [{**ROW, "num_detections": count} for count in (1, 0, 3)]
    rows[2] = {**rows[2], "detection_classes": [2, 1, 3]}
    assert [len(answer) for answer in messages.from_response(rows, 3, SERVER)] == [1, 0, 3]


# === Answers of another shape ===


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "the answer has NoneType, no rows. Expected one per image, 2."),
        ({"predictions": []}, "the answer has dict, no rows"),
        ([ROW], "the answer has 1 rows. Expected one per image, 2."),
        ([ROW, 7], "row 2 of the answer: lacks detection_boxes, detection_scores,"),
        (
            [ROW, {**ROW, "num_detections": None}],
            "row 2 of the answer: holds values of another type ('NoneType'",
        ),
    ],
)
def test_rows_that_are_none(rows, message):
    with pytest.raises(UserError) as error:
        messages.from_response(rows, 2, SERVER)
    assert str(error.value).startswith(f"{SERVER}: ") and message in str(error.value)
    assert "`tf-frcnn export`" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detection_boxes": [[1, 2, 11]] * 3}, "have the shapes (3, 3), (3,) and (3,)"),
        ({"detection_boxes": [[1, 2, 3, 4], [1]]}, "holds values of another type"),
        ({"detection_scores": [0.75, 0.5]}, "have the shapes (3, 4), (2,) and (3,)"),
        ({"detection_scores": 0.75}, "have the shapes (3, 4), () and (3,)"),
        ({"detection_scores": ["high", 0.5, 0]}, "holds values of another type"),
        ({"detection_classes": [2, 1]}, "have the shapes (3, 4), (3,) and (2,)"),
        ({"detection_classes": [2.0, 1.0, 0.0]}, "detection_classes are [2.0, 1.0]"),
        ({"detection_classes": [0, 1, 0]}, "detection_classes are [0, 1]. Expected whole"),
        ({"detection_names": ["dog"]}, "beside 1 names"),
        ({"detection_names": ["dog", 5, ""]}, "another type (a name is int)"),
        ({"detection_names": [b"\xff", b"", b""]}, "another type ('utf-8'"),
        ({"detection_names": 5}, "holds values of another type"),
        ({"num_detections": 4}, "num_detections is 4. Expected"),
        ({"num_detections": -1}, "num_detections is -1"),
        ({"num_detections": 1.5}, "holds values of another type ('float'"),
        ({"detection_boxes": [[1, 2, float("nan"), 4]] * 3}, "not finite"),
        ({"detection_scores": [float("inf"), 0.5, 0.0]}, "not finite"),
    ],
)
def test_a_row_that_does_not_fit_together(change, message):
    with pytest.raises(UserError) as error:
        messages.from_response([{**ROW, **change}], 1, SERVER)
    assert f"{SERVER}: row 1 of the answer: " in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("name", messages.OUTPUTS)
def test_an_output_that_lacks_is_named(name):
    row = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(UserError, match=f"row 1 of the answer: lacks {name}. Expected detection_"):
        messages.from_response([row], 1, SERVER)
