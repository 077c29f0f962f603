"""Faster R-CNN as one functional model: Figure 2 of the paper, read from top to bottom.

Letters in shapes, everywhere in this package:

| letter | what it counts |                | letter | what it counts |
|--------|----------------|----------------|--------|----------------|
| B      | images         |                | R      | RoIs           |
| H, W   | pixels         |                | G      | ground-truth boxes, padded |
| h, w   | feature-map cells |             | N      | object classes, without the background |
| L      | feature maps   |                | D      | detections     |
| A      | anchors of an image |           | C      | channels       |
| K      | proposals      |                |        |                |

`boxes` are [..., 4] float32 [ymin, xmin, ymax, xmax] in absolute pixels of the network's input,
half-open. Class 0 is the background, 1..N are the objects. `anchor_size` is the square root of an
area, `aspect_ratio` is height / width. What there is of every map travels as a tuple, fine to
coarse; a network with one map, as VGG16, has tuples of one.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.architectures.architecture import Architecture
from tf_frcnn.arguments import check_whole_number, options_renamed
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.config import ModelConfig
from tf_frcnn.config_upgrade import FORMAT, upgrade_config
from tf_frcnn.errors import ConfigError, WeightsError
from tf_frcnn.layers.anchor_generator import AnchorGenerator
from tf_frcnn.layers.detections import DetectionLayer
from tf_frcnn.layers.heads.box_head import CLASS_LAYERS
from tf_frcnn.layers.mirroring import AddMirrored, JoinMirrored
from tf_frcnn.layers.preprocessing import Preprocessing
from tf_frcnn.layers.proposals import ProposalLayer
from tf_frcnn.layers.roi_pooling import RoIPooling
from tf_frcnn.model_files import find_model
from tf_frcnn.model_weights import load_weights
from tf_frcnn.pretrained.detectors import AS_ARGUMENTS, DETECTORS

logger = logging.getLogger(__name__)

PUBLISHED = "published"

STAGES = (
    "preprocessing",
    "backbone",
    "anchor_generator",
    "rpn_head",
    "proposal_layer",
    "roi_pooling",
    "box_head",
    "detection_layer",
)
"""The stages of the network, in the order of the data's flow: names of its attributes.

