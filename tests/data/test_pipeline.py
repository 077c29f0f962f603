"""Batches: what is in them, that a step alone decides it, and what a broken image says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.test_transforms import box_in_pixels, image_with_box
from tf_frcnn.config import DataConfig
from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.data.pipeline import BatchPipeline
from tf_frcnn.errors import DataError

BOX = [8, 10, 20, 40]
UNSCALED = DataConfig(short_side=40, long_side=60, horizontal_flip=0.0)


def make_example(folder, name, size=(40, 60), boxes=(BOX,), difficult=None, crowd=None):
    """Write a black image whose first box is white."""
    path = folder / f"{name}.png"
    Image.fromarray(image_with_box(size, boxes[0] if boxes else [0, 0, 0, 0])).save(path)
    count = len(boxes)
    return Example(
        image_id=name,
        image_path=path,
        image_size=size,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.arange(1, count + 1, dtype=np.int32),
        difficult=np.array(difficult or [False] * count, bool),
        crowd=np.array(crowd or [False] * count, bool),
        source=f"{name}.xml",
    )


def make_dataset(*examples):
    return Dataset("train", ("cat", "dog", "duck"), examples)


@pytest.fixture
def six_images(tmp_path):
    """Give six images of one size whose boxes differ in width."""
    boxes = [[8, 10, 20, 30 + 5 * number] for number in range(6)]
    return make_dataset(
        *(make_example(tmp_path, f"p{number}", boxes=[box]) for number, box in enumerate(boxes))
    )


def as_arrays(pipeline):
    return [{name: value.numpy() for name, value in batch.items()} for batch in pipeline]


def assert_bit_equal(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


# === What a batch holds ===


def test_shapes_dtypes_and_padding(tmp_path):
    # Short side 20: 40 x 60 becomes 20 x 30, 40 x 50 becomes 20 x 25; both padded to 20 x 30.
    # Two boxes and one: G = 2 + 1, as every image gets an empty box at its end.
    two_boxes = make_example(tmp_path, "two", (40, 60), [BOX, [0, 0, 40, 60]])
    one_box = make_example(tmp_path, "one", (40, 50), [BOX])
    config = DataConfig(short_side=20, long_side=40, horizontal_flip=0.0)
    (batch,) = as_arrays(
        BatchPipeline(make_dataset(two_boxes, one_box), config, batch_size=2, seed=7, stop=1)
    )
    described = {name: (value.shape, value.dtype.name) for name, value in batch.items()}
    assert described == {
        "images": ((2, 20, 30, 3), "float32"),
        "image_sizes": ((2, 2), "float32"),
        "gt_boxes": ((2, 3, 4), "float32"),
        "gt_classes": ((2, 3), "int32"),
        "seeds": ((2, 2), "int32"),
        "indices": ((2,), "int32"),
    }
    two, one = list(batch["indices"]).index(0), list(batch["indices"]).index(1)
    np.testing.assert_array_equal(batch["image_sizes"][two], [20, 30])
    np.testing.assert_array_equal(batch["image_sizes"][one], [20, 25])
    np.testing.assert_array_equal(batch["images"][one, :, 25:], 0)
    # All coordinates are halved; the rest is padding.
    halved = [4, 5, 10, 20]
    np.testing.assert_array_equal(batch["gt_boxes"][two], [halved, [0, 0, 20, 30], [0] * 4])
    np.testing.assert_array_equal(batch["gt_boxes"][one], [halved, [0] * 4, [0] * 4])
    np.testing.assert_array_equal(batch["gt_classes"][two], [1, 2, 0])
    np.testing.assert_array_equal(batch["gt_classes"][one], [1, 0, 0])
    assert batch["images"].max() == 255.0


def test_padding_is_zero_below_a_bright_image(tmp_path):
    # Portrait 60 x 40 and 50 x 40 with short side 40: the shorter one is padded at the bottom.
    tall = make_example(tmp_path, "tall", (60, 40), [[0, 0, 60, 40]])
    short = make_example(tmp_path, "short", (50, 40), [[0, 0, 50, 40]])
    config = DataConfig(short_side=40, long_side=60, horizontal_flip=0.0)
    (batch,) = as_arrays(BatchPipeline(make_dataset(tall, short), config, batch_size=2, stop=1))
    images = batch["images"][list(batch["indices"]).index(1)]
    np.testing.assert_array_equal(images[:50], 255.0)
    np.testing.assert_array_equal(images[50:], 0.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("multiple", "padded"), [(1, (50, 40)), (32, (64, 64)), (25, (50, 50))])
def test_batches_are_padded_to_a_multiple(tmp_path, training, multiple, padded):
    example = make_example(tmp_path, "one", (50, 40), [[0, 0, 50, 40]])  # all white
    config = DataConfig(short_side=40, long_side=60, horizontal_flip=0.0, pad_to=multiple)
    (batch,) = as_arrays(BatchPipeline(make_dataset(example), config, stop=1, training=training))
    expected = np.zeros((1, *padded, 3))
    expected[:, :50, :40] = 255.0
    np.testing.assert_array_equal(batch["images"], expected)
    np.testing.assert_array_equal(batch["image_sizes"], [[50, 40]])  # padding is no image
    np.testing.assert_array_equal(batch["gt_boxes"][0, 0], [0, 0, 50, 40])


@pytest.mark.parametrize("training", [True, False])
def test_pixels_travel_as_whole_levels_where_that_is_asked_for(tmp_path, training):
    # Enlarged from 40 x 60 to 60 x 90, so that edges of the white box have levels between 0 and
    # 255; two sizes, so that there is padding.
    dataset = make_dataset(
        make_example(tmp_path, "a"), make_example(tmp_path, "b", (40, 40), [[5, 5, 20, 20]])
    )
    config = DataConfig(short_side=60, long_side=90, photometric_jitter=0.5)
    expected, rounded = (
        as_arrays(
            BatchPipeline(
                *(dataset, dataclasses.replace(config, pixel_type=pixel_type), 2, 3),
                stop=1,
                training=training,
            )
        )
        for pixel_type in ("float32", "uint8")
    )
    assert {batch["images"].dtype for batch in rounded} == {np.dtype(np.uint8)}
    assert any((batch["images"] % 1 != 0).any() for batch in expected)
    for batch in expected:
        batch["images"] = np.rint(batch["images"]).astype(np.uint8)  # of halves, the even one
    assert_bit_equal(rounded, expected)


def test_an_image_without_boxes_has_one_empty_one(tmp_path):
    empty = make_example(tmp_path, "empty", boxes=[])
    (batch,) = as_arrays(BatchPipeline(make_dataset(empty), UNSCALED, stop=1))
    np.testing.assert_array_equal(batch["gt_boxes"], np.zeros((1, 1, 4)))
    np.testing.assert_array_equal(batch["gt_classes"], [[0]])


def test_difficult_and_crowd_boxes_are_left_out(tmp_path):
    example = make_example(
        tmp_path,
        "mixed",
        boxes=[[0, 0, 5, 6], [1, 2, 9, 12], [3, 4, 8, 30]],
        difficult=[True, False, False],
        crowd=[False, False, True],
    )
    (batch,) = as_arrays(BatchPipeline(make_dataset(example), UNSCALED, stop=1))
    np.testing.assert_array_equal(batch["gt_boxes"], [[[1, 2, 9, 12], [0] * 4]])
    np.testing.assert_array_equal(batch["gt_classes"], [[2, 0]])


def test_validation_goes_through_the_images_in_order_one_by_one(six_images):
    batches = as_arrays(BatchPipeline(six_images, UNSCALED, training=False))
    assert [batch["indices"].tolist() for batch in batches] == [[number] for number in range(6)]
    for batch, example in zip(batches, six_images.examples, strict=True):
        np.testing.assert_array_equal(batch["gt_boxes"][0, :1], example.boxes)


@pytest.mark.parametrize(
    "option",
    [
        {"horizontal_flip": 1.0},
        {"scale_jitter": (0.5, 0.6)},
        {"photometric_jitter": 1.0},
        {"crop": 1.0},
    ],
    ids=str,
)
def test_validation_images_are_never_augmented(six_images, option):
    always = dataclasses.replace(UNSCALED, **option)
    plain = as_arrays(BatchPipeline(six_images, UNSCALED, training=False))
    assert_bit_equal(as_arrays(BatchPipeline(six_images, always, training=False)), plain)


def test_a_validation_pipeline_can_be_gone_through_again(six_images):
    pipeline = BatchPipeline(six_images, UNSCALED, training=False)
    assert_bit_equal(as_arrays(pipeline), as_arrays(pipeline))


def test_images_with_a_rare_class_come_more_often(tmp_path):
    # Classes are numbered by box: one of four images has class 2. sqrt(1 / (1 / 4)) = 2.
    common = [make_example(tmp_path, f"common{number}") for number in range(3)]
    rare = make_example(tmp_path, "rare", boxes=[BOX, [0, 0, 5, 6]])
    config = dataclasses.replace(UNSCALED, repeat_rare=1.0)
    pipeline = BatchPipeline(make_dataset(*common, rare), config, stop=5)
    assert pipeline.steps_per_epoch == 5
    indices = [int(batch["indices"][0]) for batch in as_arrays(pipeline)]
    assert sorted(indices) == [0, 1, 2, 3, 3]


def test_validation_images_of_one_size_go_together(tmp_path):
    # Short side 40, long side at most 60: 40 x 60 stays, as do 40 x 50 and 60 x 40; 80 x 120
    # becomes 40 x 60. Those are 0, 2, 3, 5 and 6 (two batches of 2, one of 1), 1 and 7, and 4.
    sizes = [(40, 60), (40, 50), (40, 60), (80, 120), (60, 40), (40, 60), (40, 60), (40, 50)]
    dataset = make_dataset(
        *(
            make_example(tmp_path, f"p{number}", size, [] if number == 2 else [BOX] * (number + 1))
            for number, size in enumerate(sizes)
        )
    )
    pipeline = BatchPipeline(dataset, UNSCALED, 2, seed=3, training=False)
    batches = as_arrays(pipeline)
    together = [batch["indices"].tolist() for batch in batches]
    assert together == [[0, 2], [3, 5], [6], [1, 7], [4]]
    assert_bit_equal(as_arrays(pipeline), batches)
    alone = as_arrays(BatchPipeline(dataset, UNSCALED, seed=3, training=False))
    for batch in batches:
        for row, index in enumerate(batch["indices"].tolist()):
            for name, expected in alone[index].items():
                found = batch[name][row]
                if name in ("gt_boxes", "gt_classes"):  # padded as the batch needs it
                    assert not found[len(expected[0]) :].any()
                    found = found[: len(expected[0])]
                # No image is padded, and each has the seeds that it has by itself.
                np.testing.assert_array_equal(found, expected[0], err_msg=name)


# === A step alone decides ===


FLIPPING = DataConfig(short_side=30, long_side=60, horizontal_flip=0.5)


def test_the_same_seed_gives_the_same_batches(six_images):
    first, second = (
        as_arrays(BatchPipeline(six_images, FLIPPING, 2, seed=4, stop=7)) for _ in range(2)
    )
    assert_bit_equal(first, second)


def test_another_seed_gives_other_batches(six_images):
    orders = [
        [batch["indices"].tolist() for batch in as_arrays(pipeline)]
        for pipeline in (
            BatchPipeline(six_images, FLIPPING, 2, seed=seed, stop=12) for seed in (4, 5)
        )
    ]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("start", [1, 3, 5, 7])
def test_starting_later_equals_skipping(six_images, start):
    whole = as_arrays(BatchPipeline(six_images, FLIPPING, 2, seed=4, stop=8))
    rest = as_arrays(BatchPipeline(six_images, FLIPPING, 2, seed=4, start=start, stop=8))
    assert_bit_equal(rest, whole[start:])


def test_nothing_is_left_after_the_last_step(six_images):
    assert as_arrays(BatchPipeline(six_images, FLIPPING, 2, start=8, stop=8)) == []


def test_every_image_of_every_step_has_seeds_of_its_own(six_images):
    batches = as_arrays(BatchPipeline(six_images, UNSCALED, 2, seed=9, stop=20))
    seeds = np.concatenate([batch["seeds"] for batch in batches])
    assert len({tuple(pair) for pair in seeds}) == 40
    assert set(seeds[:, 0]) == {9}


# === Mirroring ===


def mirrored(batch):
    """Tell whether a 40 x 60 image is mirrored, and check that its box is on its pixels."""
    box = batch["gt_boxes"][0, 0]
    assert box_in_pixels(batch["images"][0]) == box.tolist()
    if box.tolist() == BOX:
        return False
    assert box.tolist() == [8, 60 - 40, 20, 60 - 10]
    return True


@pytest.mark.parametrize(
    ("probability", "low", "high"),
    # 200 draws of 0.5: mean 100, standard deviation 7.07; 65 and 135 are 5 of them away.
    [(0.0, 0, 0), (0.5, 65, 135), (1.0, 200, 200)],
)
def test_images_are_mirrored_with_the_probability_and_boxes_with_them(
    tmp_path, probability, low, high
):
    dataset = make_dataset(make_example(tmp_path, "one"))
    config = DataConfig(short_side=40, long_side=60, horizontal_flip=probability)
    batches = as_arrays(BatchPipeline(dataset, config, stop=200))
    assert low <= sum(mirrored(batch) for batch in batches) <= high


# === Faults ===


def test_a_broken_image_is_named_after_the_good_batches(six_images):
    broken = six_images.examples[3].image_path
    broken.write_bytes(broken.read_bytes()[:60])  # the header is whole, the pixels are cut
    done = []
    with pytest.raises(DataError, match=r"p3\.png: the image cannot be decoded"):
        for batch in BatchPipeline(six_images, UNSCALED, training=False):
            done.append(int(batch["indices"][0]))
    assert done == [0, 1, 2]


def test_an_image_that_vanished_is_named(six_images):
    six_images.examples[0].image_path.unlink()
    with pytest.raises(DataError, match=r"p0\.png: there is no such file"):
        as_arrays(BatchPipeline(six_images, UNSCALED, training=False))


TWO_AT_ONCE = """
import sys, threading
import tensorflow as tf
from tests.data.test_pipeline import UNSCALED, make_dataset, make_example
from tf_frcnn.data import pipeline
from pathlib import Path

tf.config.experimental.enable_op_determinism()
together, read = threading.Barrier(2), pipeline.read_image

def read_with_another(*arguments):
    together.wait(timeout=60)
    return read(*arguments)

pipeline.read_image = read_with_another
data = make_dataset(*(make_example(Path(sys.argv[1]), f"p{number}") for number in range(2)))
(batch,) = pipeline.BatchPipeline(data, UNSCALED, batch_size=2, stop=1)
print(len(batch["images"]))
"""


@pytest.mark.slow
def test_images_are_read_in_parallel_where_all_is_deterministic(tmp_path):
    # A reader that waits for another: one at a time they would wait for ever. Determinism is the
    # whole process's, hence one of its own.
    command = [sys.executable, "-c", TWO_AT_ONCE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "2", done.stderr
