"""Shares of batches: together the whole, padded alike, and nobody decodes another's images."""

import dataclasses

import numpy as np
import pytest

from tests.data.test_pipeline import UNSCALED, as_arrays, make_dataset, make_example
from tf_frcnn.config import DataConfig
from tf_frcnn.data import pipeline as pipeline_module
from tf_frcnn.data.pipeline import BatchPipeline, Share

# No longer side reaches the limit, so that widths stay different.
WIDE = DataConfig(short_side=20, long_side=200, horizontal_flip=0.5)
AUGMENTED = DataConfig(
    short_side=30,
    long_side=60,
    scale_jitter=(0.6, 1.3),
    photometric_jitter=0.5,
    crop=0.7,
    crop_min_fraction=0.3,
)
PADDED = dataclasses.replace(AUGMENTED, scale_jitter_steps=3, pad_to=16)


@pytest.fixture
def images(tmp_path):
    """Give eight landscape images of different sizes, one of them without boxes."""
    sizes = [(40, 60 + 7 * number) for number in range(8)]
    return make_dataset(
        *(
            make_example(tmp_path, f"p{number}", size, [] if number == 5 else [[8, 10, 20, 40]])
            for number, size in enumerate(sizes)
        )
    )


def put_together(shares, num_replicas):
    """Join the batches of each step: worker after worker, replica after replica."""
    num_steps = len(shares[0]) // num_replicas
    steps = []
    for step in range(num_steps):
        parts = [
            share[step * num_replicas + replica]
            for share in shares
            for replica in range(num_replicas)
        ]
        # Boxes are padded as each part needs it: padding never matches anything.
        num_boxes = max(part["gt_boxes"].shape[1] for part in parts)
        for part in parts:
            missing = num_boxes - part["gt_boxes"].shape[1]
            part["gt_boxes"] = np.pad(part["gt_boxes"], [(0, 0), (0, missing), (0, 0)])
            part["gt_classes"] = np.pad(part["gt_classes"], [(0, 0), (0, missing)])
        steps.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return steps


@pytest.mark.parametrize(
    ("config", "num_workers", "num_replicas"),
    [(WIDE, 4, 1), (AUGMENTED, 2, 1), (AUGMENTED, 1, 2), (AUGMENTED, 2, 2), (PADDED, 2, 2)],
)
def test_the_shares_of_a_step_are_its_batch(images, config, num_workers, num_replicas):
    whole = as_arrays(BatchPipeline(images, config, 4, seed=3, start=1, stop=5))
    shares = [
        as_arrays(
            BatchPipeline(
                images, config, 4, 3, 1, 5, share=Share(worker, num_workers, num_replicas)
            )
        )
        for worker in range(num_workers)
    ]
    steps = put_together(shares, num_replicas)
    assert len(steps) == len(whole) == 4
    for step, expected in zip(steps, whole, strict=True):
        assert step.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(step[name], expected[name], err_msg=name)


def test_the_padding_is_that_of_the_whole_batch(images):
    # One image a batch would not be padded at all; the widest of four is in some other share.
    shares = [
        as_arrays(BatchPipeline(images, WIDE, 4, stop=2, share=Share(worker, 4)))
        for worker in range(4)
    ]
    for parts in zip(*shares, strict=True):
        widths = [part["image_sizes"][0, 1] for part in parts]
        assert len(set(widths)) > 1
        assert {part["images"].shape[2] for part in parts} == {max(widths)}


@pytest.mark.parametrize("training", [True, False])
def test_a_worker_decodes_its_own_images_only(images, monkeypatch, training):
    decoded = []
    read_image = pipeline_module.read_image

    def read_and_note(path, orientation):
        decoded.append(path.stem)
        return read_image(path, orientation)

    monkeypatch.setattr(pipeline_module, "read_image", read_and_note)
    share = Share(worker=1, num_workers=2)
    batches = as_arrays(BatchPipeline(images, AUGMENTED, 4, stop=3, training=training, share=share))
    own = [f"p{index}" for batch in batches for index in batch["indices"]]
    assert len(own) == (3 * 2 if training else 4)
    assert sorted(decoded) == sorted(own)


def test_validation_is_shared_image_by_image_with_the_seeds_of_the_whole(images):
    whole = as_arrays(BatchPipeline(images, UNSCALED, seed=5, training=False))
    for worker in range(3):
        share = Share(worker, 3)
        own = as_arrays(BatchPipeline(images, UNSCALED, seed=5, training=False, share=share))
        assert [int(batch["indices"][0]) for batch in own] == list(range(worker, 8, 3))
        for batch in own:
            expected = whole[int(batch["indices"][0])]
            for name in expected:
                np.testing.assert_array_equal(batch[name], expected[name], err_msg=name)


def test_validation_in_batches_is_shared_image_by_image(images):
    for worker in range(3):
        share = Share(worker, 3)
        own = as_arrays(BatchPipeline(images, UNSCALED, 2, seed=5, training=False, share=share))
        found = [index for batch in own for index in batch["indices"].tolist()]
        assert sorted(found) == list(range(worker, 8, 3))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_worker_without_validation_images_has_none(images, batch_size):
    few = make_dataset(*images.examples[:2])
    share = Share(worker=2, num_workers=3)
    pipeline = BatchPipeline(few, UNSCALED, batch_size, training=False, share=share)
    assert as_arrays(pipeline) == []
