"""Difficult and crowd boxes that come along with their images, for labels that leave them out."""

import dataclasses

import numpy as np
import pytest

from tests.data.test_augmentation import ALL, OPTIONS, PLAIN
from tests.data.test_pipeline import (
    BOX,
    UNSCALED,
    as_arrays,
    assert_bit_equal,
    make_dataset,
    make_example,
)
from tests.data.test_preparation import ONE_BOX, SIZES, dataset_of
from tests.data.test_shares import AUGMENTED
from tf_frcnn.data.pipeline import BatchPipeline, Share
from tf_frcnn.data.preparation import prepare_dataset
from tf_frcnn.errors import ConfigError

WHOLE = [0, 0, 40, 60]


def with_ignored(dataset, config, batch_size=1, **options):
    return as_arrays(BatchPipeline(dataset, config, batch_size, with_ignored=True, **options))


def without_them(batches):
    return [
        {name: value for name, value in batch.items() if name != "ignored_boxes"}
        for batch in batches
    ]


@pytest.fixture
def mixed(tmp_path):
    """Give four images with none, one or two such boxes beside others, in two sizes."""
    boxes = [BOX, [1, 2, 9, 12], [3, 4, 8, 30]]
    return make_dataset(
        make_example(tmp_path, "both", (40, 60), boxes, [0, 1, 0], [0, 0, 1]),
        make_example(tmp_path, "difficult", (40, 50), boxes, [0, 1, 0]),
        make_example(tmp_path, "neither", (40, 60), boxes),
        make_example(tmp_path, "alone", (40, 50), [BOX], None, [1]),
    )


# === What a batch holds ===


def test_they_are_padded_by_themselves(mixed):
    # Short side 20: all is halved. The images have 2, 1, 0 and 1 of them, and one empty box more.
    config = dataclasses.replace(UNSCALED, short_side=20, long_side=40)
    (batch,) = with_ignored(mixed, config, 4, stop=1)
    assert batch["ignored_boxes"].dtype == np.float32
    expected = np.zeros((4, 3, 4))
    expected[0, :2] = [[0.5, 1, 4.5, 6], [1.5, 2, 4, 15]]
    expected[1, 0] = [0.5, 1, 4.5, 6]
    expected[3, 0] = [4, 5, 10, 20]
    order = np.argsort(batch["indices"])
    np.testing.assert_array_equal(batch["ignored_boxes"][order], expected)
    # 1, 2, 3 and no boxes are trained on.
    counts = np.count_nonzero(batch["gt_classes"][order], axis=1)
    np.testing.assert_array_equal(counts, [1, 2, 3, 0])


@pytest.mark.parametrize("config", [UNSCALED, ALL], ids=["plain", "augmented"])
@pytest.mark.parametrize("training", [True, False])
def test_all_else_is_what_it_is_without_them(mixed, config, training):
    options = {"batch_size": 2, "seed": 3, "training": training}
    options |= {"stop": 12} if training else {}
    plain = as_arrays(BatchPipeline(mixed, config, **options))
    assert all("ignored_boxes" not in batch for batch in plain)
    assert_bit_equal(without_them(with_ignored(mixed, config, **options)), plain)


# === They move with the image ===


@pytest.mark.parametrize("option", [*OPTIONS, "all"])
def test_they_move_as_the_boxes_that_are_trained_on(tmp_path, option):
    # A crowd in the very place of the object, which the crops leave in, and one of all the image.
    example = make_example(tmp_path, "one", boxes=[BOX, BOX, WHOLE], crowd=[0, 1, 1])
    config = ALL if option == "all" else dataclasses.replace(PLAIN, **{option: OPTIONS[option]})
    seen = set()
    for batch in with_ignored(make_dataset(example), config, stop=60):
        (box, _), (same, whole, padding) = batch["gt_boxes"][0], batch["ignored_boxes"][0]
        np.testing.assert_array_equal(same, box)
        np.testing.assert_allclose(whole, [0, 0, *batch["image_sizes"][0]], atol=1e-4)
        assert not padding.any()
        seen.add((*box, *whole))
    assert len(seen) > 1 or option == "photometric_jitter"


