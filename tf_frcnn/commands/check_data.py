"""`tf-frcnn check-data --data.root DIR`: look at a data set as training would, and report."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.commands.model_options import typed_value
from tf_frcnn.config import ArchitectureName, Config, DataConfig, ModelConfig, TrainConfig
from tf_frcnn.data.formats import find_format, log_format
from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK
from tf_frcnn.files import check_apart, prepare_output, write_json
from tf_frcnn.presets import finetune, with_architecture

logger = logging.getLogger(__name__)

JSON_FILE = "check_data.json"
PAGE_FILE = "check_data.html"


@dataclass(frozen=True)
class CheckedModel:
    """The anchors; the defaults are those of the preset `finetune`, or of the architecture."""

    architecture: ArchitectureName = ModelConfig.architecture
    """Network whose anchors are judged; it brings the sizes of images and anchors that it was
    published with, as it does in training."""
    anchor_sizes: tuple[float, ...] = field(default_factory=lambda: finetune().model.anchor_sizes)
    """Square roots of the anchors' areas, in pixels of the network's input; one for each map, fine
    to coarse, where the architecture has them so."""
    aspect_ratios: tuple[float, ...] = ModelConfig.aspect_ratios
    """Height / width of the anchors."""


@dataclass(frozen=True)
class CheckedTraining:
    """What of the training decides over the data."""

    seed: int = 0
    """Divides the images where the data set has no splits of its own."""

    def __post_init__(self) -> None:
        TrainConfig(seed=self.seed)  # refuses what training would


@dataclass(frozen=True)
class CheckArguments:
    """Everything `tf-frcnn check-data` takes."""

    data: DataConfig = field(default_factory=DataConfig)
    model: CheckedModel = field(default_factory=CheckedModel)
    train: CheckedTraining = field(default_factory=CheckedTraining)
    output: Path | None = None
    """Folder for check_data.json and check_data.html; check-data/NAME of the root's NAME when not
    given."""
    overwrite: bool = False
    """Move what is in the output folder to NAME.bak-TIME first."""


def main(argv: Sequence[str], prog: str) -> int:
    """Check a data set; a usage error exits with status 2.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Returns:
        0, or 1 where something would stop training.

    Raises:
        UserError: there is no data set to read, or the output cannot be written.
    """
    arguments = tyro.cli(
        CheckArguments,
        prog=prog,
        description="Look at a data set as training would, and report what seems wrong. The exit "
        "status is 1 when something would stop training.",
        args=argv,
        default=_defaults(typed_value(argv, "--model.architecture")),
    )
    set_up_logging()
    from tf_frcnn.doctor.check import check_data
    from tf_frcnn.doctor.page import write_check_page
    from tf_frcnn.doctor.summary import print_summary

    config = _config_of(arguments.model.architecture)
    model = dataclasses.replace(config.model, **vars(arguments.model))
    root, data_format = find_format(arguments.data)  # before a folder is made for what is none
    log_format(arguments.data, data_format)
    data = DataConfig(**{**vars(arguments.data), "format": data_format})
    output = arguments.output or Path("check-data") / root.resolve().name
    check_apart(output, [root])
    prepare_output(output, arguments.overwrite)
    check = check_data(data, model, arguments.train.seed)
    write_json(output / JSON_FILE, check.report)
    write_check_page(output / PAGE_FILE, check)
    print_summary(check.report)
    logger.info("written: %s and %s", output / JSON_FILE, output / PAGE_FILE)
    return EXIT_FINDINGS if check.report["would_stop_training"] else EXIT_OK


def _defaults(architecture: str) -> CheckArguments:
    """Make the defaults that go with the architecture that was typed, or with none."""
    if architecture not in ARCHITECTURES:
        return CheckArguments()
    config = _config_of(architecture)
    names = ("architecture", "anchor_sizes", "aspect_ratios")
    model = CheckedModel(**{name: getattr(config.model, name) for name in names})
    return CheckArguments(data=config.data, model=model)


def _config_of(architecture: str) -> Config:
    """Make the configuration that an architecture brings."""
    return with_architecture(Config(model=finetune().model), architecture)
