"""Weights files that torchvision publishes, by name: facts about them, nothing of the files.

Source: the metadata of torchvision 0.29.1 (`torchvision.models.get_model_weights`). None of the
figures was measured here. The size is `_file_size` there, which counts in 2^20 bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# COCO's detection categories by their ids. 10 of the ids from 1 to 90 belong to none of them.
COCO_CATEGORIES: dict[int, str] = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train"},
    **{8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign"},
    **{14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse"},
    **{20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe"},
    **{27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee"},
    **{35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat"},
    **{40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket"},
    **{44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon"},
    **{51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli"},
    **{57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair"},
    **{63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet", 72: "tv"},
    **{73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone"},
    **{78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book"},
    **{85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier"},
    **{90: "toothbrush"},
}
COCO_COLUMNS = 91  # the background, and ids 1 to 90

TORCH_EPSILON = 1e-5
"""What torch's batch normalisation adds to the variance, where nobody says otherwise."""
_FOLDER = "https://download.pytorch.org/models/"
_LICENCE = (
    "torchvision's code is BSD-3-Clause; its README says that weights may carry terms derived from "
    "the data they were trained on ({data})."
)
COCO_LICENCE = _LICENCE.format(data="ImageNet, COCO")
IMAGENET_LICENCE = _LICENCE.format(data="ImageNet")


@dataclass(frozen=True)
class PublishedWeights:
    """A weights file that somebody publishes.

    Attributes:
        name: in this project.
        url: where it is published; its last part is the file's name.
        size_mib: in units of 2^20 bytes, as published, to three decimals.
        sha256_start: the first digits of its SHA-256, in hexadecimal; the file's name ends in them.
        sha256: all 64 digits where they are known, else None.
        parameters: as published, which leaves frozen normalisation out.
        parameters_with_normalisation: with its scales and shifts; moving statistics don't count.
        coco_ap: box AP on COCO val2017 in percent, as published; None where it detects nothing.
        bn_eps: epsilon of the normalisation that the detector runs with; it is not in the file.
        columns: of the classifier's output: a detector's with the background, which is column 0.
        categories: the classes of a detector's columns by column; one without a class takes part
            in the softmax all the same. Empty where it detects nothing.
        licence: what its publisher says of it.
    """

    name: str
    url: str
    size_mib: float
    sha256_start: str
    parameters: int
    parameters_with_normalisation: int
    coco_ap: float | None
    bn_eps: float
    columns: int
    licence: str
    categories: Mapping[int, str] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]

    @property
    def unused_columns(self) -> tuple[int, ...]:
        """A detector's columns that are neither the background nor a class."""
        if not self.categories:
            return ()
        return tuple(column for column in range(1, self.columns) if column not in self.categories)


def _detector(
    name: str,
    file_name: str,
    size_mib: float,
    parameters: int,
    parameters_with_normalisation: int,
    coco_ap: float,
    bn_eps: float = TORCH_EPSILON,
) -> PublishedWeights:
    """Describe a detector that was trained on COCO."""
    return PublishedWeights(
        name=name,
        url=_FOLDER + file_name,
        size_mib=size_mib,
        sha256_start=_digits(file_name),
        parameters=parameters,
        parameters_with_normalisation=parameters_with_normalisation,
        coco_ap=coco_ap,
        bn_eps=bn_eps,
        columns=COCO_COLUMNS,
        licence=COCO_LICENCE,
        categories=COCO_CATEGORIES,
    )


def _trunk(name: str, file_name: str, size_mib: float, parameters: int) -> PublishedWeights:
    """Describe a classifier that was trained on ImageNet: what a detector's training starts from.

    In a detector torchvision runs them with an epsilon of 1e-5, though MobileNetV3 was trained with
    1e-3.
    """
    return PublishedWeights(
        name=name,
        url=_FOLDER + file_name,
        size_mib=size_mib,
        sha256_start=_digits(file_name),
        parameters=parameters,
        parameters_with_normalisation=parameters,
        coco_ap=None,
        bn_eps=TORCH_EPSILON,
        columns=1000,
        licence=IMAGENET_LICENCE,
    )


def _digits(file_name: str) -> str:
    """Take the digits of the SHA-256 out of NAME-DIGITS.pth."""
    return file_name.rpartition("-")[2].removesuffix(".pth")


_ENTRIES = (
    _detector(
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        159.743,
        41_755_286,
        41_808_406,
        37.0,
        bn_eps=0.0,
    ),
    _detector(
        "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        167.104,
        43_712_278,
        43_712_278,
        46.7,
    ),
    _detector(
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        74.239,
        19_386_354,
        19_410_754,
        32.8,
    ),
    _detector(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
        74.239,
        19_386_354,
        19_410_754,
        22.8,
    ),
    _trunk("resnet50_imagenet", "resnet50-0676ba61.pth", 97.781, 25_557_032),
    _trunk("resnet50_imagenet_v2", "resnet50-11ad3fa6.pth", 97.79, 25_557_032),
    _trunk("mobilenet_v3_large_imagenet", "mobilenet_v3_large-8738ca79.pth", 21.114, 5_483_032),
)
CATALOGUE: dict[str, PublishedWeights] = {entry.name: entry for entry in _ENTRIES}
