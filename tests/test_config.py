"""The configuration: what is refused and how, and the way to config.json and back."""

import dataclasses
import json
import math

import pytest

from tf_frcnn.config import (
    ROI_OPS_OF_SEVERAL_MAPS,
    Config,
    DataConfig,
    DistributionConfig,
    ModelConfig,
    TrainConfig,
    flatten,
    load_config,
    save_config,
)
from tf_frcnn.errors import ConfigError
from tf_frcnn.presets import PRESETS

SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "distribution": DistributionConfig,
}

ABOVE_0, PROBABILITY, NOT_NEGATIVE = "a number above 0", "a number from 0 to 1", "0 or more"

REFUSED = [
    ("data", {"short_side": 0}, "0", ABOVE_0),
    ("data", {"short_side": -5}, "-5", ABOVE_0),
    ("data", {"long_side": 599}, "599", "at least --data.short-side, which is 600"),
    *(
        ("data", {name: 1.1}, "1.1", PROBABILITY)
        for name in ("horizontal_flip", "photometric_jitter", "crop")
    ),
    ("data", {"crop": math.nan}, "nan", PROBABILITY),
    ("data", {"scale_jitter": (0.0, 1.0)}, "0.0", ABOVE_0),
    ("data", {"scale_jitter": (1.0, math.inf)}, "inf", ABOVE_0),
    (
        "data",
        {"scale_jitter": (1.2, 0.8)},
        "1.2 0.8",
        "the smallest factor and then the largest",
    ),
    ("data", {"scale_jitter_steps": 1}, "1", "0, or 2 factors at least"),
    ("data", {"pad_to": 0}, "0", ABOVE_0),
    ("data", {"crop_min_fraction": 0.0}, "0.0", "a number above 0, at most 1"),
    ("data", {"crop_min_fraction": 1.5}, "1.5", "a number above 0, at most 1"),
    ("data", {"classes": ("cat", "dog", "cat")}, "cat dog cat", "every class name once"),
    ("data", {"classes": ("background", "cat")}, "background cat", "object classes only"),
    ("data", {"classes": ("__background__",)}, "__background__", "object classes only"),
    ("data", {"classes": ("cat", "Background")}, "cat Background", "object classes only"),
    ("data", {"classes": ("cat", "a\nb")}, r"cat 'a\nb'", "names without control characters"),
    ("data", {"classes": ("cat", "")}, "cat ''", "names without control characters"),
    ("data", {"classes": ("a\ud800",)}, r"'a\ud800'", "names without control characters"),
    (
        "data",
        {"classes": ("caf\u00e9", "cafe\u0301")},  # which look alike
        "'caf\u00e9' 'cafe\u0301'",
        "every class name once",
    ),
    ("data", {"train_split": "none"}, "none", "a split's name"),
    ("model", {"anchor_sizes": ()}, "(nothing)", "at least one number"),
    ("model", {"anchor_sizes": (32.0, 0.0)}, "0.0", ABOVE_0),
    ("model", {"aspect_ratios": ()}, "(nothing)", "at least one number"),
    ("model", {"aspect_ratios": (-1.0,)}, "-1.0", ABOVE_0),
    ("model", {"box_std": (0.1, 0.1, 0.2, math.nan)}, "nan", ABOVE_0),
    ("model", {"rpn_nms_iou": -0.1}, "-0.1", PROBABILITY),
    ("model", {"score_threshold": 2.0}, "2.0", PROBABILITY),
    ("model", {"score_threshold": math.nan}, "nan", PROBABILITY),
    ("model", {"nms_iou": 1.5}, "1.5", PROBABILITY),
    ("model", {"dropout": 1.0}, "1.0", "from 0 to below 1"),
    ("model", {"rpn_pre_nms_top_k": 0}, "0", ABOVE_0),
    ("model", {"rpn_post_nms_top_k": -1}, "-1", ABOVE_0),
    ("model", {"max_detections": 0}, "0", ABOVE_0),
    ("model", {"soft_nms_sigma": -0.5}, "-0.5", NOT_NEGATIVE),
    ("model", {"soft_nms_sigma": math.inf}, "inf", NOT_NEGATIVE),
    ("model", {"flip_at_test": "perhaps"}, "perhaps", "true or false"),
    ("model", {"rpn_min_size": -1.0}, "-1.0", NOT_NEGATIVE),
    ("model", {"head_rank": -1}, "-1", NOT_NEGATIVE),
    ("train", {"start_from": ""}, "(nothing)", "imagenet, none, a detector's name or a PATH"),
    ("model", {"architecture": "vgg19"}, "vgg19", "one of vgg16, vgg16_quarter"),
    ("data", {"format": "kitti"}, "kitti", "'auto', 'voc', 'coco', 'yolo', 'csv' or 'tfds'"),
    ("data", {"root": 3}, "3", "a string"),
    ("data", {"draw_seed": -1}, "-1", NOT_NEGATIVE),
    ("data", {"classes": "cat"}, "cat", "a list"),
    ("distribution", {"strategy": "tpu"}, "tpu", "'none', 'mirrored' or 'multiworker'"),
    *(
        ("train", {name: 0}, "0", ABOVE_0)
        for name in (
            *("steps", "batch_size", "learning_rate", "decay_factor", "rpn_batch_size"),
            *("rpn_pre_nms_top_k", "rpn_post_nms_top_k", "roi_batch_size", "rpn_box_sigma"),
            *("roi_box_sigma", "validate_every", "checkpoint_every", "keep_checkpoints"),
            *("log_every", "gradient_accumulation_steps"),
        )
    ),
    *(
        ("train", {name: 2**31}, "2147483648", "at most 2147483647")
        for name in ("steps", "batch_size", "warmup_steps", "keep_checkpoints", "log_every")
    ),
    ("train", {"seed": 2**31}, "2147483648", "0 or more, at most 2147483647"),
    ("train", {"steps": 2.5}, "2.5", "a whole number"),
    ("train", {"learning_rate": "fast"}, "fast", "a number"),
    ("train", {"jit_compile": "perhaps"}, "perhaps", "true or false"),
    ("train", {"decay_steps": (-5, 10)}, "-5", NOT_NEGATIVE),
    ("train", {"learning_rate": math.inf}, "inf", ABOVE_0),
    *(
        ("train", {name: 1.2}, "1.2", PROBABILITY)
        for name in (
            *("rpn_positive_iou", "rpn_negative_iou", "rpn_positive_fraction"),
            *("roi_positive_fraction", "roi_positive_iou", "roi_background_iou"),
            "ignore_crowd_overlap",
        )
    ),
    ("train", {"momentum": 1.0}, "1.0", "from 0 to below 1"),
    ("train", {"ema_momentum": 1.0}, "1.0", "from 0 to below 1"),
    ("train", {"ema_momentum": -0.1}, "-0.1", "from 0 to below 1"),
    ("train", {"optimizer": "sgdw"}, "sgdw", "sgd, adam, adamw or addons:NAME"),
    ("train", {"frozen_layers": ("block1", "")}, "''", "beginnings of the names of layers"),
    *(
        ("train", {name: -1}, "-1", NOT_NEGATIVE)
        for name in ("weight_decay", "clip_norm", "warmup_steps", "seed")
    ),
    ("train", {"clip_norm": math.nan}, "nan", NOT_NEGATIVE),
    ("train", {"rpn_negative_iou": 0.8}, "0.8", "at most --train.rpn-positive-iou, which is 0.7"),
    ("train", {"roi_background_iou": 0.5}, "0.5", "below --train.roi-positive-iou, which is 0.5"),
    ("train", {"decay_steps": (20, 10)}, "20 10", "steps in rising order"),
    ("train", {"decay_steps": (10, 10)}, "10 10", "steps in rising order"),
]
RESNET = {
    "architecture": "fasterrcnn_resnet50_fpn",
    "roi_op": "roi_align",
    "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"roi_op": "roi_pool"}, "roi-op roi_pool: expected roi_align or roi_align_aligned with"),
        ({"anchor_sizes": (32.0, 64.0)}, "anchor-sizes 32.0 64.0: expected one size for each map,"),
    ],
)
def test_several_maps_take_an_operator_and_sizes_that_fit(values, message):
    ModelConfig(**RESNET)
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**{**RESNET, **values})
    assert str(caught.value).startswith(f"--model.{message}")
    assert str(caught.value).endswith("with the 5 maps of fasterrcnn_resnet50_fpn.")


