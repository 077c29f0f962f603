"""Detect objects in images with a trained model, wherever it lies.

detector = Detector.load("runs/quickstart")
prediction = detector(image)                     # uint8 [H, W, 3] RGB
for box, name in zip(prediction.boxes, prediction.class_names): ...
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import tensorflow as tf

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.arguments import check_whole_number, named_as_arguments, options_renamed
from tf_frcnn.config import Config, DataConfig
from tf_frcnn.data.batches import batches_by_size
from tf_frcnn.data.image import read_image_as
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.data.transforms import resize_images, scale_boxes
from tf_frcnn.devices import grow_gpu_memory
from tf_frcnn.errors import ConfigError, WeightsError
from tf_frcnn.evaluation.evaluator import DetectInBatches
from tf_frcnn.export.saved_model import export_saved_model
from tf_frcnn.inference import InferenceModel, load_network
from tf_frcnn.model import FasterRCNN, check_network
from tf_frcnn.model_files import MODEL_TEXT, ModelFiles, check_versions_folder, find_model
from tf_frcnn.model_weights import check_class_names, saved_model_read
from tf_frcnn.names import quote, shown
from tf_frcnn.ops.resized_size import Rounding, resized_size
from tf_frcnn.prediction import Prediction
from tf_frcnn.pretrained.detectors import AS_ARGUMENTS

# Takes float32, and so what was resized already, which it resizes no more.
_SIGNATURE = "serve_float"

# Of a batch of `Detector.in_batches`, unless one image has more: pixels that enter the network, ...
_NETWORK_PIXELS = 1 << 20
# ... images, whose RoIs take more memory than a small network's maps, ...
_BATCH_SIZE = 8
# ... and pixels that are decoded, of which two copies of 3 bytes may be in memory.
_DECODED_PIXELS = 1 << 26

DetectBatch = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
"""Takes [B, H, W, 3] float32 RGB, 0-255, and answers what `InferenceModel.detect` does."""


class _Prepared(NamedTuple):
    """An image as `DetectBatch` takes it: [h, w, 3] float32, and its (height, width) before."""

    pixels: tf.Tensor
    image_size: tuple[int, int]


class Detector:
    """A trained model that takes images of any size.

    `Detector.load` makes one of a model on disk, `Detector.from_network` of a network in memory.

    Args of `__init__`: `detect_batch` runs the network; `config` of the run that trained it;
    `inference_model` gives the network itself when it is to be exported; `records` are known of the
    model, as `ModelFiles.load_records` gives them.

    Attributes:
        class_names: of classes 1..N, so that class 1 is `class_names[0]`.
        category_ids: of classes 1..N in files of COCO's form: COCO's own of published weights,
            which have gaps; 1..N of others.
        config: of the run.
    """

    def __init__(
        self,
        detect_batch: DetectBatch,
        config: Config,
        inference_model: Callable[[], InferenceModel],
        records: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._detect_batch = detect_batch
        self._inference_model = inference_model
        self._records = records
        self.config = config
        self.class_names = config.data.classes
        self.category_ids = config.model.class_columns(len(self.class_names))

    @classmethod
    def load(
        cls,
        path: str | Path,
        weights: str | Path | None = None,
        class_names: Sequence[str] = (),
        offline: bool = False,
        epsilon: float | None = None,
    ) -> "Detector":
        """Load a model.

        Args:
            path: the name of a published detector (`tf-frcnn models` lists them), whose weights are
                downloaded into the cache once; folder of a run, of which the latest checkpoint is
                taken, or the best where it was trained with `--train.export best`; a checkpoint of
                a run; a SavedModel's version folder; or its parent, of which the highest number is
                taken.
            weights: of a published detector: a file in the layout of torchvision's same detector,
                in the place of the published one.
            class_names: of classes 1..N that such a file was trained for; COCO's when not given.
            offline: use no network.
            epsilon: of the batch normalisation that such a file was trained with, which is in no
                file; torch's 1e-5 when None, and what is published of the published file itself.

        Raises:
            WeightsError: there is no model, or it cannot be read; or an argument does not go with
                the others.
            ConfigError: its config.json cannot be read, or a class name or the epsilon be used.
        """
        weights = None if weights is None else Path(weights)
        with options_renamed(AS_ARGUMENTS):
            model = find_model(path, weights, class_names, offline, epsilon=epsilon)
        return cls.from_files(model)

    @classmethod
    def from_files(cls, model: ModelFiles) -> "Detector":
        """Load a model that `find_model` found.

        Raises:
            WeightsError: it cannot be read.
            ConfigError: its config.json cannot be read.
        """
        config = model.load_config()
        grow_gpu_memory()
        if model.kind == "saved_model":
            loaded = partial(load_network, model)  # only an export needs it
            detect_batch = _load_saved_model(model)
            return cls(detect_batch, config, loaded, model.load_records)
        network = load_network(model)
        return cls(_one_graph(network), config, lambda: network, model.load_records)

    @classmethod
    def from_network(
        cls,
        network: FasterRCNN,
        class_names: Sequence[str],
        short_side: int | None = None,
        long_side: int | None = None,
        resize_rounding: Rounding | None = None,
        exif: ExifPolicy = "auto",
        antialias: bool = False,
    ) -> "Detector":
        """Wrap a network that was trained in Python.

        It detects with the weights that the network has at the time.

        Args:
            network: for classes 1..N.
            class_names: N names, in the order of the ids.
            short_side: images are resized so that their shorter side has this many pixels, as in
                training, ...
            long_side: ... unless their longer side would then exceed this many.
            resize_rounding: of the sides, as in training; see `DataConfig`. Each of the three is by
                default what the architecture was published with, or else that of `DataConfig`.
            exif: what `read_image` and the exported `serve_encoded` do about EXIF orientations: the
                `exif` of the data set that it was trained on; turned upright when not given.
            antialias: make images smaller with antialiasing, as in training; see `DataConfig`.

        Raises:
            ConfigError: the network is no `FasterRCNN`, the names are not N, or a name or a size
                cannot be used.
        """
        check_network(network)
        are_names = isinstance(class_names, Iterable) and not isinstance(class_names, str)
        names = tuple(class_names) if are_names else ()
        if len(names) != network.num_classes:
            listed = shown(", ".join(map(str, names)), 1000) or "(nothing)"
            given = listed if are_names else quote(class_names)
            raise ConfigError(
                f"class_names {given}: the network has {network.num_classes} "
                "classes. Expected a name for each of them, without the background, in the order "
                "of their ids: the class_names of the data set that it was trained on."
            )
        sizes: dict[str, Any] = {
            "short_side": short_side,
            "long_side": long_side,
            "resize_rounding": resize_rounding,
        }
        sizes = {name: value for name, value in sizes.items() if value is not None}
        published = ARCHITECTURES[network.config.architecture].settings.get("data", {})
        with named_as_arguments("data", classes="class_names"):
            data = DataConfig(
                **{**published, **sizes, "classes": names, "exif": exif, "antialias": antialias}
            )
        model = InferenceModel(
            *(network, data.classes, data.short_side, data.long_side, data.resize_rounding),
            antialias=data.antialias,
        )
        return cls(_one_graph(model), Config(data=data, model=network.config), lambda: model)

    @overload
    def __call__(self, images: Sequence[np.ndarray], batch_size: int = ...) -> list[Prediction]: ...

    @overload
    def __call__(self, images: np.ndarray, batch_size: int = ...) -> Any: ...  # hangs on the rank

    def __call__(
        self, images: np.ndarray | Sequence[np.ndarray], batch_size: int = 8
    ) -> Prediction | list[Prediction]:
        """Detect in one image or in several.

        Each image is resized by itself, and those that have the same size then go through the
        network together: what is found in one does not depend on the others.

        Args:
            images: [H, W, 3] uint8 RGB; or a list or tuple of such images, sizes may differ; or
                [B, H, W, 3] uint8 RGB.
            batch_size: images that go through the network together at most, at least 1. More are
                faster on GPUs, and take more memory.

        Returns:
            A prediction; of several images a list of them, in their order.

        Raises:
            ValueError: the images are of another type or shape, or the batch size is no whole
                number from 1.
        """
        batch_size = check_whole_number("batch_size", batch_size, 1)
        if isinstance(images, list | tuple):
            checked = [_checked_image(image, f"images[{i}]") for i, image in enumerate(images)]
            return self._detect_all(checked, batch_size)
        array = np.asarray(images)
        if array.ndim == 4:
            checked = [_checked_image(image, "images") for image in array]
            return self._detect_all(checked, batch_size)
        return self._detect_all([_checked_image(array, "image")])[0]

    def read_image(self, path_or_bytes: str | Path | bytes) -> np.ndarray:
        """Read an image the way those were read that the model was trained on.

        Args:
            path_or_bytes: a JPEG, PNG, GIF, WebP, BMP or TIFF file, or the content of one.

        Returns:
            [H, W, 3] uint8 RGB; turned upright by its EXIF orientation unless `config.data.exif` is
            `ignore`. Boxes found in it are in pixels of this array.

        Raises:
            DataError: the image is missing, broken, cut short, or too large.
        """
        return read_image_as(path_or_bytes, self.config.data.exif)

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect in one image, as evaluation takes it.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            boxes [D, 4] float32 yxyx in pixels of the image, scores [D] float32, class ids [D]
            int32 from 1; best first.
        """
        found = self._detect_all([_checked_image(image, "image")])[0]
        return found.boxes, found.scores, found.class_ids

    def in_batches(self) -> DetectInBatches:
        """Detect in all images of a data set: `detect_dataset(dataset, detector.in_batches())`.

        What is found is that of `detect`, but for rounding. Images that enter the network at the
        same size go through it together, about a million pixels at a time.
        """
        return DetectInBatches(
            plan=self._plan,
            prepare=self._prepare,
            detect=lambda images: [
                (found.boxes, found.scores, found.class_ids) for found in self._run(images)
            ],
        )

    def export(self, folder: str | Path, frozen: bool = False) -> Path:
        """Write the next version of the model as a SavedModel.

        `tf_frcnn.export_saved_model` tells what is in it; what is known of a model that was loaded,
        its figures and its data, goes along.

        Args:
            folder: of the model's versions, `saved_models/NAME`.
            frozen: write the variables as constants, which is faster on CPUs; a frozen export
                cannot be exported again.

        Returns:
            The version's folder: `folder/1`, or the number after the highest that is there.

        Raises:
            UserError: the folder is of something else, or cannot be written.
            WeightsError: the model was loaded from a frozen export, or is gone by now.
        """
        check_versions_folder(Path(folder), "export")
        model, records = self._inference_model(), self._records()
        return export_saved_model(model, self.config, Path(folder), records, frozen, "folder")

    def _detect_all(self, images: Sequence[np.ndarray], batch_size: int = 1) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}
        sizes = [self._size_to_give(image.shape[:2]) for image in images]
        for _, positions in batches_by_size(sizes, lambda size: batch_size):
            prepared = [self._prepare(images[position]) for position in positions]
            predictions |= zip(positions, self._run(prepared), strict=True)
        return [predictions[position] for position in range(len(images))]

    def _size_to_give(self, image_size: tuple[int, ...]) -> tuple[int, int]:
        """Compute the (height, width) that an image is to be brought to and given.

        That is its size in the network, so that images of several sizes go through it together;
        but its own where the network would resize what was resized: rounded down, 799 rows of the
        800 asked for become 800.
        """
        data = self.config.data
        resize = partial(
            resized_size,
            short_side=data.short_side,
            long_side=data.long_side,
            rounding=data.resize_rounding,
        )
        own = (image_size[0], image_size[1])
        size = resize(own)
        return size if resize(size) == size else own

    def _plan(self, image_sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
        """Divide images into batches, by the (height, width) of each."""
        sizes = [self._size_to_give(size) for size in image_sizes]

        seen = 2 if self.config.model.flip_at_test else 1  # the mirror image too

        def most(size: tuple[int, int]) -> int:
            return max(1, min(_BATCH_SIZE, _NETWORK_PIXELS // (size[0] * size[1])) // seen)

        for _, positions in batches_by_size(sizes, most):
            batch: list[int] = []
            num_pixels = 0
            for position in positions:
                own = image_sizes[position][0] * image_sizes[position][1]
                if batch and num_pixels + own > _DECODED_PIXELS:
                    yield tuple(batch)
                    batch, num_pixels = [], 0
                batch.append(position)
                num_pixels += own
            yield tuple(batch)

    def _prepare(self, image: np.ndarray) -> _Prepared:
        """Resize a uint8 [H, W, 3] image."""
        size = self._size_to_give(image.shape[:2])
        pixels = resize_images(image, size, self.config.data.antialias)
        return _Prepared(pixels, (image.shape[0], image.shape[1]))

    def _run(self, prepared: Sequence[_Prepared]) -> list[Prediction]:
        """Detect in images, those of one size together: all, where they were planned so."""
        predictions: dict[int, Prediction] = {}
        sizes = [(image.pixels.shape[0], image.pixels.shape[1]) for image in prepared]
        for size, positions in batches_by_size(sizes, lambda size: len(prepared)):
            batch = tf.stack([prepared[position].pixels for position in positions])
            found = {name: value.numpy() for name, value in self._detect_batch(batch).items()}
            for row, position in enumerate(positions):
                image_size = prepared[position].image_size
                predictions[position] = self._prediction(found, row, size, image_size)
        return [predictions[position] for position in range(len(prepared))]

    def _prediction(
        self,
        found: Mapping[str, np.ndarray],
        row: int,
        size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Prediction:
        count = int(found["num_detections"][row])  # what follows is padding
        class_ids = found["detection_classes"][row, :count]
        boxes = scale_boxes(found["detection_boxes"][row, :count], size, image_size)
        return Prediction(
            boxes=boxes.numpy(),
            scores=found["detection_scores"][row, :count],
            class_ids=class_ids,
            class_names=tuple(self.class_names[class_id - 1] for class_id in class_ids),
        )


def _checked_image(image: Any, name: str) -> np.ndarray:
    """Make sure that an image is uint8 [H, W, 3] with at least one pixel."""
    array = np.asarray(image)
    if array.dtype != np.uint8:
        remedy = ""
        if np.issubdtype(array.dtype, np.floating):
            remedy = (
                " Numbers from 0 to 1 are turned back by np.round(255 * image).astype(np.uint8), "
                "those from 0 to 255 by image.astype(np.uint8)."
            )
        raise ValueError(
            f"{name} has type {array.dtype}: expected uint8 RGB, numbers from 0 to 255.{remedy}"
        )
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}: expected [height, width, 3], RGB, with at least "
            "one pixel; of several images a list, or [images, height, width, 3]."
        )
    return array


def _one_graph(model: InferenceModel) -> DetectBatch:
    # For batches of every size.
    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
    return tf.function(model.detect, input_signature=[images])


def _load_saved_model(model: ModelFiles) -> DetectBatch:
    folder = model.path
    with saved_model_read(folder):
        module = tf.saved_model.load(str(folder))
    check_class_names(model)
    if _SIGNATURE not in module.signatures:
        raise WeightsError(
            f"{folder}: the SavedModel has the signatures {sorted(module.signatures)}, not "
            f"{_SIGNATURE!r}. {MODEL_TEXT}"
        )

    def detect_batch(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        # Reached through the module: its variables live only as long as it does.
        return module.signatures[_SIGNATURE](images=images)

    return detect_batch
