"""Arrays of other libraries become tensors here, and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")

NUMBERS = "biuf"  # NumPy's letters for booleans, integers and floating point


def takes_arrays(measure: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
    """The measure, which is given arrays as ``as_tensors`` has them; tensors stay what they are."""

    @functools.wraps(measure)
    def of_tensors(*values: Inputs.args, **named: Inputs.kwargs) -> Result:
        given = {name: as_tensors(value) for name, value in named.items()}
        return measure(*map(as_tensors, values), **given)  # type: ignore[arg-type]

    return of_tensors


def as_tensors(value: Any) -> Any:
    """Arrays (NumPy's, or any that NumPy can read, as JAX's), alone, in a list, tuple or dict, as
    tensors; anything else as it is. Numbers keep their precision, except what torch has no type
    for: unsigned integers become int64, long doubles float64.

    Raises:
        ValueError: an array of anything but numbers.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.generic):  # a single number
        return value.item()
    if hasattr(value, "__array__"):
        return _tensor(np.asarray(value))
    if type(value) in (list, tuple):
        return type(value)(map(as_tensors, value))
    if type(value) is dict:
        return {name: as_tensors(each) for name, each in value.items()}
    return value


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in NUMBERS:
        raise ValueError(f"expected an array of numbers, got one of {array.dtype}")
    wanted = array.dtype.newbyteorder("=")
    if wanted.kind == "u":
        wanted = np.dtype(np.int64)
    elif wanted == np.longdouble:
        wanted = np.dtype(np.float64)
    plain = np.ascontiguousarray(array, wanted)
    # torch shares the memory, and has no memory that may not be written to.
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())
