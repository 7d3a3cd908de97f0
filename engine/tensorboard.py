"""The epochs' figures as TensorBoard scalars, where TensorBoard is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dataloader.errors import one_line


class Scalars:
    """Writes an epoch's record; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self._writer = None
        if writer := _writer_class():
            with self._left_out_if_broken():
                self._writer = writer(str(folder), purge_step=first_epoch)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add every figure of the record at its epoch."""
        if self._writer is None:
            return
        figures = {
            f"{split}/{name}": value
            for split in ("train", "validation")
            for name, value in record[split].items()
        }
        figures |= {"lr": record["lr"], "gap_points": record["gap_points"]}
        with self._left_out_if_broken():
            for name, value in figures.items():
                self._writer.add_scalar(name, value, record["epoch"])

    def close(self) -> None:
        """Flush what is pending."""
        if self._writer is not None:
            with self._left_out_if_broken():
                self._writer.close()

    @contextmanager
    def _left_out_if_broken(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # it is no reason to stop
            self._writer = None
            _leave_out(error)


@cache
def _writer_class() -> Any:
    """PyTorch's SummaryWriter; None where TensorBoard is not installed or, which is said once, does
    not work."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # needs the optional package
    except Exception as error:  # an installation can be broken in any way
        if not (isinstance(error, ModuleNotFoundError) and error.name == "tensorboard"):
            _leave_out(error)
        return None
    return SummaryWriter


def _leave_out(error: Exception) -> None:
    reason = f"{type(error).__name__}: {one_line(error)}"
    print(f"TensorBoard is left out, training goes on ({reason})", file=sys.stderr)
