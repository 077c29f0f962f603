"""Weights of keras.applications: what is loaded, what is refused, and the download.

A stand-in network keeps the names of VGG16 with a few channels; stand-in files keep the layouts.
"""

import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from tf_frcnn.architectures.vgg16 import build_vgg16
from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained import keras_applications
from tf_frcnn.pretrained.keras_applications import load_backbone_weights

KERAS_2 = keras.__version__.startswith("2.")
NOTOP_FILE = Path(__file__).parents[3] / "shared/weights/vgg16_notop.h5"
WAYS_OUT = ("--train.start-from PATH", "--train.start-from none")
# No two sizes alike, so that a transposed or swapped array cannot fit.
BACKBONE = {"block1_conv1": (3, 3, 3, 4), "block1_conv2": (3, 3, 4, 5)}
HEAD = {"fc1": (20, 7), "fc2": (7, 6)}
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


def make_detector(normalized: bool = False) -> SimpleNamespace:
    backbone = keras.Sequential([keras.Input((None, None, 3))], name="backbone")
    for name, kernel in BACKBONE.items():
        backbone.add(keras.layers.Conv2D(kernel[-1], 3, padding="same", name=name))
        if normalized:
            backbone.add(keras.layers.BatchNormalization(name=f"{name}_bn"))
        backbone.add(keras.layers.ReLU(name=f"{name}_relu"))  # without weights: needs none
    dense = {name: keras.layers.Dense(shape[-1], name=name) for name, shape in HEAD.items()}
    for name, layer in dense.items():
        layer.build((None, HEAD[name][0]))
    return SimpleNamespace(backbone=backbone, box_head=SimpleNamespace(**dense))


def get_arrays(network: SimpleNamespace) -> Arrays:
    layers = {layer.name: layer for layer in network.backbone.layers if layer.weights}
    layers |= {"fc1": network.box_head.fc1, "fc2": network.box_head.fc2}
    return {name: tuple(layer.get_weights()) for name, layer in layers.items()}


