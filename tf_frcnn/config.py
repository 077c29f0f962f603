"""The configuration: frozen dataclasses, one field an option, checked when they are made.

The command line, its help and its errors come from these types (`tf_frcnn.commands.train`); a run
keeps its configuration as `config.json`, which is read back through the same types. Presets
(`tf_frcnn.presets`) are nothing but values for these fields. No TensorFlow here.
"""

import dataclasses
import functools
import inspect
import json
import math
import shlex
from collections.abc import Callable
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import tyro
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.config_upgrade import FORMAT, RELEASE, upgrade_config
from tf_frcnn.errors import ConfigError
from tf_frcnn.given_files import EMPTY, read_text
from tf_frcnn.names import MAX_CLASS_NAME, explain_class_name, is_background, normalise_name, shown

NONE_SPLIT = "none"
OPTIMIZER_NAMES = ("sgd", "adam", "adamw")
ROI_OPS_OF_SEVERAL_MAPS = ("roi_align", "roi_align_aligned")
ADDONS_PREFIX = "addons:"  # and the name of an optimiser of TensorFlow Addons

T = TypeVar("T")


# === What a field may hold ===


_KEPT = {"is_kept": True}  # the context in which a config.json is read


def _expect(
    is_met: Callable[[Any], bool], expected: str, of_new: bool = False
) -> pydantic.AfterValidator:
    """Make a constraint of one field.

    Args:
        is_met: tells of a value.
        expected: the words in which a refusal says what it expects.
        of_new: a config.json that is kept need not meet it, since it may be the older of the two.
    """

    def check(value: Any, info: pydantic.ValidationInfo) -> Any:
        if not is_met(value) and not (of_new and info.context == _KEPT):
            raise PydanticCustomError("expected", "{expected}", {"expected": expected})
        return value

    return pydantic.AfterValidator(check)


# Counts end up in TensorFlow, which takes many of them as int32.
_AT_MOST = _expect(lambda number: number < 2**31, f"at most {2**31 - 1}")
Count = Annotated[int, _expect(lambda number: number > 0, "a number above 0"), _AT_MOST]
CountOrZero = Annotated[int, _expect(lambda number: number >= 0, "0 or more"), _AT_MOST]
# TensorFlow takes it as int32.
Seed = Annotated[int, _expect(lambda seed: 0 <= seed < 2**31, f"0 or more, at most {2**31 - 1}")]
Positive = Annotated[float, _expect(lambda x: 0 < x < math.inf, "a number above 0")]
NotNegative = Annotated[float, _expect(lambda x: 0 <= x < math.inf, "0 or more")]
Probability = Annotated[float, _expect(lambda x: 0 <= x <= 1, "a number from 0 to 1")]
BelowOne = Annotated[float, _expect(lambda x: 0 <= x < 1, "from 0 to below 1")]
Fraction = Annotated[float, _expect(lambda x: 0 < x <= 1, "a number above 0, at most 1")]
PositiveNumbers = Annotated[tuple[Positive, ...], _expect(len, "at least one number")]

ArchitectureName = Annotated[
    str,
    _expect(lambda name: name in ARCHITECTURES, f"one of {', '.join(ARCHITECTURES)}"),
    tyro.conf.arg(metavar=f"{{{','.join(ARCHITECTURES)}}}"),
]


def _require(section: Any, name: str, condition: bool, expected: str) -> None:
    """Refuse a field for what other fields hold; `name` is its path from the section."""
    if not condition:
        value = functools.reduce(getattr, name.split("."), section)
        context = {"expected": expected, "name": name, "value": value}
        raise PydanticCustomError("expected", "{expected}", context)


# === What a refusal says ===

_TYPES = {  # the beginnings of pydantic's names of what is wrong with a type
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "tuple": "a list",
    "dataclass": "an object with the fields of this section",
}


_MAX_VALUE = 1000  # letters


def write_value(value: object) -> str:
    """Write the value of an option about as it is typed: `32 64` for a tuple."""
    text = shlex.join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return shown(text, _MAX_VALUE) or "(nothing)"


