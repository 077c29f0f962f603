"""Files that torch wrote, read without it: what is in them, and what is refused unread.

Most files are written by `torch_writer`, from the formats' description; those in `tests/fixtures`
by torch itself.
"""

import gzip
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pretrained import torch_writer as writer
from tests.pretrained.torch_writer import Raw, View, call, contiguous, name, ordered_dict
from tf_frcnn.errors import WeightsError
from tf_frcnn.pretrained import torch_pickle
from tf_frcnn.pretrained.torch_file import read_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures"
REAL_FILE = Path(__file__).parents[3] / "shared/weights/efficientnet_lite0_imagenet.pth"
NUMBERS = {"0": np.arange(24, dtype=np.float32)}
both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "weights.pth"


def refusal(path: Path) -> str:
    """Read a file that must be refused -> the message, which says what any must."""
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert "torch.save(model.state_dict(), PATH)" in message and caught.value.exit_status == 2
    return message


def write_content(path: Path, content, legacy: bool, storages=NUMBERS) -> Path:
    if legacy:
        return writer.write_legacy(path, content, storages)
    return writer.write_zip(path, writer.zip_records(content, storages))


def state_of(legacy: bool) -> Raw:
    """A state dict of one tensor, 2 x 3, of `NUMBERS`."""
    return ordered_dict({"a.weight": writer.tensor(contiguous("0", (2, 3)), NUMBERS, legacy)})


def expected_array(view: View, storages) -> np.ndarray:
    """Look the numbers up one by one."""
    array = np.empty(view.shape, storages[view.storage].dtype)
    for index in np.ndindex(*view.shape):
        place = sum(i * stride for i, stride in zip(index, view.strides, strict=True))
        array[index] = storages[view.storage][view.offset + place]
    return array


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare shapes, dtypes and bytes, NaN included."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
    assert not found.flags.writeable and found.flags.aligned


# === Files that torch wrote ===


@pytest.mark.parametrize(
    "file_name",
    [
        "torch_zip.pth",
        "torch_zip_protocol_4.pth",
        "torch_legacy.pth",
        "torch_checkpoint.pth",  # with optimizer, schedule, Namespace; keys under `module.`
        "torch_checkpoint_legacy.pth",
    ],
)
def test_files_of_torch_itself(file_name):
    expected = dict(np.load(FIXTURES / "torch_expected.npz"))
    del expected["version"]
    found = read_state_dict(FIXTURES / file_name)
    assert list(found) == list(expected)
    for key, array in expected.items():
        dtype = ml_dtypes.bfloat16 if "bfloat16" in key else array.dtype
        assert_same(found[key], array.astype(dtype))
    assert found["1.num_batches_tracked"] == 1  # left for the caller


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"no {REAL_FILE}, which is not committed")
def test_published_weights():
    found = read_state_dict(REAL_FILE)
    assert len(found) == 296 and list(found)[0] == "_conv_stem.weight"
    assert found["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert found["_fc.weight"].shape == (1000, 1280) and found["_fc.weight"].dtype == np.float32
    assert found["_bn0.num_batches_tracked"].shape == ()
    floats = [array for array in found.values() if array.dtype.kind == "f"]
    assert all(np.isfinite(array).all() for array in floats)
    assert found["_bn0.running_var"].min() >= 0


# === Any tensor, in both formats ===


@st.composite
def views_and_storages(draw):
    """Some storages, and views of them of any shape and strides that fit."""
    dtypes = draw(st.lists(st.sampled_from(list(writer.STORAGE_NAMES)), min_size=1, max_size=3))
    storages = {}
    for number, dtype in enumerate(dtypes):
        size = draw(st.integers(0, 40))
        raw = np.frombuffer(draw(st.binary(min_size=size * 16, max_size=size * 16)), np.uint8)
        raw = raw % 2 if dtype == np.bool_ else raw
        storages[str(number)] = raw[: size * dtype.itemsize].view(dtype)
    views = {}
    for number in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(sorted(storages)))
        size = storages[key].size
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
        strides = tuple(draw(st.integers(0, 12)) for _ in shape)
        last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if 0 not in shape and (last >= size or np.prod(shape) > size):
            shape, strides, last = (size,), (1,), size - 1
        room = size if 0 in shape else size - 1 - last
        views[f"layer.{number}"] = View(key, draw(st.integers(0, room)), shape, strides)
    used = {view.storage for view in views.values()}
    return views, {key: array for key, array in storages.items() if key in used}


