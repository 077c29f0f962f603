"""Write docs/finetune.ipynb and run it, in a folder of its own: `python docs/make_notebook.py`.

The cells are here, where changes of them can be read; what they put out is kept in the file.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("finetune.ipynb")

# Text and code in turn.
CELLS = (
    """\
# A detector for your own folder, from Python

A small Faster R-CNN learns to find cats, dogs and ducks: a few minutes on two cores. The drawings
stand in for a folder of your own, which need only look like theirs: Pascal VOC's layout; COCO's,
YOLO's and CSV are read as well.""",
    """\
from pathlib import Path

from tf_frcnn.data.drawings import ensure_drawings

ensure_drawings(Path("data/drawings"), seed=0, counts={"train": 400, "val": 24, "test": 24})
sorted(path.name for path in Path("data/drawings").iterdir())""",
    """\
## Data

`load_dataset` reads a split and says what is wrong with it; `prepare_dataset` makes the batches,
with the boxes in pixels of the resized images.""",
    """\
from tf_frcnn import load_dataset, prepare_dataset

train, val, test = (load_dataset("data/drawings", split) for split in ("train", "val", "test"))
sizes = dict(short_side=96, long_side=128)
train_batches = prepare_dataset(train, batch_size=8, training=True, seed=0, **sizes)
val_batches = prepare_dataset(val, training=False, **sizes)
train.class_names, len(train.examples)""",
    "An image with its boxes, as the drawing of detections shows both:",
    """\
import numpy as np

from tf_frcnn.data.image import read_image
from tf_frcnn.prediction import Prediction
from tf_frcnn.visualization import draw_detections

example = train.examples[2]
truth = Prediction(
    example.boxes,
    np.ones(len(example.classes), np.float32),
    example.classes,
    tuple(train.class_names[number - 1] for number in example.classes),
)
draw_detections(read_image(example.image_path), truth)""",
    """\
## Training

The network is an architecture's name and what differs from its defaults: here anchors and proposals
for small images. How anchors and RoIs are sampled comes from the preset `quickstart`, which was
made for such drawings. The trainer is a Keras model; `fit` and callbacks are Keras' own.""",
    """\
import keras

from tf_frcnn import PRESETS, FasterRCNN, FasterRCNNTrainer

keras.utils.set_random_seed(0)
network = FasterRCNN.from_preset(
    "vgg16_quarter",
    num_classes=3,
    anchor_sizes=(16.0, 32.0, 64.0),
    rpn_pre_nms_top_k=1000,
    rpn_post_nms_top_k=100,
    rpn_min_size=4.0,
)
trainer = FasterRCNNTrainer(network, PRESETS["quickstart"]().train)
trainer.compile(
    optimizer=keras.optimizers.SGD(0.02, momentum=0.9), weight_decay=5e-4, clip_norm=10.0
)
decay = keras.callbacks.LearningRateScheduler(lambda epoch: 0.02 if epoch < 6 else 0.002)
history = trainer.fit(
    train_batches, validation_data=val_batches, epochs=8, callbacks=[decay], verbose=2
).history""",
    "The paper's four losses and their sum, on the training images and on those for validation:",
    """\
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(history["loss"], label="training")
left.plot(history["val_loss"], label="validation")
for name in ("rpn_objectness", "rpn_box", "roi_class", "roi_box"):
    right.plot(history[f"val_{name}"], label=name)
for axes, title in ((left, "sum of the losses"), (right, "validation, each loss")):
    axes.set(title=title, xlabel="epoch", ylim=(0, None))
    axes.legend()""",
    """\
## Detections

A detector takes images of any size, alone or in a list, and answers in their own pixels. Ground
truth is dashed.""",
    """\
from tf_frcnn import Detector

detector = Detector.from_network(network, train.class_names, exif=train.exif, **sizes)
images = [read_image(example.image_path) for example in test.examples[:6]]
predictions = detector(images)

figure, places = plt.subplots(2, 3, figsize=(9, 5), layout="constrained")
for place, image, example, found in zip(places.flat, images, test.examples, predictions):
    sure = found.select(np.flatnonzero(found.scores >= 0.5))
    place.imshow(draw_detections(image, sure, example.boxes))
    place.axis("off")""",
    """\
## Evaluation

Average precision on the test images, as VOC counts it (IoU 0.5) and as COCO does (0.5 to 0.95).""",
    """\
from tf_frcnn.evaluation.evaluator import compute_metrics, detect_dataset

metrics = compute_metrics(test, detect_dataset(test, detector.in_batches()))
{name: round(metrics[name], 3) for name in ("voc_ap50_area", "coco_ap50", "coco_ap")}""",
    """\
## Keep and export

The Keras file is the network, to go on with in Python. The SavedModel resizes images and scales
boxes back by itself; TensorFlow Serving and every program that has TensorFlow can run it.""",
    """\
network.save("mine.keras")
version = detector.export("saved_models/mine")
again = Detector.load(version)(images[0])
print(version)
np.abs(again.boxes - predictions[0].boxes).max(initial=0.0)""",
)


def run_cells(cells: Sequence[str]) -> nbformat.NotebookNode:
    """Make a notebook of cells, text and code in turn, and run it in a folder of its own."""
    notebook = nbformat.v4.new_notebook()
    makers = (nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell)
    notebook.cells = [
        makers[number % 2](cell, id=f"cell-{number}") for number, cell in enumerate(cells)
    ]
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, coalesce_streams=True, resources=place).execute()
    for cell in notebook.cells:
        cell.metadata = {}  # times of the run, which would change with every one
        if cell.cell_type == "code":  # what libraries say about the machine
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Write the notebook with what its cells put out."""
    nbformat.write(run_cells(CELLS), NOTEBOOK)


if __name__ == "__main__":
    main()