def _describe(error: pydantic.ValidationError) -> tuple[list[str | int], str]:
    """Give the path to what was refused first, indices included, and what to say after it."""
    fault = error.errors()[0]
    context = fault.get("ctx", {})
    path = [*fault["loc"], *(context["name"].split(".") if "name" in context else ())]
    if fault["type"] == "unexpected_keyword_argument":
        return path, ": there is no such field"
    value = context.get("value", fault["input"])
    is_element = bool(path) and isinstance(path[-1], int)
    shown = write_value((value,) if is_element else value)
    expected = context.get("expected") or _TYPES.get(fault["type"].split("_")[0])
    return path, f" {shown}: expected {expected}" if expected else f" {shown}: {fault['msg']}"


def _section(name: str) -> Callable[[type[T]], type[T]]:
    """Have a section's constructor refuse values with a `ConfigError` that names the option."""

    def decorate(section: type[T]) -> type[T]:
        initialize, signature = section.__init__, inspect.signature(section)

        @functools.wraps(initialize)
        def initialize_or_refuse(self: T, *args: Any, **kwargs: Any) -> None:
            values = signature.bind(*args, **kwargs).arguments
            try:
                initialize(self, **values)
            except pydantic.ValidationError as error:
                path, refusal = _describe(error)
                names = [part for part in (name, *path) if part and isinstance(part, str)]
                option = ".".join(names).replace("_", "-")
                raise ConfigError(f"--{option}{refusal}.") from None

        section.__init__ = initialize_or_refuse  # type: ignore[assignment]
        return section

    return decorate


# === The sections ===

_ONLY_FIELDS = pydantic.ConfigDict(extra="forbid")


@_section("data")
@dataclass(frozen=True, config=_ONLY_FIELDS)
class DataConfig:
    """Where the images and boxes are, and how they reach the network."""

    format: Literal["auto", "voc", "coco", "yolo", "csv", "tfds"] = "auto"
    """Layout of the data set: Pascal VOC, COCO JSON, YOLO, CSV, or a set of TensorFlow Datasets by
    its name; `auto` looks at the folder."""
    root: str = ""
    """Folder of the data set; with the format `tfds` its name, such as voc/2007."""
    images: str = ""
    """Folder of its images, where they are elsewhere; not with TensorFlow Datasets."""
    train_split: Annotated[str, _expect(lambda name: name != NONE_SPLIT, "a split's name")] = (
        "train"
    )
    """Split to train on: a list in ImageSets/Main (VOC), annotations/instances_NAME.json (COCO)."""
    val_split: str = "val"
    """Split for the validation loss; `none`, or no list of the name `val`, for no validation."""
    test_split: str = "test"
    """Split to evaluate on after training, `none` for no evaluation; where there is no list `test`,
    the validation split is evaluated, and named so."""
    classes: Annotated[
        tuple[str, ...],
        pydantic.AfterValidator(lambda names: tuple(map(normalise_name, names))),
        _expect(lambda names: len(set(names)) == len(names), "every class name once"),
        _expect(
            lambda names: not any(map(is_background, names)),
            "object classes only: class 0, the background, is added by the model",
            of_new=True,
        ),
        _expect(
            lambda names: (
                not any(explain_class_name(name) for name in names if not is_background(name))
            ),
            f"names without control characters and line breaks, of 1 to {MAX_CLASS_NAME} letters",
        ),
    ] = ()
    """Class names in the order of their ids, from 1; when not given, those found in the data."""
    short_side: Count = 600
    """Images are resized so that their shorter side has this many pixels ..."""
    long_side: Count = 1000
    """... unless their longer side would then exceed this many."""
    resize_rounding: Literal["nearest", "floor"] = "nearest"
    """How the sides are made whole: to the nearest number of pixels, or down, as the detectors of
    torchvision have it."""
    antialias: bool = False
    """Make images smaller with antialiasing: each new pixel is a mean of all that it covers, not of
    the four around its centre alone. The run and its models keep it. There is no GPU kernel."""
    horizontal_flip: Probability = 0.5
    """Probability with which a training image is mirrored left to right."""
    scale_jitter: Annotated[
        tuple[Positive, Positive],
        _expect(
            lambda factors: factors[0] <= factors[1], "the smallest factor and then the largest"
        ),
    ] = (1.0, 1.0)
    """Each training image's `short_side` and `long_side` are multiplied by a factor drawn evenly
    from the first to the second number."""
    scale_jitter_steps: Annotated[
        CountOrZero, _expect(lambda count: count != 1, "0, or 2 factors at least")
    ] = 0
    """How many factors there are, evenly spaced from the first to the second number, each drawn
    equally often; 0 for any between. Few of them make few sizes."""
    pad_to: Count = 1
    """Batches are padded so that their heights and widths are multiples of this many pixels, in
    training and for the validation loss; the network pads to its own multiple, 16 or 32, besides.
    64 or 128 makes few sizes: a GPU's libraries and XLA prepare for each when it comes first."""
    pixel_type: Literal["float32", "uint8"] = "float32"
    """Type in which resized images wait for a device and travel to it, in training and for the
    validation loss. `uint8` takes a quarter of the memory, and rounds to whole levels, which
    detection does not."""
    photometric_jitter: Probability = 0.0
    """Strength of random changes of a training image's colours, from 0 (none) to 1: brightness
    by up to 32 of 255, contrast and saturation times 0.5 to 1.5, hue by up to 18 degrees."""
    crop: Probability = 0.0
    """Probability with which a training image is cropped to a random window. Boxes are clipped to
    it; those whose centres are outside are dropped, but never all that an image has."""
    crop_min_fraction: Fraction = 0.5
    """Smallest height and width of that window, as fractions of the image's."""
    repeat_rare: Probability = 0.0
    """Images of classes that a smaller share f of the training images has come more often,
    sqrt(repeat_rare / f) times; epochs are so much longer. 0 for every image once an epoch."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about faults in the data: stop and list them, or go on without the boxes and
    images that have them."""
    exif: Literal["auto", "apply", "ignore"] = "auto"
    """Which pixels boxes belong to where images have an EXIF orientation: `apply` turns images
    upright, as labelling tools and viewers show them, `ignore` takes them as they are stored;
    `auto` is `apply` unless all stated sizes of images turned by a quarter are those of the stored
    pixels. The run and its models keep what was chosen."""
    draw_seed: CountOrZero | None = None
    """Draw the quickstart's data set with this seed into `root` first (reused when it is there)."""

    @pydantic.model_validator(mode="after")
    def _check_sides(self) -> "DataConfig":
        expected = f"at least --data.short-side, which is {self.short_side}"
        _require(self, "long_side", self.long_side >= self.short_side, expected)
        return self


