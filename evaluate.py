"""Evaluate a training run: `python evaluate.py RUN [--data.FIELD VALUE ...] [--output DIR]`."""

import sys
from collections.abc import Sequence

from tf_frcnn.command_line import parse_evaluate_arguments
from tf_frcnn.environment import load_tensorflow, set_up_logging
from tf_frcnn.errors import EXIT_OK, run_command
from tf_frcnn.runs import RunFolder, prepare_output, write_json


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation and return its exit status."""
    arguments = parse_evaluate_arguments(argv)
    set_up_logging()
    folder = RunFolder(arguments.run)
    config = arguments.apply_to(folder.load_config())
    output = arguments.output or folder.path / "evaluation"
    prepare_output(output, arguments.overwrite)
    # Imported late: options and help need not wait for TensorFlow.
    load_tensorflow()
    from tf_frcnn.data import read_dataset
    from tf_frcnn.environment import set_up_tensorflow
    from tf_frcnn.inference import load_picture_detector
    from tf_frcnn.reporting.evaluation import evaluate_detector
    from tf_frcnn.reporting.summary import print_figures, training_figures

    set_up_tensorflow(config.train.seed)
    dataset = read_dataset(
        config.data, config.data.test_split, config.data.classes, config.train.seed
    )
    detector = load_picture_detector(config, folder.checkpoints)
    metrics = training_figures(config, folder.metrics_log)
    metrics |= evaluate_detector(detector, dataset, output / "detections.png")
    write_json(output / "metrics.json", metrics)
    print_figures(metrics, f"{folder.path} on split {dataset.split} of {config.data.root}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