With `flip_at_test` there are two more, `add_mirrored` and `join_mirrored`, which nobody replaces.
"""

Call = Callable[[str, Any], Any]
"""Runs a stage, by its name, on its inputs."""


def forward(call: Call, images: Any, image_sizes: Any, flip_at_test: bool) -> dict[str, Any]:
    """Detect objects in images: the whole of inference.

    The model itself, the benchmark and the TFLite file all run this, each with a `call` of its own.

    Args:
        call: see `Call`.
        images: [B, H, W, 3] float32 RGB, 0-255, padded at the bottom and the right.
        image_sizes: [B, 2] float32 (height, width) before padding.
        flip_at_test: whether the network also sees the mirror images: all stages but the last have
            2B images then.

    Returns:
        What the detection layer answers.
    """
    if flip_at_test:
        images, image_sizes = call("add_mirrored", (images, image_sizes))
    pixels = call("preprocessing", (images, image_sizes))  # [B, H', W', 3]
    maps = as_maps(call("backbone", pixels))  # L x [B, h, w, C]
    anchors = call("anchor_generator", (pixels, maps))  # L x [A, 4]
    objectness, anchor_deltas = call("rpn_head", maps)  # L x [B, A], L x [B, A, 4]
    proposals = call("proposal_layer", (objectness, anchor_deltas, anchors, image_sizes))
    roi_features = call("roi_pooling", (maps, proposals))  # [B, K, 7, 7, C]; proposals [B, K, 4]
    class_logits, box_deltas = call("box_head", roi_features)  # [B, K, 1+N], [B, K, 1+N, 4]
    found = (class_logits, box_deltas, proposals, image_sizes)
    if flip_at_test:
        found = call("join_mirrored", found)  # of B images, 2K proposals each
    return call("detection_layer", found)


@keras.saving.register_keras_serializable(package="tf_frcnn")
class FasterRCNN(keras.Model):
    """The network: images in, detections out; its stages are attributes that training uses.

    Inputs: images [B, H, W, 3] float32 RGB, 0-255, padded at the bottom and the right to a common
    size; image_sizes [B, 2] float32 (height, width) before padding. Returns the dict that
    `DetectionLayer` describes.

    Args of `__init__`: `config` of the network (or its fields as a dict), `num_classes` N without
    the background, `precision` (a Keras dtype policy) in which backbone and heads compute; the
    weights and everything that has to do with boxes are float32 whatever it is, and a policy that
    is set for all of Keras changes nothing. Any of `STAGES` can be given as a layer of one's own,
    in the place of the architecture's: a `backbone` is a model from images, as the preprocessing
    makes them, to one feature map or several, fine to coarse.

    Raises of `__init__`: `ValueError` where a stage has a name that is none of `STAGES`;
    `ConfigError` where `num_classes` is no whole number above 0, or Keras is set to channels first.
    """

    def __init__(
        self,
        config: ModelConfig | dict[str, Any],
        num_classes: int,
        precision: str = "float32",
        name: str | None = None,
        **stages: keras.layers.Layer,
    ) -> None:
        if isinstance(config, dict):  # of a saved Keras model, perhaps an older one
            written = {"format": config.get("format", 1), "model": config}
            values = upgrade_config(written, "FasterRCNN")["model"]
            config = ModelConfig(**{key: value for key, value in values.items() if key != "format"})
        if unknown := sorted(set(stages) - set(STAGES)):
            raise ValueError(f"{unknown[0]} is no stage: expected some of {', '.join(STAGES)}.")
        num_classes = _check_num_classes(num_classes)
        _check_image_data_format()
        architecture = ARCHITECTURES[config.architecture]
        with _own_precision():
            own = build_stages(architecture, config, num_classes, precision, stages)
            images = keras.Input((None, None, 3), name="images", dtype="float32")
            image_sizes = keras.Input((2,), name="image_sizes", dtype="float32")
            detections = forward(
                lambda name, inputs: own[name](inputs), images, image_sizes, config.flip_at_test
            )
            super().__init__(inputs=[images, image_sizes], outputs=detections, name=name)
        for stage_name, stage in own.items():
            setattr(self, stage_name, stage)
        self.config = config
        self.num_classes = num_classes
        self.precision = precision
        self.given_stages = tuple(sorted(stages))

    @classmethod
    def from_preset(
        cls,
        preset: str | Path,
        num_classes: int | None = None,
        precision: str = "float32",
        name: str | None = None,
        weights: str | Path | None = None,
        **options: Any,
    ) -> "FasterRCNN":
        """Build a network of an architecture, or load a trained one.

        Args:
            preset: the name of an architecture, whose weights start at random; or the path of a
                trained model: folder of a run, of which the latest checkpoint is taken, or the best
                where it was trained with `--train.export best`; a checkpoint of a run; a
                SavedModel's version folder; or its parent, of which the highest number is taken.
            num_classes: N, without the background. Of a trained model its own where it is None;
                with another number, what depends on it starts at random, which is logged.
            precision: as in the class.
            name: of the Keras model.
            weights: of a published detector (`tf-frcnn models`), whose name is that of its
                architecture: "published" for the published ones, which are downloaded once, or a
                file in the layout of torchvision's same detector, for any classes; at random where
                it is None.
            **options: fields of `ModelConfig`, in the place of its defaults or of the trained
                model's own; and stages, as in the class.

        Raises:
            ConfigError: an option is unknown or wrong, or there is no number of classes.
            WeightsError: there is no such architecture or model, or its weights cannot be read, or
                are of another network than the options make.
        """
        stages = {key: options.pop(key) for key in STAGES if key in options}
        _check_options(options)
        if weights is not None and preset not in DETECTORS:
            raise ConfigError(
                f"weights = {str(weights)!r}: {preset} is no published detector. Expected one of "
                f"{', '.join(DETECTORS)}, or no weights."
            )
        if preset in ARCHITECTURES and weights is None:
            if num_classes is None:
                known = ', or weights="published" for COCO\'s' if preset in DETECTORS else ""
                raise ConfigError(
                    f"num_classes is missing: {preset} is an architecture and knows no classes. "
                    f'Expected their number: FasterRCNN.from_preset("{preset}", num_classes=3)'
                    f"{known}."
                )
            settings = ARCHITECTURES[str(preset)].settings.get("model", {})
            config = ModelConfig(**{**settings, **options, "architecture": preset})
            return cls(config, num_classes, precision, name, **stages)
        if weights is None and not Path(preset).exists():
            raise WeightsError(
                f"{preset}: is no architecture ({', '.join(ARCHITECTURES)}), and there is no file "
                "or folder of this name. Expected one of these names, or the path of a run, of one "
                "of its checkpoints or of a SavedModel."
            )
        path = None if weights in (None, PUBLISHED) else Path(weights)
        with options_renamed(AS_ARGUMENTS):
            model = find_model(preset, path, any_classes=True)
        of_run = model.load_config()
        config = dataclasses.replace(of_run.model, **options)
        network = cls(config, len(of_run.data.classes), precision, name, **stages)
        try:
            load_weights(model, network)
        except WeightsError as error:
            for key, value in options.items():
                if value != (trained := getattr(of_run.model, key)):
                    raise WeightsError(
                        f"{preset}: its weights do not fit {key} = {value!r}; it was trained with "
                        f"{trained!r}. Leave {key} out."
                    ) from error
            raise
        if num_classes is None or _check_num_classes(num_classes) == network.num_classes:
            return network
        config = dataclasses.replace(config, unused_columns=())
        other = cls(config, num_classes, precision, name, **stages)
        _take_weights(other, network, str(preset))
        return other

    def run_stage(self, name: str, inputs: Any) -> Any:
        """Run a stage on its inputs: the plainest `Call`."""
        return getattr(self, name)(inputs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        stages = {name: getattr(self, name) for name in self.given_stages}
        return {
            "config": {"format": FORMAT, **dataclasses.asdict(self.config)},
            "num_classes": self.num_classes,
            "precision": self.precision,
            "name": self.name,
            **{name: keras.saving.serialize_keras_object(one) for name, one in stages.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "FasterRCNN":
        """Build the model that `get_config` described, with new weights."""
        stages = {
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            for name, value in config.items()
            if name in STAGES
        }
        return cls(**{**config, **stages})


def check_network(network: Any) -> None:
    """Refuse, as the argument `network`, what is none.

    Raises:
        ConfigError: it is of another type.
    """
    if isinstance(network, FasterRCNN):
        return
    inner = getattr(network, "network", None)
    hint = " Pass its network: trainer.network." if isinstance(inner, FasterRCNN) else ""
    raise ConfigError(f"network is a {type(network).__name__}: expected a FasterRCNN.{hint}")


def _check_num_classes(number: Any) -> int:
    expected = "a whole number above 0, without the background"
    return check_whole_number("num_classes", number, 1, expected)


def _check_image_data_format() -> None:
    """Refuse what is set for all of Keras, where that is channels first."""
    if (data_format := keras.backend.image_data_format()) != "channels_last":
        raise ConfigError(
            f"Keras' image_data_format is {data_format}: the network takes [B, H, W, 3], channels "
            'last. Call keras.backend.set_image_data_format("channels_last") before you build or '
            "load it."
        )


@contextmanager
def _own_precision() -> Iterator[None]:
    """Let no dtype policy that is set for all of Keras reach what is built in the block."""
    policy = keras.mixed_precision.global_policy()
    if policy.name == "float32":
        yield
        return
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse what is neither a stage nor a field of the configuration."""
    known = [field.name for field in dataclasses.fields(ModelConfig)]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f"{unknown[0]}: there is no such option. Expected fields of ModelConfig "
            f"({', '.join(known)}) or stages ({', '.join(STAGES)})."
        )