@_section("model")
@dataclass(frozen=True, config=_ONLY_FIELDS)
class ModelConfig:
    """The network: what is saved with the weights and cannot change after training.

    The defaults are the paper's; the architecture fixes the widths of backbone, RPN and head.
    """

    architecture: ArchitectureName = "vgg16"
    """`vgg16` is the slides' network; `vgg16_quarter` its layer plan at a quarter of the width with
    batch normalisation, for small machines and small images; `efficientnet_lite0_fpn` a small one
    for processors, from ImageNet weights; the others are the detectors of that name (`tf-frcnn
    models`), from random weights unless --train.start-from says otherwise."""
    anchor_sizes: PositiveNumbers = (128.0, 256.0, 512.0)
    """Square roots of the anchors' areas, in pixels of the network's input."""
    aspect_ratios: PositiveNumbers = (0.5, 1.0, 2.0)
    """Height / width of the anchors."""
    roi_op: Literal["crop_and_resize", "roi_pool", "roi_align", "roi_align_aligned"] = (
        "crop_and_resize"
    )
    """RoI pooling operator; `crop_and_resize` samples 14 x 14 and max-pools 2 x 2."""
    dropout: BelowOne = 0.0
    """Dropout rate after each FC layer of the box head."""
    rpn_pre_nms_top_k: Count = 6000
    """Proposals kept before NMS in inference."""
    rpn_post_nms_top_k: Count = 300
    """Proposals kept after NMS in inference."""
    rpn_nms_iou: Probability = 0.7
    """IoU above which the RPN's NMS drops the proposal with the lower score."""
    rpn_min_size: NotNegative = 16.0
    """Shortest side of a proposal, in pixels of the network's input."""
    box_std: tuple[Positive, Positive, Positive, Positive] = (0.1, 0.1, 0.2, 0.2)
    """The box head's box targets (dy, dx, dh, dw) are divided by these."""
    score_threshold: Probability = 0.05
    """Detections below this score are dropped."""
    nms_iou: Probability = 0.3
    """IoU above which the NMS of one class drops the detection with the lower score."""
    max_detections: Count = 100
    """Detections kept per image."""
    soft_nms_sigma: NotNegative = 0.0
    """Sigma of Gaussian soft-NMS in the place of the NMS of one class: instead of being dropped, a
    detection's score is multiplied by exp(-IoU^2 / sigma) for each better one; 0 for none."""
    flip_at_test: bool = False
    """Detect in each image and in its mirror image, in one NMS; twice the time. Not in training."""
    # No option of training: `tf-frcnn export --head-rank` sets it together with the weights.
    head_rank: Annotated[CountOrZero, tyro.conf.Suppress] = 0
    """Rank of the FC layers where each is a product of two smaller ones; 0 for whole ones."""
    # Nor this: published weights bring it.
    unused_columns: Annotated[tuple[Count, ...], tyro.conf.Suppress] = ()
    """Columns of the box head, from 1, that take part in its softmax and stand for no class."""

    @pydantic.model_validator(mode="after")
    def _check_maps(self) -> "ModelConfig":
        architecture = ARCHITECTURES[self.architecture]
        maps = f"with the {architecture.num_maps} maps of {self.architecture}"
        is_fit = architecture.num_maps == 1 or self.roi_op in ROI_OPS_OF_SEVERAL_MAPS
        _require(self, "roi_op", is_fit, f"{' or '.join(ROI_OPS_OF_SEVERAL_MAPS)} {maps}")
        is_fit = not architecture.anchors.one_size_a_map or (
            len(self.anchor_sizes) == architecture.num_maps
        )
        _require(self, "anchor_sizes", is_fit, f"one size for each map, {maps}")
        return self

    def class_columns(self, num_classes: int) -> tuple[int, ...]:
        """Find the box head's columns of classes 1..N; of published weights they are COCO's ids.

        Args:
            num_classes: N.
        """
        columns = range(1, 1 + num_classes + len(self.unused_columns))
        return tuple(column for column in columns if column not in self.unused_columns)