def make_arrays(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    """Numbers that all differ: 0, 1, 2 ... through all kernels, halves for the biases."""
    arrays, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        kernel = np.arange(start, start + size, dtype=np.float32).reshape(shape)
        arrays[name] = (kernel, np.arange(shape[-1], dtype=np.float32) + start + 0.5)
        start += size
    return arrays


def write_legacy(path: Path, arrays: Arrays, kernel: str = "W_1:0", bias: str = "b_1:0") -> Path:
    """Write the layout of keras.applications' files, layers without weights included."""
    with h5py.File(path, "w") as file:
        names = ["input_layer", *arrays, "block1_pool"]
        file.attrs["layer_names"] = np.array(names, dtype="S")
        for name in names:
            group = file.create_group(name)
            spellings = [f"{name}_{kernel}", f"{name}_{bias}"] if name in arrays else []
            group.attrs["weight_names"] = np.array(spellings, dtype="S")
            for spelling, array in zip(spellings, arrays.get(name, ()), strict=True):
                group[spelling] = array
    return path


@pytest.fixture
def full_arrays() -> Arrays:
    return make_arrays({**BACKBONE, **HEAD, "predictions": (6, 3)})


@pytest.fixture
def notop_arrays() -> Arrays:
    return make_arrays(BACKBONE)


def assert_loaded(network: SimpleNamespace, expected: Arrays) -> None:
    found = get_arrays(network)
    for name in expected:
        np.testing.assert_array_equal(found[name][0], expected[name][0], err_msg=name)
        np.testing.assert_array_equal(found[name][1], expected[name][1], err_msg=name)


def assert_refused(source: str, *fragments: str, network: SimpleNamespace | None = None) -> None:
    """Loading ends in one line that holds the fragments, and no variable has changed."""
    network = network or make_detector()
    before = get_arrays(network)
    with pytest.raises(WeightsError) as caught:
        load_backbone_weights(network, source)
    message = str(caught.value)
    for fragment in fragments:
        assert fragment in message
    assert "\n" not in message
    for name, arrays in get_arrays(network).items():
        for array, array_before in zip(arrays, before[name], strict=True):
            np.testing.assert_array_equal(array, array_before, err_msg=name)


# ---- what is loaded


def test_none_loads_nothing_and_says_so():
    network = make_detector()
    before = get_arrays(network)
    report = load_backbone_weights(network, "none")
    assert report.source == "none"
    assert report.loaded == ()
    assert report.left_random == ("block1_conv1", "block1_conv2", "fc1", "fc2")
    assert str(report) == "No weights loaded (none): all layers start at random."
    assert_loaded(network, before)


def test_none_suits_every_backbone():
    report = load_backbone_weights(make_detector(normalized=True), "none")
    assert "block1_conv1_bn" in report.left_random


def test_full_file_fills_backbone_and_fc_layers(tmp_path, full_arrays):
    path = write_legacy(tmp_path / "full.h5", full_arrays)
    network = make_detector()
    report = load_backbone_weights(network, str(path))
    assert report.loaded == ("block1_conv1", "block1_conv2", "fc1", "fc2")
    assert report.left_random == ()
    assert str(report) == (
        f"Weights from {path}: loaded block1_conv1, block1_conv2, fc1, fc2; "
        "no layer of VGG16 is left at random."
    )
    assert_loaded(network, {name: full_arrays[name] for name in report.loaded})


def test_notop_file_leaves_fc_layers_at_random_and_says_so(tmp_path, notop_arrays):
    path = write_legacy(tmp_path / "notop.h5", notop_arrays)
    network = make_detector()
    before = get_arrays(network)
    report = load_backbone_weights(network, str(path))
    assert report.loaded == ("block1_conv1", "block1_conv2")
    assert report.left_random == ("fc1", "fc2")
    assert str(report).endswith("left at random, as the file lacks them: fc1, fc2.")
    assert_loaded(network, {**notop_arrays, "fc1": before["fc1"], "fc2": before["fc2"]})


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [
        ("kernel:0", "bias:0"),  # Keras 2
        ("z/kernel:0", "a/bias:0"),  # nested, and the bias sorts before the kernel
    ],
)
def test_spellings_of_weights_do_not_matter(tmp_path, notop_arrays, kernel, bias):
    path = write_legacy(tmp_path / "weights.h5", notop_arrays, kernel, bias)
    network = make_detector()
    load_backbone_weights(network, str(path))
    assert_loaded(network, notop_arrays)


def test_order_of_layers_does_not_matter(tmp_path, full_arrays):
    path = write_legacy(tmp_path / "weights.h5", dict(reversed(full_arrays.items())))
    network = make_detector()
    load_backbone_weights(network, str(path))
    assert_loaded(network, {name: full_arrays[name] for name in ("block1_conv1", "fc2")})


def test_half_precision_file_is_taken(tmp_path, notop_arrays):
    # Halves up to 2048 are exact to 1: kernels end at 3*3*3*4 + 3*3*4*5 - 1 = 287, biases at 112.5.
    halves = {
        name: tuple(a.astype(np.float16) for a in pair) for name, pair in notop_arrays.items()
    }
    network = make_detector()
    load_backbone_weights(network, str(write_legacy(tmp_path / "half.h5", halves)))
    assert_loaded(network, notop_arrays)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["saved.weights.h5", "saved.h5"])
