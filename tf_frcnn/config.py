"""The configuration: frozen dataclasses, one field an option, checked when they are made.

The command line, its help and its errors come from these types (`tf_frcnn.commands.train`); a run
keeps its configuration as `config.json`, which is read back through the same types. Presets
(`tf_frcnn.presets`) are nothing but values for these fields. No TensorFlow here.
"""

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import tyro

from tf_frcnn.errors import ConfigError

NONE_SPLIT = "none"
OPTIMIZER_NAMES = ("sgd", "adam", "adamw")
ADDONS_PREFIX = "addons:"  # and the name of an optimiser of TensorFlow Addons


def _check(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a `ConfigError` that names the option, what it holds and what was expected."""
    if not condition:
        raise ConfigError(f"--{name.replace('_', '-')} {write_value(value)}: expected {expected}.")


def write_value(value: object) -> str:
    """Write the value of an option about as it is typed: `32 64` for a tuple."""
    text = shlex.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text or "(nothing)"


def _check_probability(name: str, value: float) -> None:
    _check(0.0 <= value <= 1.0, name, value, "a number from 0 to 1")


def _check_positive(name: str, value: float) -> None:
    _check(math.isfinite(value) and value > 0, name, value, "a number above 0")


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures and boxes are, and how they reach the network."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    format: Literal["auto", "voc", "coco", "tfds"] = "auto"
    """Layout of the data set: Pascal VOC, COCO JSON, or a set of TensorFlow Datasets by its name;
    `auto` looks at the folder."""
    root: str = ""
    """Folder of the data set; with the format `tfds` its name, such as voc/2007."""
    train_split: str = "train"
    """Split to train on: a list in ImageSets/Main (VOC), annotations/instances_NAME.json (COCO)."""
    val_split: str = "val"
    """Split for the validation loss; `none`, or no list of the name `val`, for no validation."""
    test_split: str = "test"
    """Split to evaluate on after training, `none` for no evaluation; where there is no list `test`,
    the validation split is evaluated, and named so."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their ids, from 1; when not given, those found in the data."""
    short_side: int = 600
    """Pictures are resized so that their shorter side has this many pixels ..."""
    long_side: int = 1000
    """... unless their longer side would then exceed this many."""
    horizontal_flip: float = 0.5
    """Probability with which a training picture is mirrored left to right."""
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    """Each training picture's `short_side` and `long_side` are multiplied by a factor drawn evenly
    from the first to the second number."""
    photometric_jitter: float = 0.0
    """Strength of random changes of a training picture's colours, from 0 (none) to 1: brightness
    by up to 32 of 255, contrast and saturation times 0.5 to 1.5, hue by up to 18 degrees."""
    crop: float = 0.0
    """Probability with which a training picture is cropped to a random window. Boxes are clipped to
    it; those whose centres are outside are dropped, but never all that a picture has."""
    crop_min_fraction: float = 0.5
    """Smallest height and width of that window, as fractions of the picture's."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about faults in the data: stop and list them, or go on without the boxes and
    pictures that have them."""
    draw_seed: int | None = None
    """Draw the quickstart's data set with this seed into `root` first (reused when it is there)."""

    def __post_init__(self) -> None:
        _check_positive("data.short_side", self.short_side)
        _check(
            self.long_side >= self.short_side,
            "data.long_side",
            self.long_side,
            f"at least --data.short-side, which is {self.short_side}",
        )
        for name in ("horizontal_flip", "photometric_jitter", "crop"):
            _check_probability(f"data.{name}", getattr(self, name))
        for factor in self.scale_jitter:
            _check_positive("data.scale_jitter", factor)
        _check(
            self.scale_jitter[0] <= self.scale_jitter[1],
            "data.scale_jitter",
            self.scale_jitter,
            "the smallest factor and then the largest",
        )
        _check(
            0.0 < self.crop_min_fraction <= 1.0,
            "data.crop_min_fraction",
            self.crop_min_fraction,
            "a number above 0, at most 1",
        )
        _check(
            len(set(self.classes)) == len(self.classes),
            "data.classes",
            self.classes,
            "every class name once",
        )
        for reserved in ("background", "__background__"):
            _check(
                reserved not in self.classes,
                "data.classes",
                self.classes,
                "object classes only: class 0, the background, is added by the model",
            )
        _check(
            self.train_split != NONE_SPLIT, "data.train_split", self.train_split, "a split's name"
        )


@dataclass(frozen=True)
class ModelConfig:
    """The network: what is saved with the weights and cannot change after training.

    The defaults are the paper's; the backbone's name fixes the widths of trunk, RPN and head.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    backbone: Literal["vgg16", "vgg16_quarter"] = "vgg16"
    """`vgg16` is the slides' network; `vgg16_quarter` its layer plan at a quarter of the width with
    batch normalisation, for small machines and small pictures."""
    backbone_weights: str = "imagenet"
    """`imagenet` (the keras.applications file, downloaded once), `none`, or the PATH of such a
    file, with or without its top."""
    anchor_sizes: tuple[float, ...] = (128.0, 256.0, 512.0)
    """Square roots of the anchors' areas, in pixels of the network's input."""
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width of the anchors."""
    roi_op: Literal["crop_and_resize", "roi_pool", "roi_align", "roi_align_aligned"] = (
        "crop_and_resize"
    )
    """RoI pooling operator; `crop_and_resize` samples 14 x 14 and max-pools 2 x 2."""
    dropout: float = 0.0
    """Dropout rate after each of the two FC layers."""
    rpn_pre_nms_top_k: int = 6000
    """Proposals kept before NMS in inference."""
    rpn_post_nms_top_k: int = 300
    """Proposals kept after NMS in inference."""
    rpn_nms_iou: float = 0.7
    """IoU above which the RPN's NMS drops the proposal with the lower score."""
    rpn_min_size: float = 16.0
    """Shortest side of a proposal, in pixels of the network's input."""
    box_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    """The detector's box targets (dy, dx, dh, dw) are divided by these."""
    score_threshold: float = 0.05
    """Detections below this score are dropped."""
    nms_iou: float = 0.3
    """IoU above which the NMS of one class drops the detection with the lower score."""
    max_detections: int = 100
    """Detections kept per picture."""
    # No option of training: `tf-frcnn export --head-rank` sets it together with the weights.
    head_rank: Annotated[int, tyro.conf.Suppress] = 0
    """Rank of the two FC layers where each is a product of two smaller ones; 0 for whole ones."""

    def __post_init__(self) -> None:
        for name in ("anchor_sizes", "aspect_ratios", "box_std"):
            values = getattr(self, name)
            _check(len(values) > 0, f"model.{name}", values, "at least one number")
            for value in values:
                _check_positive(f"model.{name}", value)
        for name in ("rpn_nms_iou", "score_threshold", "nms_iou"):
            _check_probability(f"model.{name}", getattr(self, name))
        _check(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "from 0 to below 1")
        for name in ("rpn_pre_nms_top_k", "rpn_post_nms_top_k", "max_detections"):
            _check_positive(f"model.{name}", getattr(self, name))
        for name in ("rpn_min_size", "head_rank"):
            _check(getattr(self, name) >= 0, f"model.{name}", getattr(self, name), "0 or more")
        _check(
            self.backbone_weights != "", "model.backbone_weights", "", "imagenet, none or a PATH"
        )


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained; the defaults are the paper's and its reference code's."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    steps: int = 70_000
    """Optimiser steps in all."""
    batch_size: int = 1
    """Pictures a step, on all devices and machines together."""
    learning_rate: float = 1e-3
    """Learning rate after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the rate grows linearly from nearly 0."""
    schedule: Literal["step", "cosine"] = "step"
    """After the warm-up: a factor at each of `decay_steps`, or half a cosine down to 0 at the last
    step, which needs no `decay_steps`."""
    decay_steps: tuple[int, ...] = (50_000,)
    """Steps at which the rate is multiplied by `decay_factor`."""
    decay_factor: float = 0.1
    """What the rate is multiplied by at each of `decay_steps`."""
    optimizer: str = "sgd"
    """`sgd` (with momentum), `adam`, `adamw`, or `addons:NAME` for one of TensorFlow Addons."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 on kernels (not on biases nor normalisation), coupled: its gradient goes through the
    momentum, as in Caffe. `adamw` takes it from the weights themselves, times the rate."""
    clip_norm: float = 0.0
    """Clip the gradients to this global norm; 0 for no clipping."""
    gradient_accumulation_steps: int = 1
    """Update the weights at every Nth step only, with the mean of N gradients (Keras 3 only)."""
    ema_momentum: float = 0.0
    """Momentum, such as 0.999, of a moving average of the weights, which is then what is validated,
    evaluated and exported; 0 for none."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Type in which trunk and heads compute in training; weights, boxes and losses stay float32."""
    jit_compile: bool = False
    """Compile trunk, heads and losses with XLA in training; once for every size of picture."""
    seed: int = 0
    """Seed of the weights, the order of pictures, the augmentation and the sampling."""
    frozen_layers: tuple[str, ...] = ("block1", "block2")
    """Layers of trunk and heads whose name starts so are not trained."""
    rpn_positive_iou: float = 0.7
    """An anchor whose IoU with a ground-truth box reaches this is an object."""
    rpn_negative_iou: float = 0.3
    """An anchor whose IoUs all stay below this is background."""
    rpn_batch_size: int = 256
    """Anchors sampled per picture for the RPN's losses."""
    rpn_positive_fraction: float = 0.5
    """Share of objects among them, at most."""
    ignore_border_anchors: bool = True
    """Leave anchors that cross the picture's border out of the RPN's losses."""
    rpn_pre_nms_top_k: int = 12_000
    """Proposals kept before NMS in training."""
    rpn_post_nms_top_k: int = 2_000
    """Proposals kept after NMS in training."""
    roi_batch_size: int = 128
    """RoIs sampled per picture for the detector's losses."""
    roi_positive_fraction: float = 0.25
    """Share of objects among them, at most."""
    roi_positive_iou: float = 0.5
    """A proposal whose largest IoU reaches this is an object of that box's class."""
    roi_background_iou: float = 0.0
    """Background proposals are taken from this IoU up first (the paper's 0.1 is in `voc07`)."""
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    """The detector's box loss: smooth L1 of the offsets, or the generalised IoU of the boxes; the
    RPN's is always smooth L1."""
    rpn_box_sigma: float = 3.0
    """Smooth-L1 sigma of the RPN's box loss."""
    roi_box_sigma: float = 1.0
    """Smooth-L1 sigma of the detector's box loss."""
    validate_every: int = 500
    """Steps between two computations of the validation loss."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """How many of the latest checkpoints are kept, beside that of the lowest validation loss."""
    export: Literal["last", "best"] = "last"
    """Which weights are evaluated and exported: those of the last step, or those with the lowest
    validation loss."""
    early_stopping_patience: int = 0
    """Stop after so many validations in a row without a new lowest loss; 0 for all steps."""
    deterministic: bool = False
    """Use operations that give the same bits each time; slower."""
    log_every: int = 10
    """Steps between two lines of metrics.jsonl."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do about a step whose loss or gradient is not finite: stop and say why, or leave its
    update out, count it and go on. May differ when a run goes on."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "learning_rate",
            "decay_factor",
            "gradient_accumulation_steps",
            "rpn_batch_size",
            "rpn_pre_nms_top_k",
            "rpn_post_nms_top_k",
            "roi_batch_size",
            "rpn_box_sigma",
            "roi_box_sigma",
            "validate_every",
            "checkpoint_every",
            "keep_checkpoints",
            "log_every",
        ):
            _check_positive(f"train.{name}", getattr(self, name))
        for name in (
            "rpn_positive_iou",
            "rpn_negative_iou",
            "rpn_positive_fraction",
            "roi_positive_fraction",
            "roi_positive_iou",
            "roi_background_iou",
        ):
            _check_probability(f"train.{name}", getattr(self, name))
        for name in ("momentum", "ema_momentum"):
            value = getattr(self, name)
            _check(0.0 <= value < 1.0, f"train.{name}", value, "from 0 to below 1")
        _check(
            self.optimizer in OPTIMIZER_NAMES or self.optimizer.startswith(ADDONS_PREFIX),
            "train.optimizer",
            self.optimizer,
            f"{', '.join(OPTIMIZER_NAMES)} or {ADDONS_PREFIX}NAME",
        )
        for layer_name in self.frozen_layers:
            _check(
                layer_name != "", "train.frozen_layers", '""', "beginnings of the names of layers"
            )
        _check(
            self.schedule == "step" or self.warmup_steps < self.steps,
            "train.warmup_steps",
            self.warmup_steps,
            f"less than --train.steps, which is {self.steps}, with --train.schedule cosine",
        )
        counts = ("warmup_steps", "seed", "early_stopping_patience")
        for name in ("weight_decay", "clip_norm", *counts):
            value = getattr(self, name)
            _check(math.isfinite(value) and value >= 0, f"train.{name}", value, "0 or more")
        _check(
            self.rpn_negative_iou <= self.rpn_positive_iou,
            "train.rpn_negative_iou",
            self.rpn_negative_iou,
            f"at most --train.rpn-positive-iou, which is {self.rpn_positive_iou}",
        )
        _check(
            self.roi_background_iou < self.roi_positive_iou,
            "train.roi_background_iou",
            self.roi_background_iou,
            f"below --train.roi-positive-iou, which is {self.roi_positive_iou}",
        )
        _check(
            list(self.decay_steps) == sorted(set(self.decay_steps)),
            "train.decay_steps",
            self.decay_steps,
            "steps in rising order, each once",
        )


