"""Train, evaluate and export a detector: `python train.py [PRESET] [--section.field VALUE ...]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tf_frcnn.command_line import parse_train_arguments
from tf_frcnn.environment import check_backend, load_tensorflow, set_up_logging, set_up_tensorflow
from tf_frcnn.errors import EXIT_OK, run_command
from tf_frcnn.files import write_json
from tf_frcnn.model_files import (
    DATASET_FILE,
    METRICS_FILE,
    check_versions_folder,
    newest_version,
)
from tf_frcnn.resuming import prepare_run
from tf_frcnn.run_folder import RunFolder, start_run, with_classes
from tf_frcnn.training.distribution import join_workers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the whole job and return its exit status."""
    arguments = parse_train_arguments(argv)
    set_up_logging()
    check_backend()
    distribution = join_workers(arguments.config.distribution)
    folder = RunFolder(arguments.output, is_keeper=distribution.is_chief)
    with distribution.chief_first():
        config = prepare_run(folder, arguments.config, arguments.overwrite, arguments.resume)
    # Imported late: options, help and a finished run need not wait for TensorFlow.
    from tf_frcnn.reporting.summary import print_figures, print_next_steps, training_figures

    if distribution.of_chief(folder.is_finished(config)):
        if not distribution.is_chief:
            return EXIT_OK
        print_figures(folder.load_metrics(), f"{folder.path} is finished")
        print_next_steps(config, newest_version(Path(folder.load_config().export_dir)))
        return EXIT_OK

    if distribution.is_chief:  # not after hours of training
        check_versions_folder(Path(config.export_dir), "--export-dir")
    load_tensorflow()
    from tf_frcnn.data.drawings import ensure_drawings
    from tf_frcnn.data.fingerprint import fingerprint
    from tf_frcnn.data.formats import find_format
    from tf_frcnn.data.loading import load_datasets
    from tf_frcnn.export.saved_model import export_saved_model
    from tf_frcnn.inference import PictureDetector
    from tf_frcnn.reporting.curves import plot_curves
    from tf_frcnn.reporting.evaluation import evaluate_detector
    from tf_frcnn.training.run import train_detector

    set_up_tensorflow(config.train.seed, config.train.deterministic)
    if config.data.draw_seed is not None:
        with distribution.chief_first():
            ensure_drawings(Path(config.data.root), config.data.draw_seed)
    datasets = load_datasets(config.data, config.train.seed, folder.load_division())
    config = with_classes(config, datasets["train"].class_names)
    dataset_record = fingerprint(config.data.root, find_format(config.data)[1], datasets)
    distribution.check_same(dataset_record["splits"], "data set", "Copy the chief's --data.root.")
    if distribution.is_chief:
        start_run(folder, config, datasets["train"].division)
        write_json(folder.dataset_file, dataset_record)

    detector, outcome = train_detector(config, datasets, folder, distribution)
    picture_detector = PictureDetector(
        detector, config.data.classes, config.data.short_side, config.data.long_side
    )
    found = {}
    if "test" in datasets:
        found = evaluate_detector(
            picture_detector,
            datasets["test"],
            folder.path,
            str(folder.path),
            folder.metrics_log,
            distribution,
        )
    if distribution.is_chief:
        plot_curves(folder.metrics_log, folder.curves)
        metrics = training_figures(config, folder.metrics_log, outcome) | found
        records = {DATASET_FILE: dataset_record, METRICS_FILE: metrics}
        saved_model = export_saved_model(picture_detector, config, Path(config.export_dir), records)
        write_json(folder.metrics_file, metrics)
        print_figures(metrics, f"{folder.path} is finished")
        print_next_steps(config, saved_model)
    distribution.finish()
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
