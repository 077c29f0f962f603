"""Where a CSV data set has what: the table of each split.

A split is a file `NAME.csv`, in the folder itself, `annotations` or `data`, or Roboflow's
`NAME/_annotations.csv`. Where there is a single table without a split's name, the splits train, val
and test are made of it. Where its images are, `image_finder` says.
"""

import os
from pathlib import Path

from tf_frcnn.data.csv_rows import CsvHeader, read_header
from tf_frcnn.data.faults import enumerate_names
from tf_frcnn.data.folders import (
    Index,
    describe_folder,
    index_files,
    is_folder,
    list_data_folders,
)
from tf_frcnn.data.splits import MADE_SPLITS, match_split, names_a_split
from tf_frcnn.errors import DataError

LAYOUT = (
    "CSV: SPLIT.csv, SPLIT_labels.csv or SPLIT/_annotations.csv with a header row such as "
    "filename,width,height,class,xmin,ymin,xmax,ymax or image_id,bbox"
)
_ROBOFLOW_NAME = "_annotations.csv"
_DESCRIPTIONS = "class-descriptions"  # Open Images: `/m/01yrx,Cat` a line, without a header


def detect_csv(root: Path) -> bool:
    """Tell whether a folder looks like a CSV data set: has tables with the columns of boxes.

    Raises:
        DataError: a folder may not be read.
    """
    return is_folder(root) and bool(_index_tables(root))


def explain_missing_csv_split(root: Path, split: str, image_folder: Path | None = None) -> str:
    """Say what is there instead of a split: one message, or "" where the split is there.

    Which splits there are does not depend on the images, wherever they are.
    """
    if not is_folder(root):
        return f"{root}: {describe_folder(root)}. Expected a data set, {LAYOUT}."
    tables = _index_tables(root)
    if match_split(split, tables):
        return ""
    if not tables:
        return f"{root}: no table of boxes: {_describe_tables(root)}. Expected {LAYOUT}."
    if single := _single_table(tables):
        if split in MADE_SPLITS:
            return ""
        return (
            f"{root}: split {split!r} cannot be made: {single.name} is the only table, so its "
            f"images are divided into {', '.join(MADE_SPLITS)}. Expected one of these."
        )
    return (
        f"{root}: there is no split {split!r}. Expected one of the splits that are there: "
        f"{enumerate_names(tables)}."
    )


def find_tables(root: Path, splits: tuple[str, ...]) -> tuple[dict[str, tuple[str, Path]], bool]:
    """Find the table of each split.

    Args:
        root: folder of the data set.
        splits: names of which `explain_missing_csv_split` says that they are there.

    Returns:
        The own name of each split, and its file; and whether they have to be made, all from that
        one file.

    Raises:
        DataError: a name means several files, or some splits would be made and others not.
    """
    tables = _index_tables(root)
    names = {split: match_split(split, tables) for split in splits}
    single = _single_table(tables)
    made = [split for split, name in names.items() if not name]
    if made and single:
        if len(made) < len(splits):
            raise DataError(
                f"{root}: {', '.join(made)} would be made from {single.name}, which is asked for "
                f"as well. Expected {', '.join(MADE_SPLITS)}, all made from it, or no other split."
            )
        return {split: (split, single) for split in splits}, True
    for name in names.values():
        if len(tables[name]) > 1:
            there = enumerate_names(str(path.relative_to(root)) for path in tables[name])
            raise DataError(
                f"{root}: split {name!r} is there more than once: {there}. Expected one file."
            )
    return {split: (name, tables[name][0]) for split, name in names.items()}, False


def find_descriptions(root: Path) -> Path | None:
    """Find Open Images' file of the classes' names, which its tables call `/m/01yrx`."""
    paths = [path for path in _list_files(root) if _DESCRIPTIONS in path.name]
    return paths[0] if paths else None


def _list_files(root: Path) -> list[Path]:
    """List the CSV files in the folders where they may be."""
    folders = [folder for name in ("", "annotations", "data") if is_folder(folder := root / name)]
    files = [
        path
        for folder in folders
        for paths in index_files(folder, {".csv"}).values()
        for path in paths
    ]
    # Asked for by name: to list folders of 100,000 images again and again takes long.
    inside = (folder / _ROBOFLOW_NAME for folder in list_data_folders(root)[1:])
    return list(dict.fromkeys([*files, *(path for path in inside if os.path.isfile(path))]))


def _index_tables(root: Path) -> Index:
    """List the files with the columns of boxes, by the names of their splits."""
    index: Index = {}
    for path in _list_files(root):
        if isinstance(read_header(path), CsvHeader):
            is_inside = path.name == _ROBOFLOW_NAME and path.parent != root
            index.setdefault(path.parent.name if is_inside else path.stem, []).append(path)
    return index


def _single_table(tables: Index) -> Path | None:
    """Find the table that splits are made of: the only one, unless it has a split's name."""
    paths = [(name, path) for name, files in tables.items() for path in files]
    if len(paths) != 1 or names_a_split(paths[0][0]):
        return None
    return paths[0][1]


def _describe_tables(root: Path) -> str:
    """Say why the CSV files that are there are no tables of boxes."""
    reasons = [f"{path.name}: {read_header(path)}" for path in _list_files(root)]
    return "; ".join(reasons[:5]) or describe_folder(root)
