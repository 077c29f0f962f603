"""A detector by its published name, through the commands: from a file in the cache to detections.

The published file cannot be had here. Its place is taken by seeded weights of the same keys and
shapes, in torch's format, under a catalogue entry with their SHA-256. Images enter the network at a
small size.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import voc_xml
from tests.data.coco_writer import annotation, content, write_json
from tests.fixtures.seeded import UNUSED, seeded_array, seeded_image
from tests.pretrained.torch_writer import contiguous, write
from tf_frcnn import cli
from tf_frcnn.architectures import ARCHITECTURES
from tf_frcnn.checkpoints import named_weights
from tf_frcnn.commands import verify
from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.config import DataConfig
from tf_frcnn.detector import Detector
from tf_frcnn.errors import ConfigError, WeightsError
from tf_frcnn.inference import load_network
from tf_frcnn.model import FasterRCNN
from tf_frcnn.model_files import find_model, find_start
from tf_frcnn.pretrained import detectors
from tf_frcnn.pretrained.catalogue import COCO_CATEGORIES
from tf_frcnn.pretrained.detectors import DETECTORS
from tf_frcnn.pretrained.download import sha256_of
from tf_frcnn.training.start import start_network
from tf_frcnn.training.trainer import FasterRCNNTrainer

NAME = "fasterrcnn_resnet50_fpn"
FIXTURE = Path(__file__).parent / "fixtures" / f"torchvision_{NAME}.npz"
IMAGE_SIZE = (61, 97)


def write_weights(path, num_columns=91):
    with np.load(FIXTURE) as file:
        shapes = json.loads(str(file["shapes"]))
    path.parent.mkdir(exist_ok=True)
    storages, views = {}, {}
    for number, (key, shape) in enumerate(shapes.items()):
        array = seeded_array(key, shape)
        if "box_predictor" in key:
            array = array[: num_columns * array.shape[0] // 91]
        if key.endswith("cls_score.bias") and num_columns == 91:
            array[list(UNUSED)] = -30.0
        storages[str(number)] = array.reshape(-1)
        views[key] = contiguous(str(number), array.shape)
    return write(path, views, storages, legacy=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Give a cache with the file, and have the catalogue expect that one."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "weights"
    folder.mkdir()
    path = write_weights(folder / DETECTORS[NAME].file_name)
    entry = dataclasses.replace(DETECTORS[NAME], sha256=sha256_of(path))
    architecture = ARCHITECTURES[NAME]
    sides = {"short_side": 64, "long_side": 128, "resize_rounding": "floor"}
    small = dataclasses.replace(architecture, settings={**architecture.settings, "data": sides})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(DETECTORS, NAME, entry)
        patched.setitem(ARCHITECTURES, NAME, small)
        patched.setenv("TF_FRCNN_HOME", str(home))
        patched.setenv("TF_FRCNN_OFFLINE", "1")
        yield path


@pytest.fixture(scope="module")
def detector(cache):
    return Detector.load(NAME)


def write_voc_image(root, objects):
    """Write one image, in VOC's layout."""
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    Image.fromarray(seeded_image(0, IMAGE_SIZE)).save(root / "JPEGImages" / "one.png")
    xml = voc_xml(IMAGE_SIZE, objects, "one.png")
    (root / "Annotations" / "one.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "test.txt").write_text("one\n")
    return root


@pytest.fixture
def voc_root(tmp_path):
    return write_voc_image(tmp_path / "voc", [("cat", 5, 6, 40, 50)])


def test_evaluate_leaves_out_what_was_not_asked_for(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    objects = [("cat", 5, 6, 40, 50), ("goose", 1, 1, 9, 9), ("dog", 3, 3, 30, 30)]
    root = write_voc_image(tmp_path / "voc", objects)
    assert cli.main(["evaluate", NAME, "--data.root", str(root)]) == 2  # no class of COCO
    assert "'goose'" in capsys.readouterr().err
    options = ["--overwrite", "--data.classes", "dog", "cat"]
    assert cli.main(["evaluate", NAME, "--data.root", str(root), *options]) == 0
    metrics = json.loads(Path(f"{NAME}-evaluation/metrics.json").read_text())
    num_boxes = {name: figures["num_boxes"] for name, figures in metrics["per_class"].items()}
    assert num_boxes == {"dog": 1, "cat": 1}
    assert "boxes of other classes, left out: 1: goose (1)" in capsys.readouterr().err


def test_a_detector_by_name_knows_cocos_classes(detector):
    assert detector.class_names == tuple(COCO_CATEGORIES.values())
    assert detector.config.model.unused_columns == UNUSED
    found = detector(seeded_image(0, IMAGE_SIZE))
    assert len(found.scores) == detector.config.model.max_detections
    assert set(found.class_names) <= set(detector.class_names)


def test_predict_and_evaluate_by_name(cache, voc_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = str(voc_root / "JPEGImages" / "one.png")
    options = ["--output", "found", "--score", "0.3"]
    assert cli.main(["predict", NAME, image, *options]) == 0
    found = json.loads(Path("found/detections.json").read_text())
    assert found
    assert all(COCO_CATEGORIES[one["category_id"]] == one["category_name"] for one in found)
    assert max(one["category_id"] for one in found) > 80
    data = ["--data.root", str(voc_root), "--data.classes", "dog", "cat"]
    assert cli.main(["evaluate", NAME, *data]) == 0
    metrics = json.loads(Path(f"{NAME}-evaluation/metrics.json").read_text())
    assert list(metrics["per_class"]) == ["dog", "cat"]
    assert (metrics["num_boxes"], metrics["num_boxes_left_out"]) == (1, 0)
    other = ["--data.root", str(voc_root), "--output", "cows", "--data.classes", "cow"]
    assert cli.main(["evaluate", NAME, *other]) == 2
    assert "no box is of the classes cow; there are cat (1)" in capsys.readouterr().err
    assert cli.main(["evaluate", NAME, "--data.root", str(voc_root), "--data.classes", "elk"]) == 2
    assert (
        "--data.classes elk: fasterrcnn_resnet50_fpn knows no such class" in capsys.readouterr().err
    )


def test_verify_by_name(cache, tmp_path, monkeypatch, capsys):
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    Image.fromarray(seeded_image(0, IMAGE_SIZE)).save(root / "val2017" / "7.png")
    images = [{"id": 7, "file_name": "7.png"}]
    boxes = [annotation(1, 7, [5, 6, 40, 50], 18)]
    path = root / "annotations" / "instances_val2017.json"
    write_json(path, content(images, boxes, COCO_CATEGORIES))
    monkeypatch.setattr(verify, "NUM_IMAGES", 1)
    monkeypatch.chdir(tmp_path)
    # Seeded weights find anything but that dog: 0 is below 36.9.
    assert cli.main(["verify", NAME, "--data.root", str(root), "--offline"]) == 1
    assert f"SHA-256 {sha256_of(cache)} | AP 0." in capsys.readouterr().out
    found = json.loads(Path(f"{NAME}-verification/detections.json").read_text())
    assert found and {one["image_id"] for one in found} == {7}
    assert all(COCO_CATEGORIES[one["category_id"]] == one["category_name"] for one in found)


def test_an_export_is_equal_and_knows_its_classes(cache, detector, tmp_path):
    assert cli.main(["export", NAME, "--output", str(tmp_path / NAME)]) == 0
    exported = Detector.load(tmp_path / NAME)
    assert exported.class_names == detector.class_names
    assert exported.category_ids == detector.category_ids == tuple(COCO_CATEGORIES)
    image = seeded_image(1, (97, 161))  # the rounding of its sides is not undone by a second one
    ours, theirs = detector(image), exported(image)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-5)
    assert theirs.class_names == ours.class_names


def test_a_file_of_ones_own(cache, tmp_path):
    path = write_weights(tmp_path / "mine.pth", num_columns=4)
    model = find_model(NAME, path, ("a", "b", "c"))
    assert model.load_config().data.classes == ("a", "b", "c")
    assert model.published.epsilon == 1e-5
    assert model.published.is_epsilon_doubtful
    assert find_model(NAME, path, ("a", "b", "c"), epsilon=1e-3).published.epsilon == 1e-3
    assert model.load_config().model.class_columns(3) == (1, 2, 3)
    with pytest.raises(WeightsError, match=r"mine.pth: has 4 columns .* Give their 3 names"):
        find_model(NAME, path)
    with pytest.raises(WeightsError, match=r"2 names are given, and .*mine.pth has 4 columns"):
        find_model(NAME, path, ("a", "b"))


def test_the_published_file_by_its_path_has_the_published_epsilon(cache):
    model = find_model(NAME, cache)
    assert (model.published.epsilon, model.published.is_epsilon_doubtful) == (0.0, False)
    given = find_model(NAME, cache, epsilon=1e-5).published
    assert (given.epsilon, given.is_epsilon_doubtful) == (1e-5, False)


def test_an_epsilon_that_nobody_gave_is_warned_of_once(tmp_path, caplog):
    path = write_weights(tmp_path / "mine.pth", num_columns=4)
    load_network(find_model(NAME, path, ("a", "b", "c")))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "whose normalisation has an epsilon of 0; it is taken to have been" in warning.message
    assert warning.message.endswith("Another one is given by --weights-epsilon")


def test_a_training_starts_from_a_file_with_its_epsilon(tmp_path, caplog):
    path = write_weights(tmp_path / "mine.pth", num_columns=4)
    options = ["--model.architecture", NAME, "--train.start-from", str(path)]
    options += ["--train.start-from-epsilon", "0.001"]
    config = parse_arguments(["finetune", *options]).config
    found = find_start(str(path), NAME, config.train.start_from_epsilon)
    assert found.published.epsilon == 1e-3
    with caplog.at_level("INFO"):
        network = FasterRCNN(config.model, 3)
        start_network(network, dataclasses.replace(config, data=DataConfig(classes=tuple("abc"))))
    assert "mine.pth: an epsilon of 0.001 in its normalisation, as was given" in caplog.text
    assert find_start(str(path), NAME).published.epsilon_remark.endswith(
        "Another one is given by --train.start-from-epsilon"
    )


@pytest.mark.parametrize("source", ["imagenet", "none", NAME, "run"])
def test_an_epsilon_to_start_from_goes_with_a_file(source):
    with pytest.raises(WeightsError, match=rf"epsilon 0: tells of .* --train.start-from {source} "):
        find_start(source, NAME, 0.0)


def test_a_folder_of_that_name_is_not_passed_over(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(WeightsError, match=rf"^{NAME}: is the name of a published detector, and"):
        find_model(Path(f"./{NAME}"))


def test_weights_go_with_a_name(tmp_path):
    with pytest.raises(WeightsError, match=r"--weights: goes with the name of a published"):
        find_model(tmp_path, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"^epsilon: goes with .*, or no epsilon\.$"):
        Detector.load(tmp_path, epsilon=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_names": ("cat",)},
            "--weights-classes: tells of a file that is given by --weights",
        ),
        ({"epsilon": 0.0}, "--weights-epsilon: tells of a file that is given by --weights"),
        ({"weights": "a.pth", "epsilon": -1.0}, "--weights-epsilon -1.0: expected a number, 0 or"),
        ({"weights": "a.pth", "epsilon": float("nan")}, "--weights-epsilon nan: expected"),
        ({"weights": "a.pth", "class_names": "aa"}, "--weights-classes a a: expected every class"),
    ],
)
def test_options_are_looked_at_before_any_file(monkeypatch, options, message):
    def fail(*_, **__):
        pytest.fail("a file is looked for")

    monkeypatch.setattr(detectors, "fetch", fail)
    monkeypatch.setattr(detectors, "sha256_of", fail)
    with pytest.raises((ConfigError, WeightsError)) as raised:
        find_model(NAME, **options)
    assert message in str(raised.value)
    arguments = message.replace("--weights-", "").replace("classes", "class_names")
    with pytest.raises((ConfigError, WeightsError)) as raised:
        Detector.load(NAME, **options)
    assert arguments.replace("--", "") in str(raised.value)


def test_messages_name_what_the_caller_has(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_FRCNN_HOME", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match=r"offline=True is set.*its place by weights=PATH\."):
        Detector.load(NAME, offline=True)
    with pytest.raises(WeightsError, match=r"its place by weights=PATH\."):
        FasterRCNN.from_preset(NAME, weights="published")
    ours = rf"by --train.start-from PATH --model.architecture {NAME}\."
    with pytest.raises(WeightsError, match=ours):
        find_start(NAME, "")
    with pytest.raises(WeightsError, match=r"gone.pth: it cannot be read \(No such file"):
        find_start(str(tmp_path / "gone.pth"), NAME)
    path = write_weights(tmp_path / "mine.pth", num_columns=4)
    with pytest.raises(WeightsError, match=r"Give their 3 names by class_names\."):
        Detector.load(NAME, path)
    assert FasterRCNN.from_preset(NAME, weights=path).num_classes == 3


def test_weights_are_not_moved_away(cache, tmp_path, capsys):
    image = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(image)
    path = write_weights(tmp_path / "out" / "mine.pth")
    options = ["--weights", str(path), "--overwrite", "--output"]
    for command in (
        ["predict", NAME, str(image), *options, str(tmp_path / "out")],
        ["evaluate", NAME, "--data.root", str(tmp_path / "in"), *options, str(tmp_path / "out")],
        ["benchmark", NAME, *options, str(path)],
    ):
        assert cli.main(command) == 2
        assert f"{path}, which is an input" in capsys.readouterr().err
    assert path.is_file()


def test_a_file_that_is_not_in_the_cache_is_named_once(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TF_FRCNN_HOME", str(tmp_path / "empty"))
    image = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(image)
    status = cli.main(["predict", NAME, str(image), "--output", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert status == 2
    for part in (DETECTORS[NAME].file_name, DETECTORS[NAME].url, str(tmp_path / "empty")):
        assert part in message
    assert "--weights PATH" in message
    assert not (tmp_path / "out").exists()


def test_a_network_with_published_weights(cache, detector):
    network = FasterRCNN.from_preset(NAME, weights="published")
    assert (network.num_classes, network.config.unused_columns) == (80, UNUSED)
    with pytest.raises(ConfigError, match="network: has columns that stand for no class"):
        FasterRCNNTrainer(network)
    mine = FasterRCNN.from_preset(NAME, num_classes=3, weights=cache)
    assert (mine.num_classes, mine.config.unused_columns) == (3, ())
    theirs, ours = named_weights(network), named_weights(mine)
    np.testing.assert_array_equal(ours["fc1/kernel"], theirs["fc1/kernel"])
    assert ours["box_classes/kernel"].shape == (1024, 4)
    with pytest.raises(ConfigError, match=r"weights = 'published': vgg16 is no published detector"):
        FasterRCNN.from_preset("vgg16", weights="published")
    with pytest.raises(ConfigError, match=r'or weights="published" for COCO'):
        FasterRCNN.from_preset(NAME)
