"""Matplotlib as all figures are drawn with it: its own defaults, whatever settings a user has, and
straight to files, whatever windows there are. Nothing else imports it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dataloader.errors import UserError

_backend = os.environ.pop("MPLBACKEND", None)  # one that is not there would end the import
try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except (OSError, ValueError) as error:
    raise UserError(
        f"matplotlib cannot read its settings ({error}): mend or move the file matplotlibrc, in "
        "this folder or your home's .config/matplotlib"
    ) from None
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

__all__ = ["Axes", "Figure", "MaxNLocator", "own_style", "rendered"]


@contextmanager
def own_style() -> Iterator[None]:
    """In the block, or the function that this decorates, figures have matplotlib's own settings.

    An artist takes some of them when it is made and some when it is drawn.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


@own_style()
def rendered(figure: Figure, kind: str, dpi: int) -> bytes:
    """The content of the figure's file; kind: "png" or "pdf"."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()