@dataclass(frozen=True)
class DistributionConfig:
    """The devices and machines that a training is spread over."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    """`none`: one device; `mirrored`: all GPUs of this machine; `multiworker`: the machines that
    the environment variable TF_CONFIG lists, on each of which the same command is started."""


@dataclass(frozen=True)
class Config:
    """A whole run: its data, its model, its training, and where the results go."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    output: str = ""
    """Folder of the run; `runs/PRESET` when not given."""
    export_dir: str = ""
    """Folder of the SavedModel's versions; `saved_models/PRESET` when not given."""

    def __post_init__(self) -> None:
        for name, is_given in (
            ("export", self.train.export == "best"),
            ("early_stopping_patience", self.train.early_stopping_patience > 0),
        ):
            _check(
                not is_given or self.data.val_split != NONE_SPLIT,
                f"train.{name}",
                getattr(self.train, name),
                f"a validation, and --data.val-split is {NONE_SPLIT}",
            )


def save_config(config: Config, path: Path) -> None:
    """Write a configuration as JSON, one field a line."""
    path.write_text(config_to_json(config), encoding="utf-8")


def config_to_json(config: Config) -> str:
    """Turn a configuration into JSON text, one field a line."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def load_config(path: Path) -> Config:
    """Read a configuration that `save_config` wrote.

    Raises:
        ConfigError: the file is missing, is not JSON, or has a field that is unknown or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text ({error.reason}).") from None
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """Read a configuration from the text that `config_to_json` made.

    Args:
        text: JSON.
        source: where it is from, for messages.

    Raises:
        ConfigError: it is no JSON, or has a field that is unknown or wrong.
    """
    try:
        return pydantic.TypeAdapter(Config).validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(
            f"{source}: {name}: {first['msg']}. Expected a config.json as training writes it."
        ) from None


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """List a configuration's fields by their option names: `train.batch-size` -> 8."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name.replace("_", "-")
        values.update(
            flatten(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
        )
    return values
