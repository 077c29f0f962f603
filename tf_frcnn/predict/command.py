"""`tf-frcnn predict MODEL INPUT... --output DIR`: draw what a model finds, and write it as JSON."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from tf_frcnn.data.faults import counted
from tf_frcnn.environment import load_tensorflow, set_up_tensorflow
from tf_frcnn.errors import EXIT_FINDINGS, EXIT_OK, UserError
from tf_frcnn.model_files import find_model
from tf_frcnn.predict.arguments import PredictArguments
from tf_frcnn.predict.containers import is_video
from tf_frcnn.predict.detection import predict_files
from tf_frcnn.predict.inputs import find_inputs
from tf_frcnn.predict.video import load_pyav
from tf_frcnn.runs import prepare_output, write_json

if TYPE_CHECKING:
    from tf_frcnn.detector import Detector

logger = logging.getLogger(__name__)

DETECTIONS_FILE = "detections.json"
_SEED = 0  # nothing is drawn at random here; TensorFlow wants one all the same


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.

    Raises:
        UserError: an option cannot be used, there is nothing to detect in, no model, no place for
            output, or no PyAV for a video.
    """
    arguments = tyro.cli(
        PredictArguments,
        prog="tf-frcnn predict",
        description="Detect objects in pictures and videos: a drawing of each, and detections.json "
        "(COCO results format). Exit status 1 when one of them could not be read.",
        args=list(argv),
    )
    arguments.check()
    paths, problems = find_inputs(arguments.inputs)
    for problem in problems if paths else ():
        logger.warning("%s", problem)
    if not paths:
        raise UserError("\n".join(problems))
    _check_apart(arguments.output, [arguments.model, *paths])
    videos = [path for path in paths if is_video(path)]
    if videos:
        load_pyav()
    model = find_model(arguments.model)
    _check_classes(arguments.classes, model.load_config().data.classes)
    prepare_output(arguments.output, arguments.overwrite)
    # Imported late: options, help and wrong inputs need not wait for TensorFlow.
    load_tensorflow()
    from tf_frcnn.detector import Detector

    set_up_tensorflow(_SEED)
    detector = Detector.load(model.path)
    num_unreadable = _predict(detector, paths, videos, arguments)
    return EXIT_FINDINGS if num_unreadable or problems else EXIT_OK


def _predict(
    detector: "Detector",
    paths: Sequence[Path],
    videos: Sequence[Path],
    arguments: PredictArguments,
) -> int:
    """Detect in all inputs, write `detections.json` -> how many could not be read."""
    pictures = [path for path in paths if path not in videos]
    results: list[dict[str, Any]] = []
    file = arguments.output / DETECTIONS_FILE
    try:
        num_unreadable = predict_files(detector, pictures, videos, arguments, results)
    except KeyboardInterrupt:
        write_json(file, results)
        logger.warning("interrupted: %s holds what was found until then", file)
        raise
    write_json(file, results)
    logger.info("%s in %s", counted(len(results), "detection"), file)
    return num_unreadable


def _check_apart(output: Path, needed: Iterable[Path]) -> None:
    """Refuse an output folder with inputs in it: --overwrite would move them away."""
    folder = output.resolve()
    for path in needed:
        if path.resolve().is_relative_to(folder):
            raise UserError(
                f"--output {output}: holds {path}, which is an input. Give a folder of its own."
            )


def _check_classes(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"--classes: the model knows no {', '.join(map(repr, unknown))}. Expected some of "
            f"{', '.join(known)}."
        )
