"""A process is fit for a run if it has the same versions, inputs and output folder."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Reschedule

from pipeline.csv_text.headers import open_source
from pipeline.engine import shared
from pipeline.engine.fitness import Fitness, describe_installation, version_fault
from pipeline.engine.package import source_digest
from pipeline.engine.portable import open_task
from pipeline.settings import Dialect
from pipeline.storage.places import Folder


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "stage").mkdir()
    return tmp_path / "stage"


def seen_elsewhere(fitness: Fitness) -> Fitness:
    """Return what another process gets, which has not looked yet."""
    shared._states.clear()
    found: Fitness = pickle.loads(pickle.dumps(fitness))
    return found


def required(tmp_path: Path, stage: Path) -> tuple[Path, Fitness]:
    file = tmp_path / "a.csv"
    file.write_text("id,price\n1,2\n")
    source = open_source("table", [str(file)], {}, Dialect())
    return file, Fitness.of_run([source], Folder(str(stage)), "out")


def test_where_all_is_the_same_a_process_is_fit(tmp_path: Path, stage: Path) -> None:
    _, fitness = required(tmp_path, stage)

    assert seen_elsewhere(fitness).fault() is None


def test_inputs_are_compared_by_size(tmp_path: Path, stage: Path) -> None:
    file, fitness = required(tmp_path, stage)

    def fault(sizes: dict[str, int] | None = None) -> str | None:
        found = seen_elsewhere(fitness).fault(sizes)
        return found and found.text

    file.write_text("id,price\n1,2\n3,4\n")
    assert fault() == f"sees a different file at {file}: 17 bytes, not 13"
    assert fault({str(file): 16}) == f"sees a different file at {file}: 17 bytes, not 13"
    assert fault({str(file): 17}) is None  # it has grown since then
    file.write_text("id")
    assert fault({str(file): 17}) == f"sees a different file at {file}: 2 bytes, not 13"
    file.unlink()
    assert fault() == f"cannot read {file}: No such file or directory"


def test_what_has_grown_everywhere_is_fit_from_then_on(tmp_path: Path, stage: Path) -> None:
    file, fitness = required(tmp_path, stage)
    elsewhere = seen_elsewhere(fitness)
    file.write_text("id,price\n1,2\n3,4\n")

    fault = elsewhere.fault()

    assert fault is not None
    assert fault.has_grown == str(file)
    assert elsewhere.fault() == fault
    assert elsewhere.fault({str(file): 17}) is None
    assert elsewhere.fault() is None


def test_the_output_folder_must_be_the_same(tmp_path: Path, stage: Path) -> None:
    _, fitness = required(tmp_path, stage)

    def text(place: Path) -> str | None:
        fault = seen_elsewhere(replace(fitness, place=Folder(str(place)))).fault()
        return fault and f"{fault.about}{fault.text}"

    assert text(tmp_path / "none") == "out: does not see this folder"
    (tmp_path / "other").mkdir()
    required(tmp_path, tmp_path / "other")
    assert text(tmp_path / "other") == "out: sees a different folder at this path"


def test_versions_and_source_are_compared() -> None:
    here = describe_installation()
    assert version_fault(here) is None
    older = {**here, "versions": {**here["versions"], "numpy": "1.0", "pyarrow": "2.0"}}
    fault = version_fault(older)
    assert fault is not None
    assert fault.text.startswith(
        f"has pyarrow {here['versions']['pyarrow']} instead of 2.0, numpy "
    )
    fault = version_fault({**here, "source": "0" * 64})
    assert fault is not None
    assert fault.text == f"has different source code ({here['source'][:8]})"


def test_a_task_is_done_only_by_a_process_that_is_fit(tmp_path: Path, stage: Path) -> None:
    _, fitness = required(tmp_path, stage)
    task = pickle.dumps(abs), pickle.dumps(fitness), source_digest()
    assert open_task(*task) is abs

    shared._states.clear()  # as in another process
    (stage / "requirements.json").unlink()
    for _ in range(2):
        with pytest.raises(Reschedule):
            open_task(*task)
