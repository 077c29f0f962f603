"""What TFLite cannot do of what a network may be. No TensorFlow here: it is told early."""

from tf_frcnn.errors import ConfigError

_ROI_OPS = ("crop_and_resize", "roi_align", "roi_align_aligned")


def check_convertible(roi_op: str, flip_at_test: bool) -> None:
    """Check that a network can be built from what TFLite has.

    Args:
        roi_op: its RoI operator.
        flip_at_test: whether it looks at mirror images too.

    Raises:
        ConfigError: it does, or the operator cannot be built.
    """
    if flip_at_test:
        raise ConfigError(
            "model.flip_at_test true: cannot be converted: a TFLite file takes one image, and the "
            "mirror image is a second one. Expected a model without it: write one by "
            "`tf-frcnn export MODEL --flip-at-test False --output saved_models/NAME` and convert "
            "that, or use the SavedModel."
        )
    if roi_op not in _ROI_OPS:
        raise ConfigError(
            f"model.roi_op {roi_op}: cannot be converted: TFLite has no maximum over "
            f"bins of different sizes. Expected a model with one of {', '.join(_ROI_OPS)}: "
            "train it with --model.roi-op crop_and_resize, or use the SavedModel."
        )
