"""The facts about published weights agree with each other, and with COCO's own annotations."""

import re

import pytest

from tf_frcnn.pretrained.catalogue import CATALOGUE, COCO_CATEGORIES


def test_cocos_categories():
    # 90 ids, 10 of them without a category.
    assert len(COCO_CATEGORIES) == len(set(COCO_CATEGORIES.values())) == 80
    assert (min(COCO_CATEGORIES), max(COCO_CATEGORIES)) == (1, 90)
    assert list(COCO_CATEGORIES) == sorted(COCO_CATEGORIES)
    assert [COCO_CATEGORIES[number] for number in (1, 11, 13, 44, 70, 90)] == [
        *("person", "fire hydrant", "stop sign", "bottle", "toilet", "toothbrush")
    ]


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry(name):
    entry = CATALOGUE[name]
    assert entry.name == name
    assert entry.url == f"https://download.pytorch.org/models/{entry.file_name}"
    assert re.fullmatch("[0-9a-f]{8}", entry.sha256_start)
    assert entry.file_name.endswith(f"-{entry.sha256_start}.pth")
    # Four bytes a parameter, and some for moving statistics and names: 2^20 bytes are one MiB.
    num_bytes = entry.size_mib * 2**20 / entry.parameters_with_normalisation
    assert 4.0 < num_bytes < 4.04
    assert entry.parameters <= entry.parameters_with_normalisation


def test_detectors():
    detectors = {name: entry for name, entry in CATALOGUE.items() if entry.categories}
    assert [name for name in CATALOGUE if name.startswith("fasterrcnn_")] == list(detectors)
    for entry in detectors.values():
        assert entry.columns == 91 and entry.categories == COCO_CATEGORIES
        assert entry.unused_columns == (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
        assert "BSD-3-Clause" in entry.licence and "COCO" in entry.licence
    assert {name: entry.coco_ap for name, entry in detectors.items()} == {
        "fasterrcnn_resnet50_fpn": 37.0,
        "fasterrcnn_resnet50_fpn_v2": 46.7,
        "fasterrcnn_mobilenet_v3_large_fpn": 32.8,
        "fasterrcnn_mobilenet_v3_large_320_fpn": 22.8,
    }
    assert {name for name, entry in CATALOGUE.items() if entry.bn_eps == 0.0} == {
        "fasterrcnn_resnet50_fpn"
    }


def test_trunks():
    trunks = [entry for entry in CATALOGUE.values() if not entry.categories]
    assert len(trunks) == 3
    for entry in trunks:
        assert entry.coco_ap is None and entry.unused_columns == () and entry.columns == 1000
