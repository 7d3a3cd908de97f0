"""The epochs' figures as TensorBoard scalars, where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Scalars:
    """Writes an epoch's record; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self._writer = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter  # needs the optional package

            self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add every figure of the record at its epoch."""
        if self._writer is None:
            return
        for split in ("train", "validation"):
            for name, value in record[split].items():
                self._writer.add_scalar(f"{split}/{name}", value, record["epoch"])
        self._writer.add_scalar("lr", record["lr"], record["epoch"])
        self._writer.add_scalar("gap_points", record["gap_points"], record["epoch"])

    def close(self) -> None:
        """Flush what is pending."""
        if self._writer is not None:
            self._writer.close()
