"""One set of TensorFlow Datasets (TFDS): opened by its name, prepared if need be, read in order.

All that touches the package is here. It is an extra, and it brings TensorFlow along, so it is
imported when a set is opened and not before. TFDS keeps prepared sets in ~/tensorflow_datasets or
$TFDS_DATA_DIR; a set is a folder NAME/VERSION or NAME/CONFIG/VERSION in there.
"""

import io
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import describe_folder, is_folder, list_folder
from tf_frcnn.data.tfds_record import Record
from tf_frcnn.environment import load_tensorflow
from tf_frcnn.errors import ConfigError, DataError, install_command

logger = logging.getLogger(__name__)

# TFDS's builders of these sets divide the numbers of VOC's XML files, which count pixels from 1 and
# include the last one, by the sides of the image as they stand.
_SETS_FROM_ONE = frozenset({"voc", "bccd"})


class TfdsSet:
    """A prepared set that has images with boxes.

    Args of `__init__`: its `builder`, TFDS's word for a set.

    Attributes:
        name: NAME/CONFIG/VERSION, or NAME/VERSION.
        class_names: in the order of their numbers; empty where the labels themselves are names.
        counts_from_one: the boxes are VOC's 1-based inclusive pixels, divided by the sides.

    Raises:
        DataError: it has no boxes, or has them in another form.
    """

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self.name: str = builder.info.full_name
        self.counts_from_one = builder.name in _SETS_FROM_ONE
        objects, label = _find_features(builder)
        self.class_names = tuple(getattr(label, "names", ()))
        names = [name for name in ("image/filename", "image/id") if name in builder.info.features]
        others = [name for name in ("is_difficult", "is_crowd") if name in objects]
        others += ["area"] if "area" in objects and _is_number(objects["area"]) else []
        self._wanted = {
            **dict.fromkeys(("image", *names), True),
            "objects": dict.fromkeys(("bbox", "label", *others), True),
        }

    def find_split(self, split: str) -> str:
        """Get TFDS's name for a split: what is `val` elsewhere is `validation` in its sets."""
        splits = self._builder.info.splits
        is_alias = split == "val" and split not in splits and "validation" in splits
        return "validation" if is_alias else split

    def explain_missing_split(self, split: str) -> str:
        """Say what is there instead of a split or slice: one message, or "" where it is there."""
        try:
            if self.count_images(self.find_split(split)):
                return ""
            problem = "it is empty"
        except (KeyError, ValueError, AssertionError) as error:
            problem = _last_line(error) if "[" in split else "there is no such split"
        return (
            f"{self.name}: split {split!r}: {problem}. Expected one of the splits that are there: "
            f"{enumerate_names(self._builder.info.splits)}; or a slice of one: train[:80%]."
        )

    def count_images(self, split: str) -> int:
        """Count the images of a split, under TFDS's name for it."""
        return self._builder.info.splits[split].num_examples

    def records(self, split: str) -> Iterator[Record]:
        """Read a split from its beginning to its end, always in the same order.

        Args:
            split: TFDS's name for it.

        Raises:
            DataError: TFDS cannot read it.
        """
        return map(self._to_record, self._read(split))

    def _read(self, split: str) -> Iterator[dict[str, Any]]:
        import tensorflow_datasets as tfds

        decoders = tfds.decode.PartialDecoding(
            self._wanted, decoders={"image": tfds.decode.SkipDecoding()}
        )
        config = tfds.ReadConfig(add_tfds_id=True, try_autocache=False, interleave_cycle_length=1)
        try:
            with _quiet():
                examples = self._builder.as_dataset(
                    split=split, decoders=decoders, read_config=config
                )
            yield from tfds.as_numpy(examples)
        except Exception as error:  # a damaged file or another format than TFRecord: TFDS has many
            raise DataError(
                f"{self.name}, split {split}: cannot be read from {self._builder.data_dir} "
                f"({_summarise(error)}). Expected TFRecord files as TensorFlow Datasets writes "
                "them: remove that folder, and the set is prepared anew."
            ) from None

    def _to_record(self, example: dict[str, Any]) -> Record:
        objects = example["objects"]
        labels = [
            _to_text(label) if isinstance(label, bytes) else int(label)
            for label in objects["label"]
        ]
        return Record(
            key=_to_text(example["tfds_id"]),
            content=example["image"],
            file_name=_to_text(example.get("image/filename", b"")),
            image_id=_to_text(example.get("image/id", b"")),
            boxes=np.asarray(objects["bbox"], np.float32).reshape(-1, 4),
            labels=labels,
            difficult=np.asarray(objects.get("is_difficult", [False] * len(labels)), bool),
            crowd=np.asarray(objects.get("is_crowd", [False] * len(labels)), bool),
            areas=np.asarray(objects["area"], np.float64) if "area" in objects else None,
        )


# === Opening ===