def test_file_that_this_keras_wrote(tmp_path, name):
    layers = [keras.Input((2, 2, 3))]
    layers += [keras.layers.Conv2D(s[-1], 3, padding="same", name=n) for n, s in BACKBONE.items()]
    layers += [keras.layers.Flatten()]  # 2 * 2 * 5 channels = the 20 inputs of fc1
    layers += [keras.layers.Dense(s[-1], name=n) for n, s in HEAD.items()]
    saved = keras.Sequential(layers)
    saved.compile("adam", "mse")  # whose moments bear the names of the layers too
    saved.fit(np.ones([1, 2, 2, 3]), np.ones([1, HEAD["fc2"][-1]]), verbose=0)
    path = tmp_path / name
    saved.save_weights(path) if "weights" in name else saved.save(path)
    network = make_detector()
    if KERAS_2 and "weights" in name:  # layers are numbered there, not named
        assert_refused(str(path), str(path), "no names of layers", "weights as .h5", *WAYS_OUT)
        return
    load_backbone_weights(network, str(path))
    weights = {layer.name: layer.get_weights() for layer in saved.layers if layer.weights}
    assert_loaded(network, weights)


@pytest.mark.skipif(not NOTOP_FILE.exists(), reason=f"{NOTOP_FILE} is not there")
def test_real_notop_file_fills_thirteen_convolutions():
    network = SimpleNamespace(backbone=build_vgg16(), box_head=make_detector().box_head)
    report = load_backbone_weights(network, str(NOTOP_FILE))
    assert len(report.loaded) == 13
    assert report.left_random == ("fc1", "fc2")
    with h5py.File(NOTOP_FILE) as file:
        expected = {
            name: (file[f"{name}/{name}_W_1:0"][...], file[f"{name}/{name}_b_1:0"][...])
            for name in report.loaded
        }
    assert_loaded(network, expected)


def test_imagenet_fits_the_backbone_of_full_width():
    layers = [layer for layer in build_vgg16().layers if layer.weights]
    shapes = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers}
    heads = {"fc1": [(25088, 4096), (4096,)], "fc2": [(4096, 4096), (4096,)]}
    assert keras_applications.published_shapes() == shapes | heads


# ---- what is refused


def test_missing_file(tmp_path):
    path = str(tmp_path / "imagnet.h5")
    assert_refused(path, path, "No such file", "imagenet, none or the PATH", *WAYS_OUT)


def test_null_byte_in_path():
    assert_refused("weights\0.h5", "cannot be opened", *WAYS_OUT)


def test_folder(tmp_path):
    assert_refused(str(tmp_path), str(tmp_path), "it is a folder", *WAYS_OUT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an HDF5 file (43 bytes)"),
    ],
)
def test_not_hdf5(tmp_path, content, message):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    assert_refused(str(path), str(path), message, *WAYS_OUT)


@pytest.mark.parametrize("key", ["images", "layers", "model_weights"])
def test_hdf5_of_another_layout(tmp_path, key):
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        file[key] = np.zeros([2, 3])
    assert_refused(str(path), str(path), "another layout", f"['{key}']", *WAYS_OUT)


def test_empty_hdf5(tmp_path):
    path = tmp_path / "empty.h5"
    h5py.File(path, "w").close()
    assert_refused(str(path), "another layout", "it holds nothing", *WAYS_OUT)


@pytest.mark.parametrize("missing", ["block1_conv2", "fc1", "fc2"])
def test_missing_layer(tmp_path, full_arrays, missing):
    del full_arrays[missing]
    path = write_legacy(tmp_path / "weights.h5", full_arrays)
    assert_refused(str(path), str(path), f"no weights for layer '{missing}'", *WAYS_OUT)


def test_layer_without_arrays(tmp_path, notop_arrays):
    path = write_legacy(tmp_path / "weights.h5", notop_arrays)
    with h5py.File(path, "a") as file:
        del file["block1_conv2"]
        file.create_group("block1_conv2")
    assert_refused(str(path), "no weights for layer 'block1_conv2' (Conv2D)", *WAYS_OUT)


def test_layer_without_bias(tmp_path, notop_arrays):
    path = write_legacy(tmp_path / "weights.h5", notop_arrays)
    with h5py.File(path, "a") as file:
        del file["block1_conv1/block1_conv1_b_1:0"]
    assert_refused(
        str(path), "'block1_conv1' has arrays of shapes (3, 3, 3, 4), but", "(3, 3, 3, 4) and (4,)"
    )