def test_the_operators_for_several_maps_are_those_that_there_are():
    from tf_frcnn.ops.roi_pool import MULTISCALE_ROI_OPS

    assert tuple(MULTISCALE_ROI_OPS) == ROI_OPS_OF_SEVERAL_MAPS


@pytest.mark.parametrize(
    ("section", "values", "shown", "expected"), REFUSED, ids=lambda value: str(value)[:40]
)
def test_a_refusal_names_option_value_and_expectation(section, values, shown, expected):
    (name,) = values
    with pytest.raises(ConfigError) as caught:
        SECTIONS[section](**values)
    message = str(caught.value)
    assert message.startswith(f"--{section}.{name.replace('_', '-')} {shown}: expected {expected}")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("data", {"short_side": 600, "long_side": 600}),
        ("data", {"horizontal_flip": 1.0, "photometric_jitter": 1.0, "crop": 1.0}),
        ("data", {"scale_jitter": (0.5, 0.5), "crop_min_fraction": 1.0}),
        ("data", {"val_split": "none", "test_split": "none"}),
        ("model", {"score_threshold": 0.0, "nms_iou": 1.0, "rpn_min_size": 0.0, "dropout": 0.0}),
        ("train", {"steps": 2**31 - 1, "seed": 2**31 - 1}),
        ("train", {"decay_steps": (), "frozen_layers": (), "optimizer": "addons:LAMB"}),
        ("train", {"schedule": "cosine", "steps": 10, "warmup_steps": 9}),
        ("train", {"rpn_negative_iou": 0.7, "momentum": 0.0, "weight_decay": 0.0}),
    ],
)
def test_values_at_the_limits_are_accepted(section, values):
    config = SECTIONS[section](**values)
    assert {name: getattr(config, name) for name in values} == values


