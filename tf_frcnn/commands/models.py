"""`tf-frcnn models`: detectors and trunks that are known by name; fetch one, look into a file."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from tf_frcnn.environment import set_up_logging
from tf_frcnn.errors import EXIT_OK, UserError
from tf_frcnn.pretrained.catalogue import CATALOGUE, COCO_LICENCE, PublishedWeights
from tf_frcnn.pretrained.download import fetch, is_cached, sha256_of, weights_folder

_FIGURES = (
    "Parameters and COCO AP (of boxes, on val2017, in percent) are the figures that torchvision "
    "publishes; neither was measured here. A detector's frozen normalisation is not counted."
)


@dataclass(frozen=True)
class ModelsArguments:
    """Everything `tf-frcnn models` takes."""

    json: bool = False
    """Print the list as JSON."""
    download: str = ""
    """Name of a weights file to fetch into the cache, unless it is there; prints its path."""
    check: Path | None = None
    """A weights file that torch saved, to be read as a whole; prints what is in it."""
    offline: bool = False
    """Don't use the network; the environment variable TF_FRCNN_OFFLINE=1 says so too."""

    def check_options(self) -> None:
        """Check what types cannot say.

        Raises:
            UserError: options that don't go together, or a name that is not in the catalogue.
        """
        given = [
            option
            for option, value in (
                ("--json", self.json),
                ("--download", self.download),
                ("--check", self.check),
            )
            if value
        ]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: expected one of them at a time.")
        if self.download and self.download not in CATALOGUE:
            raise UserError(
                f"--download {self.download}: no weights file is known by that name. Expected one "
                f"of {', '.join(CATALOGUE)}."
            )


def main(argv: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status.

    Args:
        argv: arguments without the program's and the command's name.
        prog: what was typed to call the command.

    Raises:
        UserError: an option cannot be used; a file cannot be fetched or read.
    """
    arguments = tyro.cli(
        ModelsArguments,
        prog=prog,
        description="List the detectors that are known by name, and trunks; --download fetches "
        "the weights of one into the cache, --check looks into a file.",
        args=list(argv),
    )
    set_up_logging()
    arguments.check_options()
    if arguments.download:
        sys.stdout.write(f"{fetch(CATALOGUE[arguments.download], arguments.offline)}\n")
    elif arguments.check is not None:
        sys.stdout.write(_describe_file(arguments.check))
    elif arguments.json:
        listed = [_describe_entry(entry) for entry in CATALOGUE.values()]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
    else:
        _print_table()
    return EXIT_OK


def _describe_entry(entry: PublishedWeights) -> dict[str, Any]:
    """Give an entry of the catalogue as JSON has it."""
    return {
        "name": entry.name,
        "file": entry.file_name,
        "url": entry.url,
        "size_mib": entry.size_mib,
        "sha256": entry.sha256 or entry.sha256_start,
        "parameters": entry.parameters,
        "parameters_with_normalisation": entry.parameters_with_normalisation,
        "published_coco_ap": entry.coco_ap,
        "licence": entry.licence,
        "path": str(weights_folder() / entry.file_name),
        "in_cache": is_cached(entry),
    }


def _print_table() -> None:
    """Print the list for people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("name", overflow="fold")
    for label in ("parameters", "COCO AP", "MiB"):
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("cached", no_wrap=True)
    for entry in CATALOGUE.values():
        table.add_row(
            entry.name,
            f"{entry.parameters:,}",
            "-" if entry.coco_ap is None else f"{entry.coco_ap:.1f}",
            f"{entry.size_mib:.0f}",
            "yes" if is_cached(entry) else "no",
        )
    console = Console()
    console.print(table)
    console.print(f"{_FIGURES}\n\nLicence: {COCO_LICENCE}\n", highlight=False)
    cache = f"Cache: {weights_folder()}"
    console.print(cache, highlight=False, markup=False, soft_wrap=True)


def _describe_file(path: Path) -> str:
    """Read a weights file, and say what is in it."""
    import numpy as np

    from tf_frcnn.pretrained.torch_file import read_state_dict

    arrays = read_state_dict(path)
    floats = [array for array in arrays.values() if array.dtype.kind not in "iub"]
    num_bad = sum(array.size - np.count_nonzero(np.isfinite(array)) for array in floats)
    kinds = sorted({str(array.dtype) for array in arrays.values()})
    digits = sha256_of(path)
    published = [
        entry.name
        for entry in CATALOGUE.values()
        if digits.startswith(entry.sha256 or entry.sha256_start)
    ]
    return (
        f"{path}: {len(arrays)} tensors, {sum(array.size for array in arrays.values()):,} numbers "
        f"({', '.join(kinds)}), {f'{num_bad:,} of them' if num_bad else 'none'} NaN or infinite\n"
        f"SHA-256 {digits}: {published[0] if published else 'none of those known by name'}\n"
    )
