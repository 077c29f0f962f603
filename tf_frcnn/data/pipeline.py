"""From examples to batches: decode, augment, resize, pad; a `tf.data` pipeline."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_frcnn.config import DataConfig
from tf_frcnn.data.batches import batches_by_size
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.image import read_image
from tf_frcnn.data.photometric import jitter_colours
from tf_frcnn.data.sampler import BatchSampler, repeat_factors
from tf_frcnn.data.transforms import (
    crop,
    draw_window,
    flip_horizontally,
    move_to_window,
    resize_images,
    scale_boxes,
)
from tf_frcnn.errors import DataError
from tf_frcnn.ops.random_streams import FoldedStream, fold_in_stream
from tf_frcnn.ops.resized_size import resized_size, resized_size_in_graph

# Batches made ahead of the step that uses them.
PREFETCH = 2
NO_SCALE_JITTER = (1.0, 1.0)

Batch = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Share:
    """The part of every step's batch that one of several workers makes, for its replicas.

    Attributes:
        worker: its number, from 0.
        num_workers: all workers, each of which makes as many images.
        num_replicas: what this worker's part is divided among.
    """

    worker: int = 0
    num_workers: int = 1
    num_replicas: int = 1


class BatchPipeline:
    """Makes the batches of steps `start` to `stop` - 1; iterate over it.

    Each batch is a dict, as `FasterRCNNTrainer` takes it: images [B, H, W, 3] RGB 0-255 of
    `config.pixel_type`, padded with zeros at the bottom and the right, to multiples of
    `config.pad_to`; image_sizes [B, 2] float32 (height, width) before padding; gt_boxes [B, G, 4]
    float32 and gt_classes [B, G] int32, padded with zeros, G >= 1; seeds [B, 2] int32; indices [B]
    int32 of the examples.
    Difficult and crowd boxes are left out before anything else; `with_ignored` has them as
    ignored_boxes [B, I, 4] float32, I >= 1, padded and moving with their images likewise. What a
    batch holds depends on the data, the seed and its step alone.

    Args of `__init__`: `dataset` of at least one example; `config` of the data; `batch_size`;
    `seed`; `start` and `stop` steps. `training` off goes through the images once, never augmented,
    and needs no steps: in their order, one to a batch, or with a larger `batch_size` those together
    that have one size, so many or fewer, which need no padding. With a `share`, only its images are
    read: of each step one batch for each of its replicas, which together are what the step's batch
    would be, padded to the same size; of images gone through once, every `num_workers`-th.

    Raises:
        DataError: on iteration, when an image cannot be read; names its file.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        batch_size: int = 1,
        seed: int = 0,
        start: int = 0,
        stop: int | None = None,
        training: bool = True,
        share: Share = Share(),
        with_ignored: bool = False,
    ) -> None:
        self._examples = dataset.examples
        self._config = config if training else without_augmentation(config)
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        self._with_ignored = with_ignored
        self._sampler = _make_sampler(dataset, config, batch_size, seed) if training else None
        stop = len(self._examples) if stop is None else stop
        self._failure: DataError | None = None
        self.batches = self._build(start, stop)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches once."""
        try:
            yield from self.batches
        except tf.errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every image comes once at least; of images gone through once, all."""
        return self._sampler.steps_per_epoch if self._sampler else len(self._examples)

    def _build(self, start: int, stop: int) -> tf.data.Dataset:
        if self._sampler is None:
            return self._go_through_once()
        num_replicas = self._share.num_replicas
        num_parts = self._share.num_workers * num_replicas
        images = self._load_all(self._positions(start, stop))
        if num_parts == 1:
            batches = images.padded_batch(self._batch_size, drop_remainder=True)
            return pad_batches(batches, self._config.pad_to).prefetch(PREFETCH)
        batches = images.padded_batch(self._batch_size // num_parts, drop_remainder=True)
        parts = tf.data.Dataset.range(start * num_replicas, stop * num_replicas)
        sizes = parts.map(
            lambda part: self.padded_size(part // num_replicas),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        padded = tf.data.Dataset.zip((batches, sizes)).map(_pad_images)
        return padded.prefetch(PREFETCH * num_replicas)

    def _go_through_once(self) -> tf.data.Dataset:
        """Make the batches of this share's images without a sampler."""
        worker, num_workers = self._share.worker, self._share.num_workers
        own = range(worker, len(self._examples), num_workers)
        if self._batch_size == 1:
            images = self._load_all(tf.data.Dataset.range(own.start, own.stop, own.step))
            batches = images.padded_batch(1, drop_remainder=True)
            return pad_batches(batches, self._config.pad_to).prefetch(PREFETCH)
        sides = (self._config.short_side, self._config.long_side, self._config.resize_rounding)
        sizes = [resized_size(self._examples[position].image_size, *sides) for position in own]
        places = [places for _, places in batches_by_size(sizes, lambda size: self._batch_size)]
        counts = np.array([len(of_batch) for of_batch in places], np.int64)
        positions = np.array([own[place] for of_batch in places for place in of_batch], np.int64)
        images = self._load_all(tf.data.Dataset.from_tensor_slices(positions))
        numbers = tf.data.Dataset.from_tensor_slices(np.repeat(np.arange(len(places)), counts))
        together = tf.data.Dataset.zip((numbers, images)).group_by_window(
            key_func=lambda number, image: number,
            reduce_func=lambda number, window: window.padded_batch(self._batch_size),
            window_size_func=lambda number: tf.gather(counts, number),
        )
        batches = together.map(lambda numbers, batch: batch)
        return pad_batches(batches, self._config.pad_to).prefetch(PREFETCH)

    def _load_all(self, positions: tf.data.Dataset) -> tf.data.Dataset:
        # As many at once as the cores allow and the steps use up; all replicas have one stream, of
        # which each gets as many images, so that none waits while another is served.
        return positions.map(self._load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _positions(self, start: int, stop: int) -> tf.data.Dataset:
        """List this share's places in the stream of all images of all steps."""
        worker, num_workers = self._share.worker, self._share.num_workers
        batch_size, own = self._batch_size, self._batch_size // num_workers
        slots = tf.data.Dataset.range(start * own, stop * own)
        return slots.map(lambda slot: slot // own * batch_size + worker * own + slot % own)

    def padded_size(self, step: tf.Tensor) -> tf.Tensor:
        """Compute the [2] int32 size of a step's whole batch, of which no image is decoded."""
        positions = step * self._batch_size + tf.range(self._batch_size, dtype=tf.int64)
        sizes = tf.map_fn(
            self._network_size, positions, fn_output_signature=tf.TensorSpec([2], tf.int32)
        )
        return _round_up(tf.reduce_max(sizes, axis=0), self._config.pad_to)

    def _network_size(self, position: tf.Tensor) -> tf.Tensor:
        """Compute the [2] int32 size that `_load` gives the image at a position."""
        boxes, size = _call(self._describe, position, (tf.float32, tf.int32))
        size, seeds = tf.ensure_shape(size, [2]), self._seeds(position)
        if self._config.crop > 0:
            window = _draw_window(tf.ensure_shape(boxes, [None, 4]), size, seeds, self._config)
            size = window[2:] - window[:2]
        return _resized_size(size, seeds, self._config)

    def _load(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make the image at a position of the stream."""
        types = (tf.uint8, tf.float32, tf.int32, tf.float32, tf.int32)
        image, boxes, classes, ignored, index = _call(self._read, position, types)
        image = tf.ensure_shape(image, [None, None, 3])
        boxes, classes = tf.ensure_shape(boxes, [None, 4]), tf.ensure_shape(classes, [None])
        ignored = tf.ensure_shape(ignored, [None, 4]) if self._with_ignored else None
        seeds = self._seeds(position)
        example = make_example(image, boxes, classes, seeds, self._config, ignored)
        return {**example, "indices": tf.ensure_shape(index, [])}

    def _seeds(self, position: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(self._seed, tf.int32), tf.cast(position, tf.int32)])

    def _read(self, position: np.int64) -> tuple[Any, ...]:
        index = self._index(position)
        example = self._examples[index]
        try:
            image = read_image(example.image_path, example.orientation)
        except DataError as error:  # tf.data would turn it into an error of its own
            self._failure = error
            raise
        kept = example.is_trained_on
        return (
            image,
            example.boxes[kept].astype(np.float32),
            example.classes[kept].astype(np.int32),
            example.boxes[~kept].astype(np.float32),
            np.int32(index),
        )

    def _describe(self, position: np.int64) -> tuple[np.ndarray, np.ndarray]:
        """Give the boxes of an image as `_read` does, and its (height, width)."""
        example = self._examples[self._index(position)]
        boxes = example.boxes[example.is_trained_on].astype(np.float32)
        return boxes, np.array(example.image_size, np.int32)

    def _index(self, position: np.int64) -> int:
        if self._sampler is None:
            return int(position)
        step, slot = divmod(int(position), self._batch_size)
        return int(self._sampler.batch(step)[slot])


def _make_sampler(dataset: Dataset, config: DataConfig, batch_size: int, seed: int) -> BatchSampler:
    factors = None
    if config.repeat_rare > 0:
        classes = [example.classes[example.is_trained_on] for example in dataset.examples]
        factors = repeat_factors(classes, len(dataset.class_names), config.repeat_rare)
    sizes = [example.image_size for example in dataset.examples]
    return BatchSampler(sizes, batch_size, seed, factors)


def _call(
    function: Callable[..., Any], position: tf.Tensor, types: tuple[tf.DType, ...]
) -> tuple[tf.Tensor, ...]:
    """Call a function of Python whose answer depends on the position alone.

    A stateful one would be called for one image at a time where all is to be deterministic.
    """
    return tf.numpy_function(function, [position], types, stateful=False)


def make_example(
    image: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    seeds: tf.Tensor,
    config: DataConfig,
    ignored: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Augment and resize an image, boxes moving along, and put it as the trainer takes it.

    Args:
        image: [H, W, 3] uint8 or float32 RGB, 0-255.
        boxes: [G, 4] float32 yxyx boxes in its pixels, inside of it and not empty.
        classes: [G] int32, from 1.
        seeds: [2] int32, from which alone everything is drawn.
        config: sizes and augmentation.
        ignored: [I, 4] float32 yxyx boxes that are to come along as `ignored_boxes`; none of them
            has a say in what is drawn.

    Returns:
        What a batch of `BatchPipeline` holds of an image, but for its index.
    """
    if config.crop > 0:
        window = _draw_window(boxes, tf.shape(image)[:2], seeds, config)
        image, boxes, classes = crop(image, boxes, classes, window)
        ignored = None if ignored is None else move_to_window(ignored, window)
    num_boxes = tf.shape(boxes)[0]
    if ignored is not None:
        boxes = tf.concat([boxes, ignored], axis=0)  # what follows is the same for all
    from_size = tf.shape(image)[:2]
    size = _resized_size(from_size, seeds, config)
    image = resize_images(image, size, config.antialias)
    boxes = scale_boxes(boxes, from_size, size)
    if config.photometric_jitter > 0:
        strength = config.photometric_jitter
        image = jitter_colours(image, strength, fold_in_stream(seeds, FoldedStream.COLOUR))
    if tf.random.stateless_uniform([], seeds) < config.horizontal_flip:
        image, boxes = flip_horizontally(image, boxes)
    if config.pixel_type == "uint8":
        image = tf.saturate_cast(tf.round(image), tf.uint8)
    one_more = [[0, 1], [0, 0]]  # one empty box at least: ops reduce over this axis
    example = {
        "images": image,
        "image_sizes": tf.cast(tf.shape(image)[:2], tf.float32),
        "gt_boxes": tf.pad(boxes[:num_boxes], one_more),
        "gt_classes": tf.pad(classes, [[0, 1]]),
        "seeds": seeds,
    }
    if ignored is not None:
        example["ignored_boxes"] = tf.pad(boxes[num_boxes:], one_more)
    return example


def _draw_window(
    boxes: tf.Tensor, image_size: tf.Tensor, seeds: tf.Tensor, config: DataConfig
) -> tf.Tensor:
    seed = fold_in_stream(seeds, FoldedStream.CROP)
    return draw_window(boxes, image_size, config.crop, config.crop_min_fraction, seed)


def _resized_size(image_size: tf.Tensor, seeds: tf.Tensor, config: DataConfig) -> tf.Tensor:
    factor: float | tf.Tensor = 1.0
    if config.scale_jitter != NO_SCALE_JITTER:
        low, high = config.scale_jitter
        seed = fold_in_stream(seeds, FoldedStream.SCALE)
        if config.scale_jitter_steps:
            factors = tf.linspace(low, high, config.scale_jitter_steps)
            factor = factors[tf.random.stateless_uniform([], seed, 0, len(factors), tf.int32)]
        else:
            factor = tf.random.stateless_uniform([], seed, low, high)
    return resized_size_in_graph(
        image_size, config.short_side, config.long_side, factor, config.resize_rounding
    )


def pad_batches(batches: tf.data.Dataset, multiple: int) -> tf.data.Dataset:
    """Pad the images of batches so that their heights and widths are multiples of some pixels.

    Args:
        batches: dicts as `BatchPipeline` makes them.
        multiple: pixels.

    Returns:
        The same batches, their images padded with zeros at the bottom and the right.
    """
    if multiple == 1:
        return batches
    return batches.map(
        lambda batch: _pad_images(batch, _round_up(tf.shape(batch["images"])[1:3], multiple))
    )


def _round_up(size: tf.Tensor, multiple: int) -> tf.Tensor:
    return size + -size % multiple


def _pad_images(batch: dict[str, tf.Tensor], size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Pad a batch's images with zeros at the bottom and the right, to a [2] int32 size."""
    missing = size - tf.shape(batch["images"])[1:3]
    paddings = [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]]
    return {**batch, "images": tf.pad(batch["images"], paddings)}


def without_augmentation(config: DataConfig) -> DataConfig:
    """Take all augmentation out of a configuration."""
    return dataclasses.replace(
        config,
        horizontal_flip=0.0,
        scale_jitter=NO_SCALE_JITTER,
        photometric_jitter=0.0,
        crop=0.0,
    )
