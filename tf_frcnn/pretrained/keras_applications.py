"""Starts the network from the ImageNet VGG16 of keras.applications.

The paper starts the backbone and the two FC layers from a VGG16 trained on ImageNet (§3.1.3).
keras.applications publishes one, converted from the Caffe original (BGR, mean-free), as an HDF5
file with its top (convolutions, fc1, fc2, predictions) or without (convolutions only). A file is
checked as a whole before the first variable changes, so that a load that fails leaves the network
as it was, and never half at random.

Arrays are found by their layers' names and not by `keras.applications.VGG16(weights=PATH)`: that
goes by the order of layers alone, so it takes two of one shape for each other, and can't say which
one is missing; and it would first build all of VGG16 and fill it at random: 1.3 GiB beside the 0.6
of TensorFlow and Keras, and 2.7 in all with the file's arrays (results/house.md).
"""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shorten  # a file may hold any number of layers
from typing import Any

import h5py
import keras
import numpy as np

from tf_frcnn.errors import WeightsError
from tf_frcnn.given_files import EMPTY, open_file, reason_of
from tf_frcnn.pretrained.trunks import IMAGENET, NO_WEIGHTS, START_OPTION

# As published in keras/src/applications/vgg16.py: the file with its top.
IMAGENET_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
IMAGENET_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
IMAGENET_MD5 = "64373286793e3c8b2b4e3219cbf3544b"
# Seconds without an answer, or between two pieces of one. keras.utils.get_file would wait for ever.
DOWNLOAD_TIMEOUT = 60.0

FC_LAYERS = ("fc1", "fc2")

