"""From a folder, or from a `tf.data.Dataset` of one's own, to what the trainer takes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from tf_frcnn.arguments import check_whole_number, named_as_arguments
from tf_frcnn.config import DataConfig
from tf_frcnn.data import loading
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.formats import DATASETS, find_format
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.data.pipeline import (
    PREFETCH,
    BatchPipeline,
    make_example,
    pad_batches,
    without_augmentation,
)
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import ConfigError, DataError
from tf_frcnn.ops.boxes import clip_boxes
from tf_frcnn.ops.resized_size import Rounding

_SPLITS = ("train", "val", "test")

_EXPECTED = (
    "Expected a tf.data.Dataset of dicts with images [height, width, 3] uint8, or float of 0 to "
    "255, RGB; boxes [G, 4], [ymin, xmin, ymax, xmax] in pixels of the image; and classes "
    "[G] integers from 1; or batches of such, ragged or padded with boxes of class 0."
)
_ROUNDING = 0.01  # of pixels
# Of one image: what is there of it, and the rank. A batch has one more.
_RANKS = {"images": 3, "boxes": 2, "classes": 1}


def load_dataset(
    root: str | Path,
    split: str = "train",
    class_names: Sequence[str] = (),
    format: Literal["auto", "voc", "coco", "yolo", "csv", "tfds"] = "auto",
    on_error: Literal["stop", "skip"] = "stop",
    seed: int = 0,
    exif: ExifPolicy = "auto",
) -> Dataset:
    """Read a split of a data set, and decode every image once to see that it can be.

    Args:
        root: folder of the data set; with the format `tfds` its name, such as voc/2007.
        split: name of the split.
        class_names: of classes 1..N; when empty, those found in this split and in train, val and
            test, so that every split has the same.
        format: of the data set; found out when "auto".
        on_error: what to do about faults in the data: stop and list them, or leave out the boxes
            and images that have them.
        seed: divides the images where the data set has no splits of its own, as in training.
        exif: what to do about EXIF orientations: `apply` turns images upright, `ignore` takes
            stored pixels; `auto` is `apply` unless the sizes that annotations state speak for
            stored pixels.

    Returns:
        The split, with its `class_names` and the choice in `exif`.

    Raises:
        DataError: the folder, the split or a class is missing, or the data have faults.
        ConfigError: an argument is wrong.
    """
    seed = check_whole_number("seed", seed, 0)
    with named_as_arguments("data"):
        config = DataConfig(root=str(root), format=format, on_error=on_error, exif=exif)
    names = tuple(class_names)
    if not names:  # every split is to have the same ones, and be read the same way
        found = _read_with_others(config, split, seed)
        names, config = found.class_names, dataclasses.replace(config, exif=found.exif)
    return loading.load_dataset(config, split, names, seed)


def _read_with_others(config: DataConfig, split: str, seed: int) -> Dataset:
    """Read a split together with the usual ones, whatever faults there are."""
    root, name = find_format(config)
    dataset_format = DATASETS[name]
    known = (one for one in _SPLITS if not dataset_format.explain_missing_split(root, one, None))
    splits = tuple(dict.fromkeys((split, *known)))
    datasets = dataset_format.read(
        root, splits, (), Divider(seed), lambda *faults: None, None, config.exif
    )
    return datasets[split]


def prepare_dataset(
    dataset: Dataset | tf.data.Dataset,
    short_side: int = 600,
    long_side: int = 1000,
    batch_size: int = 1,
    training: bool = True,
    seed: int = 0,
    resize_rounding: Rounding = "nearest",
    with_ignored_boxes: bool = False,
    **augmentation: Any,
) -> tf.data.Dataset:
    """Make the batches that `FasterRCNNTrainer` takes.

    Every pass over them is an epoch with draws of its own, the same for the same seed. Of a data
    set of `load_dataset` it also has its own order, and boxes that are difficult or crowds are left
    out; a data set of one's own is taken in its order, and every box of it.

    Args:
        dataset: of `load_dataset`; or of dicts of images [H, W, 3] uint8 or float 0-255 RGB, boxes
            [G, 4] float or integers, yxyx in pixels of the image, and classes [G] integers from 1.
            It may be batched: ragged, or padded with boxes of class 0 that have no area. Images
            without boxes have G = 0; other keys are left out.
        short_side: images are resized so that their shorter side has this many pixels ...
        long_side: ... unless their longer side would then exceed this many. Boxes move along.
        batch_size: images in a batch (one where `dataset` is of `load_dataset` and `training` is
            off); padded at the bottom and the right to a common size, with pad_to=N (not given:
            1) to multiples of N pixels.
        training: off, every pass is the same, nothing is augmented, and images of `load_dataset`
            come in their order, one to a batch.
        seed: of order, augmentation and sampling.
        resize_rounding: of the sides, as in `DataConfig`.
        with_ignored_boxes: add the difficult and crowd boxes of a data set of `load_dataset`, which
            move with their images, for `TrainConfig.ignore_crowd_overlap`.
        **augmentation: fields of `DataConfig`: horizontal_flip (0.5 when not given), scale_jitter,
            scale_jitter_steps, photometric_jitter, crop, crop_min_fraction; antialias; pad_to;
            pixel_type; and, for data sets of `load_dataset`, repeat_rare.

    Returns:
        Batches of images [B, H, W, 3] float32, or of `pixel_type`, image_sizes [B, 2] float32,
        gt_boxes [B, G, 4] float32, gt_classes [B, G] int32 and seeds [B, 2] int32, and of a data
        set of `load_dataset` indices [B] int32 of its examples; and ignored_boxes [B, I, 4]
        float32, padded as gt_boxes are, where they are asked for. In use, `tf.data` raises
        `InvalidArgumentError` where boxes or pixels are not as they should be (one is NaN, a pixel
        is below 0 or above 255, ...), and says what is wrong.

    Raises:
        DataError: the elements of the data set are of another form; says which.
        ConfigError: an argument is wrong.
    """
    batch_size = check_whole_number("batch_size", batch_size, 1)
    seed = check_whole_number("seed", seed, 0)
    with named_as_arguments("data"):
        config = DataConfig(
            short_side=short_side,
            long_side=long_side,
            resize_rounding=resize_rounding,
            **augmentation,
        )
    config = config if training else without_augmentation(config)
    if isinstance(dataset, Dataset):
        return _batches_of_pipeline(dataset, config, batch_size, training, seed, with_ignored_boxes)
    if config.repeat_rare > 0:
        raise ConfigError(
            f"repeat_rare {config.repeat_rare:g}: is for data sets of load_dataset, whose classes "
            "are known beforehand. Leave it out, or repeat images in the tf.data.Dataset itself."
        )
    if with_ignored_boxes:
        raise ConfigError(
            "with_ignored_boxes: is for data sets of load_dataset, which know what is a crowd or "
            "difficult. Leave it out, and map the batches to dicts with ignored_boxes too: "
            "[B, I, 4] float32, yxyx in pixels of the batch, padded with empty boxes."
        )
    images = _one_by_one(dataset)
    epochs = _count_epochs() if training else tf.data.Dataset.from_tensors(0).repeat()

    def prepare(numbered: tuple[tf.Tensor, Mapping[str, Any]], epoch: tf.Tensor) -> Any:
        number, element = numbered
        own = tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])
        seeds = tf.random.experimental.stateless_fold_in(own, epoch)
        return make_example(*_check_element(element), seeds, config)

    prepared = tf.data.Dataset.zip((images.enumerate(), epochs)).map(
        prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    if int(images.cardinality()) >= 0:
        prepared = prepared.apply(tf.data.experimental.assert_cardinality(images.cardinality()))
    batches = pad_batches(prepared.padded_batch(batch_size), config.pad_to)
    return batches.prefetch(PREFETCH)


def _batches_of_pipeline(
    dataset: Dataset,
    config: DataConfig,
    batch_size: int,
    training: bool,
    seed: int,
    with_ignored: bool,
) -> tf.data.Dataset:
    """Make the batches of an epoch at each pass."""
    make = partial(BatchPipeline, dataset, config, seed=seed, with_ignored=with_ignored)
    if not training:
        return make(training=False).batches
    steps = make(batch_size).steps_per_epoch

    def batches_of(epoch: tf.Tensor) -> tf.data.Dataset:
        start = tf.cast(epoch, tf.int64) * steps
        return make(batch_size, start=start, stop=start + steps).batches

    batches = _count_epochs().take(1).flat_map(batches_of)
    return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(PREFETCH)


def _count_epochs() -> tf.data.Dataset:
    """Give the number of the pass, from 0, over and over: each pass over it has the next one."""
    passes = iter(range(2**31))

    def repeat_number() -> Iterator[int]:
        number = next(passes)
        while True:
            yield number

    return tf.data.Dataset.from_generator(
        repeat_number, output_signature=tf.TensorSpec([], tf.int32)
    )


# === A data set of one's own ===


def _one_by_one(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Check the form of a data set's elements -> images by themselves, with no other keys.

    Raises:
        DataError: it is of another form.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise DataError(f"the data set is a {type(dataset).__name__}. {_EXPECTED}")
    spec = dataset.element_spec
    if not isinstance(spec, dict):
        raise DataError(f"the data set's elements are a {type(spec).__name__}: {spec}. {_EXPECTED}")
    if missing := [key for key in _RANKS if key not in spec]:
        raise DataError(
            f"{missing[0]!r} is missing: the data set's elements have {', '.join(spec)}. "
            f"{_EXPECTED}"
        )
    rank = spec["images"].shape.rank
    more = 1 if rank == _RANKS["images"] + 1 else 0
    for key, own_rank in _RANKS.items():
        shape, dtype = spec[key].shape, spec[key].dtype
        fits = shape.rank == own_rank + more
        if key == "classes":
            fits = fits and dtype.is_integer
        else:
            fits = fits and shape[-1] in (None, 3 if key == "images" else 4)
            fits = fits and (
                dtype.is_floating or (dtype.is_integer if key == "boxes" else dtype == tf.uint8)
            )
        if not fits:
            hint = ""
            if key == "images" and dtype.is_integer and dtype != tf.uint8:
                hint = "Whole numbers from 0 to 255 are cast by tf.cast(images, tf.uint8). "
            raise DataError(f"{key!r} is {dtype.name} {shape}. {hint}{_EXPECTED}")
    dataset = dataset.map(lambda element: {key: element[key] for key in _RANKS})
    return dataset.unbatch() if more else dataset


def _check_element(element: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Check the numbers of an image -> the image, its boxes and their classes, without padding."""
    image, boxes, classes = (_to_tensor(element[key]) for key in _RANKS)
    image = tf.ensure_shape(image, [None, None, 3])
    boxes = tf.ensure_shape(tf.cast(boxes, tf.float32), [None, 4])
    classes = tf.ensure_shape(tf.cast(classes, tf.int32), [None])
    counts = tf.debugging.assert_equal(
        *(tf.shape(boxes)[0], tf.shape(classes)[0]), "an image has as many boxes as classes"
    )
    numbers = tf.debugging.assert_non_negative(
        classes, "classes: expected numbers from 1; 0 for padding"
    )
    with tf.control_dependencies([counts, numbers]):
        classes = tf.identity(classes)
    is_object = classes > 0
    has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    _insist(
        tf.reduce_all(is_object | ~has_area),
        "classes: there is a box of class 0, which is the background. Expected numbers from 1; 0 "
        "only for padding, whose boxes have no area.",
        *(boxes, classes),
    )
    boxes, classes = tf.boolean_mask(boxes, is_object), tf.boolean_mask(classes, is_object)
    boxes = _check_boxes(boxes, tf.shape(image)[:2])
    if image.dtype != tf.uint8:
        image = tf.cast(image, tf.float32)
        _check_pixels(image)
    return image, boxes, classes


