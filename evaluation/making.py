"""How the runs of a report were made: at which commits, on which machines, in how many hours."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import one_line
from engine.environment import commit
from engine.run import RunDirectory
from evaluation.grid import named, of_each
from evaluation.tables import Row

SESSION = ("commit", "device", "cores", "platform", "torch", "amp")
SETTINGS = ("arch", "image_size", "epochs", "max_train_images")
HOW = (*SESSION, *SETTINGS)
NOTE = (
    "Runs by the session that finished them. Hours: of training and validation; an epoch of runs "
    "that learnt side by side is counted once."
)
UNKNOWN = "unknown"


def making_rows(runs: Sequence[RunDirectory]) -> list[Row]:
    """A row for each way in which finished runs were made; a damaged record is named on stderr."""
    found = of_each(runs, _made, lambda run: f"the record of {named(run)}", needed=False)
    groups: dict[tuple[str, ...], list[set[tuple[int, float]]]] = {}
    for how, epochs in found:
        groups.setdefault(how, []).append(epochs)
    return [
        dict(zip(HOW, how, strict=True)) | {"runs": len(epochs), "hours": _hours(epochs)}
        for how, epochs in groups.items()
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table, and the commit that measures."""
    columns = [*HOW, "runs", "hours"]
    lines = [NOTE, "", f"Measured and judged at {commit()}.", ""]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        texts = [
            *(row[name].replace("|", "/") for name in HOW),
            str(row["runs"]),
            f"{row['hours']:.2f}",
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join([*lines, ""])


def _made(run: RunDirectory) -> tuple[tuple[str, ...], set[tuple[int, float]]]:
    """How a run was made; number and seconds of each of its epochs."""
    sessions, last = run.read_environment()["sessions"], run.read_metrics()["last"].get("epoch")
    session = sessions[-1] if sessions and isinstance(sessions[-1], dict) else {}
    records = run.read_epochs(until=last if type(last) is int else 0)
    epochs = {(record["epoch"], record["seconds"]) for record in records}
    settings = run.saved_settings()
    made = [session.get(name, UNKNOWN) for name in SESSION]
    made += [settings.get(name, UNKNOWN) for name in SETTINGS]
    return tuple(one_line(str(value)) for value in made), epochs


def _hours(epochs: Sequence[set[tuple[int, float]]]) -> float:
    """Of the runs' epochs: those that runs share have the same seconds, to the millisecond."""
    return sum(seconds for _, seconds in set().union(*epochs)) / 3600
