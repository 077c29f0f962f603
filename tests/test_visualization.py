import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tf_frcnn.prediction import Prediction
from tf_frcnn.visualization import (
    BLACK,
    SHEET_BACKGROUND,
    WHITE,
    class_color,
    detection_sheet,
    draw_detections,
    text_color,
)

GREY = (120, 121, 122)


def draw(image, boxes, class_names, scores, class_ids, **options):
    found = Prediction(np.asarray(boxes), np.asarray(scores), np.asarray(class_ids), class_names)
    return draw_detections(image, found, **options)


def grey_image(height, width):
    return np.full((height, width, 3), GREY, np.uint8)


def pixels_of(drawing, color):
    """Rows and columns of the pixels that have exactly this colour."""
    return np.nonzero((np.asarray(drawing) == np.array(color)).all(axis=-1))


def letters_of(drawing, class_id):
    """Rows and columns of the pixels that a letter covers well over half."""
    ink = np.array(text_color(class_color(class_id)), float)
    return np.nonzero(np.linalg.norm(np.asarray(drawing) - ink, axis=-1) < 100)


def luminance(color):
    """Relative luminance by WCAG 2.2."""
    channels = [
        c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color
    ]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_box_covers_its_half_open_pixels():
    box = np.array([[50, 60, 90, 180]])
    drawing = draw(grey_image(200, 300), box, ["cat"], [0.9], [1])
    rows, columns = pixels_of(drawing, class_color(1))
    # The label stands above the box: below row 50 there is only the box itself.
    box_rows = rows >= 50
    assert (rows[box_rows].max(), columns[box_rows].min(), columns.max()) == (89, 60, 179)
    assert tuple(np.asarray(drawing)[70, 120]) == GREY
    assert tuple(np.asarray(drawing)[49, 60]) == class_color(1)
    assert 30 < rows.min() < 40  # 11-pixel letters with some air, and nothing above them


def test_image_itself_is_not_drawn_on():
    image = grey_image(40, 60)
    drawing = draw(image, np.array([[5, 5, 30, 50]]), ["cat"], [0.9], [1])
    assert (image == np.array(GREY)).all()
    assert (drawing.size, drawing.mode) == ((60, 40), "RGB")


def test_without_boxes_the_image_stays_as_it_is():
    drawing = draw(grey_image(40, 60), np.zeros((0, 4)), [], [], [])
    assert (np.asarray(drawing) == np.array(GREY)).all()


def test_label_is_whole_wherever_the_box_lies():
    # Letters drawn last and never cut: always the same number of pixels of their colour.
    letters = []
    for y in (0, 5, 90, 190, 210):
        for x in (0, 5, 140, 270, 290):
            box = np.array([[y, x, y + 10, x + 10]])
            drawing = draw(grey_image(220, 300), box, ["dog"], [0.5], [1])
            letters.append(len(letters_of(drawing, 1)[0]))
    assert letters[0] > 50
    assert set(letters) == {letters[0]}


def test_labels_of_one_place_do_not_cover_each_other():
    box = [80, 100, 160, 220]
    one = draw(grey_image(240, 320), np.array([box]), ["dog"], [0.5], [1])
    three = draw(grey_image(240, 320), np.array([box] * 3), ["dog"] * 3, [0.5] * 3, [1] * 3)
    assert len(letters_of(one, 1)[0]) > 50
    assert len(letters_of(three, 1)[0]) == 3 * len(letters_of(one, 1)[0])


def test_only_the_surest_of_very_many_have_labels():
    # 400 boxes of 30 x 30 pixels, 40 and 60 apart.
    rows, columns = np.divmod(np.arange(400), 20)
    corners = np.stack([40 * rows, 60 * columns], axis=1)
    boxes = np.concatenate([corners, corners + 30], axis=1)
    scores = np.linspace(0.9, 0.1, 400)
    drawing = draw(grey_image(800, 1200), boxes, ["a"] * 400, scores, [1] * 400)
    rows, _ = pixels_of(drawing, class_color(1))
    labelled = np.bincount(rows // 40, minlength=20)
    # 300 labels are those of 15 rows; in the other five there are outlines alone.
    assert labelled[:14].min() > 2 * labelled[16:].max() > 0


def test_higher_score_lies_on_top():
    boxes = np.array([[50, 50, 150, 150]] * 2)
    for scores, top in (([0.9, 0.4], 1), ([0.4, 0.9], 2)):
        drawing = draw(grey_image(200, 200), boxes, ["a", "b"], scores, [1, 2])
        assert tuple(np.asarray(drawing)[100, 50]) == class_color(top)


def test_letters_grow_with_the_image():
    heights = []
    for height, width in ((200, 300), (800, 1200)):
        box = np.array([[0.5 * height, 0.3 * width, 0.9 * height, 0.8 * width]])
        drawing = draw(grey_image(height, width), box, ["dog"], [0.5], [1])
        rows, _ = letters_of(drawing, 1)
        heights.append(np.ptp(rows) + 1)
    assert heights[0] >= 6
    assert heights[1] == pytest.approx(heights[0] * 3, rel=0.4)  # 11 pixels at least, so not 4


def test_long_label_is_made_to_fit():
    box = np.array([[40, 5, 60, 30]])
    drawing = draw(grey_image(100, 80), box, ["traffic light"], [0.5], [1])
    _, columns = letters_of(drawing, 1)
    assert len(columns) > 20
    assert columns.min() > 0
    assert columns.max() < 79


def test_fit_size_scales_image_and_boxes():
    # 20 x 40 into 100 x 100: 2.5 times, so 50 x 100; the box's rows 10-18 become 25-45.
    box = np.array([[10, 8, 18, 32]])
    drawing = draw(grey_image(20, 40), box, ["cat"], [0.9], [1], fit_size=(100, 100))
    assert drawing.size == (100, 50)
    rows, columns = pixels_of(drawing, class_color(1))
    assert rows.max() == 44
    assert (columns[rows >= 25].min(), columns[rows >= 25].max()) == (20, 79)


def test_fit_size_scales_both_axes_by_what_they_became():
    # 2 x 400 into 100 x 100: 1 x 100, since no image is 0.5 pixels high; too low for a label.
    box = np.array([[0, 0, 2, 200]])
    drawing = draw(grey_image(2, 400), box, ["cat"], [0.9], [1], fit_size=(100, 100))
    rows, columns = pixels_of(drawing, class_color(1))
    np.testing.assert_array_equal(rows, np.zeros(50))
    np.testing.assert_array_equal(columns, np.arange(50))


def test_truth_is_dashed_in_white():
    truth = np.array([[30, 20, 80, 120]])
    drawing = draw(grey_image(100, 150), np.zeros((0, 4)), [], [], [], truth_boxes=truth)
    drawn = np.asarray(drawing)
    for line in (drawn[30, 20:120], drawn[79, 20:120], drawn[30:80, 20], drawn[30:80, 119]):
        white = (line == np.array(WHITE)).all(axis=-1)
        black = (line == np.array(BLACK)).all(axis=-1)
        assert (white | black).all()
        assert 0.3 < white.mean() < 0.7
    rows, columns = np.nonzero((drawn != np.array(GREY)).any(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 79, 20, 119)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (7, 5)])
