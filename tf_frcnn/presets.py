"""The recipes, by name: values for the fields of the configuration, nothing else."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.config import Config, DataConfig, ModelConfig, TrainConfig


def quickstart() -> Config:
    """Train a small network on drawn cats, dogs and ducks: minutes on two cores, no download.

    The VGG16 layer plan at a quarter of its width with batch normalisation, from random weights.
    It shows every part of the system at work; it is no detector for photographs.
    """
    return Config(
        data=DataConfig(
            format="voc",
            root="data/quickstart",
            classes=("cat", "dog", "duck"),
            short_side=192,
            long_side=256,
            draw_seed=0,
        ),
        model=ModelConfig(
            architecture="vgg16_quarter",
            anchor_sizes=(32.0, 64.0, 128.0),
            rpn_pre_nms_top_k=1000,
            rpn_post_nms_top_k=100,
            rpn_min_size=4.0,
            max_detections=20,
        ),
        train=TrainConfig(
            steps=300,
            batch_size=8,
            learning_rate=0.02,
            warmup_steps=30,
            decay_steps=(220,),
            clip_norm=10.0,
            start_from="none",
            frozen_layers=(),
            rpn_batch_size=128,
            ignore_border_anchors=False,
            rpn_pre_nms_top_k=1000,
            rpn_post_nms_top_k=200,
            roi_batch_size=32,
            roi_positive_fraction=0.5,
            validate_every=150,
            checkpoint_every=100,
        ),
    )


def voc07() -> Config:
    """Follow the paper on PASCAL VOC 2007: train on trainval, test on test, 70k steps.

    Expected VOC mAP (11 points) 0.70; it needs a GPU and `--data.root VOCdevkit/VOC2007`.
    """
    return Config(
        data=DataConfig(
            format="voc",
            train_split="trainval",
            val_split="none",
            classes=(
                *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
                *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
                *("sheep", "sofa", "train", "tvmonitor"),
            ),
        ),
        # 16 px of the stored image, at the scale of VOC's 500 x 375: 600 / 375 = 1.6.
        model=ModelConfig(dropout=0.5, rpn_min_size=16.0 * 1.6),
        train=TrainConfig(roi_background_iou=0.1, checkpoint_every=2000, log_every=20),
    )


def finetune() -> Config:
    """Train VGG16 from ImageNet weights on a folder of your own: `--data.root DIR`.

    The paper's recipe, shortened, and with what later detectors found better for objects that are
    small or cut by the image's border.
    """
    return Config(
        model=ModelConfig(
            anchor_sizes=(32.0, 64.0, 128.0, 256.0, 512.0),
            rpn_min_size=1.0,
            nms_iou=0.5,
            soft_nms_sigma=0.5,  # chosen on a validation split: results/screening.md
        ),
        train=TrainConfig(
            steps=2000,
            warmup_steps=50,
            decay_steps=(1500,),
            ignore_border_anchors=False,
            roi_box_sigma=3.0,
        ),
    )


def explain_rate(train: TrainConfig, preset: TrainConfig) -> str:
    """Say that a learning rate does not fit the number of images a step.

    The rule for SGD is linear (Goyal et al., 2017, *Accurate, large minibatch SGD*): the rate goes
    with the images that one update is computed from. A rate within a factor of 2 of what follows
    from the preset's own fits; rates of other optimisers do not go so, and are not judged.

    Args:
        train: what was asked for.
        preset: of the preset, before options.

    Returns:
        What to log, or "".
    """
    images, of_preset = _images_an_update(train), _images_an_update(preset)
    fitting = preset.learning_rate * images / of_preset
    fits = fitting / 2 <= train.learning_rate <= fitting * 2
    is_own = (train.learning_rate, images) == (preset.learning_rate, of_preset)
    if fits or is_own or not train.optimizer == preset.optimizer == "sgd":
        return ""
    return (
        f"--train.learning-rate {train.learning_rate:g}: does not go with {images} images an "
        f"update. The preset has {preset.learning_rate:g} for {of_preset}, and the rate goes with "
        f"the images: {fitting:g} would fit"
    )


def explain_decay(train: TrainConfig, preset: TrainConfig) -> str:
    """Say that a training ends before its rate decays, where the preset's decays.

    Args:
        train: what was asked for.
        preset: of the preset, before options.

    Returns:
        What to log, or "".
    """
    decays = [bool(one.decay_steps) and one.decay_steps[0] < one.steps for one in (train, preset)]
    if decays != [False, True] or not train.decay_steps or train.schedule != "step":
        return ""
    fitting = [round(train.steps * step / preset.steps) for step in preset.decay_steps]
    return (
        f"--train.steps {train.steps}: ends before the rate decays, at --train.decay-steps "
        f"{' '.join(map(str, train.decay_steps))}. {' '.join(map(str, fitting))} would be the "
        "preset's share"
    )


def explain_nms(model: ModelConfig, before: ModelConfig) -> str:
    """Say that a limit of IoU was chosen that soft-NMS does not look at.

    Args:
        model: what was asked for.
        before: of the preset or the trained model, before options.

    Returns:
        What to log, or "".
    """
    if model.nms_iou == before.nms_iou or model.soft_nms_sigma == 0.0:
        return ""
    return (
        f"--model.nms-iou {model.nms_iou:g}: has no part in soft-NMS (--model.soft-nms-sigma "
        f"{model.soft_nms_sigma:g}), which lowers scores by any overlap. --model.soft-nms-sigma 0 "
        "is the NMS that has a limit"
    )


def _images_an_update(train: TrainConfig) -> int:
    return train.batch_size * train.gradient_accumulation_steps


def with_architecture(config: Config, name: str) -> Config:
    """Take another architecture, with the settings that it was published with.

    Args:
        config: of a preset, whose own values give way to those settings.
        name: of the architecture.
    """
    settings = ARCHITECTURES[name].settings
    sections = {
        section: dataclasses.replace(getattr(config, section), **values)
        for section, values in settings.items()
    }
    config = dataclasses.replace(config, **sections)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, architecture=name))


def as_started(config: Config, name: str, run: Config) -> Config:
    """Take the defaults that a preset had when a run was started that is to go on.

    Args:
        config: of the preset, before options.
        name: of the preset.
        run: the configuration that the run has.
    """
    former = {
        field: value
        for field, value in FORMER_DEFAULTS.get(name, {}).items()
        if getattr(run.model, field) == value
    }
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **former))


FORMER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"finetune": {"soft_nms_sigma": 0.0}}
"""What fields of `ModelConfig` were before: preset -> field -> value."""
PRESETS: dict[str, Callable[[], Config]] = {
    "quickstart": quickstart,
    "voc07": voc07,
    "finetune": finetune,
}