@pytest.mark.parametrize(
    ("name", "stored", "needed"),
    [
        ("block1_conv1", (3, 3, 3, 64), "(3, 3, 3, 4) and (4,)"),
        ("block1_conv2", (5, 4, 3, 3), "(3, 3, 4, 5) and (5,)"),  # transposed, as Theano's
        ("fc1", (21, 7), "(20, 7) and (7,)"),
    ],
)
def test_wrong_shape(tmp_path, full_arrays, name, stored, needed):
    full_arrays[name] = make_arrays({name: stored})[name]
    path = write_legacy(tmp_path / "weights.h5", full_arrays)
    found = f"layer '{name}' has arrays of shapes {stored} and ({stored[-1]},)"
    assert_refused(str(path), str(path), found, needed, WAYS_OUT[1])


def test_layer_that_vgg16_lacks(tmp_path, notop_arrays):
    path = write_legacy(tmp_path / "weights.h5", notop_arrays)
    network = make_detector(normalized=True)
    layer = "'block1_conv1_bn' (BatchNormalization)"
    assert_refused(str(path), layer, *WAYS_OUT, network=network)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path, full_arrays, bad):
    full_arrays["fc2"][1][2] = bad  # in the last array that is read: the rest must not be loaded
    path = write_legacy(tmp_path / "weights.h5", full_arrays)
    assert_refused(str(path), "/fc2/fc2_b_1:0 has 1 of 6 weights", "NaN or infinite", *WAYS_OUT)


def test_weights_that_are_not_floats(tmp_path, notop_arrays):
    kernel, bias = notop_arrays["block1_conv1"]
    notop_arrays["block1_conv1"] = (kernel.astype(np.int64), bias)
    path = write_legacy(tmp_path / "weights.h5", notop_arrays)
    assert_refused(str(path), "block1_conv1_W_1:0", "int64, expected floats", *WAYS_OUT)


def test_truncated_file(tmp_path, full_arrays):
    whole = write_legacy(tmp_path / "whole.h5", full_arrays).read_bytes()
    path = tmp_path / "truncated.h5"
    path.write_bytes(whole[:-1000])
    assert_refused(str(path), str(path), "cannot be read (", "truncated", *WAYS_OUT)


def test_damaged_file_never_ends_in_another_error(tmp_path, full_arrays):
    """A kilobyte is overwritten at each place in turn: it loads or is refused, nothing else."""
    whole = write_legacy(tmp_path / "whole.h5", full_arrays).read_bytes()
    network = make_detector()
    num_refused = 0
    for start in range(0, len(whole), 512):
        path = tmp_path / f"damaged_{start}.h5"
        path.write_bytes(whole[:start] + b"\xff" * 1024 + whole[start + 1024 :])
        try:
            load_backbone_weights(network, str(path))
        except WeightsError:
            num_refused += 1
    assert num_refused > 0


# ---- the download


