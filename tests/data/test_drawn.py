import numpy as np
import pytest
from PIL import Image

from tf_frcnn.data.drawings import CLASS_NAMES, draw_image
from tf_frcnn.data.drawn import figures, image, palette
from tf_frcnn.data.drawn.animals import draw_animal
from tf_frcnn.data.drawn.figures import Figure, Layer, View
from tf_frcnn.errors import DataError

RED, LINE = (200, 30, 20), (10, 20, 30)


def opaque(layer):
    return np.asarray(layer.getchannel("A")) > 127


@pytest.fixture(scope="module")
def many():
    return [draw_image(5, "train", index) for index in range(150)]


# ---- figures


def test_figures_are_drawn_at_their_size_in_pixels():
    # A rectangle 20 wide and 80 high; size 60 is the root of its area: 60 / sqrt(1600) = 1.5 times.
    figure = Figure([Layer([figures.polygon([(0, 0), (20, 0), (20, 80), (0, 80)], RED)])], LINE)
    mask = opaque(figures.render(figure, View(60), (1, 999)))
    box = image._tight_box(mask)
    assert np.abs(box[2:] - box[:2] - (120, 30)).max() <= 1
    assert mask.sum() == (box[2:] - box[:2]).prod()
    # A quarter turn exchanges the sides; the stretch of 2 comes before it.
    mask = opaque(figures.render(figure, View(60 * 2**0.5, 90, stretch=2.0), (1, 999)))
    box = image._tight_box(mask)
    assert np.abs(box[2:] - box[:2] - (60, 120)).max() <= 1


@pytest.mark.parametrize(("limits", "sides"), [((40, 999), (160, 40)), ((1, 60), (60, 15))])
def test_the_limits_of_the_sides_win_over_the_size(limits, sides):
    figure = Figure([Layer([figures.polygon([(0, 0), (20, 0), (20, 80), (0, 80)], RED)])], LINE)
    size = 20 if limits[0] == 40 else 200
    box = image._tight_box(opaque(figures.render(figure, View(size), limits)))
    assert np.abs(box[2:] - box[:2] - sides).max() <= 1


def test_mirrored_figures_face_left_and_positive_angles_turn_clockwise():
    # A triangle whose mass is at the left and whose tip points right.
    figure = Figure([Layer([figures.polygon([(0, 0), (90, 30), (0, 60)], RED)])], LINE)

    def heavier_half(axis, **view):
        share = opaque(figures.render(figure, View(60, **view), (1, 999))).sum(axis=1 - axis)
        half = len(share) // 2
        return "first" if share[:half].sum() > share[-half:].sum() else "second"

    assert heavier_half(1) == "first"
    assert heavier_half(1, mirrored=True) == "second"
    assert heavier_half(0, angle=90) == "first"  # the tip points down, the mass is on top
    assert heavier_half(0, angle=-90) == "second"


def test_curves_pass_through_their_points_and_ribbons_have_their_widths():
    corners = [(0.0, 0.0), (30.0, -5.0), (40.0, 20.0), (10.0, 35.0)]
    border = figures.blob(corners, RED).points
    for corner in corners:
        assert np.abs(border - corner).sum(axis=1).min() < 1e-9
    # From (0, 5) to (30, 5), 4 wide at the start and 8 at the end, with half circles at the ends:
    # x from -2 to 34, y from 5 - 4 to 5 + 4.
    band = figures.ribbon([(0, 5), (30, 5)], (4, 8), RED).points
    np.testing.assert_allclose(band.min(axis=0), [-2, 1], atol=1e-9)
    np.testing.assert_allclose(band.max(axis=0), [34, 9], atol=1e-9)


@pytest.mark.parametrize("order", [1, -1])
def test_outlines_grow_outwards_whatever_the_direction_of_the_points(order):
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)[::order]
    # The normal at a corner is the diagonal: sqrt(2) along it is 1 in x and 1 in y.
    expected = np.array([(-1, -1), (11, -1), (11, 11), (-1, 11)], float)[::order]
    np.testing.assert_allclose(figures._grown(square, 2**0.5), expected, atol=1e-9)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_animals_of_one_coat_differ_in_pose_and_proportions(name):
    rng, coat = np.random.default_rng(3), palette.COATS[name][0]
    drawn = [draw_animal(name, coat, rng) for _ in range(8)]
    shapes = [[part.points for layer in animal.layers for part in layer.parts] for animal in drawn]
    extents = np.array([np.ptp(np.concatenate(points), axis=0) for points in shapes])
    heights = extents[:, 1] / extents[:, 0]
    assert len(set(heights)) == 8 and heights.max() > 1.1 * heights.min()


