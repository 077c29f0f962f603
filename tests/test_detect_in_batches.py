"""Evaluation in batches finds what single images give, whatever sizes and files there are."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.images import image as make_image
from tests.evaluation.images import make_dataset
from tf_frcnn import detector as detector_module
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.data.image import read_image_header
from tf_frcnn.detector import Detector
from tf_frcnn.errors import DataError
from tf_frcnn.evaluation.evaluator import compute_metrics, detect_dataset, select_classes
from tf_frcnn.model import FasterRCNN

NAMES = ("cat", "dog", "duck")
LANDSCAPE, PORTRAIT = (50, 70), (70, 50)
# In the network 64 x 90 (five, and one that is turned, and one twice as large), 90 x 64 and others.
SIZES = [LANDSCAPE, PORTRAIT, LANDSCAPE, (33, 64), LANDSCAPE, PORTRAIT, (100, 140), LANDSCAPE]
SIZES += [(64, 64), PORTRAIT, LANDSCAPE, (200, 31)]
TURNED, ROTATED_BY_90 = 8, 6  # position in the data set, EXIF orientation


@pytest.fixture(scope="module")
def network(tiny_config):
    """Make a network whose scores differ by more than rounding; see `test_detector`."""
    keras.utils.set_random_seed(1)
    network = FasterRCNN(tiny_config.model, len(NAMES))
    random = np.random.default_rng(5)
    for name, scale in (("rpn_objectness", 1e-4), ("box_classes", 1e-3)):
        kernel = named_weights(network)[f"{name}/kernel"]
        kernel.assign(random.normal(0.0, scale, kernel.shape))
    return network


@pytest.fixture(scope="module", params=["network", "SavedModel"])
def detector(request, network, tmp_path_factory):
    found = Detector.from_network(network, NAMES, 64, 96)
    if request.param == "SavedModel":
        found = Detector.load(found.export(tmp_path_factory.mktemp("exported")))
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Write images of noise in the sizes above, and one with an orientation among them."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(3)
    examples = []
    for number, size in enumerate([*SIZES[:TURNED], PORTRAIT, *SIZES[TURNED:]]):
        path = folder / f"p{number:02}.png"
        exif = Image.Exif()
        if number == TURNED:
            exif[0x0112] = ROTATED_BY_90
        Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path, exif=exif)
        orientation = read_image_header(path).orientation
        example = dataclasses.replace(
            make_image(path.stem, []),
            image_path=path,
            image_size=size if number != TURNED else size[::-1],
            orientation=orientation,
        )
        examples.append(example)
    assert examples[TURNED].orientation == ROTATED_BY_90
    return make_dataset(*examples, class_names=NAMES)


def record_batches(detector, monkeypatch):
    """Note the shape of every batch that the network gets."""
    shapes = []
    detect_batch = detector._detect_batch

    def detect_and_note(images):
        shapes.append(tuple(images.shape))
        return detect_batch(images)

    monkeypatch.setattr(detector, "_detect_batch", detect_and_note)
    return shapes


def test_batches_find_what_single_images_give(detector, dataset, monkeypatch):
    shapes = record_batches(detector, monkeypatch)
    monkeypatch.setattr(detector_module, "_BATCH_SIZE", 4)
    alone = detect_dataset(dataset, detector.detect)
    assert [shape[0] for shape in shapes] == [1] * 13
    shapes.clear()
    together = detect_dataset(dataset, detector.in_batches())
    # 64 x 90: five of that size, the turned one and 100 x 140 are 7, in batches of 4 and 3. What
    # follows: 90 x 64 (3), 50 x 96 of 33 x 64, 64 x 64, 96 x 15 of 200 x 31.
    assert shapes == [
        *((4, 64, 90, 3), (3, 64, 90, 3), (3, 90, 64, 3)),
        *((1, 50, 96, 3), (1, 64, 64, 3), (1, 96, 15, 3)),
    ]
    assert [one.image_id for one in together] == [f"p{number:02}" for number in range(13)]
    assert all(len(one.scores) for one in alone)
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found.classes, expected.classes, err_msg=found.image_id)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2, rtol=0)

    # Their figures too: what is to be found are three of the boxes, of which one is a little off.
    truth = [
        dataclasses.replace(
            make_image(one.image_id, one.boxes[:3] + [[0] * 4, [0] * 4, [0, 0, 4, 4]]),
            classes=one.classes[:3],
        )
        for one in alone
    ]
    judged = make_dataset(*truth, class_names=NAMES)
    expected, figures = compute_metrics(judged, alone), compute_metrics(judged, together)
    assert 0.05 < expected["coco_ap"] < 1.0
    for name in ("coco_ap", "coco_ap50", "voc_ap50_area", "voc_ap50_11pt"):
        assert figures[name] == pytest.approx(expected[name], abs=1e-4), name


def test_mirror_images_count_as_images_of_a_batch(detector, dataset, monkeypatch):
    monkeypatch.setattr(detector_module, "_BATCH_SIZE", 4)
    sizes = [example.image_size for example in dataset.examples]
    most = max(map(len, detector._plan(sizes)))
    model = dataclasses.replace(detector.config.model, flip_at_test=True)
    monkeypatch.setattr(detector, "config", dataclasses.replace(detector.config, model=model))
    assert (most, max(map(len, detector._plan(sizes)))) == (4, 2)


def test_no_size_of_batch_is_traced_anew(network, dataset):
    detector = Detector.from_network(network, NAMES, 64, 96)
    detect_dataset(dataset, detector.in_batches())
    assert detector._detect_batch.experimental_get_tracing_count() == 1


def test_a_broken_image_in_the_middle_is_named(detector, dataset, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(dataset.examples[4].image_path.read_bytes()[:200])
    examples = list(dataset.examples)
    examples[4] = dataclasses.replace(examples[4], image_path=path)
    with pytest.raises(DataError, match=r"broken\.png: the image cannot be decoded"):
        detect_dataset(make_dataset(*examples, class_names=NAMES), detector.in_batches())


def test_an_image_that_changed_since_its_size_was_read_is_detected_in_as_it_is(
    detector, dataset, tmp_path
):
    # Stated as 50 x 70, and now 33 x 64: it goes through the network after the others of its batch.
    other = dataclasses.replace(dataset.examples[3], image_size=LANDSCAPE)
    mixed = make_dataset(dataset.examples[0], other, dataset.examples[2], class_names=NAMES)
    assert other.image_size != read_image_header(Path(other.image_path)).size
    alone = detect_dataset(mixed, detector.detect)
    for found, expected in zip(detect_dataset(mixed, detector.in_batches()), alone, strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2, rtol=0)


def test_classes_are_selected_in_batches(detector, dataset):
    whole = detect_dataset(dataset, detector.in_batches())
    wanted = select_classes(detector.in_batches(), NAMES, ("duck", "cat"))
    for found, all_found in zip(detect_dataset(dataset, wanted), whole, strict=True):
        kept = all_found.classes != 2
        np.testing.assert_array_equal(found.scores, all_found.scores[kept])
        np.testing.assert_array_equal(found.boxes, all_found.boxes[kept])
        # Duck, 3, is 1 now; cat, 1, is 2.
        numbers = np.array([0, 2, 0, 1])
        np.testing.assert_array_equal(found.classes, numbers[all_found.classes[kept]])


# === How large batches are ===


def plan(network, sizes, short_side=600, long_side=1000, rounding="nearest"):
    detector = Detector.from_network(network, NAMES, short_side, long_side, rounding)
    return list(detector.in_batches().plan(sizes))


def test_about_a_million_pixels_go_through_the_network_together(network):
    # 600 x 1000 are 0.6 of 1.048 million: one at a time. 320 x 427 are 0.137 million: 7.
    assert plan(network, [(300, 500)] * 2) == [(0,), (1,)]
    batches = plan(network, [(480, 640)] * 9, 320, 640)
    assert batches == [tuple(range(7)), (7, 8)]
    # And 8 images at most: 64 x 96 would be 170.
    assert [len(batch) for batch in plan(network, [(64, 96)] * 20, 64, 96)] == [8, 8, 4]


def test_large_images_are_decoded_few_at_a_time(network):
    # 5000 x 6000 are 30 of 67 million pixels: two at a time. 9000 x 9000 are more: alone.
    assert plan(network, [(5000, 6000)] * 5, 64, 96) == [(0, 1), (2, 3), (4,)]
    assert plan(network, [(9000, 9000)] * 2, 64, 96) == [(0,), (1,)]


def test_an_image_that_would_be_resized_twice_counts_as_it_is_given(network):
    # Rounded down, some sides become 799 in float64, which would become 800 in the network: the
    # image is given whole, more than 8 million pixels, and so alone.
    detector = Detector.from_network(network, NAMES, 800, 1333, "floor")
    size = next(
        (side, side * 3 // 2)
        for side in range(2401, 3000)
        if detector._size_to_give((side, side * 3 // 2)) == (side, side * 3 // 2)
    )
    assert list(detector.in_batches().plan([size] * 3)) == [(0,), (1,), (2,)]
