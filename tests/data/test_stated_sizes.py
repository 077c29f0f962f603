"""Images that are not of the size that their annotations state."""

import logging

import pytest

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, image, write_coco
from tests.data.coco_writer import read_train as read_coco_train
from tests.data.voc_writer import SIZE, message_of, read_train, write_voc
from tf_frcnn.config import DataConfig, ModelConfig
from tf_frcnn.data.loading import load_datasets, read_datasets
from tf_frcnn.data.splits import Divider
from tf_frcnn.data.stated_sizes import find_resized, read_stated_size
from tf_frcnn.data.voc import read_voc
from tf_frcnn.doctor.check import check_data
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.errors import DataError

HALF = (SIZE[0] // 2, SIZE[1] // 2)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (3, 4, (3, 4)),
        ("3", " 4 ", (3, 4)),
        (3.0, 4, (3, 4)),
        (0, 0, None),
        (3, None, None),
        ("", "", None),
        (3.5, 4, None),
        (-3, 4, None),
        (float("nan"), 4, None),
        (float("inf"), 4, None),
        (10**400, 4, None),
        ([3], 4, None),
    ],
)
def test_a_stated_size_is_two_whole_numbers_above_0(height, width, size):
    assert read_stated_size(height, width) == size


@pytest.mark.parametrize(
    ("sizes", "indices", "what"),
    [
        # Two of three were doubled.
        ([((50, 100), (100, 200))] * 2 + [((9, 9), (9, 9))], [0, 1], "2 times as large as stated"),
        # One of two is not most of them.
        ([((50, 100), (100, 200)), ((9, 9), (9, 9))], [], ""),
        # Those that state nothing are not asked: one of one.
        ([((90, 60), (30, 20)), (None, (9, 9)), (None, (9, 9))], [0], "0.3333 times as large as"),
        # 333 = 1000 / 3 but for rounding; 100 / 3 = 33.
        ([((1000, 100), (333, 33)), ((100, 1000), (33, 333))], [0, 1], "0.3"),
        # All were stretched to squares: 640 / 480 in height, 640 / 320 in width.
        ([((480, 320), (640, 640))] * 2, [0, 1], "1.333 times as high and 2 times as wide as"),
        # Each had another size before: from 640 / 1280 to 640 / 320.
        ([((320, 320), (640, 640)), ((1280, 640), (640, 640))], [0, 1], "0.5 to 2 times as large"),
        # The wrong way round is a slip of a tool.
        ([((100, 200), (200, 100))] * 3, [], ""),
        ([], [], ""),
    ],
)
def test_most_images_that_differ_were_resized(sizes, indices, what):
    found, described = find_resized(sizes)
    assert found == indices and described.startswith(what) and bool(described) == bool(what)


def write_resized(root):
    """Write three images of SIZE, of which two state half of it, and one states its own."""
    annotations = {name: voc_xml(HALF, [("cat", 11, 11, 40, 40)]) for name in "ab"}
    annotations["c"] = voc_xml(SIZE, [("dog", 11, 11, 40, 40)])
    return write_voc(root, annotations)


def test_resized_images_are_one_fault_that_names_the_factor(tmp_path):
    message = message_of(write_resized(tmp_path))
    assert "1 fault " in message
    assert "2 of 3 images are 2 times as large as stated by their annotations" in message
    assert "a.xml states 100 x 50, the image has 200 x 100" in message
    assert "scale boxes and stated sizes by that factor" in message


def test_resized_images_are_left_out_where_faults_are_skipped(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = read_voc(write_resized(tmp_path), ("train",), (), Divider(0), lambda *_: None)[
            "train"
        ]
    assert [example.image_id for example in dataset.examples] == ["c"]
    assert (dataset.num_images_left_out, dataset.num_sizes_differ) == (2, 0)
    assert "another size" not in caplog.text


def test_it_is_told_first_and_with_all_other_faults(tmp_path):
    root = write_resized(tmp_path)
    (root / "Annotations" / "b.xml").write_text(voc_xml(HALF, [("cat", 9, 9, 8, 8)]))
    first, second = message_of(root).splitlines()[1:3]
    assert "2 times as large" in first and "b.xml: object 1 (cat)" in second


def test_broken_files_among_resized_images_are_told_with_them(tmp_path):
    root = write_resized(tmp_path)
    path = root / "JPEGImages" / "b.png"
    path.write_bytes(path.read_bytes()[:-30])  # its header is whole
    config = DataConfig(root=str(root), format="voc", val_split="none", test_split="none")
    with pytest.raises(DataError) as caught:
        load_datasets(config, 0)
    message = str(caught.value)
    assert "2 faults" in message and "2 times as large" in message
    assert "b.png: the image cannot be decoded" in message
    report = check_data(config, ModelConfig(), 0).report
    assert report["faults"]["count"] == 2 and report["pictures"]["num_unreadable"] == 1


def test_single_sizes_that_differ_are_a_warning_and_a_remark(tmp_path, caplog):
    annotations = {name: voc_xml(SIZE, [("cat", 11, 11, 40, 40)]) for name in "abc"}
    annotations["d"] = voc_xml(HALF, [("cat", 11, 11, 40, 40)])
    root = write_voc(tmp_path, annotations)
    with caplog.at_level(logging.WARNING):
        assert read_train(root).num_sizes_differ == 1
    assert "another size than the image has, which is used: 1; the first" in caplog.text
    config = DataConfig(root=str(root), format="voc", val_split="none", test_split="none")
    report = check_data(config, ModelConfig(), 0).report
    assert report["splits"]["train"]["num_sizes_differ"] == 1
    assert not report["would_stop_training"]
    assert (
        "Images whose annotation states another size in train: 1; look whether their boxes fit."
        in list_remarks(report)
    )


def test_coco_is_judged_by_the_same_rule(tmp_path):
    images = [image(number, height=HALF[0], width=HALF[1]) for number in range(2)]
    root = write_coco(tmp_path, content(images, [annotation(1, 0, [1, 2, 3, 4])]))
    with pytest.raises(DataError, match=r"2 of 2 images are 2 times as large .*images\[0\]"):
        read_coco_train(root)
    config = DataConfig(
        root=str(root), format="coco", val_split="none", test_split="none", on_error="skip"
    )
    with pytest.raises(DataError, match="no image is left, all 2 were skipped"):
        read_datasets(config, 0)