def test_a_cosine_needs_steps_after_the_warm_up():
    expected = r"^--train\.warmup-steps 10: expected less than --train\.steps, which is 10"
    with pytest.raises(ConfigError, match=expected):
        TrainConfig(schedule="cosine", steps=10, warmup_steps=10)


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"export": "best"}, "--train.export best"),
        ({"early_stopping_patience": 3}, "--train.early-stopping-patience 3"),
    ],
)
def test_what_needs_a_validation_is_refused_without_one(values, option):
    train = TrainConfig(**values)
    with pytest.raises(ConfigError, match=f"{option}: expected a validation, and --data.val-split"):
        Config(data=DataConfig(val_split="none"), train=train)
    assert Config(data=DataConfig(val_split="holdout"), train=train).train is train


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.steps = 3


# === config.json ===


@pytest.mark.parametrize("preset", PRESETS)
def test_saving_and_loading_changes_nothing(preset, tmp_path):
    config = dataclasses.replace(PRESETS[preset](), output="runs/Größe", export_dir="x")
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


def saved(tmp_path, **changes):
    """Save a configuration with some fields replaced in the text, by SECTION__FIELD."""
    path = tmp_path / "config.json"
    save_config(Config(), path)
    values = json.loads(path.read_text())
    for name, value in changes.items():
        section, field = name.split("__")
        values[section][field] = value
    path.write_text(json.dumps(values))
    return path


def test_a_file_of_an_older_version_gets_the_defaults(tmp_path):
    path = tmp_path / "config.json"
    save_config(Config(), path)
    values = json.loads(path.read_text())
    for name in ("precision", "jit_compile", "ema_momentum", "schedule", "optimizer", "box_loss"):
        del values["train"][name]
    path.write_text(json.dumps(values))
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__stepz": 3}, "train.stepz: there is no such field"),
        ({"train__steps": "many"}, "train.steps many: expected a whole number"),
        ({"train__steps": 2.5}, "train.steps 2.5: expected a whole number"),
        (
            {"model__architecture": "vgg19"},
            "model.architecture vgg19: expected one of vgg16, vgg16_quarter",
        ),
        ({"model__anchor_sizes": [32, "big"]}, "model.anchor_sizes.1 big: expected a number"),
        ({"model__anchor_sizes": [32, 0]}, "model.anchor_sizes.1 0: expected a number above 0"),
        ({"data__scale_jitter": [1.2, 0.8]}, "data.scale_jitter 1.2 0.8: expected the smallest"),
        ({"data__short_side": -3}, "data.short_side -3: expected a number above 0"),
        ({"data__long_side": 3}, "data.long_side 3: expected at least --data.short-side, which is"),
        (
            {"data__val_split": "none", "train__export": "best"},
            "train.export best: expected a validation, and --data.val-split is none",
        ),
    ],
)
def test_a_wrong_field_of_a_file_is_named_with_the_file(changes, message, tmp_path):
    path = saved(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert str(caught.value).endswith(". Expected a config.json as training writes it.")


def test_a_kept_model_may_have_a_class_that_is_called_as_the_background(tmp_path):
    # "Background" was no fault until names were compared in any case.
    config = load_config(saved(tmp_path, data__classes=["cat", "Background"]))
    assert config.data.classes == ("cat", "Background")
    assert dataclasses.replace(config, output="out").data is config.data  # as an export does
    with pytest.raises(ConfigError, match="--data.classes cat Background: expected object classes"):
        dataclasses.replace(config.data, root="elsewhere")  # to read data is another matter
    with pytest.raises(ConfigError, match="names without control characters"):
        load_config(saved(tmp_path, data__classes=["Background", "a\nb"]))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00"])
def test_a_file_that_is_no_configuration_is_named(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read \(No such file"):
        load_config(tmp_path / "config.json")


# === Option names ===


def test_flatten_names_fields_as_the_options_do():
    config = Config(data=DataConfig(root="pictures"), train=TrainConfig(batch_size=8), output="out")
    values = flatten(config)
    assert values["data.root"] == "pictures"
    assert values["train.batch-size"] == 8
    assert values["model.anchor-sizes"] == (128.0, 256.0, 512.0)
    assert values["output"] == "out"
    sections = sum(len(dataclasses.fields(section)) for section in SECTIONS.values())
    assert len(values) == sections + 2  # output and export-dir
