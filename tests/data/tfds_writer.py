"""Small sets of TensorFlow Datasets on disk, and reading them, for the tests beside this file."""

import io

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.config import DataConfig
from tf_frcnn.data.loading import read_dataset
from tf_frcnn.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")

CLASS_NAMES = ("dog", "cat", "ant")  # not in the order of the alphabet
SIZE = (48, 80)  # (height, width) of the images below


def features(bbox=None, label=None, flag="is_difficult", **others):
    """List a set's features; boxes and labels of other kinds may be asked for."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(
                {
                    "bbox": bbox or tfds.features.BBoxFeature(),
                    "label": label or tfds.features.ClassLabel(names=CLASS_NAMES),
                    flag: np.bool_,
                }
            ),
            **others,
        }
    )


def unchecked_boxes():
    """Make a feature of boxes that TFDS does not look at when it writes them."""
    return tfds.features.Tensor(shape=(4,), dtype=np.float32)


def encode_image(seed, size=SIZE, image_format="PNG", orientation=1):
    """Draw noise, so that no two images and no two of their pixels are alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(file, image_format, **({"exif": exif} if orientation > 1 else {}))
    return file.getvalue()


def box(ymin, xmin, ymax, xmax, size=SIZE):
    """Divide half-open pixels by the sides of their image, in float64."""
    return np.array([ymin, xmin, ymax, xmax]) / [*size, *size]


def item(bbox, label="cat", flag=False, name="is_difficult"):
    """Make an object of a record."""
    return {"bbox": np.asarray(bbox, np.float32), "label": label, name: flag}


def record(number, *objects, **fields):
    """Make a record: the image `pNUMBER.png` unless another name or content is given."""
    return {
        "image": encode_image(number),
        "image/filename": f"p{number}.png",
        "objects": list(objects),
        **fields,
    }


def write_set(folder, splits, set_features=None, name="toy", file_format=None):
    """Write a set of these records by split, and leave nothing of its code behind."""
    namespace = {
        "name": name,
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": lambda builder: tfds.core.DatasetInfo(
            builder=builder, features=set_features or features(), disable_shuffling=True
        ),
        "_split_generators": lambda builder, _: {
            split: builder._generate_examples(records) for split, records in splits.items()
        },
        "_generate_examples": lambda builder, records: enumerate(records),
    }
    parent = tfds.core.GeneratorBasedBuilder
    builder_class = type(parent)("Toy", (parent,), namespace, skip_registration=True)
    tfds.disable_progress_bar()
    builder = builder_class(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()
    return builder


def config(name="toy", **options):
    return DataConfig(root=name, format="tfds", **options)


def read_train(name="toy", class_names=(), **options):
    return read_dataset(config(name, **options), "train", class_names, seed=0)


def message_of(name="toy", class_names=(), **options):
    with pytest.raises(DataError) as caught:
        read_train(name, class_names, **options)
    return str(caught.value)
