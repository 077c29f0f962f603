"""The recipes' numbers: `voc07` is the paper's, and no preset touches the architecture."""

import dataclasses

import pytest

from tf_frcnn.config import ModelConfig
from tf_frcnn.presets import (
    PRESETS,
    as_started,
    explain_decay,
    explain_nms,
    explain_rate,
    finetune,
    quickstart,
    voc07,
    with_architecture,
)


def test_the_presets():
    assert list(PRESETS) == ["quickstart", "voc07", "finetune"]


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("data", "short_side", 600),
        ("data", "long_side", 1000),
        ("data", "antialias", False),
        ("data", "horizontal_flip", 0.5),
        ("data", "train_split", "trainval"),
        ("data", "test_split", "test"),
        ("model", "architecture", "vgg16"),
        ("train", "start_from", "imagenet"),
        ("model", "anchor_sizes", (128, 256, 512)),
        ("model", "aspect_ratios", (0.5, 1.0, 2.0)),
        ("model", "roi_op", "crop_and_resize"),
        ("model", "dropout", 0.5),
        # Proposals: 12000 before and 2000 after NMS in training, 6000 / 300 in inference.
        ("train", "rpn_pre_nms_top_k", 12_000),
        ("train", "rpn_post_nms_top_k", 2_000),
        ("model", "rpn_pre_nms_top_k", 6_000),
        ("model", "rpn_post_nms_top_k", 300),
        ("model", "rpn_nms_iou", 0.7),
        ("model", "rpn_min_size", 16 * 1.6),  # px of the image times the scale 600 / 375
        # Box targets of the detector divided by (0.1, 0.1, 0.2, 0.2).
        ("model", "box_std", (0.1, 0.1, 0.2, 0.2)),
        # Test: score 0.05, per-class NMS 0.3, 100 an image.
        ("model", "score_threshold", 0.05),
        ("model", "nms_iou", 0.3),
        ("model", "soft_nms_sigma", 0.0),
        ("model", "max_detections", 100),
        # conv1_x and conv2_x frozen.
        ("train", "frozen_layers", ("block1", "block2")),
        # RPN: 256 anchors, at most half of them positive; 0.7 / 0.3; none across the border.
        ("train", "rpn_positive_iou", 0.7),
        ("train", "rpn_negative_iou", 0.3),
        ("train", "rpn_batch_size", 256),
        ("train", "rpn_positive_fraction", 0.5),
        ("train", "ignore_border_anchors", True),
        ("train", "ignore_crowd_overlap", 0.0),
        # Detection: 128 RoIs, 25 % of IoU 0.5 and above, background from 0.1.
        ("train", "roi_batch_size", 128),
        ("train", "roi_positive_fraction", 0.25),
        ("train", "roi_positive_iou", 0.5),
        ("train", "roi_background_iou", 0.1),
        ("train", "rpn_box_sigma", 3.0),
        ("train", "roi_box_sigma", 1.0),
        # SGD 1e-3, momentum 0.9, L2 5e-4, 50k iterations, then 20k at 1e-4. Batch 1.
        ("train", "learning_rate", 1e-3),
        ("train", "momentum", 0.9),
        ("train", "weight_decay", 5e-4),
        ("train", "steps", 50_000 + 20_000),
        ("train", "decay_steps", (50_000,)),
        ("train", "decay_factor", 0.1),
        ("train", "warmup_steps", 0),
        ("train", "clip_norm", 0.0),
        ("train", "batch_size", 1),
    ],
)
def test_voc07_has_the_constants_of_the_paper(section, name, value):
    assert getattr(getattr(voc07(), section), name) == value


def test_voc07_has_the_twenty_classes_in_the_order_of_their_names():
    classes = voc07().data.classes
    assert len(classes) == 20 and list(classes) == sorted(classes)
    assert {"aeroplane", "diningtable", "pottedplant", "tvmonitor"} <= set(classes)


def test_what_fixes_the_layers_does_not_depend_on_the_preset():
    # The vgg16 presets share every field that a layer's shape or arithmetic depends on, but for
    # anchors, which the user's objects decide. The paper's recipe adds dropout and a limit.
    fields = ("architecture", "aspect_ratios", "roi_op", "box_std")
    for preset in (voc07, finetune):
        for name in fields:
            assert getattr(preset().model, name) == getattr(ModelConfig(), name)
    limits = {"dropout": ModelConfig.dropout, "rpn_min_size": ModelConfig.rpn_min_size}
    assert dataclasses.replace(voc07().model, **limits) == ModelConfig()


def test_quickstart_needs_no_download_and_draws_the_slides_classes():
    config = quickstart()
    assert config.train.start_from == "none"
    assert config.data.draw_seed is not None
    assert config.data.classes == ("cat", "dog", "duck")


