"""A run that would write over an input, or over another output, ends before it writes anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from support.runs import run
from support.store import Prefix

from pipeline import Settings
from pipeline.errors import UsageError
from pipeline.outputs.names import COMBINED, FAILED, OUTPUTS, REJECTED, REPORT

CUSTOMERS = b"customer_id,first_name,last_name,age\n1,Ada,Byron,36\n2,Bo,Chu,20\n"
PURCHASES = b"customer_id,product,price\n1,Lamp,19.90\n2,Cup,1000\n"
HIDDEN = (
    *(".lock", ".finished", ".finished/p.csv"),
    ".unfinished-12ab34cd/deep/p.csv",
)
HARMLESS = ("sales.csv", ".sales.csv", "deeper/combined_data.csv", "run_report.json.csv")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with both inputs and the outputs of an earlier run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_bytes(CUSTOMERS)
    (tmp_path / "purchases.csv").write_bytes(PURCHASES)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / REPORT).write_text("earlier")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return every file in a folder and below, by its path: its bytes, or where it links to."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path) if path.is_symlink() else path.read_bytes()
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def settings(purchases: str = "purchases.csv", **more: Any) -> Settings:
    return Settings(("customers.csv",), (purchases,), **more)


def refusal(folder: Path, client: Client, refused: Settings) -> str:
    """Return why a run was refused, once it is clear that it changed nothing."""
    before = contents(folder)
    with pytest.raises(UsageError) as caught:
        run(refused, client)
    assert contents(folder) == before
    return str(caught.value)


@pytest.mark.parametrize("name", [*OUTPUTS, FAILED, *HIDDEN])
def test_an_input_where_a_run_writes_is_refused(folder: Path, client: Client, name: str) -> None:
    path = folder / "outputs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PURCHASES)

    assert refusal(folder, client, settings(f"outputs/{name}")) == (
        f"purchases: a run would replace or delete the input 'outputs/{name}'; choose another "
        "folder with --output-dir, or move the input"
    )


def by_dots(_: Path) -> dict[str, str]:
    return {"purchases": f"outputs/../outputs/{COMBINED}"}


def by_absolute_path(folder: Path) -> dict[str, str]:
    return {"purchases": str(folder / "outputs" / COMBINED)}


def by_url(folder: Path) -> dict[str, str]:
    return {"purchases": (folder / "outputs" / COMBINED).as_uri()}


def by_folder(_: Path) -> dict[str, str]:
    return {"purchases": "outputs"}


def by_glob(_: Path) -> dict[str, str]:
    return {"purchases": "out*/comb*.csv"}


def by_link_to_it(folder: Path) -> dict[str, str]:
    (folder / "p.csv").symlink_to(f"outputs/{COMBINED}")
    return {"purchases": "p.csv"}


def by_link_to_its_folder(folder: Path) -> dict[str, str]:
    (folder / "linked").symlink_to("outputs")
    return {"purchases": f"linked/{COMBINED}"}


def by_link_to_the_output_folder(folder: Path) -> dict[str, str]:
    (folder / "linked").symlink_to("outputs")
    return {"purchases": f"outputs/{COMBINED}", "output_dir": "linked"}


def by_link_back(folder: Path) -> dict[str, str]:
    (folder / "outputs" / COMBINED).rename(folder / "p.csv")
    (folder / "outputs" / COMBINED).symlink_to("../p.csv")
    return {"purchases": "p.csv"}


def by_chain_of_urls(folder: Path) -> dict[str, str]:
    return {"purchases": f"simplecache::file://{folder}/outputs/{COMBINED}"}


def by_hard_link(folder: Path) -> dict[str, str]:
    (folder / "p.csv").hardlink_to(folder / "outputs" / COMBINED)
    return {"purchases": "p.csv"}


@pytest.mark.parametrize(
    "alias",
    [
        *(by_dots, by_absolute_path, by_url, by_folder, by_glob, by_link_to_it),
        *(by_link_to_its_folder, by_link_to_the_output_folder, by_link_back, by_hard_link),
        by_chain_of_urls,
    ],
)
def test_by_whatever_path_it_is_named(
    folder: Path, client: Client, alias: Callable[[Path], dict[str, str]]
) -> None:
    (folder / "outputs" / COMBINED).write_bytes(PURCHASES)

    why = refusal(folder, client, settings(**alias(folder)))

    assert why.startswith("purchases: a run would replace or delete the input '")
    assert f"/{COMBINED}'; choose another folder" in why


@pytest.mark.parametrize(
    ("purchases", "output_dir"),
    [
        (".", "."),
        ("sales/", "sales"),
        ("sales", "sales/../sales"),
        ("sales/*.csv", "sales"),
        ("s*/*", "linked"),
        ("**/*.csv", "sales/results"),
        ("sales/**/*.csv", "sales/results"),
    ],
)
def test_outputs_that_the_next_run_would_read_are_refused_in_the_first(
    folder: Path, client: Client, purchases: str, output_dir: str
) -> None:
    (folder / "sales").mkdir()
    (folder / "sales" / "p.csv").write_bytes(PURCHASES)
    (folder / "linked").symlink_to("sales")
    (folder / "purchases.csv").unlink()
    (folder / "customers.csv").rename(folder / "customers.txt")
    (folder / "p.csv").write_bytes(PURCHASES)

    refused = Settings(("customers.txt",), (purchases,), output_dir=output_dir)

    assert f"in the next run, '{purchases}' would match '{COMBINED}' in the output folder" in (
        refusal(folder, client, refused)
    )


@pytest.mark.parametrize("purchases", ["sales/p.csv", "sales/p*.csv", "sales/[p]*"])
def test_outputs_beside_inputs_that_are_named_are_written(
    folder: Path, client: Client, purchases: str
) -> None:
    (folder / "sales").mkdir()
    (folder / "sales" / "p.csv").write_bytes(PURCHASES)

    for _ in range(2):
        run(settings(purchases, output_dir="sales"), client)

    assert (folder / "sales" / "p.csv").read_bytes() == PURCHASES


@pytest.fixture
def mounted(folder: Path) -> Iterator[Path]:
    """The output folder, mounted a second time."""
    path = folder / "mounted"
    path.mkdir()
    mount = ["mount", "--bind", str(folder / "outputs"), str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a folder")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("name", [COMBINED, ".unfinished-12ab34cd/p.csv"])
def test_in_a_folder_that_is_mounted_twice(
    folder: Path, mounted: Path, client: Client, name: str
) -> None:
    (mounted / name).parent.mkdir(exist_ok=True)
    (mounted / name).write_bytes(PURCHASES)

    why = refusal(folder, client, settings(f"mounted/{name}"))

    assert f" the input 'mounted/{name}', which is 'outputs/{name}'; choose" in why


@pytest.mark.parametrize("name", HARMLESS)
def test_an_input_in_the_output_folder_under_another_name_is_only_read(
    folder: Path, client: Client, name: str
) -> None:
    path = folder / "outputs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PURCHASES)

    run(settings(f"outputs/{name}"), client)

    assert path.read_bytes() == PURCHASES
    assert (folder / "outputs" / COMBINED).read_bytes().count(b"\n") == 3
    assert not (folder / "outputs" / REJECTED).exists()


def test_the_report_of_dask_over_an_input_is_refused(folder: Path, client: Client) -> None:
    (folder / "linked.csv").symlink_to("customers.csv")
    (folder / "hard.csv").hardlink_to("customers.csv")
    for report in ("customers.csv", "outputs/../customers.csv", "linked.csv", "hard.csv"):
        assert refusal(folder, client, settings(performance_report=report)) == (
            f"--performance-report: '{report}' is the input 'customers.csv' of customers; "
            "use another file"
        )


@pytest.mark.parametrize("name", [*OUTPUTS, FAILED, ".lock", ".finished/page.html"])
def test_the_report_of_dask_over_another_output_is_refused(
    folder: Path, client: Client, name: str
) -> None:
    report = f"outputs/{name}"
    assert refusal(folder, client, settings(performance_report=report)) == (
        f"--performance-report: a run would replace or delete 'outputs/{name}'; use another file"
    )


def test_the_report_of_dask_over_a_link_to_an_output_is_refused(
    folder: Path, client: Client
) -> None:
    (folder / "page.html").hardlink_to(folder / "outputs" / REPORT)

    why = refusal(folder, client, settings(performance_report="page.html"))

    assert f"replace or delete 'page.html', which is 'outputs/{REPORT}'; use" in why


def test_the_report_of_dask_may_lie_beside_the_outputs(folder: Path, client: Client) -> None:
    run(settings(performance_report="outputs/page.html"), client)

    assert "<html" in (folder / "outputs" / "page.html").read_text()
    assert (folder / "outputs" / COMBINED).exists()


@pytest.mark.parametrize(
    "name", [*OUTPUTS, FAILED, ".lock", ".finished", ".unfinished-12ab34cd/p.csv"]
)
def test_an_object_where_a_run_writes_is_refused(
    folder: Path, client: Client, prefix: Prefix, name: str
) -> None:
    prefix.write(name, PURCHASES)

    why = refusal(folder, client, settings(f"{prefix.url}/{name}", output_dir=f"{prefix.url}/"))

    assert prefix.contents() == {name: PURCHASES}
    assert prefix.uploads() == 0
    assert f" would replace or delete the input '{prefix.url}/{name}'; " in why


@pytest.mark.parametrize("name", HARMLESS)
def test_an_object_under_another_name_is_only_read(
    folder: Path, client: Client, prefix: Prefix, name: str
) -> None:
    prefix.write(name, PURCHASES)

    run(settings(f"{prefix.url}/{name}", output_dir=prefix.url), client)

    assert prefix.read(name) == PURCHASES
    assert prefix.read(COMBINED).count(b"\n") == 3


def test_a_run_that_could_not_write_is_refused_before_it_makes_a_folder(
    folder: Path, client: Client
) -> None:
    for output_dir in ("customers.csv", "customers.csv/deeper/out"):
        told = refusal(folder, client, settings(output_dir=output_dir))
        assert told.startswith(f"{output_dir}: outputs cannot be written here: Not a directory")
    missing = replace(settings("nowhere.csv"), output_dir="fresh/deeper")
    assert "no file at 'nowhere.csv'" in refusal(folder, client, missing)
    assert not (folder / "fresh").exists()