@dataclass
class StandInServer:
    """What the loopback server answers, and the requests that it got."""

    body: bytes
    status: int = 200
    stated_length: int | None = None
    answers: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch, tmp_path, full_arrays) -> Iterator[StandInServer]:
    """Serve a stand-in for the published file, and have the loader ask for it."""
    state = StandInServer(write_legacy(tmp_path / "served.h5", full_arrays).read_bytes())
    state.answers.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            state.answers.wait(timeout=10)
            self.send_response(state.status)
            self.send_header("Content-Length", str(state.stated_length or len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    point_loader_at(monkeypatch, tmp_path, listener.server_address[1])
    monkeypatch.setattr(keras_applications, "IMAGENET_MD5", hashlib.md5(state.body).hexdigest())
    yield state
    state.answers.set()
    listener.shutdown()
    listener.server_close()
    thread.join()


def point_loader_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(keras_applications, "IMAGENET_URL", f"http://127.0.0.1:{port}/vgg16/")
    shapes = {name: (kernel, kernel[-1:]) for name, kernel in {**BACKBONE, **HEAD}.items()}
    monkeypatch.setattr(keras_applications, "published_shapes", lambda: shapes)


def cached_file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels.h5"


def test_imagenet_is_downloaded_once(server, tmp_path, full_arrays):
    for _ in range(2):
        network = make_detector()
        report = load_backbone_weights(network, "imagenet")
        assert report.source == "imagenet"
        assert report.loaded == ("block1_conv1", "block1_conv2", "fc1", "fc2")
        assert report.left_random == ()
        assert_loaded(network, {name: full_arrays[name] for name in report.loaded})
    assert server.requests == ["/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5"]
    assert cached_file(tmp_path).read_bytes() == server.body


def test_partial_file_of_a_killed_download_is_fetched_again(server, tmp_path):
    cached_file(tmp_path).parent.mkdir()
    cached_file(tmp_path).write_bytes(server.body[:1000])
    assert load_backbone_weights(make_detector(), "imagenet").left_random == ()
    assert cached_file(tmp_path).read_bytes() == server.body


def spoil_hash(server: StandInServer) -> None:
    server.body = server.body[:-1] + b"?"


def spoil_length(server: StandInServer) -> None:
    server.stated_length = len(server.body) + 1


def spoil_status(server: StandInServer) -> None:
    server.status = 503


def spoil_answer(server: StandInServer) -> None:
    server.answers.clear()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_hash, "hash does not match"),
        pytest.param(
            spoil_length,
            "retrieval incomplete",
            marks=pytest.mark.skipif(KERAS_2, reason="Keras 2 goes by the hash, not the length"),
        ),
        (spoil_status, "503"),
        (spoil_answer, "timed out"),
    ],
)
def test_failed_download_does_not_poison_the_next(
    server, monkeypatch, spoil: Callable[[StandInServer], None], reason
):
    monkeypatch.setattr(keras_applications, "DOWNLOAD_TIMEOUT", 0.3)
    body = server.body
    spoil(server)
    url = f"{keras_applications.IMAGENET_URL}vgg16_weights_tf_dim_ordering_tf_kernels.h5"
    assert_refused("imagenet", url, "could not be downloaded", reason, *WAYS_OUT)
    assert socket.getdefaulttimeout() is None
    server.body, server.status, server.stated_length = body, 200, None
    server.answers.set()
    assert load_backbone_weights(make_detector(), "imagenet").left_random == ()


def test_no_server(monkeypatch, tmp_path):
    with socket.socket() as unused:  # bound but not listening: the port refuses
        unused.bind(("127.0.0.1", 0))
        point_loader_at(monkeypatch, tmp_path, unused.getsockname()[1])
        assert_refused("imagenet", "could not be downloaded", "refused", "a network", *WAYS_OUT)


def test_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache" / "models").write_text("a file where the folder should be")
    assert_refused("imagenet", str(tmp_path / "cache" / "models"), "KERAS_HOME", *WAYS_OUT)
    assert server.requests == []


def test_detector_that_imagenet_cannot_fit_is_refused_before_the_download(server):
    keras_applications.published_shapes()["block1_conv1"] = ((3, 3, 3, 64), (64,))
    expected = "'block1_conv1' has arrays of shapes (3, 3, 3, 64) and (64,)"
    assert_refused("imagenet", expected, "(3, 3, 3, 4) and (4,)", WAYS_OUT[1])
    assert server.requests == []


def test_quarter_backbone_is_refused_by_name():
    backbone = build_vgg16(width=0.25, normalized=True)
    network = SimpleNamespace(backbone=backbone, box_head=make_detector().box_head)
    message = "'block1_conv1' has arrays of shapes (3, 3, 3, 64) and (64,)"
    assert_refused("imagenet", message, "(3, 3, 3, 16)", WAYS_OUT[1], network=network)