_WAY_OUT = (
    f"Pass {START_OPTION} PATH with a VGG16 file of keras.applications (.h5, with or without its "
    f"top), or {START_OPTION} {NO_WEIGHTS} to start at random."
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded into the layers that VGG16 and the network share.

    The RPN and the box head's two output layers are in no VGG16 and hence in neither list.

    Attributes:
        source: `none`, `imagenet` or the path of the file.
        loaded: names of the layers that hold the file's weights.
        left_random: names of the layers that keep their random start.
    """

    source: str
    loaded: tuple[str, ...]
    left_random: tuple[str, ...]

    def __str__(self) -> str:
        """Give one sentence for the log."""
        if not self.loaded:
            return f"No weights loaded ({self.source}): all layers start at random."
        text = f"Weights from {self.source}: loaded {', '.join(self.loaded)}; "
        if self.left_random:
            return text + f"left at random, as the file lacks them: {', '.join(self.left_random)}."
        return text + "no layer of VGG16 is left at random."


def load_backbone_weights(network: keras.Model, source: str) -> WeightsReport:
    """Load ImageNet weights into the network's backbone and, where given, its two FC layers.

    Args:
        network: a built network with `backbone`, a model whose layers are named as those of
            keras.applications' VGG16, and `box_head` with the dense layers `fc1` and `fc2`.
        source: `none` (nothing is loaded), `imagenet` (the published file with its top, 528 MB,
            downloaded into the Keras cache once), or the path of a file in that layout, with or
            without its top; without, fc1 and fc2 keep their random start.

    Returns:
        What was loaded and what was left at random.

    Raises:
        WeightsError: no such file, not such a file, one that does not fit the network or holds
            numbers that are not finite, or a download that failed. The network is unchanged.
    """
    backbone = {layer.name: layer for layer in network.backbone.layers if layer.weights}
    head = {
        name: getattr(network.box_head, name)
        for name in FC_LAYERS
        if hasattr(network.box_head, name)
    }
    layers = {**backbone, **head}
    if source == NO_WEIGHTS:
        return WeightsReport(source, (), tuple(layers))
    if source == IMAGENET:
        published = published_shapes()
        for name, layer in layers.items():  # before half a gigabyte travels in vain
            _check_layer(name, layer, published.get(name, ()), "ImageNet VGG16")
        path = _download()
    else:
        path = _existing_file(source)
    arrays = _read_file(path, backbone, head)
    for name, (kernel, bias) in arrays.items():  # all checked: nothing fails from here on
        layers[name].kernel.assign(kernel)
        layers[name].bias.assign(bias)
    return WeightsReport(
        source, tuple(arrays), tuple(name for name in layers if name not in arrays)
    )


def published_shapes() -> dict[str, Sequence[Shape]]:
    """List the shapes of the published file's arrays by layer, without making its large ones."""
    backbone = keras.applications.VGG16(include_top=False, weights=None)
    layers = [layer for layer in backbone.layers if layer.weights]
    shapes: dict[str, Sequence[Shape]] = {
        layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers
    }
    # fc1 reads 7 x 7 x 512 features, flattened channels-last.
    return {**shapes, "fc1": [(25088, 4096), (4096,)], "fc2": [(4096, 4096), (4096,)]}


def _download() -> Path:
    """Fetch the published file into the Keras cache, unless it is there with the right hash.

    A partial file cannot poison the next try: the hash of a cached file is checked each time.
    """
    url = IMAGENET_URL + IMAGENET_FILE
    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        path = keras.utils.get_file(
            IMAGENET_FILE,
            url,
            cache_subdir="models",
            file_hash=IMAGENET_MD5,
            cache_dir=os.environ.get("KERAS_HOME"),
        )
    except Exception as error:  # get_file turns network errors into bare Exceptions
        raise WeightsError(
            f"{url}: the ImageNet weights (528 MB) could not be downloaded into the Keras cache: "
            f"{str(error).rstrip('.') or type(error).__name__}. Try again with a network and a "
            f"cache that can be written (KERAS_HOME, else ~/.keras). {_WAY_OUT}"
        ) from None
    finally:
        socket.setdefaulttimeout(previous_timeout)
    return Path(path)


def _existing_file(source: str) -> Path:
    """Turn the option's value into the path of a file that can be read and is HDF5."""
    path = Path(source).expanduser()
    try:
        with open_file(path) as file:  # h5py takes for no HDF5 what is missing or not permitted
            is_empty = not file.read(1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise WeightsError(
            f"{source}: cannot be opened ({reason_of(error)}). Expected {IMAGENET}, {NO_WEIGHTS} "
            f"or the PATH of a weights file. {_WAY_OUT}"
        ) from None
    if is_empty:
        raise WeightsError(f"{source}: {EMPTY}. {_WAY_OUT}")
    if not h5py.is_hdf5(path):
        raise WeightsError(
            f"{source}: is not an HDF5 file ({path.stat().st_size} bytes). {_WAY_OUT}"
        )
    return path


def _read_file(
    path: Path, backbone: Mapping[str, Any], head: Mapping[str, Any]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read and check the weights of all backbone layers and, unless it has none, of the FC layers.

    Args:
        path: an HDF5 file.
        backbone: the layers that the file must have, by name.
        head: the layers of which it must have all or none.

    Returns:
        Layer name -> (kernel, bias), float32, of the layers' own shapes, all finite.
    """
    try:
        with h5py.File(path, "r") as file:
            stored = _find_arrays(file, {*backbone, *head})
            if not stored:
                raise WeightsError(
                    f"{path}: is an HDF5 file of another layout: it holds "
                    f"{shorten(sorted(file)) if len(file) else 'nothing'}, and no names of layers "
                    f"such as {next(iter(backbone))}. Keras 2 writes none into .weights.h5: save "
                    f"the model's weights as .h5 instead. {_WAY_OUT}"
                )
            layers = {**backbone, **head} if any(name in stored for name in head) else backbone
            return {
                name: _read_layer(name, layer, stored.get(name, []), path)
                for name, layer in layers.items()
            }
    except WeightsError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        # A byte in the wrong place makes h5py raise any of these, UnicodeDecodeError included.
        raise WeightsError(
            f"{path}: cannot be read ({error}). The file is truncated or damaged: "
            f"fetch it again. {_WAY_OUT}"
        ) from None


def _find_arrays(file: h5py.File, names: Collection[str]) -> dict[str, list[h5py.Dataset]]:
    """Find the arrays of each of the named layers, whichever Keras wrote the file.

    They lie below a group of the layer's name, anywhere but in the optimizer's state; but Keras 3's
    `.weights.h5` numbers its groups and writes the layer's name beside the arrays, as an attribute.
    """
    found: dict[str, list[h5py.Dataset]] = {}

    def note(path: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not path.startswith("optimizer"):
            stated = str(node.parent.attrs.get("name"))
            for name in {*path.split("/"), stated}.intersection(names):
                found.setdefault(name, []).append(node)

    file.visititems(note)
    return found


def _read_layer(
    name: str, layer: Any, stored: Sequence[h5py.Dataset], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Read a layer's kernel and bias, told apart by their rank, as their spellings vary."""
    _check_layer(name, layer, [array.shape or () for array in stored], str(path))
    bias, kernel = sorted(stored, key=lambda dataset: len(dataset.shape))
    arrays = []
    for dataset in (kernel, bias):
        if dataset.dtype.kind != "f":
            raise WeightsError(
                f"{path}: {dataset.name} is of type {dataset.dtype}, expected floats. {_WAY_OUT}"
            )
        array = dataset[...].astype(np.float32, copy=False)
        num_bad = array.size - np.count_nonzero(np.isfinite(array))
        if num_bad:
            raise WeightsError(
                f"{path}: {dataset.name} has {num_bad} of {array.size} weights that are NaN or "
                f"infinite, expected finite numbers. The file is damaged. {_WAY_OUT}"
            )
        arrays.append(array)
    return arrays[0], arrays[1]


def _check_layer(name: str, layer: Any, stored: Sequence[Shape], origin: str) -> None:
    """Check that stored arrays are one kernel and one bias of the layer's own shapes.

    Args:
        name: name of the layer in the file.
        layer: the network's layer.
        stored: shapes of its arrays in the file, in any order; none where it has none.
        origin: what the file is, for messages.
    """
    if not stored:
        raise WeightsError(
            f"{origin}: has no weights for layer '{name}' ({type(layer).__name__}), which the "
            f"network needs. {_WAY_OUT}"
        )
    needed = [tuple(weight.shape) for weight in layer.weights]
    has_both = len(needed) == 2 and hasattr(layer, "kernel")
    if not has_both or sorted(needed) != sorted(tuple(shape) for shape in stored):
        raise WeightsError(
            f"{origin}: layer '{name}' has arrays of shapes {_list_shapes(stored)}, but the "
            f"network's has {_list_shapes(needed)}. ImageNet weights fit VGG16 at full width only "
            f"(--model.architecture vgg16): for another network pass {START_OPTION} {NO_WEIGHTS}, "
            "else a file that fits."
        )


def _list_shapes(shapes: Sequence[Shape]) -> str:
    """Write shapes with the kernel's first, whatever order they come in."""
    return " and ".join(str(tuple(shape)) for shape in sorted(shapes, key=len, reverse=True))