@pytest.mark.parametrize("fit_size", [None, (480, 480)])
def test_any_size_of_image_can_be_drawn_on(size, fit_size):
    boxes = np.array([[0, 0, *size]])
    drawing = draw(
        grey_image(*size), boxes, ["cat"], [0.9], [1], truth_boxes=boxes, fit_size=fit_size
    )
    if fit_size is None:
        assert drawing.size == size[::-1]
    else:
        assert max(drawing.size) == 480


@pytest.mark.parametrize(
    "box",
    [
        [20, 30, 20, 30],
        [20, 30, 20.2, 90],
        [60, 90, 20, 30],
        [-50, -60, 500, 600],
        [-50, -60, -20, -10],
        [900, 900, 950, 999],
    ],
)
def test_degenerate_boxes_can_be_drawn(box):
    drawing = draw(
        grey_image(100, 150), np.array([box]), ["cat"], [0.9], [1], truth_boxes=np.array([box])
    )
    assert drawing.size == (150, 100)
    assert len(pixels_of(drawing, class_color(1))[0]) > 0


def test_box_that_is_not_finite_is_left_out():
    for value in (np.nan, np.inf):
        box = np.array([[10, 10, value, 50]])
        drawing = draw(grey_image(100, 150), box, ["cat"], [0.9], [1], truth_boxes=box)
        assert (np.asarray(drawing) == np.array(GREY)).all()


def test_colors_of_classes_are_distinct():
    colors = np.array([class_color(class_id) for class_id in range(1, 101)])
    assert len(np.unique(colors, axis=0)) == 100
    first = colors[:12].astype(float)
    distance = np.linalg.norm(first[:, None] - first[None], axis=-1)
    assert distance[~np.eye(12, dtype=bool)].min() > 40


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_letters_have_contrast_on_any_ground(ground):
    letters = text_color(ground)
    assert letters in (BLACK, WHITE)
    lighter, darker = sorted([luminance(ground), luminance(letters)], reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # what WCAG 2 asks of body text


def test_sheet_has_equal_cells_in_rows():
    colors = [(10 * i, 200, 30) for i in range(1, 6)]
    images = [Image.new("RGB", (480, 360), color) for color in colors]
    sheet = detection_sheet(images, columns=3, cell_width=480)
    # Gaps of 480 // 40 = 12: 3 * 480 + 4 * 12 wide, 2 * 360 + 3 * 12 high.
    assert sheet.size == (1488, 756)
    centres = [
        (12 + 492 * column + 240, 12 + 372 * row + 180) for row in (0, 1) for column in range(3)
    ]
    assert [sheet.getpixel(centre) for centre in centres] == [*colors, SHEET_BACKGROUND]


def test_sheet_fits_and_centres_images_of_any_shape():
    # In cells of 100: 400 x 100 becomes 100 x 25, 50 x 100 (portrait) fills 100 in height.
    images = [Image.new("RGB", (400, 100), (255, 0, 0)), Image.new("RGB", (50, 100), (0, 0, 255))]
    sheet = detection_sheet(images, columns=4, cell_width=100)
    assert sheet.size == (2 * 100 + 3 * 2, 100 + 2 * 2)
    rows, columns = pixels_of(sheet, (255, 0, 0))
    # 2 + (100 - 25) // 2 = 39: rows 39 to 63.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (39, 63, 2, 101)
    rows, columns = pixels_of(sheet, (0, 0, 255))
    # 2 + 102 + (100 - 50) // 2 = 129.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 101, 129, 178)


def test_sheet_without_images_is_one_empty_cell():
    assert detection_sheet([], columns=3, cell_width=100).size == (104, 104)