def open_set(root: Path) -> TfdsSet:
    """Open a set by its name; one that is not prepared is downloaded and prepared by TFDS.

    Args:
        root: NAME, NAME/CONFIG or NAME/CONFIG:VERSION.

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no such set, it cannot be prepared, or it has no boxes.
    """
    tfds = _import_tfds()
    name = root.as_posix()
    folder = os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    try:
        with _quiet():
            builder = tfds.builder(name, data_dir=folder)
            is_there = builder.data_path.exists()
    except Exception as error:  # what TFDS raises differs from one kind of wrong name to the next
        raise DataError(_explain_name(tfds, name, folder, error)) from None
    if not is_there:
        _find_features(builder)  # nothing is downloaded in vain
        logger.info(
            "%s is not there yet: TensorFlow Datasets downloads and prepares it in %s; without a "
            "network it gives up after some minutes",
            builder.info.full_name,
            folder,
        )
        _prepare(builder, folder)
    return TfdsSet(builder)


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ConfigError(
            f"--data.format tfds: TensorFlow Datasets cannot be imported ({error}). Expected the "
            f"extra tfds: {install_command('tfds')}."
        ) from None
    if not hasattr(tfds, "builder"):  # its faults while it loads go to a log, and no further
        raise ConfigError(
            "--data.format tfds: TensorFlow Datasets loads in part only, as its log above says: "
            "its packages do not fit together. A new environment takes those that do: "
            f"{install_command('tfds', in_new=True)}, with TensorFlow 2.15 "
            f"{install_command('addons,tfds', in_new=True)}."
        )
    load_tensorflow()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        # Reading starts TensorFlow, which would take a GPU's whole memory; too late if it has run.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    tfds.disable_progress_bar()  # TFDS shows several at once, with all of its steps
    return tfds


def _prepare(builder: Any, folder: str) -> None:
    try:
        with _quiet():
            builder.download_and_prepare()
    except Exception as error:  # each set's own code does it, and may raise anything
        raise DataError(
            f"{builder.info.full_name}: TensorFlow Datasets cannot download and prepare it in "
            f"{folder} ({_summarise(error)}). Expected a network and room on the disk; or prepare "
            "it elsewhere, copy it, and name the folder that holds it by the environment variable "
            "TFDS_DATA_DIR."
        ) from None


def _explain_name(tfds: Any, name: str, folder: str, error: Exception) -> str:
    """Say why a name opens no set, and what is there instead."""
    stem = re.split("[/:]", name)[0]
    known = tfds.list_builders(with_community_datasets=False)
    hint = ""
    if stem in known:
        configs = tfds.builder_cls(stem).builder_configs
        hint = f"; configurations of {stem}: {enumerate_names(configs)}" if configs else ""
    elif stem.isidentifier() and is_folder(Path(folder, stem)):
        hint = f"; {Path(folder, stem)}: {describe_folder(Path(folder, stem))}"
    else:
        prepared = list_folder(Path(folder)) if is_folder(Path(folder)) else []
        close = get_close_matches(stem, {*known, *(path.name for path in prepared)}, n=3)
        hint = f"; the closest: {', '.join(close)}" if close else ""
    line = str(error).strip().partition("\n")[0].rpartition('}": ')[2]  # after TFDS's own call
    return (
        f"{name}: TensorFlow Datasets cannot open it ({line.partition('. ')[0].rstrip('.')}). "
        "Expected NAME, NAME/CONFIG or NAME/CONFIG:VERSION of a set that it knows or that is in "
        f"{folder}{hint}."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the terminal what TFDS prints, and what it and what it uses log, short of errors."""
    logs = [logging.getLogger(name) for name in ("absl", "tensorflow", "urllib3")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


# === Features ===


def _find_features(builder: Any) -> tuple[Any, Any]:
    """Check what a set's records hold -> (the features of an object, that of its label)."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    image = features["image"] if "image" in features else None
    objects = getattr(features["objects"], "feature", None) if "objects" in features else None
    if not isinstance(objects, tfds.features.FeaturesDict):
        objects = {}
    bbox, label = (objects[name] if name in objects else None for name in ("bbox", "label"))
    box_format = getattr(bbox, "bbox_format", None)  # None in sets of before there was a choice
    if (
        not isinstance(image, tfds.features.Image)
        or bbox is None
        or tuple(bbox.shape) != (4,)
        or getattr(box_format, "value", box_format) not in (None, "REL_YXYX")
        or not isinstance(label, tfds.features.ClassLabel | tfds.features.Text)
    ):
        raise DataError(
            f"{builder.info.full_name}: has the features {_describe(features)}. Expected those of "
            "a set for detection, such as voc/2007: image (Image), objects/bbox (four fractions "
            "ymin, xmin, ymax, xmax) and objects/label (ClassLabel or Text)."
        )
    return objects, label


def _is_number(feature: Any) -> bool:
    return tuple(feature.shape) == () and np.dtype(feature.np_dtype).kind in "iuf"


def _describe(features: Any) -> str:
    return shorten(" ".join(repr(features).split()), 600)


# === Texts ===


def _to_text(value: Any) -> str:
    return value.decode(errors="replace").strip() if isinstance(value, bytes) else str(value)


def _last_line(error: Exception) -> str:
    return str(error.args[0] if error.args else error).strip().rpartition("\n")[2].rstrip(" .")


def _summarise(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 400)
