"""What the fuzz tests share: how many cases, and how a file is damaged.

The suite tries the same cases every time; FUZZ_EXAMPLES=N tries N new ones a test
(`script/fuzz.sh MINUTES`).
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from common.errors import UserError, one_line

CASES = os.environ.get("FUZZ_EXAMPLES")


def fuzzed(cases):
    return settings(
        max_examples=int(CASES or cases),
        derandomize=CASES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def read_or_refused(read, path, content):
    """What `read` makes of a file of that content; None where it says why not. An error's lines are
    joined when it is printed."""
    path.write_bytes(content)
    try:
        return read(path)
    except UserError as error:
        assert "weights_only" not in str(error)
        assert len(one_line(error)) < 3000
        return None


_INTERESTING = st.sampled_from(
    [b"\x00", b"\xff", b"\x80", b"\xff\xff\xff\x7f", b"\x00" * 8, b"9" * 5000, b"-1", b"nan", b"("]
)


@st.composite
def damaged(draw, content):
    """`content` with one to four changes: a bit, a byte, a stretch lost, doubled or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(1, 64))
        match draw(st.integers(0, 5)):
            case 0 if content:
                content[start] ^= 1 << draw(st.integers(0, 7))
            case 1 if content:
                content[start] = draw(st.integers(0, 255))
            case 2:
                del content[start : start + length]
            case 3:
                content[start:start] = content[start : start + length]
            case 4:
                content[start:start] = draw(_INTERESTING)
            case _:
                del content[start:]
    return bytes(content)