def _take_weights(network: FasterRCNN, trained: FasterRCNN, source: str) -> None:
    """Take the weights of a network with other classes, but for the layers of the classes."""
    weights = named_weights(trained)
    left = []
    for name, variable in named_weights(network).items():
        of_classes = name.split("/")[0] in CLASS_LAYERS
        if not of_classes and variable.shape == weights[name].shape:
            variable.assign(weights[name])
        else:
            left.append(name)
    logger.warning(
        "%s: has %d classes, and %d were asked for; %s start at random",
        *(source, trained.num_classes, network.num_classes, ", ".join(left)),
    )


def as_maps(outputs: Any) -> tuple[Any, ...]:
    """Put what a backbone answers, one map or several in any structure, into a tuple."""
    return tuple(tf.nest.flatten(outputs))


def build_stages(
    architecture: Architecture,
    config: ModelConfig,
    num_classes: int,
    precision: str,
    given: Mapping[str, keras.layers.Layer],
) -> dict[str, keras.layers.Layer]:
    """Build the stages of a network, but for those that are given -> name -> layer, in order."""
    pixels, grid, rule = architecture.pixels, architecture.anchors, architecture.proposals
    anchor_generator = given.get("anchor_generator") or AnchorGenerator(
        config.anchor_sizes,
        config.aspect_ratios,
        grid.offset,
        grid.rounded,
        grid.one_size_a_map,
        name="anchor_generator",
    )
    strides = architecture.strides
    if "backbone" in given:
        strides = find_strides(given["backbone"])
    builders: dict[str, Callable[[], keras.layers.Layer]] = {
        "preprocessing": lambda: Preprocessing(
            pixels.order,
            pixels.mean,
            pixels.std,
            max(pixels.multiple, *strides),
            name="preprocessing",
        ),
        "backbone": lambda: architecture.backbone(precision),
        "anchor_generator": lambda: anchor_generator,
        "rpn_head": lambda: architecture.rpn_head(anchor_generator.num_anchors, precision),
        "proposal_layer": lambda: ProposalLayer(
            config.rpn_pre_nms_top_k,
            config.rpn_post_nms_top_k,
            config.rpn_nms_iou,
            config.rpn_min_size,
            rule.min_score,
            rule.sifts_first,
            name="proposals",
        ),
        "roi_pooling": lambda: RoIPooling(config.roi_op, strides, name="roi_pooling"),
        "box_head": lambda: architecture.box_head(
            num_classes + len(config.unused_columns),
            precision,
            dropout=config.dropout,
            rank=config.head_rank,
        ),
        "detection_layer": lambda: DetectionLayer(
            config.score_threshold,
            config.nms_iou,
            config.max_detections,
            config.box_std,
            architecture.min_detection_side,
            config.unused_columns,
            config.soft_nms_sigma,
            name="detections",
        ),
    }
    if config.flip_at_test:
        builders["add_mirrored"] = lambda: AddMirrored(name="add_mirrored", dtype="float32")
        builders["join_mirrored"] = lambda: JoinMirrored(name="join_mirrored", dtype="float32")
    return {name: given[name] if name in given else build() for name, build in builders.items()}


def find_strides(backbone: keras.Model) -> tuple[int, ...]:
    """Find the strides of a backbone's maps, in pixels of its input, fine to coarse."""
    side = 1 << 10
    maps = as_maps(backbone(keras.Input((side, side, 3))))
    return tuple(side // int(one_map.shape[1]) for one_map in maps)