@given(made=views_and_storages())
@settings(max_examples=150)
@both_formats
def test_any_tensor_is_read_as_it_was_written(made, legacy, tmp_path_factory):
    views, storages = made
    path = tmp_path_factory.mktemp("any") / "weights.pth"
    found = read_state_dict(writer.write(path, views, storages, legacy))
    assert list(found) == list(views)
    for key, view in views.items():
        assert_same(found[key], expected_array(view, storages))


@pytest.mark.parametrize("dtype", writer.STORAGE_NAMES, ids=str)
def test_bytes_in_the_other_order(path, dtype):
    storages = {"0": np.array([0, 1, 1, 0, 1]).astype(dtype)}
    content = ordered_dict({"a": writer.tensor(contiguous("0", (2, 2), 1), storages, False)})
    writer.write_zip(path, writer.zip_records(content, storages, "big"))
    assert_same(read_state_dict(path)["a"], np.array([[1, 1], [0, 1]]).astype(dtype))


def test_archives_of_before_torch_2_1_have_no_byteorder(path):
    records = writer.zip_records(state_of(False), NUMBERS, order=None)
    found = read_state_dict(writer.write_zip(path, records, folder="resnet50"))
    assert found["a.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_part_of_a_storage_in_the_older_format(path):
    # Part "9" is numbers 10 ... 15; the tensor starts at its second: 11 12 13, 14 15 and no 16th.
    view = View("0", 1, (2, 2), (3, 1), part=("9", 10, 6))
    writer.write(path, {"a": view}, NUMBERS, legacy=True)
    assert read_state_dict(path)["a"].tolist() == [[11, 12], [14, 15]]


@pytest.mark.parametrize(
    ("part", "offset"),
    [
        (("9", 10, 6), 5),  # the last of 2 x 1 strided by 3 would be the part's ninth
        (("9", 20, 6), 0),
        (("9", -1, 6), 0),
        (("9", 2**63, 6), 0),
        (("9", 0), 0),
        ("9", 0),
        (5, 0),
    ],
)
def test_a_part_that_leaves_its_storage(path, part, offset):
    writer.write(path, {"a": View("0", offset, (2, 1), (3, 1), part=part)}, NUMBERS, legacy=True)
    refusal(path)


@both_formats
def test_python_2_wrote_an_ordered_dict_as_a_list(path, legacy):
    items = [["a", writer.tensor(contiguous("0", (2,)), NUMBERS, legacy)]]
    write_content(path, call(name("collections", "OrderedDict"), items), legacy)
    assert read_state_dict(path)["a"].tolist() == [0, 1]


def test_memory(path):
    storages = {str(number): np.zeros(2_000_000, np.float32) for number in range(4)}  # 32 MB
    views = {key: contiguous(key, (2_000_000,)) for key in storages}
    for legacy, limit in ((False, 2e6), (True, 34e6)):  # mapped; read once, for its alignment
        writer.write(path, views, storages, legacy)
        tracemalloc.start()
        found = read_state_dict(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found) == 4 and peak < limit


def test_arrays_outlive_the_file(path):
    writer.write(path, {"a": contiguous("0", (24,))}, NUMBERS, legacy=False)
    found = read_state_dict(path)
    path.unlink()
    assert_same(found["a"], NUMBERS["0"])


# === Where the state dict is ===


@both_formats
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_a_checkpoint_that_holds_a_state_dict(path, key, legacy):
    options = writer.instance(name("argparse", "Namespace"), {"lr": 0.02, "steps": [16, 22]})
    momentum = writer.tensor(contiguous("0", (4,), 8), NUMBERS, legacy)
    content = {
        "optimizer": {"state": {0: {"momentum_buffer": momentum}}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {"milestones": call(name("collections", "Counter"), {16: 1, 22: 1})},
        "args": options,
        "dtype": name("torch", "float32"),
        "epoch": 12,
        key: state_of(legacy),
    }
    found = read_state_dict(write_content(path, content, legacy))
    assert {key: array.tolist() for key, array in found.items()} == {
        "a.weight": [[0, 1, 2], [3, 4, 5]]
    }


def test_damage_in_what_is_skipped_does_no_harm(path):
    storages = {**NUMBERS, "1": np.ones(3, np.float32)}
    skipped = writer.tensor(contiguous("1", (3,)), storages, False)
    records = writer.zip_records({"model": state_of(False), "optimizer": skipped}, storages)
    del records["data/1"]
    assert list(read_state_dict(writer.write_zip(path, records))) == ["a.weight"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["module.a", "module.module.b"], ["a", "module.b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["modules.a"], ["modules.a"]),
    ],
)
def test_the_prefix_of_data_parallel(path, keys, expected):
    views = {key: contiguous("0", (2,)) for key in keys}
    assert list(read_state_dict(writer.write(path, views, NUMBERS, legacy=True))) == expected


def test_parameters_and_metadata(path):
    made = writer.parameter(contiguous("0", (2,)), NUMBERS, False)
    content = ordered_dict({"a": made}, metadata=ordered_dict({"": {"version": 1}}))
    assert list(read_state_dict(write_content(path, content, False))) == ["a"]


ITSELF = Raw(b"}q\x00(" + writer.opcodes("model") + b"h\x00" + b"u")


@both_formats
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "it holds no tensors"),
        ({"model": {}}, "it holds no tensors"),
        ([], "it holds a list, not a dictionary of tensors"),
        (None, "it holds a nonetype"),
        (5, "it holds a int"),
        ({"epoch": 3}, "'epoch' is no tensor, and none of model, state_dict, model_state_dict"),
        ({"model": {"epoch": 3}}, "in its model, 'epoch' is no tensor"),
        ({"x" * 5000: 3}, "xxx' is no tensor"),
        ({3: 5}, "it has a key that is a int, not a name"),
        ({"model": {(1, 2): 5}}, "it has a key that is a tuple, not a name"),
        (ordered_dict([("a", 1), ("a", 2)]), "it has the key 'a' twice"),
        (ITSELF, "in its model, 'model' is no tensor"),
    ],
)
def test_no_state_dict(path, content, reason, legacy):
    assert reason in refusal(write_content(path, content, legacy, {}))


