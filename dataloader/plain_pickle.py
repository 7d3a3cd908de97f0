"""A pickle of plain data and byte arrays, followed instruction by instruction.

Python's own reader can be made to hash a tuple for ever, to allocate gigabytes for a memo of one
entry, and to call whatever it finds. This one knows the instructions that lists, dicts, strings,
numbers and numpy's arrays of bytes need; it calls nothing, and a file is refused by its first
other one, or by its 1,000,001st.
"""

from __future__ import annotations

import mmap
import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError, one_line, shown
from common.files import regular

MAX_BYTES = 256 * 2**20  # CIFAR-100's largest file, train, has 148 MiB
MAX_INSTRUCTIONS = 1_000_000  # it has 300,000

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_BYTES = {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_OLD_STRINGS = {"STRING", "SHORT_BINSTRING", "BINSTRING"}  # Python 2's: bytes
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}

_ARRAY, _ARRAY_CLASS, _DTYPE = "an array", "its class", "its data type"
_GLOBALS = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,  # its name since numpy 2
    "numpy ndarray": _ARRAY_CLASS,
    "numpy dtype": _DTYPE,
}


class _RefusedError(ValueError):
    """What the file asks for is not plain data."""


@dataclass(frozen=True)
class _Global:
    """What a name in the file stands for."""

    means: str


@dataclass
class _Array:
    """An array, once the file has said what is in it."""

    values: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        """numpy's state of an array: (version, shape, data type, is Fortran order, content)."""
        _version, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _Bytes):
            raise _RefusedError("an array without a data type")
        flat = np.frombuffer(content, np.uint8)
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")


class _Bytes:
    """The one data type admitted, unsigned bytes."""


@dataclass
class _Machine:
    """What the instructions so far have left."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def do(self, name: str, operand: Any) -> None:
        """Follow the instruction called `name` (pickletools); _RefusedError for any other."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _NUMBERS or name in _TEXTS or name in _BYTES:
            self.stack.append(operand)
        elif name in _OLD_STRINGS:
            self.stack.append(operand.encode("latin-1"))  # which is how pickletools decodes it
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self._popped(len(self.stack) - _TUPLES[name])))
        elif name in _PUT or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else operand] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo[operand])
        elif name not in ("PROTO", "FRAME"):
            self._build(name, operand)

    def _build(self, name: str, operand: Any) -> None:
        match name:
            case "MARK":
                self.marks.append(len(self.stack))
            case "TUPLE":
                self.stack.append(tuple(self._to_mark()))
            case "LIST":
                self.stack.append(self._to_mark())
            case "APPEND":
                self._extend(self._popped(-1))
            case "APPENDS":
                self._extend(self._to_mark())
            case "SETITEM":
                self._set(self._popped(-2))
            case "SETITEMS":
                self._set(self._to_mark())
            case "GLOBAL":
                self.stack.append(_named(operand))
            case "STACK_GLOBAL":
                self.stack.append(_named("{} {}".format(*map(_text, self._popped(-2)))))
            case "REDUCE":
                self.stack.append(_made(*self._popped(-2)))
            case "BUILD":
                self._fill(*self._popped(-1))
            case _:
                raise _RefusedError(f"refused the instruction {name}")

    def _popped(self, start: int) -> list[Any]:
        """What is on the stack from `start` on, taken off it."""
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _to_mark(self) -> list[Any]:
        return self._popped(self.marks.pop())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _RefusedError(f"refused to append to {shown(target)}")
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(type(key) in (str, bytes) for key in items[::2]):
            raise _RefusedError("refused a mapping whose keys are not names")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _fill(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, _Array):
            target.fill(state)
        elif not isinstance(target, _Bytes):  # its byte order and alignment mean nothing
            raise _RefusedError(f"refused to fill {shown(target)}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"refused the global {shown(value)}")
    return value


def _named(name: str) -> _Global:
    if name not in _GLOBALS:
        raise _RefusedError(f"refused the global {name.replace(' ', '.')[:80]!r}")
    return _Global(_GLOBALS[name])


def _made(what: Any, operands: Any) -> _Array | _Bytes:
    """What numpy's function would make: an array to be filled, or a data type."""
    if what == _Global(_ARRAY):
        return _Array()
    if what != _Global(_DTYPE):
        raise _RefusedError(f"refused to call {shown(what)}")
    if type(operands[0]) not in (str, bytes) or operands[0] not in ("u1", b"u1"):
        raise _RefusedError(f"refused an array of type {shown(operands[0])}, expected uint8")
    return _Bytes()


def read_pickle(path: Path) -> dict[str | bytes, Any]:
    """The dict pickled in the file at `path`, with Python 2's strings as bytes.

    Arrays among its values are uint8. Raises UserError if the file is missing, too large or
    corrupt, or holds anything but plain data; none of its code is run.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _RefusedError("too large")
        with (
            regular(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as bytes_,
        ):
            content = _followed(bytes_)
    except Exception as error:  # corrupt instructions can raise nearly anything
        raise UserError(f"{path}: not a usable CIFAR-100 file ({one_line(error):.200})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a usable CIFAR-100 file (no dict in it)")
    return {k: v.values if isinstance(v, _Array) else v for k, v in content.items()}


def _followed(file: mmap.mmap) -> Any:
    """What the instructions in the file leave at their end."""
    machine = _Machine()
    for count, (instruction, operand, _) in enumerate(pickletools.genops(file)):
        if count >= MAX_INSTRUCTIONS:
            raise _RefusedError(f"over {MAX_INSTRUCTIONS} instructions")
        if instruction.name == "STOP":
            break
        machine.do(instruction.name, operand)
    return machine.stack.pop()