def test_finetune_finds_the_classes_in_the_data():
    assert finetune().data.classes == ()
    assert finetune().data.format == "auto"
    assert finetune().train.start_from == "imagenet"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_rate_decays_before_the_end(preset):
    config = PRESETS[preset]().train
    assert config.warmup_steps < min(config.decay_steps) <= max(config.decay_steps) < config.steps


def test_another_architecture_brings_its_settings_and_keeps_the_rest():
    config = with_architecture(finetune(), "fasterrcnn_resnet50_fpn")
    assert config.model.architecture == "fasterrcnn_resnet50_fpn"
    assert (config.data.short_side, config.data.long_side) == (800, 1333)
    assert config.data.resize_rounding == "floor"
    assert (config.model.roi_op, config.model.rpn_post_nms_top_k) == ("roi_align", 1000)
    assert config.model.soft_nms_sigma == 0.0  # torchvision's NMS, not the preset's
    assert (config.train.roi_batch_size, config.train.frozen_layers) == (512, ())
    assert (config.train.steps, config.train.warmup_steps) == (2000, 50)  # the preset's


def test_an_architecture_without_settings_leaves_a_preset_as_it_is():
    assert with_architecture(quickstart(), "vgg16_quarter") == quickstart()


@pytest.mark.parametrize(
    ("options", "fitting"),
    [
        ({}, ""),
        ({"learning_rate": 0.002}, ""),  # twice as much still fits
        ({"learning_rate": 0.0021}, "0.001"),
        ({"batch_size": 2}, ""),
        ({"batch_size": 8}, "0.008"),  # 0.001 for one image
        ({"batch_size": 8, "learning_rate": 0.01}, ""),
        ({"batch_size": 4, "gradient_accumulation_steps": 4}, "0.016"),
        ({"batch_size": 8, "optimizer": "adam"}, ""),
    ],
)
def test_a_rate_goes_with_the_images_of_an_update(options, fitting):
    preset = PRESETS["finetune"]().train
    remark = explain_rate(dataclasses.replace(preset, **options), preset)
    assert fitting in remark and bool(fitting) == bool(remark)
    if fitting:
        assert f": {fitting} would fit" in remark


@pytest.mark.parametrize(
    ("options", "fitting"),
    [
        # finetune decays at 1500 of 2000 steps: 800 * 1500 / 2000 = 600.
        ({"steps": 800}, "600"),
        ({"steps": 1500}, "1125"),
        ({"steps": 1501}, ""),
        ({"steps": 800, "decay_steps": (600,)}, ""),
        ({"steps": 800, "decay_steps": (800, 900)}, "600"),
        ({"steps": 800, "decay_steps": ()}, ""),  # no decay is what was asked for
        ({"steps": 800, "schedule": "cosine"}, ""),
    ],
)
def test_a_rate_that_never_decays_is_told(options, fitting):
    preset = PRESETS["finetune"]().train
    remark = explain_decay(dataclasses.replace(preset, **options), preset)
    assert bool(fitting) == bool(remark)
    if fitting:
        assert f". {fitting} would be the preset's share" in remark


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({}, False),
        ({"nms_iou": 0.4}, True),
        ({"nms_iou": 0.4, "soft_nms_sigma": 0.3}, True),
        ({"nms_iou": 0.4, "soft_nms_sigma": 0.0}, False),
        ({"soft_nms_sigma": 0.3}, False),
    ],
)
def test_a_limit_that_soft_nms_does_not_look_at_is_told(options, is_told):
    preset = PRESETS["finetune"]().model
    remark = explain_nms(dataclasses.replace(preset, **options), preset)
    assert bool(remark) is is_told
    if is_told:
        assert remark.startswith("--model.nms-iou 0.4: ")
        assert f"(--model.soft-nms-sigma {options.get('soft_nms_sigma', 0.5)})" in remark


def test_voc07_and_the_quickstart_keep_the_nms_that_has_a_limit():
    assert [PRESETS[name]().model.soft_nms_sigma for name in PRESETS] == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("name", "of_run", "expected"),
    [
        ("finetune", 0.0, 0.0),  # started when that was the default
        ("finetune", 0.5, 0.5),
        ("finetune", 0.3, 0.5),  # was typed then, and differs from what is typed now
        ("voc07", 0.5, 0.0),
    ],
)
def test_a_run_goes_on_with_the_default_that_it_was_started_with(name, of_run, expected):
    preset = PRESETS[name]()
    run = dataclasses.replace(
        preset, model=dataclasses.replace(preset.model, soft_nms_sigma=of_run, nms_iou=0.1)
    )
    changed = as_started(preset, name, run)
    assert changed.model.soft_nms_sigma == expected
    model = dataclasses.replace(preset.model, soft_nms_sigma=expected)
    assert changed == dataclasses.replace(preset, model=model)  # and nothing else
