"""The argument parser of all commands.

Help is grouped and lists defaults, meanings and examples. A mistake is reported in one line, with
the nearest known name if there is one.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from shared.errors import InputError

WIDTH = 100


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises InputError for mistakes and accepts no abbreviated flags."""

    def __init__(
        self,
        description: str,
        examples: Iterable[str],
        meanings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`examples` are whole commands; `meanings`: title -> (name -> one line), printed last."""
        super().__init__(
            description=textwrap.fill(description, WIDTH),
            epilog=_epilog(examples, meanings or {}),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        found = re.match(r"unrecognized arguments: (.*)", message)
        if found is None:
            raise InputError(f"the flags cannot be used: {message}; --help lists all flags")
        first = found[1].split()[0]
        known = [name for action in self._actions for name in action.option_strings]
        raise InputError(
            f"there is no flag {first}{did_you_mean(first.split('=')[0], known)} --help lists all"
        )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = list(map(str, action.choices))
            raise InputError(
                f"{'/'.join(action.option_strings) or action.dest} has no choice {value!r}"
                f"{did_you_mean(str(value), known)} The choices are {', '.join(known)}"
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean NAME?` with the nearest of `known`; a full stop if no name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]}?" if near else "."


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to the help of each flag, unless its text mentions one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=WIDTH)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        has_value = action.default is not None and action.nargs != 0
        if has_value and action.default is not argparse.SUPPRESS and "default" not in text:
            text += " (default: %(default)s)"
        return text


def _epilog(examples: Iterable[str], meanings: Mapping[str, Mapping[str, str]]) -> str:
    parts = []
    for title, names in meanings.items():
        width = max(map(len, names)) + 2
        wide = width > 30  # then the meaning is printed below its name
        lines = [
            f"  {name}\n      {text}"
            if wide
            else textwrap.fill(
                f"  {name:<{width}}{text}", WIDTH, subsequent_indent=" " * (width + 2)
            )
            for name, text in names.items()
        ]
        parts.append("\n".join([f"{title}:", *lines]))
    parts.append("\n".join(["examples:", *(f"  {example}" for example in examples)]))
    return "\n\n".join(parts)
