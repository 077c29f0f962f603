"""Images of one size go through a network together."""

from hypothesis import given
from hypothesis import strategies as st

from tf_frcnn.data.batches import batches_by_size

WIDE, TALL, SQUARE = (2, 3), (3, 2), (2, 2)


def test_sizes_come_in_the_order_of_their_first_images_and_the_rest_is_a_smaller_batch():
    sizes = [WIDE, TALL, WIDE, WIDE, SQUARE, WIDE, TALL, WIDE]
    # Wide ones are 0, 2, 3, 5 and 7: two batches of 2 and one of 1.
    assert list(batches_by_size(sizes, lambda size: 2)) == [
        (WIDE, (0, 2)),
        (WIDE, (3, 5)),
        (WIDE, (7,)),
        (TALL, (1, 6)),
        (SQUARE, (4,)),
    ]
    assert list(batches_by_size([], lambda size: 2)) == []


def test_the_largest_number_goes_by_the_size():
    # 12 pixels: two images of 6, or three of 4.
    sizes = [WIDE] * 3 + [SQUARE] * 4
    batches = [batch for _, batch in batches_by_size(sizes, lambda size: 12 // (size[0] * size[1]))]
    assert batches == [(0, 1), (2,), (3, 4, 5), (6,)]


@given(st.lists(st.sampled_from([WIDE, TALL, SQUARE])), st.integers(1, 4))
def test_each_image_is_in_one_batch_of_its_own_size(sizes, most):
    batches = list(batches_by_size(sizes, lambda size: most))
    assert sorted(position for _, batch in batches for position in batch) == [*range(len(sizes))]
    for size, batch in batches:
        assert 1 <= len(batch) <= most and {sizes[position] for position in batch} == {size}
    # Of each size no batch but the last has room.
    for size in set(sizes):
        counts = [len(batch) for one, batch in batches if one == size]
        assert counts[:-1] == [most] * (len(counts) - 1)
