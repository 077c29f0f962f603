"""`tf-frcnn export MODEL --output saved_models/NAME`: write a trained model as a SavedModel."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.commands.model_options import ModelOptions
from tf_frcnn.config import Config
from tf_frcnn.environment import set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, ConfigError, UserError
from tf_frcnn.model_files import METRICS_FILE, check_versions_folder
from tf_frcnn.presets import explain_nms

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportArguments(ModelOptions):
    """Everything `tf-frcnn export` takes."""

    output: Path
    """Folder of the model's versions, saved_models/NAME; what is written is the next of them,
    NAME/1, NAME/2, ..., and nothing that is there is changed."""
    score_threshold: float | None = None
    """Detections below this score are dropped; when not given, as in training."""
    nms_iou: float | None = None
    """IoU above which the NMS of one class drops the detection with the lower score; when not
    given, as in training."""
    num_rois: int | None = None
    """Proposals that are looked at, K at most, more than in training or fewer; when not given, as
    in training."""
    max_detections: int | None = None
    """Detections kept per image, D in what the model answers; when not given, as in training."""
    soft_nms_sigma: float | None = None
    """Sigma of Gaussian soft-NMS in the place of the NMS of one class, 0 for none; when not given,
    as in training."""
    flip_at_test: bool | None = None
    """Detect in each image and in its mirror image, which takes twice the time; when not given, as
    in training."""
    freeze: bool = False
    """Write the variables, but for the FC layers' kernels, as constants: faster on CPUs. The model
    cannot be exported again from such a file, nor converted."""
    head_rank: int | None = None
    """Replace each FC layer by a product of two smaller ones of this rank, its truncated singular
    value decomposition: faster, less exact."""

    def check(self) -> None:
        """Check what types cannot say and needs no model.

        Raises:
            UserError: the rank is no rank.
        """
        if self.head_rank is not None and self.head_rank < 1:
            raise UserError(f"--head-rank {self.head_rank}: expected a number from 1 on.")

    def apply_to(self, config: Config) -> Config:
        """Replace the options of inference of a configuration by those that were asked for.

        Raises:
            ConfigError: one of them is out of its range.
            UserError: there are not as many proposals.
        """
        num_maps = ARCHITECTURES[config.model.architecture].num_maps
        most = config.model.rpn_pre_nms_top_k * num_maps
        if self.num_rois is not None and self.num_rois > most:
            raise UserError(
                f"--num-rois {self.num_rois}: expected at most {most}: NMS begins with the best "
                f"{config.model.rpn_pre_nms_top_k} anchors of each map, of which the model has "
                f"{num_maps}."
            )
        fields: dict[str, Any] = {
            "score_threshold": self.score_threshold,
            "nms_iou": self.nms_iou,
            "rpn_post_nms_top_k": self.num_rois,
            "max_detections": self.max_detections,
            "soft_nms_sigma": self.soft_nms_sigma,
            "flip_at_test": self.flip_at_test,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            return dataclasses.replace(config, model=dataclasses.replace(config.model, **given))
        except ConfigError as error:  # the options are called otherwise here than in training
            message = str(error).replace("--model.rpn-post-nms-top-k", "--num-rois")
            raise ConfigError(message.replace("--model.", "--")) from None


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used, there is no model, or the output cannot be written.
    """
    arguments = tyro.cli(
        ExportArguments,
        prog=prog,
        description="Write a model as a SavedModel for TensorFlow Serving and every program that "
        "has TensorFlow: the next version in the output folder. docs/export.md says what it takes "
        "and answers.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check()
    model = arguments.find_model(arguments.model)
    trained = model.load_config()
    config = arguments.apply_to(trained)
    if remark := explain_nms(config.model, trained.model):
        logger.warning("%s", remark.replace("--model.", "--"))
    records = model.load_records()
    check_versions_folder(arguments.output, "--output")
    set_up_tensorflow()
    from tf_frcnn.export.low_rank import reduce_head
    from tf_frcnn.export.saved_model import export_saved_model
    from tf_frcnn.inference import load_network

    exported = load_network(model, config)
    if arguments.head_rank is not None:
        exported = reduce_head(exported, arguments.head_rank)
    if exported.network.config != trained.model and records.pop(METRICS_FILE, None):
        logger.warning(
            "%s stays behind: its figures are those of other options or FC layers", METRICS_FILE
        )
    export_saved_model(
        exported, config, arguments.output, records, arguments.freeze, option="--output"
    )
    return EXIT_OK
