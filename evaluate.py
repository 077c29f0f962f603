"""Evaluate a model (a run, a checkpoint, a SavedModel), or a file of detections.

python evaluate.py MODEL [--data.FIELD VALUE ...] [--output DIR]
python evaluate.py --detections FILE --data.root DIR [--data.FIELD VALUE ...] [--output DIR]
"""

import logging
import sys
from collections.abc import Sequence

from tf_frcnn.command_line import parse_evaluate_arguments
from tf_frcnn.environment import load_tensorflow, set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, run_command
from tf_frcnn.files import prepare_output, write_json
from tf_frcnn.model_files import METRICS_FILE

logger = logging.getLogger("tf_frcnn.evaluate")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation and return its exit status."""
    arguments = parse_evaluate_arguments(argv)
    set_up_logging()
    config = arguments.load_config()
    output = arguments.output_folder
    prepare_output(output, arguments.overwrite)
    # Imported late: options and help need not wait for TensorFlow, detections need none.
    if arguments.detections is None:
        load_tensorflow()
        set_up_tensorflow(config.train.seed)
    from tf_frcnn.data.loading import load_dataset
    from tf_frcnn.evaluation.results_file import read_results
    from tf_frcnn.reporting.evaluation import evaluate_detections, evaluate_detector
    from tf_frcnn.reporting.summary import print_figures, training_figures

    data, seed = config.data, config.train.seed
    dataset = load_dataset(data, data.test_split, data.classes, seed, arguments.load_division())
    title = f"{arguments.subject} on split {dataset.split} of {data.root}"
    if arguments.detections is not None:
        detections = read_results(arguments.detections, dataset)
        metrics = evaluate_detections(detections, dataset, output, title)
    else:
        from tf_frcnn.detector import Detector

        model = arguments.model_files
        detector = Detector.load(model.path)
        metrics = {}
        if model.metrics_log is not None:
            outcome = model.load_records().get(METRICS_FILE, {})
            metrics = training_figures(config, model.metrics_log, outcome)
        metrics |= evaluate_detector(detector.detect, dataset, output, title, model.metrics_log)
    write_json(output / "metrics.json", metrics)
    print_figures(metrics, title)
    logger.info("written to %s", output)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
