"""The doctor: what is amiss is named, with what to do about it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import psutil
import pytest
import torch

from commands import doctor

Usage = namedtuple("Usage", "total used free")


def rows():
    return {row.what: row for row in doctor.examine()}


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_names_every_part():
    assert {"Python", "CPU cores", "memory", "disk", "PyTorch", "CPU features", "GPU", "packages"} <= set(
        rows()
    )


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**11, 10**11 - 10**9, 10**9))
    assert rows()["disk"].found == "1 GB free"
    assert "COURSE_OUTPUT" in rows()["disk"].advice


def test_another_disk_has_a_row_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path / "far" / "away"))
    real = os.stat
    fake = namedtuple("Stat", "st_dev")(-1)
    monkeypatch.setattr(
        os, "stat", lambda place, **options: fake if place == tmp_path else real(place, **options)
    )
    assert len([row for row in doctor.examine() if row.what == "disk"]) == 2


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    real = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path and real(place, mode))
    advice = " ".join(row.advice for row in doctor.examine())
    assert "cannot be written; set COURSE_CACHE" in advice


def test_little_memory(monkeypatch):
    memory = namedtuple("Memory", "total available")(8 * 10**9, 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert "close other programs" in rows()["memory"].advice


def test_another_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    assert "3.10 to 3.13" in rows()["Python"].advice


def test_a_device_that_is_not_there(monkeypatch, no_gpu):
    monkeypatch.setenv("COURSE_DEVICE", "cuda:7")
    assert rows()["computes on"].advice == "unset COURSE_DEVICE"
    assert "cuda:7" in rows()["computes on"].found


@pytest.mark.parametrize(("cuda", "advice"), [("13.2", "driver"), (None, "CUDA build")])
def test_a_card_that_pytorch_cannot_use(monkeypatch, no_gpu, tmp_path, cuda, advice):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 470.82\n")
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    if os.name == "nt":
        answer = subprocess.CompletedProcess([], 0, "470.82\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert "470.82" in rows()["GPU"].found
    assert advice in rows()["GPU"].advice


def test_a_missing_and_an_old_package(monkeypatch, capsys):
    real = importlib.metadata.version

    def version(name):
        if name == "h5py":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "numpy" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "h5py is missing" in rows()["packages"].found
    assert "numpy is 0.1" in rows()["packages"].found
    assert "course.py setup" in rows()["packages"].advice
    doctor.main([])
    assert "to look at (->)" in capsys.readouterr().out