def test_a_crop_keeps_what_is_left_of_them_wherever_their_centres_are(tmp_path):
    # Windows keep the object, in the upper left corner, and with it all, a part or nothing of a
    # crowd that is everything from column 40 on.
    example = make_example(tmp_path, "one", boxes=[[0, 0, 20, 20], [0, 40, 40, 60]], crowd=[0, 1])
    config = dataclasses.replace(PLAIN, crop=1.0, crop_min_fraction=0.3)
    shares = []
    for batch in with_ignored(make_dataset(example), config, stop=150):
        (box, _), (crowd, _) = batch["gt_boxes"][0], batch["ignored_boxes"][0]
        height, width = batch["image_sizes"][0]
        ymin, xmin, ymax, xmax = crowd
        shares.append((xmax - xmin) / width)
        if xmax > xmin:
            np.testing.assert_allclose([ymin, ymax, xmax], [0, height, width], atol=1e-3)
            assert xmin > box[3]
    # A window that ends at column r has a share of (r - 40) / r at least, a fifth where it ends at
    # the centre of the crowd, column 50: below that the centre is outside.
    assert shares.count(0.0) > 3 and sum(0.0 < share < 0.2 for share in shares) > 3


def test_shares_of_a_step_have_those_of_their_images(tmp_path):
    # Eight images, whose numbers of such boxes are 0, 1, 2, 0, ...
    dataset = make_dataset(
        *(
            make_example(
                tmp_path,
                f"p{number}",
                (40, 60 + 7 * number),
                [BOX, *[[number, 1, 30, 50]] * (number % 3)],
                None,
                [0] + [1] * (number % 3),
            )
            for number in range(8)
        )
    )
    whole = with_ignored(dataset, AUGMENTED, 4, seed=3, stop=4)
    for worker in range(2):
        share = Share(worker, 2, 2)
        pipeline = BatchPipeline(dataset, AUGMENTED, 4, 3, 0, 4, share=share, with_ignored=True)
        spec = pipeline.batches.element_spec["ignored_boxes"]
        assert spec.dtype == np.float32 and spec.shape.as_list() == [1, None, 4]
        for number, batch in enumerate(as_arrays(pipeline)):
            step, replica = divmod(number, 2)
            expected = whole[step]["ignored_boxes"][2 * worker + replica]
            (found,) = batch["ignored_boxes"]
            np.testing.assert_array_equal(found, expected[: len(found)])
            assert not expected[len(found) :].any()


def test_validation_images_of_one_size_go_together_with_theirs(mixed):
    alone = with_ignored(mixed, UNSCALED, training=False)
    together = with_ignored(mixed, UNSCALED, 2, training=False)
    assert [batch["indices"].tolist() for batch in together] == [[0, 2], [1, 3]]
    for batch in together:
        for row, index in enumerate(batch["indices"]):
            (expected,) = alone[index]["ignored_boxes"]
            found = batch["ignored_boxes"][row]
            np.testing.assert_array_equal(found[: len(expected)], expected)
            assert not found[len(expected) :].any()


# === In Python ===


@pytest.mark.parametrize("training", [True, False])
def test_batches_for_keras_have_them_where_they_are_asked_for(mixed, training):
    options = {"batch_size": 2, "training": training, **SIZES}
    batches = prepare_dataset(mixed, with_ignored_boxes=True, **options)
    assert "ignored_boxes" not in prepare_dataset(mixed, **options).element_spec
    assert batches.element_spec["ignored_boxes"].shape.as_list()[1:] == [None, 4]
    counts = {}
    for batch in batches:
        for index, boxes in zip(batch["indices"].numpy(), batch["ignored_boxes"], strict=True):
            counts[int(index)] = int(np.count_nonzero(boxes[:, 2]))
    assert counts == {0: 2, 1: 1, 2: 0, 3: 1}


def test_a_data_set_of_ones_own_has_none():
    with pytest.raises(ConfigError, match=r"^with_ignored_boxes: is for data sets of load_dataset"):
        prepare_dataset(dataset_of(ONE_BOX), with_ignored_boxes=True, **SIZES)
