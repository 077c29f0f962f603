"""From examples to batches: decode, augment, resize, pad; a `tf.data` pipeline."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tf_frcnn.config import DataConfig
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.image import read_image
from tf_frcnn.data.photometric import jitter_colours
from tf_frcnn.data.sampler import BatchSampler
from tf_frcnn.data.transforms import (
    crop,
    draw_window,
    flip_horizontally,
    resize_images,
    resized_size,
    scale_boxes,
)
from tf_frcnn.errors import DataError

# Decoding threads; a picture of VOC's size takes a few milliseconds, a training step far more.
DECODERS = 4
# Batches made ahead of the step that uses them.
PREFETCH = 2
# Each augmentation draws from a stream of its own, made from the picture's seeds, so that none
# changes what another draws. Mirroring draws from the seeds themselves.
CROP_STREAM, SCALE_STREAM, COLOUR_STREAM = 1, 2, 3
NO_SCALE_JITTER = (1.0, 1.0)

Batch = Mapping[str, tf.Tensor]


class BatchPipeline:
    """Makes the batches of steps `start` to `stop` - 1; iterate over it.

    Each batch is a dict, as `FasterRCNNTrainer` takes it: images [B, H, W, 3] float32 RGB 0-255,
    padded with zeros at the bottom and the right; image_sizes [B, 2] float32 (height, width)
    before padding; gt_boxes [B, G, 4] float32 and gt_classes [B, G] int32, padded with zeros,
    G >= 1; seeds [B, 2] int32; indices [B] int32 of the examples. Difficult and crowd boxes are
    left out before anything else. What a batch holds depends on the data, the seed and its step
    alone.

    Args of `__init__`: `dataset` of at least one example; `config` of the data; `batch_size`;
    `seed`; `start` and `stop` steps. `training` off goes through the pictures once in their order,
    one to a batch, never augmented, and needs no steps.

    Raises:
        DataError: on iteration, when a picture cannot be read; names its file.
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
    ) -> None:
        self._examples = dataset.examples
        self._config = config if training else _without_augmentation(config)
        self._batch_size = batch_size if training else 1
        self._seed = seed
        self._sampler = (
            BatchSampler([example.image_size for example in self._examples], batch_size, seed)
            if training
            else None
        )
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

    def _build(self, start: int, stop: int) -> tf.data.Dataset:
        positions = tf.data.Dataset.range(start * self._batch_size, stop * self._batch_size)
        pictures = positions.map(self._load, num_parallel_calls=DECODERS, deterministic=True)
        return pictures.padded_batch(self._batch_size, drop_remainder=True).prefetch(PREFETCH)

    def _load(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make the picture at a position of the stream of all pictures of all steps."""
        image, boxes, classes, index = tf.numpy_function(
            self._read, [position], (tf.uint8, tf.float32, tf.int32, tf.int32)
        )
        image = tf.ensure_shape(image, [None, None, 3])
        boxes, classes = tf.ensure_shape(boxes, [None, 4]), tf.ensure_shape(classes, [None])
        seeds = tf.stack([tf.constant(self._seed, tf.int32), tf.cast(position, tf.int32)])
        if self._config.crop > 0:
            image, boxes, classes = self._crop(image, boxes, classes, seeds)
        image, boxes = self._resize(image, boxes, seeds)
        if self._config.photometric_jitter > 0:
            strength = self._config.photometric_jitter
            image = jitter_colours(image, strength, _stream(seeds, COLOUR_STREAM))
        if tf.random.stateless_uniform([], seeds) < self._config.horizontal_flip:
            image, boxes = flip_horizontally(image, boxes)
        return {
            "images": image,
            "image_sizes": tf.cast(tf.shape(image)[:2], tf.float32),
            # One empty box at least: ops reduce over this axis.
            "gt_boxes": tf.pad(boxes, [[0, 1], [0, 0]]),
            "gt_classes": tf.pad(classes, [[0, 1]]),
            "seeds": seeds,
            "indices": tf.ensure_shape(index, []),
        }

    def _crop(
        self, image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        window = draw_window(
            boxes,
            tf.shape(image)[:2],
            self._config.crop,
            self._config.crop_min_fraction,
            _stream(seeds, CROP_STREAM),
        )
        return crop(image, boxes, classes, window)

    def _resize(
        self, image: tf.Tensor, boxes: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        factor: float | tf.Tensor = 1.0
        if self._config.scale_jitter != NO_SCALE_JITTER:
            low, high = self._config.scale_jitter
            factor = tf.random.stateless_uniform([], _stream(seeds, SCALE_STREAM), low, high)
        from_size = tf.shape(image)[:2]
        size = resized_size(from_size, self._config.short_side, self._config.long_side, factor)
        return resize_images(image, size), scale_boxes(boxes, from_size, size)

    def _read(self, position: np.int64) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.int32]:
        step, slot = divmod(int(position), self._batch_size)
        index = step if self._sampler is None else int(self._sampler.batch(step)[slot])
        example = self._examples[index]
        try:
            image = read_image(example.image_path)
        except DataError as error:  # tf.data would turn it into an error of its own
            self._failure = error
            raise
        kept = ~(example.difficult | example.crowd)
        return (
            image,
            example.boxes[kept].astype(np.float32),
            example.classes[kept].astype(np.int32),
            np.int32(index),
        )


def _without_augmentation(config: DataConfig) -> DataConfig:
    return dataclasses.replace(
        config,
        horizontal_flip=0.0,
        scale_jitter=NO_SCALE_JITTER,
        photometric_jitter=0.0,
        crop=0.0,
    )


def _stream(seeds: tf.Tensor, stream: int) -> tf.Tensor:
    """Derive the [2] int32 seed of one stream from a picture's [2] int32 seeds."""
    return tf.random.experimental.stateless_fold_in(seeds, stream)
