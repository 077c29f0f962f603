r"""Measure the forms of a TFLite file: size, time and AP of each, beside the Keras network's.

Images are stretched to the size of the file and boxes scaled back, which every program that uses
such a file must do; where all images have the shape of the file, nothing is lost by that. Each
form is judged on the same split by the same rules. Times are medians over the images of the
split, on all cores, with the interpreter that is installed. `int8` finds its ranges in training
images of the run.

Of a published detector with weights of one's own, MODEL is its name:

    python benchmarks/tflite.py fasterrcnn_mobilenet_v3_large_320_fpn --weights FILE.pth \
        --weights-classes cat dog duck --root VOC_ROOT --short-side 192
"""

import dataclasses
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image
from provenance import ROOT, commit, processor

from tf_frcnn.data.loading import load_dataset
from tf_frcnn.environment import load_tensorflow, set_up_logging
from tf_frcnn.errors import EXIT_OK, run_command
from tf_frcnn.evaluation.evaluator import Detect, compute_metrics, detect_dataset
from tf_frcnn.files import write_json
from tf_frcnn.image_size import default_size, parse_size
from tf_frcnn.model_files import find_model
from tf_frcnn.tflite.calibration import MAX_IMAGES, find_images, read_resized

FORMS = ("none", "float16", "dynamic", "int8")
FIGURES = ("coco_ap", "coco_ap50", "coco_ap75")


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, checkpoint, SavedModel version folder, or its parent."""
    weights: Path | None = None
    """Of a published detector: a file in torchvision's layout."""
    weights_classes: tuple[str, ...] = ()
    """Names of the classes that it was trained for."""
    root: str | None = None
    """Folder of the data set; the run's own when not given."""
    short_side: int | None = None
    """Shorter side at which images enter the network, the longer one being twice that at most; as
    the model has it when not given."""
    split: str = "test"
    """Split of the data set."""
    forms: tuple[str, ...] = field(default=FORMS)
    """Values of `tf-frcnn tflite --quantize`."""
    size: str | None = None
    """As of `tf-frcnn tflite`."""
    output: Path = ROOT / "results" / "tflite.json"
    """File of the figures; written anew after each form."""


class TimedDetector:
    """Detects in images of any size by a model of one size, and takes the time.

    Args of `__init__`: `detect` for images of `size`, (height, width) in pixels.

    Attributes:
        seconds: of each image, without the resizing.
    """

    def __init__(self, detect: Detect, size: tuple[int, int]) -> None:
        self.detect = detect
        self.size = size
        self.seconds: list[float] = []

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect in [H, W, 3] uint8 RGB; a `Detect`."""
        height, width = self.size
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        start = time.perf_counter()
        boxes, scores, classes = self.detect(np.asarray(resized))
        self.seconds.append(time.perf_counter() - start)
        ratio = np.array(image.shape[:2], np.float32) / np.array(self.size, np.float32)
        return boxes * np.tile(ratio, 2), scores, classes


def measure(arguments: Arguments) -> int:
    """Convert, run and judge each form, and write the figures -> exit status."""
    model = find_model(arguments.model, arguments.weights, arguments.weights_classes)
    config = model.load_config()
    data = config.data
    if arguments.root is not None:
        data = dataclasses.replace(data, root=arguments.root)
    if (side := arguments.short_side) is not None:
        data = dataclasses.replace(data, short_side=side, long_side=2 * side)
    config = dataclasses.replace(config, data=data)
    size = parse_size(arguments.size) if arguments.size else default_size(data)
    load_tensorflow()
    from tf_frcnn.inference import load_network
    from tf_frcnn.tflite.conversion import Converter
    from tf_frcnn.tflite.interpreter import NUM_THREADS, FileRunner

    division = model.load_division()
    dataset = load_dataset(data, arguments.split, data.classes, config.train.seed, division)
    inference_model = load_network(model, config)
    converter = Converter(inference_model, size)
    results: dict[str, Any] = {
        "command": f"python benchmarks/tflite.py MODEL --split {arguments.split}",
        "model": config.model.architecture,
        "commit": commit(),
        "processor": processor(),
        "picture_size": list(size),
        "threads": NUM_THREADS,
        "split": arguments.split,
        "num_pictures": len(dataset.examples),
        "forms": {},
    }

    def training_images() -> list[Path]:
        split = load_dataset(data, data.train_split, data.classes, config.train.seed, division)
        paths = [example.image_path for example in split.examples]
        return paths[:: -(-len(paths) // MAX_IMAGES)]

    def judge(name: str, detect: Detect, num_bytes: int | None) -> None:
        timed = TimedDetector(detect, size)
        metrics = compute_metrics(dataset, detect_dataset(dataset, timed))
        results["forms"][name] = {
            "bytes": num_bytes,
            "seconds": statistics.median(timed.seconds),
            **{figure: metrics[figure] for figure in FIGURES},
        }
        write_json(arguments.output, results)

    judge("keras", inference_model, None)
    for form in arguments.forms:
        ranges = None
        if form == "int8":
            images = find_images(None, model) if arguments.root is None else training_images()
            ranges = converter.find_ranges(read_resized(path, size, data.exif) for path in images)
        content = converter.convert(form, ranges)
        judge(form, FileRunner(content).detect, len(content))
    return EXIT_OK


def main() -> int:
    """Parse the arguments and measure."""
    arguments = tyro.cli(Arguments, description=__doc__)
    set_up_logging()
    return run_command(lambda: measure(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
