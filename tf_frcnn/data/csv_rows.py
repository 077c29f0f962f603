"""One table of boxes: CSV, a row a box, whose header row says what the columns are.

Three forms are known by their columns: `filename, width, height, class, xmin, ymin, xmax, ymax` in
pixels, as in the tutorials of TensorFlow's Object Detection API; Open Images' `ImageID, LabelName,
XMin, XMax, YMin, YMax` in fractions of the image's sides; and `image_id, bbox` with `[x, y, width,
height]` in pixels, as in Kaggle's Global Wheat Detection. Pixels count from 0 and boxes are
half-open, as the readers of those tutorials take them. A row without box is an image without
objects.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tf_frcnn.data.assembly import LabelledObject, clip_box
from tf_frcnn.data.stated_sizes import read_stated_size
from tf_frcnn.errors import DataError
from tf_frcnn.given_files import open_text, reason_of
from tf_frcnn.names import normalise_name, quote, shown

_FILE = ("filename", "file_name", "image_id", "imageid", "image_name", "image")
_CLASS = ("class", "class_name", "label", "labelname", "category")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ONLY_CLASS = "object"  # of a table without a column of classes
_EXPECTED = (
    "Expected a header row such as filename,width,height,class,xmin,ymin,xmax,ymax or "
    "ImageID,LabelName,XMin,XMax,YMin,YMax or image_id,bbox"
)


@dataclass(frozen=True)
class CsvHeader:
    """What the header row says.

    Attributes:
        delimiter: between the fields.
        columns: the columns' names in lower case.
        file: the column of the image's file name.
        label: the column of the class, "" without one.
        box: the columns of the box: four corners, or one.
        normalised: the corners are fractions of the image's sides.
    """

    delimiter: str
    columns: tuple[str, ...]
    file: str
    label: str
    box: tuple[str, ...]
    normalised: bool


@dataclass(frozen=True, eq=False)
class CsvRow:
    """One row: its fields by column, and where it stands, for messages."""

    fields: Mapping[str, str]
    place: str


def read_header(source: Path) -> CsvHeader | str:
    """Read the header row of a file -> what it says, or why it is none of a table of boxes."""
    try:
        with open_text(source, newline="") as stream:
            line = stream.readline(1 << 16)
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read ({reason_of(error)})"
    delimiter = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    columns = tuple(name.strip().casefold() for name in names)
    file = next((name for name in _FILE if name in columns), "")
    label = next((name for name in _CLASS if name in columns), "")
    box = _CORNERS if set(_CORNERS) <= set(columns) else ("bbox",) if "bbox" in columns else ()
    if not file or not box:
        missing = "an image's file name" if not file else "a box"
        return f"the first line has no column of {missing}"
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        return f"the first line has the column {quote(twice[0])} more than once"
    return CsvHeader(delimiter, columns, file, label, box, file == "imageid" and len(box) == 4)


def read_rows(source: Path) -> tuple[CsvHeader, dict[str, list[CsvRow]], list[str]]:
    """Read the rows of a file, by the image that they belong to.

    Returns:
        The header; for each image's file name its rows, in the order of the file; and one message
        for each row that is not whole.

    Raises:
        DataError: the file cannot be read, is no table of boxes, or has no row.
    """
    header = read_header(source)
    if isinstance(header, str):
        raise DataError(f"{source}: {header}. {_EXPECTED}.")
    rows: dict[str, list[CsvRow]] = {}
    faults: list[str] = []
    try:
        with open_text(source, newline="") as file:
            reader = csv.reader(file, delimiter=header.delimiter)
            next(reader)
            for values in reader:
                place = f"{source}: line {reader.line_num}"
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header.columns):
                    faults.append(
                        f"{place}: {len(values)} fields. Expected the {len(header.columns)} of the "
                        "header row."
                    )
                    continue
                fields = dict(zip(header.columns, map(str.strip, values), strict=True))
                name = normalise_name(fields[header.file])
                if not name:
                    faults.append(f"{place}, {header.file}: there is none. Expected an image.")
                    continue
                rows.setdefault(name, []).append(CsvRow(fields, place))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{source}: cannot be read ({reason_of(error)}). Expected CSV in UTF-8."
        ) from None
    if not rows and not faults:
        raise DataError(f"{source}: there is no row below the header. Expected one a box.")
    return header, rows, faults


def read_descriptions(source: Path) -> dict[str, str]:
    """Read the names of classes by their ids: two columns without a header.

    Raises:
        DataError: the file cannot be read, or a row has another number of fields.
    """
    try:
        with open_text(source, newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{source}: cannot be read ({reason_of(error)}). Expected CSV in UTF-8."
        ) from None
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataError(
                f"{source}: row {number} = {quote(row)}. Expected an id and a class's name."
            )
    return {key.strip(): name.strip() for key, name in rows}


def read_size(header: CsvHeader, rows: list[CsvRow]) -> tuple[int, int] | None:
    """Read the (height, width) of an image as its first row that has both states it, or None.

    Fractions of the image's sides hold at any size, so none is taken where boxes are such.
    """
    if header.normalised:
        return None
    stated = (read_stated_size(row.fields.get("height"), row.fields.get("width")) for row in rows)
    return next((size for size in stated if size), None)


def read_objects(
    header: CsvHeader,
    rows: list[CsvRow],
    descriptions: Mapping[str, str],
    image_size: tuple[int, int],
) -> tuple[tuple[LabelledObject, ...], list[str]]:
    """Read and check all rows of an image.

    Args:
        header: of the file.
        rows: of the image.
        descriptions: names of classes where the table has ids of them.
        image_size: (height, width) of the image; boxes are clipped to it.

    Returns:
        The valid objects, and one message for each of the others.
    """
    objects: list[LabelledObject] = []
    faults: list[str] = []
    for row in rows:
        if all(row.fields[column].casefold() in ("", "nan", "[]") for column in header.box):
            continue
        try:
            objects.append(_read_object(header, row, descriptions, image_size))
        except DataError as error:
            faults.append(str(error))
    return tuple(objects), faults


def _read_object(
    header: CsvHeader, row: CsvRow, descriptions: Mapping[str, str], image_size: tuple[int, int]
) -> LabelledObject:
    """Read and check one row.

    Raises:
        DataError: a field is missing or wrong, or the box is empty or wholly outside.
    """
    name = row.fields[header.label] if header.label else _ONLY_CLASS
    if not name:
        raise DataError(
            f"{row.place}, {header.label}: there is none. Expected the name of a class."
        )
    name = normalise_name(descriptions.get(name, name))
    place = f"{row.place} ({shown(name)})"
    crowd = row.fields.get("isgroupof", "0")  # Open Images: a box around five or more
    if crowd not in ("0", "1", "-1"):
        raise DataError(f"{place}, isgroupof = {quote(crowd)}. Expected 0 or 1.")
    xmin, ymin, xmax, ymax = _read_corners(header, row, place)
    if header.normalised:
        xmin, xmax = xmin * image_size[1], xmax * image_size[1]
        ymin, ymax = ymin * image_size[0], ymax * image_size[0]
    # A sum such as 10.1 + 629.9 may miss the image's edge by 1e-13: not a box partly outside.
    corners = [round(corner, 9) for corner in (ymin, xmin, ymax, xmax)]
    box, clipped = clip_box(corners, image_size)
    if box is None:
        stated = ", ".join(f"{column} = {shown(row.fields[column], 100)}" for column in header.box)
        limits = (
            "fractions from 0 to 1"
            if header.normalised
            else f"0 to {image_size[1]} in x and 0 to {image_size[0]} in y"
        )
        raise DataError(f"{place}, {stated}: no area inside of the image. Expected {limits}.")
    return LabelledObject(name, box, place, crowd=crowd == "1", clipped=clipped)


def _read_corners(header: CsvHeader, row: CsvRow, place: str) -> tuple[float, float, float, float]:
    """Read xmin, ymin, xmax, ymax as they stand there; a box has width and height above 0."""
    if len(header.box) == 4:
        xmin, ymin, xmax, ymax = (_corner(header, row, column, place) for column in header.box)
        for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
            if high <= low:
                raise DataError(
                    f"{place}, {axis}min = {low:g} and {axis}max = {high:g}: the box is empty or "
                    f"inverted. Expected {axis}min < {axis}max."
                )
        return xmin, ymin, xmax, ymax
    text = row.fields["bbox"]
    values = [_number(value) for value in text.strip("[]()").replace(",", " ").split()]
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise DataError(
            f"{place}, bbox = {quote(text)}. Expected [x, y, width, height], four finite numbers "
            "of pixels."
        )
    x, y, width, height = values
    if width <= 0 or height <= 0:
        raise DataError(
            f"{place}, bbox = {quote(text)}: the box is empty or inverted. Expected [x, y, width, "
            "height] with width and height above 0."
        )
    return x, y, x + width, y + height


def _corner(header: CsvHeader, row: CsvRow, column: str, place: str) -> float:
    text = row.fields[column]
    value = _number(text)
    if header.normalised and not 0 <= value <= 1:
        raise DataError(
            f"{place}, {column} = {quote(text)}. Expected a fraction of the image's side, from 0 "
            "to 1, as in every table with the column ImageID."
        )
    if not math.isfinite(value):
        raise DataError(f"{place}, {column} = {quote(text)}. Expected a finite number of pixels.")
    return value


def _number(text: str) -> float:
    """Read a number; what is none is NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
