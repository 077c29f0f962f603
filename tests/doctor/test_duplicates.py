"""The fingerprint of images, and what is found with it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_frcnn.doctor.duplicates import (
    GRID,
    LEAST_SIMILARITY,
    ImageFacts,
    difference_hash,
    examine_images,
    find_duplicates,
)


def scene(seed, size=(120, 160)):
    """Draw an image of soft random patches, [H, W, 3] uint8."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(patches).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(image)


def test_difference_hash_tells_right_from_down():
    # Lighter to the right, the same downwards; 17 columns of 10 grey levels each.
    row = np.repeat(np.arange(GRID + 1, dtype=np.uint8) * 10, 4)
    image = np.repeat(np.tile(row, (40, 1))[..., None], 3, axis=-1)
    steps = difference_hash(image).reshape(2, GRID, GRID)
    assert (steps[0] == 1).all() and (steps[1] == 0).all()
    turned = difference_hash(image.swapaxes(0, 1)[::-1].copy()).reshape(2, GRID, GRID)
    assert (turned[0] == 0).all() and (turned[1] == -1).all()


@pytest.fixture
def images(tmp_path):
    """Write a scene, its copy, the same again smaller and as JPEG, others, and plain images."""
    image = Image.fromarray(scene(0))
    image.save(tmp_path / "a.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    image.resize((120, 90)).save(tmp_path / "small.jpg", quality=70)
    Image.fromarray(scene(1)).save(tmp_path / "other.png")
    Image.fromarray(scene(0)[:, ::-1].copy()).save(tmp_path / "mirrored.png")
    for level in (40, 41):
        Image.new("RGB", (50, 50), (level,) * 3).save(tmp_path / f"plain{level}.png")
    return tmp_path


def found(folder, **splits):
    """Find duplicates in a folder -> (exact, near)."""
    paths = {split: [folder / name for name in names] for split, names in splits.items()}
    facts = examine_images(path for split in paths.values() for path in split)
    return find_duplicates(paths, facts)


def test_exact_duplicates(images):
    groups, _ = found(images, train=["a.png", "other.png"], val=["copy.png"])
    assert [group.images for group in groups] == [(("train", "a.png"), ("val", "copy.png"))]
    assert groups[0].between_splits
    (within,), _ = found(images, train=["a.png", "copy.png"], val=["small.jpg"])
    assert not within.between_splits
    (same_file,), _ = found(images, train=["a.png"], val=["a.png"])
    assert same_file.between_splits


def test_near_duplicates(images):
    names = ["a.png", "copy.png", "other.png", "mirrored.png", "plain40.png", "plain41.png"]
    _, (pair,) = found(images, train=names, val=["small.jpg"])
    assert pair.images == (("train", "a.png"), ("val", "small.jpg"))


def changed(steps, share, random):
    """Take away a share of the steps of a row, chosen at random."""
    places = np.flatnonzero(steps)
    row = steps.copy()
    row[random.choice(places, round(share * len(places)), replace=False)] = 0
    return row


def facts_of(rows):
    """Pretend that images have these difference hashes."""
    return {Path(f"{i}.png"): ImageFacts("", f"digest {i}", row) for i, row in enumerate(rows)}


def test_groups_of_near_duplicates_are_those_of_all_pairs():
    random = np.random.default_rng(0)
    rows = []
    for size in (1, 1, 1, 2, 3, 40):
        steps = random.choice([-1, 0, 1], 2 * GRID**2, p=(0.3, 0.4, 0.3)).astype(np.int8)
        rows += [changed(steps, share, random) for share in random.uniform(0, 0.04, size)]
    # Of the last two rows the second is similar to neither scene but by way of the first.
    rows.append(changed(rows[0], 0.09, random))
    rows.append(changed(rows[-1], 0.09, random))
    rows = [rows[number].astype(np.int8) for number in random.permutation(len(rows))]
    facts = facts_of(rows)
    _, near = find_duplicates({"train": list(facts)}, facts)

    groups = {number: {number} for number in range(len(rows))}
    for a, first in enumerate(rows):
        for b, second in enumerate(rows[:a]):
            equal = np.sum((first == second) & (first != 0))
            if equal >= LEAST_SIMILARITY * np.sum((first != 0) | (second != 0)):
                joined = groups[a] | groups[b]
                groups.update(dict.fromkeys(joined, joined))
    expected = {frozenset(f"{n}.png" for n in one) for one in groups.values() if len(one) > 1}
    assert sorted(map(len, expected)) == [2, 3, 3, 40]
    assert {frozenset(name for _, name in group.images) for group in near} == expected


def test_many_frames_of_one_scene_are_one_group():
    random = np.random.default_rng(1)
    steps = random.choice([-1, 1], 2 * GRID**2).astype(np.int8)
    facts = facts_of([changed(steps, 0.02, random) for _ in range(3000)])
    names = list(facts)
    _, (group,) = find_duplicates({"train": names[:2000], "test": names[2000:]}, facts)
    assert len(group.images) == 3000 and group.between_splits


def test_unreadable_and_turned_files(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(scene(2)).save(content, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(content.getvalue())
    facts = examine_images([tmp_path / n for n in ("broken.jpg", "turned.jpg", "gone.jpg")])
    broken, turned, gone = facts.values()
    assert "broken.jpg" in broken.fault and broken.steps is None
    assert (turned.fault, turned.orientation) == ("", 6)
    assert "gone.jpg: cannot be read" in gone.fault
    assert [Path(path).name for path in facts] == ["broken.jpg", "turned.jpg", "gone.jpg"]
