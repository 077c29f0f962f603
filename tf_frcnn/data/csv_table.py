"""Reader for CSV: one table a split, a row a box.

Which file a split is is in `csv_layout`, what is in a file in `csv_rows`.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from tf_frcnn.data.assembly import assemble_datasets
from tf_frcnn.data.csv_layout import explain_missing_csv_split, find_descriptions, find_tables
from tf_frcnn.data.csv_rows import read_descriptions, read_objects, read_rows, read_size
from tf_frcnn.data.example import Dataset
from tf_frcnn.data.faults import FaultHandler, raise_faults
from tf_frcnn.data.image_finder import ImageFinder, image_folders
from tf_frcnn.data.labelling import FoundImage, Labeller
from tf_frcnn.data.orientation import ExifPolicy
from tf_frcnn.data.splits import Divider
from tf_frcnn.errors import DataError
from tf_frcnn.names import shown


def read_csv(
    root: Path,
    splits: Iterable[str],
    class_names: tuple[str, ...],
    divider: Divider,
    on_faults: FaultHandler = raise_faults,
    image_folder: Path | None = None,
    exif: ExifPolicy = "auto",
) -> dict[str, Dataset]:
    """Read splits of a CSV data set.

    Args:
        root: folder of the data set; no image outside of it is read.
        splits: names of tables; train, val or test where there is one table without a split's name.
        class_names: names of classes 1..N; when empty, those found in these splits, sorted; a table
            without a column of classes has the class `object`.
        divider: decides which image goes to which split where there is one table without splits.
        on_faults: is told all faults at once.
        image_folder: where the images are, if not in the data set's folder; none outside of it is
            read then.
        exif: what is done about EXIF orientations.

    Returns:
        One `Dataset` a split, under its real name, all with the same class names, images in the
        order of their first rows. `Example.image_id` is the file name as the table has it. Boxes
        that were partly outside of their image are clipped; an image whose rows have no box has
        boxes of shape [0, 4].

    Raises:
        DataError: a file, row, image or class is missing or wrong. All faults of the splits are
            collected; the message lists the first 20 and says how many there are.
    """
    splits = tuple(dict.fromkeys(splits))
    for split in splits:
        if problem := explain_missing_csv_split(root, split):
            raise DataError(problem)
    found, are_made = find_tables(root, splits)
    source = find_descriptions(root)
    descriptions = read_descriptions(source) if source else {}
    tables: dict[str, list[str]] = {}  # the names of all their images
    faults: list[str] = []
    with Labeller(exif, faults) as labeller:
        for name, path in dict.fromkeys(found.values()):
            folders = image_folders(image_folder or root, name)
            if image_folder is None:
                folders.append(path.parent)
            finder = ImageFinder(folders, "" if are_made else name)
            if are_made and tables:  # all of one file
                tables[name] = next(iter(tables.values()))
                continue
            try:
                tables[name] = _read_table(path, finder, descriptions, labeller, faults)
            except DataError as error:
                faults.append(str(error))
                tables[name] = []
        choice = labeller.finish(str(root))
    division = None
    if are_made:
        names = next(iter(tables.values()))
        division = divider.divide(names, f"{root}: one CSV table")
    by_name = {name: _names_of(tables[name], name, division) for name, _ in found.values()}
    images = {
        name: labeller.select((path, image) for image in by_name[name])
        for name, path in found.values()
    }
    datasets = assemble_datasets(
        root,
        images,
        class_names,
        faults,
        clipping_hint="are the boxes in pixels from 0?",
        on_faults=on_faults,
        num_left_out={name: len(names) - len(images[name]) for name, names in by_name.items()},
        division=division,
        exif=choice,
    )
    return {split: datasets[name] for split, (name, _) in found.items()}


def _names_of(names: list[str], split: str, division: Mapping[str, list[str]] | None) -> list[str]:
    """List the images of a split, in the order of its table."""
    if division is None:
        return names
    chosen = set(division[split])
    return [name for name in names if name in chosen]


def _read_table(
    path: Path,
    finder: ImageFinder,
    descriptions: Mapping[str, str],
    labeller: Labeller,
    faults: list[str],
) -> list[str]:
    """Find the images of a table and hand them over -> the names of all of them."""
    header, rows_of_images, row_faults = read_rows(path)
    faults += row_faults
    for name, rows in rows_of_images.items():
        place = rows[0].place
        try:
            image_path = finder.find(name, f"{place}, {header.file}")
        except DataError as error:
            faults.append(str(error))
            continue
        read = partial(read_objects, header, rows, descriptions)
        image = FoundImage(
            name, image_path, f"{place} ({shown(name)})", read, read_size(header, rows)
        )
        labeller.add((path, name), image)
    finder.log_found(path)
    return list(rows_of_images)