@_section("train")
@dataclass(frozen=True, config=_ONLY_FIELDS)
class TrainConfig:
    """How the network is trained; the defaults are the paper's and its reference code's."""

    steps: Count = 70_000
    """Optimiser steps in all."""
    batch_size: Count = 1
    """Images a step, on all devices and machines together."""
    learning_rate: Positive = 1e-3
    """Learning rate after the warm-up."""
    warmup_steps: CountOrZero = 0
    """Steps over which the rate grows linearly from nearly 0."""
    schedule: Literal["step", "cosine"] = "step"
    """After the warm-up: a factor at each of `decay_steps`, or half a cosine down to 0 at the last
    step, which needs no `decay_steps`."""
    decay_steps: Annotated[
        tuple[CountOrZero, ...],
        _expect(
            lambda steps: list(steps) == sorted(set(steps)), "steps in rising order, each once"
        ),
    ] = (50_000,)
    """Steps at which the rate is multiplied by `decay_factor`."""
    decay_factor: Positive = 0.1
    """What the rate is multiplied by at each of `decay_steps`."""
    optimizer: Annotated[
        str,
        _expect(
            lambda name: name in OPTIMIZER_NAMES or name.startswith(ADDONS_PREFIX),
            f"{', '.join(OPTIMIZER_NAMES)} or {ADDONS_PREFIX}NAME",
        ),
    ] = "sgd"
    """`sgd` (with momentum), `adam`, `adamw`, or `addons:NAME` for one of TensorFlow Addons."""
    momentum: BelowOne = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 5e-4
    """L2 on kernels (not on biases nor normalisation), coupled: its gradient goes through the
    momentum, as in Caffe. `adamw` takes it from the weights themselves, times the rate."""
    clip_norm: NotNegative = 0.0
    """Clip the gradients to this global norm; 0 for no clipping."""
    gradient_accumulation_steps: Count = 1
    """Update the weights at every Nth step only, with the mean of N gradients (Keras 3 only)."""
    ema_momentum: BelowOne = 0.0
    """Momentum, such as 0.999, of a moving average of the weights, which is then what is validated,
    evaluated and exported; 0 for none."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Type in which backbone and heads compute in training; weights, boxes, losses stay float32."""
    jit_compile: bool = False
    """Compile backbone, heads and losses with XLA in training; once for every size of image."""
    seed: Seed = 0
    """Seed of the weights, the order of images, the augmentation and the sampling."""
    start_from: Annotated[str, _expect(len, "imagenet, none, a detector's name or a PATH")] = (
        "imagenet"
    )
    """What the weights start from: `imagenet` (keras.applications' VGG16 or torchvision's trunks,
    downloaded once; EfficientNet-Lite0, from the extra [lite0]) or the PATH of such a file; the
    name of a published detector (`tf-frcnn models`) or the PATH of a file of torchvision's; the
    PATH of a run, a checkpoint or a SavedModel, with other classes if need be; `none` for random
    weights. With a detector's name or a model of your own the network is by default the same."""
    start_from_epsilon: NotNegative | None = None
    """Of the batch normalisation that a detector in a FILE.pth was trained with, which is in no
    file; when not given, torch's 1e-5, and what is published of the published file."""
    frozen_layers: tuple[Annotated[str, _expect(len, "beginnings of the names of layers")], ...] = (
        "block1",
        "block2",
    )
    """Layers of backbone and heads whose name starts so are not trained, normalisation included."""
    trainable_stages: CountOrZero | None = None
    """Stages of the backbone that are trained, counted from its end; all when not given."""
    normalization: Literal["batch", "frozen", "auto"] = "batch"
    """Batch normalisation in training: by the statistics of the batch; `frozen`, by those that the
    weights came with; `auto` is `frozen` with fewer than 8 images a device."""
    rpn_positive_iou: Probability = 0.7
    """An anchor whose IoU with a ground-truth box reaches this is an object."""
    rpn_negative_iou: Probability = 0.3
    """An anchor whose IoUs all stay below this is background."""
    rpn_batch_size: Count = 256
    """Anchors sampled per image for the RPN's losses."""
    rpn_positive_fraction: Probability = 0.5
    """Share of objects among them, at most."""
    ignore_border_anchors: bool = True
    """Leave anchors that cross the image's border out of the RPN's losses."""
    ignore_padding_anchors: bool = True
    """Leave anchors whose centre is in the padding out of them; torchvision's detectors learn that
    they are background."""
    rpn_pre_nms_top_k: Count = 12_000
    """Proposals kept before NMS in training."""
    rpn_post_nms_top_k: Count = 2_000
    """Proposals kept after NMS in training."""
    roi_batch_size: Count = 128
    """RoIs sampled per image for the box head's losses."""
    roi_positive_fraction: Probability = 0.25
    """Share of objects among them, at most."""
    roi_positive_iou: Probability = 0.5
    """A proposal whose largest IoU reaches this is an object of that box's class."""
    roi_background_iou: Probability = 0.0
    """Background proposals are taken from this IoU up first (the paper's 0.1 is in `voc07`)."""
    ignore_crowd_overlap: Probability = 0.0
    """Leave background anchors and proposals out of the losses where this share of their own area,
    such as 0.5, or more lies in one crowd or difficult box: they may hold an object that has no box
    of its own. 0 for none."""
    loss_mean: Literal["images", "batch"] = "images"
    """What the losses are means over: the samples of each image, then the images; or all samples of
    the batch at once, as in torchvision, where an image with more samples weighs more."""
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    """The box head's box loss: smooth L1 of the offsets, or the generalised IoU of the boxes; the
    RPN's is always smooth L1."""
    rpn_box_sigma: Positive = 3.0
    """Smooth-L1 sigma of the RPN's box loss."""
    roi_box_sigma: Positive = 1.0
    """Smooth-L1 sigma of the box head's box loss."""
    validate_every: Count = 500
    """Steps between two computations of the validation loss."""
    validate_pictures: CountOrZero = 0
    """Compute it on so many images of the validation split, drawn once by `seed`; 0 for all."""
    checkpoint_every: Count = 500
    """Steps between two checkpoints."""
    keep_checkpoints: Count = 2
    """How many of the latest checkpoints are kept, beside that of the lowest validation loss."""
    export: Literal["last", "best"] = "last"
    """Which weights are evaluated and exported: those of the last step, or those with the lowest
    validation loss."""
    early_stopping_patience: CountOrZero = 0
    """Stop after so many validations in a row without a new lowest loss; 0 for all steps."""
    deterministic: bool = False
    """Use operations that give the same bits each time; slower."""
    log_every: Count = 10
    """Steps between two lines of metrics.jsonl."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do about a step whose loss or gradient is not finite: stop and say why, or leave its
    update out, count it and go on. May differ when a run goes on."""

    @pydantic.model_validator(mode="after")
    def _check_warmup(self) -> "TrainConfig":
        _require(
            self,
            "warmup_steps",
            self.schedule == "step" or self.warmup_steps < self.steps,
            f"less than --train.steps, which is {self.steps}, with --train.schedule cosine",
        )
        return self

    @pydantic.model_validator(mode="after")
    def _check_ious(self) -> "TrainConfig":
        _require(
            self,
            "rpn_negative_iou",
            self.rpn_negative_iou <= self.rpn_positive_iou,
            f"at most --train.rpn-positive-iou, which is {self.rpn_positive_iou}",
        )
        _require(
            self,
            "roi_background_iou",
            self.roi_background_iou < self.roi_positive_iou,
            f"below --train.roi-positive-iou, which is {self.roi_positive_iou}",
        )
        return self