def test_a_single_tensor(path):
    made = writer.tensor(contiguous("0", (2,)), NUMBERS, False)
    assert "it holds a tensor, not a dictionary" in refusal(write_content(path, made, False))


# === Nothing is run ===


class Exploit:
    """Runs a call when `pickle` loads it."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@both_formats
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_file_that_would_run_code(tmp_path, path, legacy, protocol):
    target = tmp_path / "was_here"
    code = pickle.dumps({"model": Exploit(Path.touch, target)}, protocol)
    pickle.loads(code)
    assert target.exists()  # it works where it is let
    target.unlink()
    content = Raw(code[2:-1])
    assert "could run code" in refusal(write_content(path, content, legacy, {}))
    assert not target.exists()


@both_formats
@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("builtins", "eval"),
        ("posix", "system"),
        ("os", "system"),
        ("collections", "namedtuple"),
        ("collections", "OrderedDict.fromkeys"),
        ("argparse", "ArgumentParser"),
        ("torch", "load"),
        ("torch", "FloatStorage.from_file"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.storage", "_load_from_bytes"),
        ("torchvision.models.detection.faster_rcnn", "FasterRCNN"),
        ("tests.pretrained.never", "imported"),
        ("copyreg", "_reconstructor"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("collections", "OrderedDict x"),
        ("", ""),
    ],
)
def test_names_outside_of_the_table(path, module, attribute, legacy):
    before = set(sys.modules)
    message = refusal(write_content(path, {"a": name(module, attribute)}, legacy))
    assert f"it names {module}" in message and f"{attribute}, and loading that could" in message
    stacked = Raw(writer.opcodes(module) + writer.opcodes(attribute) + b"\x93")
    assert "it names" in refusal(write_content(path, {"a": stacked}, legacy))
    assert set(sys.modules) == before


ORDERED_DICT = name("collections", "OrderedDict")
NAMESPACE = name("argparse", "Namespace")
TENSOR = name("torch._utils", "_rebuild_tensor_v2")
STORAGE = Raw(
    writer.opcodes(("storage", name("torch", "FloatStorage"), "0", "cpu", 24, None)) + b"Q"
)
ZIP_STORAGE = Raw(writer.opcodes(("storage", name("torch", "FloatStorage"), "0", "cpu", 24)) + b"Q")


def persistent(value) -> Raw:
    return Raw(writer.opcodes(value) + b"Q")


@both_formats
@pytest.mark.parametrize(
    "content",
    [
        # Attributes of what a name stands for: would change it for good, were it more than a name.
        Raw(ORDERED_DICT.opcodes + writer.opcodes({"x": 1}) + b"b"),
        Raw(TENSOR.opcodes + writer.opcodes((None, {"__defaults__": (1,)})) + b"b"),
        Raw(writer.opcodes([]) + writer.opcodes({"x": 1}) + b"b"),
        # Calls of what is no name, of what can't be called, with what are no arguments.
        call(Raw(writer.opcodes("collections.OrderedDict"))),
        call(name("torch", "FloatStorage"), 10**12),
        call(name("torch", "float32")),
        Raw(ORDERED_DICT.opcodes + writer.opcodes([]) + b"R"),
        call(ORDERED_DICT, 5),
        call(ORDERED_DICT, [1, 2]),
        call(ORDERED_DICT, ["ab"]),
        call(TENSOR),
        call(TENSOR, 1, 2, 3, 4),
        call(name("torch._utils", "_rebuild_parameter")),
        call(name("torch._utils", "_rebuild_parameter"), 5),
        Raw(ORDERED_DICT.opcodes + b")\x81"),
        Raw(writer.opcodes(5) + b")\x81"),
        # Items of what has none.
        Raw(writer.opcodes("text") + writer.opcodes(1) + b"a"),
        Raw(writer.opcodes([]) + writer.opcodes("k") + writer.opcodes(1) + b"s"),
        Raw(writer.opcodes({}) + writer.opcodes(1) + b"a"),
        Raw(b"}(" + writer.opcodes("k") + b"u"),
        # Persistent ids of other kinds.
        persistent("storage"),
        persistent(5),
        persistent(()),
        persistent(("storage",)),
        persistent(("storage", "FloatStorage", "0", "cpu", 24)),
        persistent(("storage", TENSOR, "0", "cpu", 24)),
        persistent(("storage", name("torch", "FloatStorage"))),
        persistent(("storage", name("torch", "FloatStorage"), "0", "cpu", 24, None, None)),
        persistent(("storage", name("torch", "FloatStorage"), 0, "cpu", 24)),
        persistent(("storage", name("torch", "FloatStorage"), "0", "cpu", -1)),
        persistent(("storage", name("torch", "FloatStorage"), "0", "cpu", "24")),
        persistent(("module", ORDERED_DICT, "file.py", "source")),
        Raw(b"P0\n"),
        # Opcodes that no state dict needs: extensions, instances, buffers, sets, text numbers.
        Raw(b"\x82\x01"),
        Raw(b"(iposix\nsystem\n"),
        Raw(b"(" + ORDERED_DICT.opcodes + b"o"),
        Raw(b"\x97"),
        Raw(b"\x8f"),
        Raw(b"I" + b"9" * 100 + b"\n"),
        Raw(b"\x92"),
        # A stack or a memo that is not as it should be.
        Raw(b""),
        Raw(b"0"),
        Raw(b"t"),
        Raw(b"("),
        Raw(b"(\x85"),
        Raw(b"h\x07"),
        Raw(b"N" + b"N"),
        Raw(b"X\xff\xff\xff\x7fa"),
        Raw(b"\x8d" + struct.pack("<Q", 2**62)),
        Raw(b"\x8e" + struct.pack("<Q", 2**40)),
        Raw(b"\xff"),
        Raw(b"c\xff\n\xff\n"),
    ],
    ids=lambda content: content.opcodes[:40].hex(),
)
def test_pickles_that_no_state_dict_has(path, content, legacy):
    refusal(write_content(path, {"a": content}, legacy))


@both_formats
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (25,), (1,)),
        (1, (24,), (1,)),
        (0, (2, 3), (23, 1)),
        (25, (0,), (1,)),
        (24, (), ()),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (5, 5), (0, 0)),  # 25 numbers made of one
        (0, (2**40,), (0,)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (0, 2**31, 2**31), (1, 1, 1)),
        (2**63, (1,), (1,)),
        (0, (2,), (2**63,)),
        (0, (1,) * 33, (1,) * 33),
        (0, (2, 3), (1,)),
        (0, (True,), (1,)),
        (0, ("2",), (1,)),
        (0, [2], [1]),
        (None, (2,), (1,)),
        (0.0, (2,), (1,)),
    ],
)
def test_tensors_that_leave_their_storage(path, offset, shape, strides, legacy):
    storage = STORAGE if legacy else ZIP_STORAGE
    made = call(TENSOR, storage, offset, shape, strides, False, ordered_dict([]))
    assert "it has a tensor" in refusal(write_content(path, {"a": made}, legacy))


@both_formats
def test_a_conjugate_that_is_yet_to_be_taken(path, legacy):
    # torch keeps the numbers as they were, and says so in one more argument.
    storage = STORAGE if legacy else ZIP_STORAGE
    for metadata in ({"conj": True}, 5):
        made = call(TENSOR, storage, 0, (2,), (1,), False, ordered_dict([]), metadata)
        assert "yet to be changed" in refusal(write_content(path, {"a": made}, legacy))
    made = call(TENSOR, storage, 0, (2,), (1,), False, ordered_dict([]), {})
    assert read_state_dict(write_content(path, {"a": made}, legacy))["a"].tolist() == [0, 1]


@both_formats
def test_strides_of_single_rows_mean_nothing(path, legacy):
    view = View("0", 3, (1, 2), (2**61, 1))
    writer.write(path, {"a": view}, NUMBERS, legacy)
    assert read_state_dict(path)["a"].tolist() == [[3, 4]]


@both_formats
def test_tensors_that_disagree_about_their_storage(path, legacy):
    views = {"a": contiguous("0", (2,)), "b": View("0", 0, (2,), (1,), stated_size=23)}
    writer.write(path, views, NUMBERS, legacy)
    assert "disagree on what storage '0' is" in refusal(path)


@both_formats
def test_truth_values_are_0_or_1(path, legacy):
    storages = {"0": np.array([0, 1, 2], np.uint8).view(np.bool_)}
    writer.write(path, {"a": contiguous("0", (3,))}, storages, legacy)
    assert "neither 0 nor 1" in refusal(path)


# === Bombs: small files that would take the memory or the time of a big one ===

DOUBLING = b")" + b"".join(b"q\x00h\x00\x86" for _ in range(60))  # a pair of a pair of ..., 2^60
BOMBS = {
    "a memo of gigabytes": b"Nr\xff\xff\xff\x7f",
    "a key that takes years to hash": b"}" + DOUBLING + b"Ns",
    "a list of a list of ...": b"](" * 200_000 + b"e" * 200_000,
    "a message that takes years to write": b"cos\nsystem\n" + DOUBLING + b"R",
    "a name that takes years to write": DOUBLING + DOUBLING + b"\x93",
    "a storage's name": DOUBLING + b"Q",
    "a format's version": DOUBLING,
    "a long list, many times": b"](" + b"](NNe" * 1000 + b"eq\x00" + 50_000 * (
        ORDERED_DICT.opcodes + b"h\x00\x85R0"
    ),
}  # fmt: skip


@both_formats
@pytest.mark.parametrize("opcodes", BOMBS.values(), ids=BOMBS)
def test_bombs(path, opcodes, legacy):
    write_content(path, {"a": Raw(opcodes)}, legacy)
    started = time.monotonic()
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 60


def test_steps_are_counted(path, monkeypatch):
    writer.write(path, {"a": contiguous("0", (2,))}, NUMBERS, legacy=False)
    monkeypatch.setattr(torch_pickle, "_MAX_STEPS", 20)
    assert "more than 20 steps" in refusal(path)


def test_a_zip_bomb(path):
    storages = {"0": np.zeros(1_000_000, np.float32)}
    content = ordered_dict({"a": writer.tensor(contiguous("0", (1_000_000,)), storages, False)})
    records = writer.zip_records(content, storages)
    writer.write_zip(path, records, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    assert "its record 'data.pkl' is compressed" in refusal(path)


# === Other files ===


def write_zip_of(*names: str):
    def write(path: Path) -> None:  # TorchScript compresses its code
        records = dict.fromkeys(names, b"x" * 100)
        writer.write_zip(path, records, folder="", compression=zipfile.ZIP_DEFLATED)

    return write


def write_twice(path: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("archive/data/0", b"x")


OTHER_FILES = {
    "a folder": (Path.mkdir, "it is a folder"),
    "a named pipe": (os.mkfifo, "it is a named pipe, not a file"),
    "nothing": (lambda path: None, "cannot be read (No such file"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "one byte": (lambda path: path.write_bytes(b"P"), "no file of torch: it begins with b'P'"),
    "a web page": (
        lambda path: path.write_text("\n <!DOCTYPE html><html>Not found</html>"),
        "it is a web page",
    ),
    "git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "a pointer of git LFS",
    ),
    "HDF5": (lambda path: h5py.File(path, "w").close(), "it is an HDF5 file"),
    "safetensors": (
        lambda path: path.write_bytes(struct.pack("<Q", 2) + b"{}"),
        "it is a safetensors file",
    ),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "compressed with gzip"),
    "npz": (lambda path: np.savez(path.open("wb"), a=1), "none of torch.save: it holds ['a.npy']"),
    "an empty zip": (lambda path: zipfile.ZipFile(path, "w").close(), "an empty zip archive"),
    "a Keras file": (write_zip_of("config.json", "model.weights.h5"), "it holds ['config.json',"),
    "another zip": (write_zip_of("a/data.bin"), "it holds ['data.bin']"),
    "TorchScript": (
        write_zip_of("m/data.pkl", "m/constants.pkl", "m/code/m.py"),
        "it is a TorchScript archive",
    ),
    "a record twice": (write_twice, "holds 'data/0' twice"),
    "a plain pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": 1})),
        "it is a pickle, but none that torch.save wrote",
    ),
}


@pytest.mark.parametrize(("write", "reason"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_files(path, write, reason):
    write(path)
    assert reason in refusal(path)


def test_a_path_that_is_none():
    assert "null" in refusal(Path("a\0b"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path):
    writer.write(path, {"a": contiguous("0", (2,))}, NUMBERS, legacy=False)
    path.chmod(0)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda records: records.pop("data/0"),
            "24 numbers of float32 under the key '0', but there is no",
        ),
        (lambda records: records.update({"data/0": b"1234"}), "but there is 4 bytes"),
        (lambda records: records.update({"byteorder": b"middle"}), "its byteorder is 'middle'"),
        (lambda records: records.update({"data.pkl": b"\x80\x02"}), "its pickle is cut off"),
    ],
)
def test_archives_that_lack_something(path, change, reason):
    records = writer.zip_records(state_of(False), NUMBERS)
    change(records)
    assert reason in refusal(writer.write_zip(path, records))


def test_older_files_that_lack_something(path):
    for keys, reason in (([], "not that of its tensors"), (["0", "0"], "not that of its tensors")):
        writer.write_legacy(path, state_of(True), NUMBERS, keys)
        assert reason in refusal(path)
    writer.write_legacy(path, state_of(True), NUMBERS)
    whole = path.read_bytes()
    path.write_bytes(whole + b"more")
    assert "4 bytes follow its last storage" in refusal(path)
    path.write_bytes(whole[:-10])
    assert "10 bytes or more are missing" in refusal(path)
    path.write_bytes(whole.replace(struct.pack("<q", 24), struct.pack("<q", 23)))
    assert "storage '0' has 23 numbers, expected 24" in refusal(path)
    path.write_bytes(whole.replace(writer.opcodes(1001), writer.opcodes(1002)))
    assert "not like version 1001" in refusal(path)


# === Cut and damaged files ===


@both_formats
def test_a_file_that_is_cut_anywhere(path, legacy):
    whole = writer.write(path, {"a": contiguous("0", (24,))}, NUMBERS, legacy).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path)


@both_formats
def test_a_file_with_one_wrong_byte(path, legacy):
    views = {"a": contiguous("0", (4, 6)), "b": View("0", 1, (3, 2), (2, 5))}
    whole = writer.write(path, views, NUMBERS, legacy).read_bytes()
    expected = read_state_dict(path)
    expected = {key: array.copy() for key, array in expected.items()}
    num_read = 0
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            wrong = bytearray(whole)
            wrong[place] ^= change
            path.unlink()  # arrays of the one before are mapped
            path.write_bytes(wrong)
            try:
                found = read_state_dict(path)
            except WeightsError:
                continue
            num_read += 1
            if not legacy:  # every byte that counts has a CRC; the older format has none
                assert list(found) == list(expected)
                for key, array in expected.items():
                    assert_same(found[key], array)
    assert num_read


@given(content=st.binary(max_size=200))
@settings(max_examples=300)
def test_anything_for_a_pickle(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "weights.pth"
    records = {"data.pkl": content}
    writer.write_zip(path, records)
    refusal(path)
