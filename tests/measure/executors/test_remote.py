from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.measure.executors.remote import Place, code


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of another process: what `enter` changes is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_worker_stands_where_the_driver_stands(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "mine.py").write_text("x = 1")
    place = Place.here(["mine.py"])
    monkeypatch.chdir("/")
    monkeypatch.setenv("BENCH_HOME", "of the worker")
    place.enter()
    assert Path.cwd() == elsewhere
    assert os.environ["BENCH_HOME"] == str(elsewhere / "home")


def test_a_missing_or_another_file_is_named_with_the_machine(elsewhere: Path) -> None:
    file = elsewhere / "mine.py"
    file.write_text("x = 1")
    place = Place.here([str(file)])
    file.write_text("x = 2")
    with pytest.raises(BenchError, match=rf"{platform.node()} has another '.*mine.py'"):
        place.enter()
    file.unlink()
    with pytest.raises(BenchError, match=rf"{platform.node()} has no '.*mine.py'"):
        place.enter()


def test_a_folder_that_only_the_driver_has_is_no_error(elsewhere: Path) -> None:
    replace(Place.here(), folder=str(elsewhere / "nowhere")).enter()
    assert Path.cwd() == elsewhere


def test_other_code_is_refused(elsewhere: Path) -> None:
    with pytest.raises(BenchError, match=r"runs purifybench .*, the driver 0 \(old\)"):
        replace(Place.here(), code="0 (old)").enter()
    assert code() == Place.here().code
