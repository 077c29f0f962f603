"""Compare the time of an evaluation's detections before and after a change, network by network.

    python benchmarks/evaluation.py COMMIT

runs the package of COMMIT and that of the working tree in turn, each in a process of its own, on
JPEG images in sizes that occur in COCO, one in eight of which has a size of its own; the weights
are random. Reading and resizing the images are part of the time, figures are not. It also says how
far apart what they found is.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro
from compare_commits import checked_out
from in_turn import call_in_turn
from PIL import Image
from provenance import ROOT, commit, processor

PROCESS = Path(__file__).resolve().parent / "evaluated_images.py"
# (height, width) and how many of 16 images have it; the others have a size of their own.
SIZES = {(480, 640): 6, (427, 640): 4, (640, 480): 2, (375, 500): 1, (333, 500): 1}

# Detections that differ by no more are the same.
PIXELS, SCORE = 1e-2, 1e-5


class Network(NamedTuple):
    """What is compared: sides to which images are resized, how many images, rounds."""

    sides: tuple[int, int]
    num_images: int
    rounds: int


NETWORKS = {
    "vgg16_quarter": Network((192, 256), 160, 3),
    "fasterrcnn_mobilenet_v3_large_320_fpn": Network((320, 640), 96, 5),
    "vgg16": Network((600, 1000), 4, 3),
}


@dataclass(frozen=True)
class Arguments:
    """What the benchmark takes."""

    commit: Annotated[str, tyro.conf.Positional]
    """What the working tree is compared with."""
    networks: tuple[str, ...] = tuple(NETWORKS)
    """Architectures."""
    output: Path = ROOT / "results" / "evaluation.json"
    """File of the figures."""


def write_images(folder: Path, count: int) -> None:
    """Write smooth noise, which compresses as photographs do."""
    random = np.random.default_rng(0)
    common = [size for size, times in SIZES.items() for _ in range(times)]
    for number in range(count):
        place = number % 16
        size = common[place] if place < len(common) else tuple(random.integers(320, 640, 2))
        coarse = random.integers(0, 256, (size[0] // 6, size[1] // 6, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize(
            (int(size[1]), int(size[0])), Image.Resampling.BICUBIC
        )
        image.save(folder / f"{number:04}.jpg", quality=90)


def compare(before: Path, now: Path) -> dict[str, Any]:
    """Say how much of what was found before is not found now, or by how much it differs."""
    with np.load(before) as old_file, np.load(now) as new_file:
        old, new = dict(old_file), dict(new_file)
    starts = [np.cumsum([0, *one["counts"]]) for one in (old, new)]
    num_unmatched = 0
    for image in range(len(old["counts"])):
        own, other = (slice(start[image], start[image + 1]) for start in starts)
        is_same = old["classes"][own, None] == new["classes"][None, other]
        is_same &= np.abs(old["scores"][own, None] - new["scores"][None, other]) <= SCORE
        boxes = np.abs(old["boxes"][own, None] - new["boxes"][None, other])
        is_same &= boxes.max(axis=-1, initial=0) <= PIXELS
        num_unmatched += int((~is_same.any(axis=1)).sum())
    return {
        "detections": [len(one["scores"]) for one in (old, new)],
        "not_found_now": num_unmatched,
        "processor_seconds": [float(one["processor_seconds"]) for one in (old, new)],
    }


def measure(name: str, network: Network, trees: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Compare one network."""
    found = {key: folder / f"{name}-{key}.npz" for key in trees}
    sides = ",".join(map(str, network.sides))
    commands = {
        key: [
            *(sys.executable, str(PROCESS), str(tree), name, sides, str(network.num_images)),
            *(str(folder / "images"), str(found[key])),
        ]
        for key, tree in trees.items()
    }
    systems = call_in_turn(commands, network.rounds, warm_up=1)
    speeds = {key: network.num_images / system["median"] for key, system in systems.items()}
    return {
        "sides": network.sides,
        "images": network.num_images,
        "images_per_second": speeds,
        "ratio": speeds["now"] / speeds["before"],
        "found": compare(found["before"], found["now"]),
        "systems": systems,
    }


def main() -> None:
    """Measure all networks, and write the figures."""
    arguments = tyro.cli(Arguments, description=__doc__)
    with checked_out(arguments.commit) as old, tempfile.TemporaryDirectory() as parent:
        folder, trees = Path(parent), {"before": old, "now": ROOT}
        (folder / "images").mkdir()
        write_images(folder / "images", max(one.num_images for one in NETWORKS.values()))
        rows = {name: measure(name, NETWORKS[name], trees, folder) for name in arguments.networks}
    results = {
        "command": " ".join(["python benchmarks/evaluation.py", *sys.argv[1:]]),
        "commit": commit(),
        "processor": processor(),
        "networks": rows,
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(name, json.dumps({key: row[key] for key in ("images_per_second", "ratio", "found")}))


if __name__ == "__main__":
    main()
