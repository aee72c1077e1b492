"""`forget` forgets all that a process remembers of the LUNA data: after it, every answer is that of the new files."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from p2ch10 import ct, memory
from p2ch10.candidates import geometry_of
from p2ch10.dsets import (
    forget,
    getCandidateInfoDict,
    getCandidateInfoList,
    getCt,
    getCtRawCandidate,
    scan_paths,
)
from p2ch10.store import ScanStore
from p2ch13.dsets import truths_of
from p2ch14.resampling import _spacing_irc
from p2ch14.shipped.ball_targets import ball_truths_of
from tests.test_house import CHAPTERS, MODULES
from tests.test_p2ch10 import center, uid, write_lists, write_scan
from tests.test_p2ch10 import luna_folder as luna_folder
from util.paths import PROJECT

NAME = uid(0)

ANSWERS = {
    "paths": lambda: scan_paths()[NAME],
    "geometry": lambda: geometry_of(NAME),
    "list": lambda: getCandidateInfoList(),
    "list with scans that are not there": lambda: getCandidateInfoList(False),
    "by series": lambda: getCandidateInfoDict(),
    "scan": lambda: getCt(NAME).hu_a,
    "entry": lambda: ct._stored(NAME).whole(),
    "spacing": lambda: _spacing_irc(NAME),
    "segmented truth": lambda: [np.argwhere(truth.mask).tolist() for truth in truths_of(NAME)],
    "balls": lambda: [(t.box, t.mask.shape) for t in ball_truths_of(NAME)],
}


def write(folder, subset, shape, irc, diameter_mm):
    """One scan with one nodule in it, and the lists that name it."""
    path = folder / f"subset{subset}" / f"{NAME}.mhd"
    write_scan(path, seed=subset, shape=shape)
    image = sitk.ReadImage(str(path))
    image.SetSpacing((0.7, 0.8, 1.25 + subset / 10))
    sitk.WriteImage(image, str(path), useCompression=True)
    place = center(path, irc)
    write_lists(folder, [(NAME, *place, diameter_mm)], [(NAME, *place, 1)])
    return place


def answers():
    return {name: str(answer()) for name, answer in ANSWERS.items()}


def test_every_answer_is_that_of_the_new_files(luna_folder):
    write(luna_folder, 0, (40, 64, 72), (20, 32, 36), 8.0)
    before = answers()
    shutil.rmtree(luna_folder / "subset0")
    write(luna_folder, 3, (44, 70, 66), (22, 40, 30), 14.0)
    assert {name for name, answer in answers().items() if answer != before[name]} == set()
    forget()
    assert {name for name, answer in answers().items() if answer == before[name]} == set()


def test_crops_are_those_of_the_new_files_from_memory_and_from_the_store(luna_folder, monkeypatch):
    for gigabytes in ("1", "0"):
        monkeypatch.setenv("COURSE_MEMORY_GB", gigabytes)
        crops = []
        for subset in (0, 1):
            place = write(luna_folder, subset, (40, 64, 72), (20, 32, 36), 8.0)
            forget()
            crop, _ = getCtRawCandidate(NAME, place)
            want = (
                ScanStore()
                .open(NAME, luna_folder / f"subset{subset}" / f"{NAME}.mhd")
                .whole()[4:36, 8:56, 12:60]
            )
            assert np.array_equal(crop, want)
            crops.append(crop)
            shutil.rmtree(luna_folder / f"subset{subset}")
        assert not np.array_equal(*crops)


def test_nothing_of_part_2_remembers_by_other_means():
    """A cache that `forget` does not know would answer from files that are no longer there."""
    for path in MODULES:
        package = path.relative_to(PROJECT).parts[0]
        if package in CHAPTERS and package >= "p2" and package < "p3":
            text = path.read_text(encoding="utf-8")
            for cache in ("functools.cache\n", "lru_cache", "import cache\n", "@cache\n"):
                assert cache not in text or path.stem in ("memory", "exercises"), (path, cache)


@pytest.mark.parametrize("maxsize", [None, 2])
def test_what_is_remembered_is_worked_out_once_until_forgotten(maxsize, monkeypatch):
    monkeypatch.setattr(memory, "_forgettable", [])
    worked_out = []

    @memory.remembered(maxsize)
    def twice(x):
        worked_out.append(x)
        return 2 * x

    assert [twice(1), twice(1)] == [2, 2]
    assert worked_out == [1]
    forget()
    assert twice(1) == 2
    assert worked_out == [1, 1]
