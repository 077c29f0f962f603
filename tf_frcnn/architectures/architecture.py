"""What the name of a network fixes: a frozen record of plain values and builders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Pixels:
    """How RGB pixels from 0 to 255 become what the backbone expects.

    Attributes:
        order: of the channels.
        mean: subtracted from the channels, in that order.
        std: what they are divided by after that.
        multiple: heights and widths are padded to multiples of this, after the normalisation.
    """

    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    multiple: int


# Mean and deviation of ImageNet's training images, in values from 0 to 1, as torchvision has them.
IMAGENET_PIXELS = Pixels(
    order="rgb",
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    multiple=32,
)


@dataclass(frozen=True)
class AnchorGrid:
    """Where anchors stand, and which sizes each map has.

    Attributes:
        offset: of an anchor's centre from the upper left corner of its cell, in cells.
        rounded: whether the anchors of a cell have whole coordinates.
        one_size_a_map: the first map has the first size alone, and so on; otherwise every map has
            all sizes.
    """

    offset: float
    rounded: bool
    one_size_a_map: bool


@dataclass(frozen=True)
class ProposalRule:
    """In which order proposals are sifted, and by what.

    Attributes:
        sifts_first: boxes that are too small go before the best are taken, as in the reference
            implementation of the paper; otherwise after.
        min_score: boxes with a lower probability of an object go too.
    """

    sifts_first: bool = True
    min_score: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """A network by its name; all else that `ModelConfig` holds can be chosen freely.

    Attributes:
        backbone: dtype policy -> model from images [B, H, W, 3], as `pixels` makes them, to `Maps`.
        strides: of the maps that RoIs are pooled from, fine to coarse: the first so many of the
            backbone's maps; in pixels of the network's input.
        pixels: what the backbone expects.
        anchors: where they stand.
        proposals: how they are sifted.
        rpn_head: (anchors a cell, dtype policy) -> layer, used on every map.
        box_head: (object classes, dtype policy, dropout=rate, rank=of the FC layers) -> layer; as
            in `BoxHead`.
        num_maps: that the backbone answers, and the RPN reads.
        min_detection_side: detections with a shorter side are dropped; in pixels of the network's
            input.
        stages: of the backbone, in the order of the data's flow: beginnings of the names of the
            layers of each; its pyramid is none of them.
        from_weights: field -> value of the training's configuration where it starts from a trained
            detector.
        from_imagenet: the same where it starts from a trunk that was trained on ImageNet; where it
            is None, as `from_weights`.
        settings: section -> field -> value of the configuration that the network was published
            with, where it differs from the defaults, which are the paper's.
    """

    backbone: Callable[[str], "keras.Model"]
    strides: tuple[int, ...]
    pixels: Pixels
    anchors: AnchorGrid
    proposals: ProposalRule
    rpn_head: Callable[[int, str], "keras.layers.Layer"]
    box_head: Callable[..., "keras.layers.Layer"]
    num_maps: int = 1
    min_detection_side: float = 0.0
    stages: tuple[tuple[str, ...], ...] = ()
    from_weights: Mapping[str, Any] = field(default_factory=dict)
    from_imagenet: Mapping[str, Any] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