@_section("distribution")
@dataclass(frozen=True, config=_ONLY_FIELDS)
class DistributionConfig:
    """The devices and machines that a training is spread over."""

    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    """`none`: one device; `mirrored`: all GPUs of this machine; `multiworker`: the machines that
    the environment variable TF_CONFIG lists, on each of which the same command is started."""


@_section("")
@dataclass(frozen=True, config=_ONLY_FIELDS)
class Config:
    """A whole run: its data, its model, its training, and where the results go."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    output: str = ""
    """Folder of the run; `runs/PRESET` when not given."""
    export_dir: str = ""
    """Folder of the SavedModel's versions; `saved_models/PRESET` when not given."""

    @pydantic.model_validator(mode="after")
    def _check_validation(self) -> "Config":
        has_validation = self.data.val_split != NONE_SPLIT
        expected = f"a validation, and --data.val-split is {NONE_SPLIT}"
        for name, needs_it in (
            ("train.export", self.train.export == "best"),
            ("train.early_stopping_patience", self.train.early_stopping_patience > 0),
        ):
            _require(self, name, has_validation or not needs_it, expected)
        return self


def save_config(config: Config, path: Path) -> None:
    """Write a configuration as JSON, one field a line."""
    path.write_text(config_to_json(config), encoding="utf-8")


