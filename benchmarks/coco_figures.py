"""Time COCO's precision and recall, by this project or by another, and tell its peak memory.

    python coco_figures.py many|equal|classes here|pycocotools|faster-coco-eval [IMAGES]

- `many`: 5,000 images (or IMAGES) of seven boxes of 80 classes, with 100 detections each, of which
  seven are the boxes, moved a little;
- `equal`: one image of 5,000 equal boxes of one class and as many equal detections;
- `classes`: 100 images of 100 boxes, each of a class of its own, and the boxes as detections.

Judged are four ranges of areas with 100 detections of a class in an image; of `equal` also one
range with 100, 300 and 1,000. The digest that is printed tells whether two systems have the same
numbers, to the last bit. `python -m pip install faster-coco-eval==1.8.0` brings the third. Seconds
are those of the process, from arrays to curves.
"""

import contextlib
import hashlib
import io
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_frcnn.data.example import Dataset, Example
from tf_frcnn.evaluation.coco_curves import coco_curves
from tf_frcnn.evaluation.detections import Detections, coco_box

SIZE = (480, 640)


def draw(case: str, num_images: int) -> tuple[Dataset, list[Detections]]:
    """Make ground truth and detections."""
    random = np.random.default_rng(0)
    examples, detections = [], []
    num_classes = {"many": 80, "equal": 1, "classes": 10_000}[case]
    for number in range({"many": num_images, "equal": 1, "classes": 100}[case]):
        if case == "equal":
            boxes, classes = np.full((5000, 4), [10.0, 20, 60, 90]), np.ones(5000, int)
            found, found_classes = boxes, classes
        elif case == "classes":
            boxes, classes = _boxes(random, 100), 100 * number + np.arange(1, 101)
            found, found_classes = boxes, classes
        else:
            boxes, classes = _boxes(random, 7), random.integers(1, 81, 7)
            found = np.concatenate([boxes + random.uniform(0, 4, (7, 1)), _boxes(random, 93)])
            found_classes = np.concatenate([classes, random.integers(1, 81, 93)])
        name, flags = str(number), np.zeros(len(boxes), bool)
        examples.append(
            Example(
                *(name, Path(name), SIZE, boxes.astype(np.float32), classes.astype(np.int32)),
                *(flags, flags, name),
            )
        )
        scores = np.full(len(found), 0.5) if case == "equal" else random.random(len(found))
        detections.append(
            Detections(
                *(name, found.astype(np.float32), scores.astype(np.float32)),
                found_classes.astype(np.int32),
            )
        )
    names = tuple(f"class {number}" for number in range(1, num_classes + 1))
    return Dataset("test", names, tuple(examples)), detections


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    low = random.uniform(0, [SIZE[0] - 120, SIZE[1] - 120], (count, 2))
    return np.concatenate([low, low + random.uniform(8, 120, (count, 2))], axis=1)


def judge_elsewhere(
    system: str, dataset: Dataset, detections: list[Detections], limits: Sequence[int], sizes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute precision and recall by another system."""
    if system == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    truth = [
        {**_entry(number, class_id, box), "iscrowd": 0}
        for number, example in enumerate(dataset.examples, start=1)
        for class_id, box in zip(example.classes, example.boxes, strict=True)
    ]
    results = [
        {**_entry(number, class_id, box), "iscrowd": 0, "score": float(score)}
        for number, one in enumerate(detections, start=1)
        for class_id, box, score in zip(one.classes, one.boxes, one.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        indices = []
        for entries in (truth, results):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": number} for number in range(1, len(detections) + 1)],
                "categories": [{"id": n} for n in range(1, len(dataset.class_names) + 1)],
                "annotations": [{"id": n, **item} for n, item in enumerate(entries, start=1)],
            }
            coco.createIndex()
            indices.append(coco)
        judged = Evaluation(*indices, "bbox")
        judged.params.catIds = sorted({item["category_id"] for item in (*truth, *results)})
        judged.params.maxDets = list(limits)
        judged.params.areaRng = judged.params.areaRng[:sizes]
        judged.params.areaRngLbl = judged.params.areaRngLbl[:sizes]
        judged.evaluate()
        judged.accumulate()
    return judged.eval["precision"], judged.eval["recall"]


def _entry(number: int, class_id: int, box: np.ndarray) -> dict[str, Any]:
    bbox = coco_box(box)
    area = bbox[2] * bbox[3]
    return {"image_id": number, "category_id": int(class_id), "bbox": bbox, "area": area}


def main() -> None:
    """Draw, judge, and print."""
    case, system, *rest = sys.argv[1:]
    dataset, detections = draw(case, int(rest[0]) if rest else 5000)
    start, digest = time.process_time(), hashlib.sha256()
    for limits, sizes in [((100,), 4), *([((100, 300, 1000), 1)] if case == "equal" else [])]:
        if system == "here":
            curves = coco_curves(dataset, detections, limits, sizes)
            precision, recall = curves.precision, curves.recall
        else:
            precision, recall = judge_elsewhere(system, dataset, detections, limits, sizes)
        for curve in (precision, recall):
            digest.update(np.ascontiguousarray(curve).data)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    numbers = digest.hexdigest()[:12]
    print(f"{case}, {system}: {seconds:.1f} s, peak {peak:.0f} MiB, numbers {numbers}")


if __name__ == "__main__":
    main()
