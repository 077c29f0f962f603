"""Batches for the trainer from our data sets and from a `tf.data.Dataset` of one's own."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.voc_writer import write_without_lists
from tf_frcnn.data.preparation import load_dataset, prepare_dataset
from tf_frcnn.errors import ConfigError, DataError

SIZES = dict(short_side=20, long_side=50)
IMAGE = np.full((40, 60, 3), 100, np.uint8)  # enters as 20 x 30: everything is halved
EXPECTED = (
    "Expected a tf.data.Dataset of dicts with images [height, width, 3] uint8, or float of 0 to "
    "255, RGB; boxes [G, 4], [ymin, xmin, ymax, xmax] in pixels of the image; and classes "
    "[G] integers from 1; or batches of such, ragged or padded with boxes of class 0."
)


def dataset_of(*elements, images=tf.uint8, boxes=tf.float32, classes=tf.int64):
    """Make a data set of (image, boxes, classes)."""
    return tf.data.Dataset.from_generator(
        lambda: (dict(zip(("images", "boxes", "classes"), one, strict=True)) for one in elements),
        output_signature={
            "images": tf.TensorSpec([None, None, 3], images),
            "boxes": tf.TensorSpec([None, 4], boxes),
            "classes": tf.TensorSpec([None], classes),
        },
    )


ONE_BOX = (IMAGE, np.float32([[10, 20, 30, 60]]), [2])
TWO_BOXES = (IMAGE[:, :40], np.float32([[0, 0, 40, 40], [4, 8, 12, 16]]), [1, 3])
NO_BOX = (IMAGE, np.zeros((0, 4), np.float32), [])


def read(dataset, **options):
    options = {"training": False, **SIZES, **options}
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in prepare_dataset(dataset, **options)
    ]


# === The form of what comes out ===


def test_images_are_resized_boxes_moved_along_and_both_padded():
    (batch,) = read(dataset_of(ONE_BOX, TWO_BOXES, NO_BOX), batch_size=3)
    assert batch["images"].shape == (3, 20, 30, 3) and batch["images"].dtype == np.float32
    # 40 x 40 enters as 20 x 20.
    np.testing.assert_array_equal(batch["image_sizes"], [[20, 30], [20, 20], [20, 30]])
    np.testing.assert_array_equal(batch["images"][1, :, :20], 100)
    np.testing.assert_array_equal(batch["images"][1, :, 20:], 0)
    np.testing.assert_array_equal(batch["gt_classes"], [[2, 0, 0], [1, 3, 0], [0, 0, 0]])
    np.testing.assert_array_equal(batch["gt_boxes"][0, 0], [5, 10, 15, 30])
    np.testing.assert_array_equal(batch["gt_boxes"][1, 1], [2, 4, 6, 8])
    assert not batch["gt_boxes"][0, 1:].any() and not batch["gt_boxes"][2].any()
    assert batch["seeds"].shape == (3, 2) and batch["seeds"].dtype == np.int32
    assert len(set(map(tuple, batch["seeds"]))) == 3


def padded(*elements):
    return dataset_of(*elements).padded_batch(len(elements))


def ragged(*elements):
    return dataset_of(*elements).ragged_batch(len(elements))


def ragged_boxes_alone(*elements):
    def densify(batch):
        return {**batch, "images": batch["images"].to_tensor()}

    return ragged(*elements).map(densify)


def whole_and_float(*elements):
    return dataset_of(*elements, images=tf.float64, boxes=tf.float16)


def whole_boxes(*elements):
    return dataset_of(*elements, boxes=tf.int64)


@pytest.mark.parametrize("form", [padded, ragged, ragged_boxes_alone, whole_and_float, whole_boxes])
def test_other_forms_give_the_same(form):
    elements = (ONE_BOX, (IMAGE, *TWO_BOXES[1:]), NO_BOX)
    (expected,) = read(dataset_of(*elements), batch_size=3)
    (batch,) = read(form(*elements), batch_size=3)
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value, err_msg=name)


def test_ragged_images_keep_their_sizes():
    (batch,) = read(ragged(ONE_BOX, TWO_BOXES), batch_size=2)
    np.testing.assert_array_equal(batch["image_sizes"], [[20, 30], [20, 20]])


def test_boxes_are_clipped_to_their_image_and_other_keys_left_out():
    dataset = dataset_of((IMAGE, np.float32([[-4, 20, 50, 61]]), [1]))
    (batch,) = read(dataset.map(lambda one: {**one, "id": "x"}))
    np.testing.assert_array_equal(batch["gt_boxes"][0, 0], [0, 10, 20, 30])
    assert set(batch) == {"images", "image_sizes", "gt_boxes", "gt_classes", "seeds"}


def test_every_pass_draws_anew_and_the_same_for_a_seed():
    def seeds(dataset):
        return [batch["seeds"].numpy().tolist() for batch in dataset]

    dataset = dataset_of(ONE_BOX, TWO_BOXES)
    first, second = (prepare_dataset(dataset, **SIZES, seed=3) for _ in range(2))
    passes = [seeds(first), seeds(first)]
    assert passes[0] != passes[1] and passes == [seeds(second), seeds(second)]
    assert passes[0] != seeds(prepare_dataset(dataset, **SIZES, seed=4))
    validation = prepare_dataset(dataset, **SIZES, training=False)
    assert seeds(validation) == seeds(validation)


def test_augmentation_is_for_training():
    dataset = dataset_of(ONE_BOX)
    (batch,) = read(dataset, training=True, horizontal_flip=1.0)
    np.testing.assert_array_equal(batch["gt_boxes"][0, 0], [5, 0, 15, 20])  # 30 - 30, 30 - 10
    (batch,) = read(dataset, training=False, horizontal_flip=1.0)
    np.testing.assert_array_equal(batch["gt_boxes"][0, 0], [5, 10, 15, 30])


def test_images_are_padded_to_a_multiple():
    (plain,), (padded,) = read(dataset_of(ONE_BOX)), read(dataset_of(ONE_BOX), pad_to=64)
    height, width = plain["images"].shape[1:3]
    assert padded["images"].shape == (1, 64, 64, 3) and max(height, width) < 64
    np.testing.assert_array_equal(padded["images"][:, :height, :width], plain["images"])
    np.testing.assert_array_equal(padded["image_sizes"], [[height, width]])


def test_the_number_of_batches_is_known_where_it_can_be():
    dataset = tf.data.Dataset.from_tensors(
        {"images": IMAGE, "boxes": ONE_BOX[1], "classes": tf.constant([2])}
    ).repeat(5)
    assert int(prepare_dataset(dataset, **SIZES, batch_size=2).cardinality()) == 3
    assert len(read(dataset, batch_size=2, training=True)) == 3


# === What is refused ===


def with_pixel(value):
    """Make the image of floats with one number of it another one."""
    image = IMAGE.astype(np.float32)
    image[7, 5, 1] = value
    return image


GOOD = {"images": IMAGE, "boxes": ONE_BOX[1], "classes": np.int32([2])}


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ((IMAGE, IMAGE), "the data set's elements are a tuple: (TensorSpec("),
        (
            {"images": IMAGE, "labels": 1, "boxes": ONE_BOX[1]},
            "'classes' is missing: the data set's elements have images, labels, boxes. ",
        ),
        ({**GOOD, "images": IMAGE[..., :1]}, "'images' is uint8 (40, 60, 1). "),
        (
            {**GOOD, "images": IMAGE.astype(np.int32)},
            "'images' is int32 (40, 60, 3). Whole numbers from 0 to 255 are cast by "
            "tf.cast(images, tf.uint8). ",
        ),
        ({**GOOD, "images": IMAGE[0]}, "'images' is uint8 (60, 3). "),
        ({**GOOD, "boxes": ONE_BOX[1][0]}, "'boxes' is float32 (4,). "),
        ({**GOOD, "boxes": np.zeros((2, 5))}, "'boxes' is float64 (2, 5). "),
        ({**GOOD, "boxes": np.zeros((2, 4), bool)}, "'boxes' is bool (2, 4). "),
        ({**GOOD, "classes": np.float32([1])}, "'classes' is float32 (1,). "),
        ({**GOOD, "classes": np.int32(1)}, "'classes' is int32 (). "),
    ],
)
def test_elements_of_another_form_are_told(elements, found):
    with pytest.raises(DataError) as caught:
        prepare_dataset(tf.data.Dataset.from_tensors(elements))
    assert str(caught.value).startswith(found) and str(caught.value).endswith(EXPECTED)


def test_what_is_no_data_set_is_told():
    with pytest.raises(DataError) as caught:
        prepare_dataset([GOOD])
    assert str(caught.value) == f"the data set is a list. {EXPECTED}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 30, "long_side": 20}, "long_side 20: expected at least short_side, which"),
        ({"short_side": 0}, "short_side 0: expected a number above 0."),
        ({"long_side": 2.5}, "long_side 2.5: expected a whole number."),
        ({"repeat_rare": 0.1}, "repeat_rare 0.1: is for data sets of load_dataset, whose classes"),
        ({"scale_jitter": (2.0, 1.0)}, "scale_jitter 2.0 1.0: expected the smallest factor and"),
        *(
            ({"batch_size": value}, f"batch_size = {value!r}: expected a whole number, 1 or more.")
            for value in ("8", 2.5, True, None, 0)
        ),
        *(
            ({"seed": value}, f"seed = {value!r}: expected a whole number, 0 or more.")
            for value in ("8", 2.5, True, None, -1)
        ),
        (
            {"seed": 2**31},
            "seed = 2147483648: expected a whole number, 0 or more, at most 21474836",
        ),
    ],
)
def test_arguments_are_checked_and_told_by_their_names(options, message):
    with pytest.raises(ConfigError) as caught:
        prepare_dataset(dataset_of(ONE_BOX), **options)
    assert str(caught.value).startswith(message) and "--" not in str(caught.value)


def test_numbers_of_numpy_will_do():
    (batch,) = read(dataset_of(ONE_BOX), batch_size=np.int64(2), seed=np.int32(3))
    assert batch["images"].shape == (1, 20, 30, 3)


def test_arguments_of_a_folder_are_checked_and_told_by_their_names(tmp_path):
    with pytest.raises(ConfigError, match=r"^on_error stopp: "):
        load_dataset(tmp_path, on_error="stopp")
    with pytest.raises(ConfigError, match=r"^seed = '8': expected a whole number, 0 or more"):
        load_dataset(tmp_path, seed="8")


@pytest.mark.parametrize(
    ("element", "images", "message"),
    [
        ((IMAGE / 255.0, *ONE_BOX[1:]), tf.float32, "multiply by 255"),
        ((with_pixel(np.nan), *ONE_BOX[1:]), tf.float32, "images: there is one with NaN among"),
        ((with_pixel(256), *ONE_BOX[1:]), tf.float32, r"below 0 or above 255.*\[100\]\D*\[256\]"),
        ((with_pixel(-1), *ONE_BOX[1:]), tf.float16, r"below 0 or above 255.*\[-1\]\D*\[100\]"),
        ((IMAGE / 100.0 - 1.5, *ONE_BOX[1:]), tf.float32, "below 0 or above 255"),
        ((IMAGE, [[10, np.nan, 30, 60]], [2]), tf.uint8, r"boxes: there is one with NaN.*nan"),
        ((IMAGE, [[np.nan] * 4], [2]), tf.uint8, "boxes: there is one with NaN"),
        ((IMAGE, ONE_BOX[1] / 60, [2]), tf.uint8, "boxes: no number is above 1. Expected pixels"),
        ((IMAGE, [[30, 20, 10, 60]], [2]), tf.uint8, "boxes: there is one without area"),
        ((IMAGE, [[10, 61, 30, 90]], [2]), tf.uint8, "boxes: there is one without area"),
        ((IMAGE, ONE_BOX[1], [-1]), tf.uint8, "classes: expected numbers from 1"),
        ((IMAGE, ONE_BOX[1], [0]), tf.uint8, "there is a box of class 0, which is the background"),
        ((IMAGE, ONE_BOX[1], [1, 2]), tf.uint8, "an image has as many boxes as classes"),
    ],
)
def test_numbers_that_cannot_be_are_told_when_they_come(element, images, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        read(dataset_of(element, images=images))


def test_what_rounding_adds_to_pixels_is_no_fault():
    read(dataset_of((with_pixel(255.001), *ONE_BOX[1:]), images=tf.float32))
    read(dataset_of((with_pixel(-0.001), *ONE_BOX[1:]), images=tf.float32))


# === Data sets of ours ===


def test_a_split_is_loaded_with_the_classes_of_all(voc_folder):
    splits = {name: load_dataset(voc_folder, name) for name in ("train", "val", "test")}
    assert {name: len(one.examples) for name, one in splits.items()} == {
        **{"train": 6, "val": 2, "test": 2}
    }
    assert {one.class_names for one in splits.values()} == {("cat", "dog", "duck")}
    assert load_dataset(voc_folder, "val", ("duck", "dog", "cat")).class_names[0] == "duck"


def test_a_split_with_few_classes_counts_them_as_the_others_do(voc_folder):
    for path in (voc_folder / "Annotations").glob("val_*.xml"):
        path.write_text(path.read_text().replace(">cat<", ">duck<").replace(">dog<", ">duck<"))
    val = load_dataset(voc_folder, "val")
    assert val.class_names == ("cat", "dog", "duck")
    assert {number for one in val.examples for number in one.classes} == {3}


def test_a_split_that_is_not_there_is_told(voc_folder):
    with pytest.raises(DataError, match="minival"):
        load_dataset(voc_folder, "minival")


def test_two_images_can_be_loaded_though_none_is_left_for_the_other_splits(tmp_path):
    write_without_lists(tmp_path, tmp_path, 2)
    assert len(load_dataset(tmp_path, "train").examples) == 2
    with pytest.raises(DataError, match="no image came to val: 2 images were divided"):
        load_dataset(tmp_path, "val")


def test_every_pass_over_ours_is_an_epoch(voc_folder):
    dataset = load_dataset(voc_folder, "train")
    batches = prepare_dataset(dataset, 64, 96, batch_size=2)
    assert int(batches.cardinality()) == 3
    passes = [np.concatenate([one["indices"] for one in batches]).tolist() for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(6)) and passes[0] != passes[1]
    again = prepare_dataset(dataset, 64, 96, batch_size=2)
    assert np.concatenate([one["indices"] for one in again]).tolist() == passes[0]
    validation = prepare_dataset(load_dataset(voc_folder, "val"), 64, 96, training=False)
    assert [one["indices"].numpy().tolist() for one in validation] == [[0], [1]]
