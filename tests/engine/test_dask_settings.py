"""Dask's own configuration, checked before a cluster starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dask
import pytest

from pipeline.engine.dask_settings import check_dask_settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("comm.timeouts.connect", "soon", "must be a time, such as its default 30s, not 'soon'"),
        ("admin.tick.interval", "fast", "must be a time, such as its default 20ms, not 'fast'"),
        ("worker.memory.target", "much", "must be a number, such as its default 0.6, not 'much'"),
    ],
)
def test_a_setting_that_is_no_time_or_number_is_named(
    name: str, value: str, expected: str, tmp_path: Path
) -> None:
    variable = "DASK_DISTRIBUTED__" + name.upper().replace(".", "__")

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--workers", "1", "--output-dir", str(tmp_path)],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"error: Dask's setting distributed.{name} {expected}; correct it in {variable} or in "
        "Dask's configuration files\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("comm.timeouts.connect", 10),
        ("comm.timeouts.connect", "1 minute"),
        ("scheduler.bandwidth", "100 MB"),
        ("scheduler.worker-ttl", None),
        ("worker.memory.target", False),
        ("nanny.pre-spawn-environ.OMP_NUM_THREADS", "2,1"),
    ],
)
def test_what_dask_accepts_is_accepted(name: str, value: object) -> None:
    with dask.config.set({f"distributed.{name}": value}):
        check_dask_settings()

        assert dask.config.get(f"distributed.{name}") == value


def test_settings_of_other_packages_are_left_to_them() -> None:
    others: dict[str, object] = {"jobqueue": {"death-timeout": 60}}
    dask.config.update_defaults(others)
    try:
        with dask.config.set({"jobqueue.death-timeout": "as long as it takes"}):
            check_dask_settings()

            assert others in dask.config.defaults
    finally:
        dask.config.defaults.remove(others)
        dask.config.refresh()