# ---- images


def test_boxes_are_tight_around_what_was_drawn():
    """Draw the same animal on black and on white: what differs is what shows through.

    On black a pixel is a * c, on white a * c + (1 - a) * 255, so the difference is 255 - alpha.
    """
    for seed in range(40):
        images = []
        for grey in (0, 255):
            scene = image._Scene(Image.new("RGB", image.IMAGE_SIZE[::-1], (grey,) * 3))
            image._place_animal(scene, 1, np.zeros(3), np.random.default_rng(seed))
            images.append(np.asarray(scene.image, int))
        alpha = 255 - (images[1] - images[0]).mean(axis=-1)
        (animal,) = scene.animals
        ymin, xmin, ymax, xmax = animal.box.astype(int)
        outside = alpha.copy()
        outside[ymin:ymax, xmin:xmax] = 0
        assert outside.max() <= 128  # 127 and the rounding of two blends
        inside = alpha[ymin:ymax, xmin:xmax]
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.max() >= 127


def test_tight_box_is_half_open_and_yxyx():
    mask = np.zeros((10, 20), bool)
    mask[2:4, 5] = mask[3, 5:11] = True
    np.testing.assert_array_equal(image._tight_box(mask), [2, 5, 4, 11])


def test_overlap_is_a_share_of_the_smaller_box():
    # 10 x 20 and 4 x 10 share 2 x 5: 10 / 40.
    large, small = np.array([0.0, 0, 10, 20]), np.array([8.0, 15, 12, 25])
    assert image._overlap(large, small) == image._overlap(small, large) == 0.25
    assert image._overlap(large, small + 100) == 0


def test_images_keep_their_promises(many):
    height, width = 192, 256
    for drawing in many:
        assert drawing.image.size == (width, height) and drawing.image.mode == "RGB"
        boxes = drawing.boxes
        assert boxes.shape == (len(drawing.classes), 4) and boxes.dtype == np.float32
        assert len(drawing.truncated) == len(drawing.visible) == len(boxes) <= 4
        assert set(drawing.classes) <= set(CLASS_NAMES)
        np.testing.assert_array_equal(boxes, np.round(boxes))
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (height, width)).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        assert ((sides >= 32) & (sides <= 140)).all()
        assert all(0.6 <= share <= 1 for share in drawing.visible)
        for box, truncated in zip(boxes, drawing.truncated, strict=True):
            touches = box[0] == 0 or box[1] == 0 or box[2] == height or box[3] == width
            assert touches or not truncated
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                rows = max(0, min(a[2], b[2]) - max(a[0], b[0]))
                columns = max(0, min(a[3], b[3]) - max(a[1], b[1]))
                union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - rows * columns
                assert rows * columns / union <= 0.25


def test_images_vary(many):
    numbers = [len(drawing.classes) for drawing in many]
    assert set(numbers) == {0, 1, 2, 3, 4}
    assert numbers.count(0) <= 15  # 3 % of 150 are 4.5; 16 or more come once in 10 000 times
    names = [name for drawing in many for name in drawing.classes]
    for name in CLASS_NAMES:  # a third each, within five standard deviations
        assert abs(names.count(name) / len(names) - 1 / 3) < 5 * (2 / 9 / len(names)) ** 0.5
    shares = np.array([share for drawing in many for share in drawing.visible])
    assert (shares < 0.9).any() and (shares == 1).mean() > 0.3
    assert any(any(drawing.truncated) for drawing in many)
    sides = np.concatenate([drawing.boxes[:, 2:] - drawing.boxes[:, :2] for drawing in many])
    assert sides.min() < 40 and sides.max() > 120


def test_an_image_depends_on_seed_split_and_index_only():
    first = draw_image(1, "val", 2)
    again = draw_image(1, "val", 2)
    assert first.image.tobytes() == again.image.tobytes()
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert (first.classes, first.visible) == (again.classes, again.visible)
    for other in ((2, "val", 2), (1, "train", 2), (1, "val", 3)):
        assert draw_image(*other).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize(
    ("seed", "split", "index", "named"),
    [(0, "dev", 0, "'dev'"), (-1, "val", 0, "-1"), (0, "val", -4, "-4")],
)
def test_impossible_images_are_refused(seed, split, index, named):
    with pytest.raises(DataError, match=f"{named}.*expected"):
        draw_image(seed, split, index)
