"""Augmentation in the pipeline: boxes on their pixels, separate streams, batches, odd images."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.data.test_pipeline import BOX, as_arrays, assert_bit_equal, make_dataset, make_example
from tests.data.test_transforms import box_in_pixels
from tf_frcnn.config import DataConfig
from tf_frcnn.data.pipeline import BatchPipeline

PLAIN = DataConfig(short_side=40, long_side=200, horizontal_flip=0.0)
OPTIONS = {
    "horizontal_flip": 0.5,
    "scale_jitter": (0.5, 1.5),
    "photometric_jitter": 1.0,
    "crop": 0.8,
}
ALL = dataclasses.replace(PLAIN, **OPTIONS)


def batches_of(dataset, config, stop, **values):
    return as_arrays(BatchPipeline(dataset, config, stop=stop, **values))


def single(batches, name):
    """Give a value of batches that hold one image each."""
    return [batch[name][0] for batch in batches]


def make_plain_example(folder, name, size, value, boxes=()):
    """Write an image of one grey; its boxes are on nothing."""
    example = make_example(folder, name, size, boxes)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(example.image_path)
    return example


@pytest.fixture
def ramp(tmp_path):
    """Give an image that is brighter to the right, with one box."""
    example = make_example(tmp_path, "ramp")
    columns = np.linspace(60, 180, 60).astype(np.uint8)
    Image.fromarray(np.broadcast_to(columns[:, None], (40, 60, 3)).copy()).save(example.image_path)
    return make_dataset(example)


# === Boxes and pixels ===


@pytest.mark.parametrize("option", [*OPTIONS, "all"])
def test_boxes_stay_on_their_pixels(tmp_path, option):
    config = ALL if option == "all" else dataclasses.replace(PLAIN, **{option: OPTIONS[option]})
    dataset = make_dataset(make_example(tmp_path, "one"))  # a white box on black
    seen = set()
    for batch in batches_of(dataset, config, stop=60):
        image, box = batch["images"][0], batch["gt_boxes"][0, 0]
        seen.add((*image.shape, *box, float(image.max())))
        # Colours change, but the box stays the brightest: half of the range is its edge.
        image = 255 * (image - image.min()) / (image.max() - image.min())
        # Bilinear resizing keeps an edge within a pixel.
        np.testing.assert_allclose(box_in_pixels(image), box, atol=1.0)
        assert batch["gt_classes"][0].tolist() == [1, 0]
    assert len(seen) > 1  # something did change


def test_colours_change_the_pixels_alone(ramp):
    jittered = dataclasses.replace(PLAIN, photometric_jitter=1.0)
    for plain, other in zip(batches_of(ramp, PLAIN, 5), batches_of(ramp, jittered, 5), strict=True):
        assert not np.array_equal(other["images"], plain["images"])
        assert other["images"].min() >= 0 and other["images"].max() <= 255
        assert_bit_equal([{**other, "images": 0}], [{**plain, "images": 0}])


def test_scale_jitter_is_a_factor_on_both_limits(tmp_path):
    # 40 x 100 with limits 40 and 80: the longer side binds, 80 * factor; the other is 0.4 of it.
    config = DataConfig(short_side=40, long_side=80, horizontal_flip=0.0, scale_jitter=(0.5, 1.5))
    dataset = make_dataset(make_plain_example(tmp_path, "one", (40, 100), 0))
    sizes = np.array(single(batches_of(dataset, config, stop=200), "image_sizes"))
    assert 40 <= sizes[:, 1].min() < 44 and 116 < sizes[:, 1].max() <= 120
    np.testing.assert_allclose(sizes[:, 0], 0.4 * sizes[:, 1], atol=0.7)  # both rounded
    # The mean of 200 draws from 40 to 120 has a standard deviation of 80 / sqrt(12 * 200) = 1.6.
    assert abs(sizes[:, 1].mean() - 80) < 8


def test_scale_jitter_in_steps_has_so_many_factors_each_as_often(tmp_path):
    # 0.5, 1 and 1.5 of a short side of 40.
    config = dataclasses.replace(PLAIN, scale_jitter=(0.5, 1.5), scale_jitter_steps=3)
    dataset = make_dataset(make_plain_example(tmp_path, "one", (40, 60), 0))
    sizes = [tuple(size) for size in single(batches_of(dataset, config, stop=300), "image_sizes")]
    counts = {size: sizes.count(size) for size in set(sizes)}
    assert counts.keys() == {(20, 30), (40, 60), (60, 90)}
    # 100 of each are expected, with a standard deviation of sqrt(300 * 1/3 * 2/3) = 8.2.
    assert all(abs(count - 100) < 33 for count in counts.values())


def test_an_image_with_objects_keeps_one_and_its_class(tmp_path):
    boxes = [[0, 0, 4, 3], BOX, [36, 55, 40, 60]]
    config = dataclasses.replace(PLAIN, crop=1.0, crop_min_fraction=0.2)
    batches = batches_of(make_dataset(make_example(tmp_path, "one", boxes=boxes)), config, 100)
    counts = []
    for batch in batches:
        classes, (height, width) = batch["gt_classes"][0], batch["image_sizes"][0]
        kept = batch["gt_boxes"][0, :-1]
        assert np.all(kept[:, 2:] > kept[:, :2])
        assert np.all(kept >= 0) and np.all(kept[:, 2:] <= [height + 1e-3, width + 1e-3])
        assert set(classes[:-1]) <= {1, 2, 3} and classes[-1] == 0
        counts.append(len(kept))
    assert min(counts) == 1 and max(counts) > 1


@pytest.mark.parametrize("difficult", [None, [True]])
def test_images_without_objects_to_train_on_are_cropped_too(tmp_path, difficult):
    boxes = [] if difficult is None else [BOX]
    example = make_example(tmp_path, "one", boxes=boxes, difficult=difficult)
    config = dataclasses.replace(PLAIN, crop=1.0)
    batches = batches_of(make_dataset(example), config, stop=20)
    # The short side stays 40, so a window of another form than 40 x 60 has another long side.
    assert len({batch["images"].shape for batch in batches}) > 3
    for batch in batches:
        np.testing.assert_array_equal(batch["gt_boxes"], np.zeros((1, 1, 4)))


# === A step alone decides ===


def test_starting_later_equals_skipping_with_everything_on(tmp_path):
    sizes = [(40, 60), (60, 40), (50, 30), (30, 50), (50, 50)]
    dataset = make_dataset(
        *(make_example(tmp_path, f"p{number}", size) for number, size in enumerate(sizes))
    )
    whole = batches_of(dataset, ALL, stop=12, batch_size=2, seed=4)
    assert_bit_equal(batches_of(dataset, ALL, stop=12, batch_size=2, seed=4), whole)
    rest = batches_of(dataset, ALL, start=5, stop=12, batch_size=2, seed=4)
    assert_bit_equal(rest, whole[5:])


def reveal_draws(ramp, grey, config, stop=40):
    """Find out from the batches what was drawn, each as it shows whatever the others do.

    Mirrored images are brighter to the left; the short side is 40 times the factor, as the long
    one never binds; one grey shows the brightness; the box, in parts of the image and mirrored
    back, shows the window.
    """
    batches = batches_of(ramp, config, stop)
    mirrored = np.array([image[0, 0, 0] > image[0, -1, 0] for image in single(batches, "images")])
    sizes = np.array(single(batches, "image_sizes"))
    ymin, xmin, ymax, xmax = (np.array(single(batches, "gt_boxes"))[:, 0] / np.tile(sizes, 2)).T
    back = np.stack([ymin, np.where(mirrored, 1 - xmax, xmin), ymax, xmax - xmin], axis=1)
    greys = single(batches_of(grey, config, stop), "images")
    return {
        "horizontal_flip": mirrored,
        "scale_jitter": sizes.min(axis=1),
        "photometric_jitter": np.array([image[0, 0, 0] for image in greys]),
        "crop": back,
    }


def test_no_option_changes_what_another_draws(ramp, tmp_path):
    grey = make_dataset(make_plain_example(tmp_path, "grey", (40, 60), 128))
    all_on = reveal_draws(ramp, grey, ALL)
    for option in OPTIONS:
        off = dataclasses.replace(ALL, **{option: getattr(PLAIN, option)})
        draws = reveal_draws(ramp, grey, off)
        assert not np.array_equal(draws.pop(option), all_on[option]), option
        for name, values in draws.items():  # float32 after other operations
            np.testing.assert_allclose(
                values, all_on[name], atol=1e-4, err_msg=f"{name} - {option}"
            )


def test_the_draws_of_an_image_have_nothing_to_do_with_each_other(ramp, tmp_path):
    grey = make_dataset(make_plain_example(tmp_path, "grey", (40, 60), 128))
    draws = reveal_draws(ramp, grey, ALL, stop=200)
    uncropped = np.array(BOX) / [40, 60, 40, 60]
    draws["crop"] = np.abs(draws["crop"][:, 0] - uncropped[0]) > 1e-3  # whether, not where
    # Of 200 independent pairs the coefficient has a standard deviation of 1 / sqrt(200) = 0.07.
    correlation = np.corrcoef([values.astype(float) for values in draws.values()])
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / np.sqrt(200)


# === Batches ===


@pytest.mark.parametrize("size", [(40, 60), (60, 40)])
def test_a_batch_is_padded_to_its_largest_image(tmp_path, size):
    # All white: what is 255 is image, what is 0 is padding.
    dataset = make_dataset(
        *(make_plain_example(tmp_path, f"p{number}", size, 255, [BOX]) for number in range(4))
    )
    config = dataclasses.replace(ALL, photometric_jitter=0.0, crop_min_fraction=0.1)
    differing = 0
    for batch in batches_of(dataset, config, stop=40, batch_size=2):
        sizes = batch["image_sizes"].astype(int)
        assert batch["images"].shape[1:3] == tuple(sizes.max(axis=0))
        differing += len(np.unique(sizes, axis=0)) > 1
        for image, (height, width), boxes in zip(
            batch["images"], sizes, batch["gt_boxes"], strict=True
        ):
            np.testing.assert_array_equal(image[:height, :width], 255)
            np.testing.assert_array_equal(image[height:], 0)
            np.testing.assert_array_equal(image[:, width:], 0)
            assert np.all(boxes[:, 2:] <= [height + 1e-3, width + 1e-3])
            assert (height <= width) == (size[0] <= size[1]) or height == width
    assert differing > 30


# === Odd images ===


@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (1, 4000), (2, 3)])
@pytest.mark.parametrize("has_box", [True, False])
def test_images_of_any_form_stay_finite(tmp_path, size, has_box):
    boxes = [[0, 0, *size]] if has_box else []
    dataset = make_dataset(make_plain_example(tmp_path, "odd", size, 200, boxes))
    config = dataclasses.replace(ALL, crop_min_fraction=0.1, scale_jitter=(0.01, 2.0))
    for batch in batches_of(dataset, config, stop=20):
        image = batch["images"][0]
        assert min(image.shape[:2]) >= 1 and max(image.shape[:2]) <= 2 * PLAIN.long_side
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 255
        kept = batch["gt_boxes"][0, :-1]
        assert len(kept) == has_box and np.isfinite(kept).all()
        assert np.all(kept[:, 2:] > kept[:, :2])
