"""A click command whose help groups the options by theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class ThemedCommand(click.Command):
    """A command with `themes`: its options by heading, in the order of the help.

    Options added by decorators, and `--help`, appear under the last heading.
    """

    def __init__(self, *args: Any, themes: Mapping[str, Sequence[click.Option]], **how: Any):
        options = [option for theme in themes.values() for option in theme]
        super().__init__(*args, **{**how, "params": [*options, *how.get("params", ())]})
        self._themes = themes

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each theme."""
        lines = {param: param.get_help_record(ctx) for param in self.get_params(ctx)}
        themes = {
            heading: [lines.pop(option) for option in options]
            for heading, options in self._themes.items()
        }
        *_, last = themes.values()
        last += lines.values()
        for heading, records in themes.items():
            with formatter.section(heading):
                formatter.write_dl(list(filter(None, records)))