def _check_pixels(image: tf.Tensor) -> None:
    """See that pixels are from 0 to 255, but for what rounding adds."""
    smallest, largest = tf.reduce_min(image), tf.reduce_max(image)  # NaN where there is one
    # Assertions of a graph run in any order: NaN fails the first alone.
    _insist(
        ~tf.math.is_nan(largest),
        "images: there is one with NaN among its pixels. Expected 0 to 255.",
    )
    _insist(
        ~((smallest < -_ROUNDING) | (largest > 255.0 + _ROUNDING)),
        "images: there is one with pixels below 0 or above 255. Expected 0 to 255: leave out a "
        "normalisation; after a resizing that overshoots, tf.clip_by_value(images, 0, 255). "
        "Smallest and largest:",
        *(smallest, largest),
    )
    _insist(
        ~((largest <= 1.0) & (largest > 0.0) & (smallest >= -_ROUNDING)),
        "images: there is one with pixels from 0 to 1. Expected 0 to 255: multiply by 255.",
        largest,
    )


def _check_boxes(boxes: tf.Tensor, image_size: tf.Tensor) -> tf.Tensor:
    """See that boxes are in pixels and have an area in their image, to which they are clipped."""
    is_number = tf.debugging.Assert(
        ~tf.reduce_any(tf.math.is_nan(boxes)),
        ["boxes: there is one with NaN. Expected pixels of the image.", boxes],
        summarize=40,
    )
    with tf.control_dependencies([is_number]):  # NaN is no question of the scale
        boxes = tf.identity(boxes)
    _insist(
        (tf.size(boxes) == 0) | (tf.reduce_max(boxes) > 1.0),
        "boxes: no number is above 1. Expected pixels of the image: multiply by its size.",
        boxes,
    )
    clipped = clip_boxes(boxes[None], tf.cast(image_size, tf.float32)[None])[0]
    _insist(
        tf.reduce_all(clipped[:, 2:] > clipped[:, :2]),
        "boxes: there is one without area in its image. Expected [ymin, xmin, ymax, xmax] in "
        "pixels of the image.",
        boxes,
    )
    return clipped


def _insist(condition: tf.Tensor, message: str, *shown: tf.Tensor) -> None:
    tf.debugging.Assert(condition, [message, *shown], summarize=40)


def _to_tensor(value: Any) -> tf.Tensor:
    return value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