def config_to_json(config: Config) -> str:
    """Turn a configuration into JSON text, one field a line."""
    return json.dumps(config_to_dict(config), indent=2) + "\n"


def config_to_dict(config: Config) -> dict[str, Any]:
    """Turn a configuration into what its JSON holds: format, release, and the fields."""
    identity = {"format": FORMAT, RELEASE: metadata.version("tf_frcnn")}
    return {**identity, **dataclasses.asdict(config)}


def load_config(path: Path) -> Config:
    """Read a configuration that `save_config` wrote.

    Raises:
        ConfigError: the file is missing, is not JSON, or has a field that is unknown or wrong.
    """
    try:
        text = read_text(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text ({error.reason}).") from None
    if not text:
        raise ConfigError(f"{path}: {EMPTY}. Expected a config.json as training writes it.")
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """Read a configuration from the text of `config_to_json`, in this format or an older one.

    Args:
        text: JSON.
        source: where it is from, for messages.

    Raises:
        ConfigError: it is no JSON, is of a later format, or has a field that is unknown or wrong.
    """
    expected = "Expected a config.json as training writes it."
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{source}: is no JSON ({error}). {expected}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: is JSON, but no object. {expected}")
    values = upgrade_config(values, source)
    fields = {name: value for name, value in values.items() if name not in ("format", RELEASE)}
    try:
        return pydantic.TypeAdapter(Config).validate_python(fields, context=_KEPT)
    except pydantic.ValidationError as error:
        path, refusal = _describe(error)
        field_name = ".".join(map(str, path))
        raise ConfigError(f"{source}: {field_name}{refusal}. {expected}") from None


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """List a configuration's fields by their option names: `train.batch-size` -> 8."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name.replace("_", "-")
        values.update(
            flatten(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
        )
    return values
