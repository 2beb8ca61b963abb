"""A run at Weights & Biases (the package wandb), online or with WANDB_MODE=offline.

    project  name of the folder that holds the run's      WANDB_PROJECT
    name     name of the run's folder                     WANDB_NAME
    group    the recipe's name, so that seeds are one     WANDB_RUN_GROUP
    id       made once, and kept in RUN/wandb-id          WANDB_RUN_ID
    files    RUN/wandb; ./wandb if RUN is at a URL        WANDB_DIR

Each is replaced by wandb's own variable beside it, if that is set; WANDB_ENTITY, WANDB_TAGS,
WANDB_SILENT and all others work as documented by wandb. A resumed run goes on under the same id.
Offline, each start writes a folder of its own; `wandb sync RUN/wandb/offline-run-*` joins them.
"""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.errors import InputError, note
from shared.files.location import Location, folder_of, name_of
from shared.files.objects import open_folder
from shared.files.retry import one_line
from train.logs.scalars import Record, by_epoch

ID_FILE = "wandb-id"
ID_BYTES = 1 << 10
FLUSH = "x_transaction_log_flush_interval"


class WeightsAndBiases:
    def __init__(
        self, folder: Location, recipe: str, config: dict[str, Any], records: list[Record]
    ) -> None:
        """`records`: those of the epochs before, if the run resumes; logged if wandb does not know
        this run yet."""
        import wandb

        self._error: type[Exception] = wandb.Error
        where = folder.resolve() if isinstance(folder, Path) else folder
        name, is_new = _run_id(where)
        own = {
            "project": ("WANDB_PROJECT", name_of(folder_of(where))),
            "name": ("WANDB_NAME", name_of(where)),
            "group": ("WANDB_RUN_GROUP", recipe),
            "resume": ("WANDB_RESUME", "allow"),
            "dir": ("WANDB_DIR", str(where) if isinstance(where, Path) else None),
        }
        chosen: dict[str, Any] = {
            key: value for key, (known, value) in own.items() if not os.environ.get(known)
        }
        try:
            self._run: Any = wandb.init(
                id=name, config=config, settings=_settings(wandb.Settings), **chosen
            )
        except wandb.Error as error:
            raise InputError(
                f"--log wandb cannot begin a run ({one_line(error)}): log in with `wandb login`, "
                f"set WANDB_MODE=offline, or leave wandb out"
            ) from error
        if is_new and records:
            self._log(by_epoch(records))

    def write(self, records: list[Record]) -> None:
        epoch = records[-1]["epoch"]
        self._log({epoch: by_epoch(records[-2:])[epoch]})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _log(self, epochs: dict[int, dict[str, float]]) -> None:
        """The step is the epoch, so wandb ignores an epoch that it has already."""
        if self._run is None:
            return
        try:
            for epoch, numbers in epochs.items():
                self._run.log({"epoch": epoch, **numbers}, step=epoch, commit=True)
        except self._error as error:  # the run is worth more than its log
            note(
                f"wandb has failed and gets no more numbers ({one_line(error)}): see metrics.jsonl"
            )
            self._run = None


def _settings(make: Callable[..., Any]) -> Any:
    """Leaves the terminal alone, and soon writes what it is given to its files: a process that is
    killed loses what wandb still buffers, by default that of 15 seconds."""
    settings = make(console="off")
    if hasattr(settings, FLUSH):  # an internal setting of newer versions
        setattr(settings, FLUSH, 1.0)
    return settings


def _run_id(folder: Location) -> tuple[str, bool]:
    """The id, and whether it was made just now."""
    files = open_folder(folder)
    fresh = re.sub(r"[^A-Za-z0-9._-]", "-", name_of(folder))[:100] + "-" + secrets.token_hex(4)
    is_new = files.write_new(ID_FILE, (os.environ.get("WANDB_RUN_ID") or fresh).encode())
    kept = files.read(ID_FILE, ID_BYTES).decode(errors="replace").strip()
    return os.environ.get("WANDB_RUN_ID") or kept, is_new
