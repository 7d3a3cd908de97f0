"""Figures judged over replicates: interval, p and, of primary endpoints, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import UserError
from evaluation.study_figures import D_OVERLAP, FIGURES, N_FIDELITY, PRIMARY, Figure
from evaluation.tables import Row
from metrics.conventions import LEVEL
from metrics.intervals import holm, over_replicates
from metrics.ratio import Ratio, image_variance, ratio_of_means

SMALLEST = 0.0001  # p that is shown
ONE_REPLICATE = "no verdict: one replicate"
SHARED = (
    "**Given these teachers**: several of the replicates have learnt from the same ones, whose "
    "choice these intervals do not know."
)
Judged = Mapping[str, Sequence["Measured"]]  # by the figure's name, a replicate each


@dataclass(frozen=True)
class Measured:
    """A figure of one replicate: its value, and (n,) what each test image adds to it."""

    value: float
    contributions: Tensor

    @classmethod
    def of(cls, contributions: Tensor) -> Measured:
        """Their mean is the value."""
        return cls(contributions.mean().item(), contributions)


def check_images(count: int) -> None:
    """UserError where the test images are too few for a variance over them."""
    if count < 2:
        raise UserError("nothing can be judged by one test image: --max-images takes more")


def judged_rows(measured: Judged, figures: Sequence[Figure] = FIGURES) -> list[Row]:
    """A row for each of the figures that some replicate has. Of primary ones p_holm is corrected
    for the number of endpoints and so is their verdict; of others the interval says it."""
    rows = [_row(figure, measured[figure.name]) for figure in figures if measured.get(figure.name)]
    for row, corrected in zip(*_corrected(rows), strict=True):
        row["p_holm"] = corrected
    return [row | {"verdict": _verdict(row)} for row in rows]


def _row(figure: Figure, replicates: Sequence[Measured]) -> Row:
    values = [replicate.value for replicate in replicates]
    contributions = torch.stack([replicate.contributions for replicate in replicates])
    found = over_replicates(values, image_variance(contributions))
    return {
        "figure": figure.name,
        "endpoint": figure.endpoint,
        "rank": figure.rank,
        "what": figure.text,
        "unit": figure.unit,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "std": torch.tensor(values).std().item() if len(values) > 1 else None,
        "p": found.p,
        "p_holm": None,
        "replicates": len(values),
        "images": contributions.shape[1],
    }


def _corrected(rows: Sequence[Row]) -> tuple[list[Row], list[float]]:
    """The primary rows, and Holm's p of the endpoint of each."""
    primary = [row for row in rows if row["rank"] == PRIMARY]
    numbers = list(dict.fromkeys(row["endpoint"] for row in primary))
    together = [
        _together([row for row in primary if row["endpoint"] == number]) for number in numbers
    ]
    corrected = dict(zip(numbers, holm(together), strict=True))
    return primary, [corrected[row["endpoint"]] for row in primary]


def _together(rows: Sequence[Row]) -> float:
    """The p of an endpoint of several figures, all of which must say the same."""
    signs = {row["estimate"] > 0 for row in rows}
    return max(row["p"] for row in rows) if len(signs) == 1 else 1.0


def _verdict(row: Row) -> str:
    if row["replicates"] == 1:
        return ONE_REPLICATE
    of_endpoint = row["p_holm"] is not None
    above, below = ("supported", "contradicted") if of_endpoint else ("above 0", "below 0")
    if (row["p_holm"] if of_endpoint else row["p"]) >= LEVEL:
        return "cannot tell"
    return above if row["estimate"] > 0 else below


def markdown(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of a table; Holm's p where they have one."""
    heads = ("figure", "verdict", "estimate", "95% interval", "unit", "p", "Holm's p", "n",
             "endpoint", "is")  # fmt: skip
    return [_line(heads), "|---" * len(heads) + "|", *(_line(_texts(row)) for row in rows)]


def _texts(row: Row) -> list[str]:
    numbers = [f"{row['estimate']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
    chances = [_chance(row[name]) for name in ("p", "p_holm")]
    return [row["figure"], row["verdict"], *numbers, row["unit"], *chances, str(row["replicates"]),
            row["endpoint"], row["what"]]  # fmt: skip


def _chance(p: float | None) -> str:
    if p is None:
        return "-"
    return f"{p:.4f}" if p >= SMALLEST else f"< {SMALLEST}"


def ratio_sentence(measured: Judged) -> str:
    """Fieller's interval of mean N over mean D, or why there is none; "" without both."""
    if not (measured.get(N_FIDELITY) and measured.get(D_OVERLAP)):
        return ""
    found = slope_by_overlap(measured)
    if found is None:
        return "Mean N over mean D: not shown, for D may be 0."
    return (
        f"Mean N over mean D: {found.estimate:.1f} points of fidelity ({found.low:.1f} to "
        f"{found.high:.1f}, Fieller) for 1 of IoU above chance."
    )


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def slope_by_overlap(measured: Judged) -> Ratio | None:
    """Points of fidelity for 1 of IoU above chance, by teachers trained to look alike: mean N over
    mean D. None where D's interval holds 0 or not all replicates have both."""
    both = [measured[name] for name in (N_FIDELITY, D_OVERLAP)]
    if len(both[0]) != len(both[1]):
        return None
    return ratio_of_means(*(_centred_on_values(replicates) for replicates in both))


def _centred_on_values(replicates: Sequence[Measured]) -> Tensor:
    """(R, n) whose means are the values: kept contributions are rounded."""
    return torch.stack(
        [
            replicate.contributions - replicate.contributions.mean() + replicate.value
            for replicate in replicates
        ]
    )
