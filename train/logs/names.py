"""The value of --log. Has no slow imports, for --help."""

import argparse

from shared import choices
from shared.commandline import did_you_mean


def log_names(text: str) -> str:
    """A comma list with each name once, jsonl among them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in choices.LOGS:
            raise argparse.ArgumentTypeError(
                f"--log has no choice {name!r}{did_you_mean(name, choices.LOGS)} The choices are "
                f"{', '.join(choices.LOGS)}"
            )
    return ",".join(name for name in choices.LOGS if name == "jsonl" or name in names)


def logs_of(flags: argparse.Namespace) -> tuple[str, ...]:
    """The names in --log, with that of --tensorboard, its short form."""
    text = f"{flags.log},tensorboard" if flags.tensorboard else flags.log
    return tuple(log_names(text).split(","))
