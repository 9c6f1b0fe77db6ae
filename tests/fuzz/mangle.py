"""Mangled input: bytes and plain data that were right before somebody broke them, and what is no file at all.

How many inputs each test tries is `GGA_SWEEP_FUZZ` in the environment: few by default, thousands on request.
"""

from __future__ import annotations

import codecs
import contextlib
import copy
import gzip
import json
import lzma
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gga_sweep.errors import GGASweepError

FEW = 25
CASES = int(os.environ.get("GGA_SWEEP_FUZZ", FEW))
LONGEST = 20.0
"""Seconds that reading one input may take on a busy machine: more is a hang, which is interrupted."""
MOST_MEMORY = 2**30
"""Bytes that the inputs of a test may take, beside torch and what was there before."""

fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=CASES <= FEW,  # the suite tries the same inputs each time, the long form others
    suppress_health_check=list(HealthCheck),
)
"""Of every fuzz test."""


class Tally:
    """What was tried since the test began."""

    tried = 0
    foreign = 0
    hangs = 0


class HangError(BaseException):
    """A reading takes too long. No Exception, so that no reader's own handler catches it."""


def _interrupt(number: int, frame: object) -> None:
    raise HangError


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Interrupt the block after `LONGEST` seconds, also while it waits for a pipe."""
    signal.signal(signal.SIGUSR1, _interrupt)
    timer = threading.Timer(LONGEST, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def only_our_errors(*readings: Callable[[], object]) -> None:
    """Count one input, and read it in each way: no error but the package's own may come out, and it must say something.

    Raises:
        AssertionError: an error of ours that says nothing, or a reading that takes as long as a hang.
        Exception: a foreign one, as it came.
    """
    Tally.tried += 1
    for read in readings:
        refusal = None
        try:
            with bounded():
                read()
        except GGASweepError as error:
            refusal = error
        except HangError:
            Tally.hangs += 1
            raise AssertionError(f"it took more than {LONGEST:.0f} s") from None
        except (Exception, SystemExit):
            Tally.foreign += 1
            raise
        assert refusal is None or _says_something(refusal)


def _says_something(error: GGASweepError) -> bool:
    return bool(str(error).strip()) and all(fault.rule for fault in getattr(error, "faults", ()))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent), contextlib.suppress(OSError):
        server.bind(path.name)  # of at most 107 bytes


def _hole(path: Path) -> None:
    """A file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(2**40)


FOREIGN: tuple[Callable[[Path], object], ...] = (
    _pipe,
    _socket,
    _hole,
    Path.mkdir,
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to("/dev/tty"),
    lambda path: path.symlink_to("/proc/self/pagemap"),
    lambda path: path.symlink_to("/proc/self/fd"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("nowhere"),
)
"""Each makes, in a free place, what a file was expected to be."""

ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp500", "latin-1", "shift_jis", "gb18030", "rot13")


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_foreign(draw: Draw, path: Path) -> None:
    """Replace a file by what is none, by itself in another encoding, or compressed."""
    content = path.read_bytes() if path.is_file() else b""
    remove(path)
    if draw(st.booleans()):
        draw(st.sampled_from(FOREIGN))(path)
    else:
        path.write_bytes(draw(st.sampled_from([gzip.compress, lzma.compress, *map(_encoder, ENCODINGS)]))(content))


def _encoder(name: str) -> Callable[[bytes], bytes]:
    def encode(content: bytes) -> bytes:
        text = content.decode(errors="replace")
        return codecs.encode(text, name).encode() if name == "rot13" else text.encode(name, errors="replace")

    return encode


Draw = Callable[[st.SearchStrategy[Any]], Any]
"""Of `st.data()`: what can be done to a tree depends on what is there."""


TEXTS = (
    "",
    " ",
    "all",
    "true",
    "null",
    "1e-5",
    "-1",
    ".",
    "..",
    "../../x",
    "/etc",
    "/dev/null",
    "~",
    "~nobody-has-this-name/x",
    "a/b",
    "a\\b",
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "\ufeff",
    "\ud800",
    "\u202e",
    "é",
    "数字",
    "😀",
    "x" * 300,
    "x/" * 3000,
    "{0}%s$HOME`x`",
    "<script>",
    "nobodys_package:thing",
    ":",
    "..:x",
    "CON",
    "__class__",
    "int",
    "literal['all']",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    3.5,
    -0.0,
    5e-324,
    1e-9,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**30,
    10**400,
)

texts = st.sampled_from(TEXTS) | st.text(max_size=12)
numbers = st.sampled_from(NUMBERS) | st.integers(-100, 100) | st.floats()
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""What plain data may hold where something else is meant."""


@st.composite
def mangled_data(draw: st.DrawFn, seeds: Sequence[Any], keys: Sequence[str] = ()) -> Any:
    """One of the seeds (plain data), changed in up to four places.

    Args:
        seeds: JSON-like.
        keys: names that are likely to mean something where they do not belong.
    """
    holder = [copy.deepcopy(draw(st.sampled_from(seeds)))]
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        if not (places := list(_places(holder))):
            break
        parent, key = draw(st.sampled_from(places))
        draw(st.sampled_from(_CHANGES))(draw, places, parent, key, keys)
    return holder[0] if holder else None


@st.composite
def mangled_bytes(draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """One of the seeds, changed in up to five places.

    Args:
        seeds: whole files.
        tokens: pieces that mean something to the parser under attack.
    """
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        content = draw(st.sampled_from(_BREAKS))(draw, content, (*_TOKENS, *tokens, *tokens, *tokens))
    return content


def as_json(value: Any) -> bytes:
    """JSON with all that Python's writer lets through: NaN, infinities, lone surrogates."""
    return json.dumps(_writable(value)).encode()


Place = tuple[Any, Any]
"""A list or dictionary, and an index or key in it."""


def _places(value: Any) -> Iterator[Place]:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _replace(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    parent[key] = draw(values)


def _exaggerate(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    """Another value of its kind, so that what looks at kinds alone takes it."""
    same = [place for place in places if not isinstance(place[0][place[1]], dict | list)]
    if same:
        parent, key = draw(st.sampled_from(same))
        parent[key] = draw(texts if isinstance(parent[key], str) else numbers)


def _drop(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    if len(places) > 1:
        del parent[key]


def _rename(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    if isinstance(parent, dict):
        name = draw(st.sampled_from([*keys, key]) if keys else texts)
        parent[name] = parent.pop(key)


def _add(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    if isinstance(parent, dict):
        name = draw(st.sampled_from(keys) | texts | numbers if keys else texts | numbers)
        parent[name] = draw(values)
    else:
        parent.insert(key, draw(values))


def _repeat(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    if isinstance(parent, list):
        parent.extend([copy.deepcopy(parent[key])] * draw(st.sampled_from([1, 2, 30])))


def _swap(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    other, there = draw(st.sampled_from(places))
    parent[key] = copy.deepcopy(other[there])


def _wrap(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    for _ in range(draw(st.sampled_from([1, 2, 40, 150]))):
        parent[key] = [parent[key]]


def _retype(draw: st.DrawFn, places: list[Place], parent: Any, key: Any, keys: Sequence[str]) -> None:
    convert = draw(st.sampled_from([str, lambda item: [item], lambda item: {"x": item}, bool, lambda item: None]))
    try:
        parent[key] = convert(parent[key])
    except ValueError:  # a number too long to be written
        parent[key] = None


_CHANGES: tuple[Callable[[st.DrawFn, list[Place], Any, Any, Sequence[str]], None], ...] = (
    *(_replace, _replace, _exaggerate, _exaggerate, _exaggerate, _drop, _rename, _add, _repeat, _swap, _wrap, _retype),
)


def _writable(value: Any) -> Any:
    """Without what JSON cannot write: keys that are no text, and numbers too long for decimals."""
    if isinstance(value, dict):
        return {str(_writable(key)): _writable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return 10**4000 if isinstance(value, int) and abs(value) > 10**4000 else value


def _position(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _flip(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, max(0, len(content) - 1)))
    return (
        content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :] if content else b"\x00"
    )


def _cut(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    return content[: _position(draw, content)]


def _behead(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    return content[_position(draw, content) :]


def _remove(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    at = _position(draw, content)
    return content[:at] + content[at + draw(st.integers(1, 40)) :]


def _insert(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    at = _position(draw, content)
    return content[:at] + draw(st.sampled_from(tokens) | st.binary(max_size=8)) + content[at:]


def _overwrite(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    at, piece = _position(draw, content), draw(st.sampled_from(tokens) | st.binary(max_size=8))
    return content[:at] + piece + content[at + len(piece) :]


def _set(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    """Put something else where a value stands, in JSON and YAML alike."""
    found = list(re.finditer(rb":[^,\]}\n]*", content))
    if not found:
        return content
    place = draw(st.sampled_from(found))
    return content[: place.start()] + b": " + draw(st.sampled_from(tokens)) + content[place.end() :]


def _double(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    at, length = _position(draw, content), draw(st.integers(1, 200))
    return content[:at] + content[at : at + length] * draw(st.sampled_from([2, 3, 50])) + content[at + length :]


def _repeat_line(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    at = draw(st.integers(0, len(lines) - 1))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def _move_line(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    lines.insert(draw(st.integers(0, len(lines))), line)
    return b"".join(lines)


def _encode(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "utf-7"]))
    return content.decode("utf-8", errors="replace").encode(encoding)


def _empty(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    return draw(st.sampled_from([b"", b"\n", b"\x00", b" ", b"\x00" * len(content)]))


_BREAKS: tuple[Callable[[st.DrawFn, bytes, Sequence[bytes]], bytes], ...] = (
    *(_flip, _flip, _set, _set, _set, _set, _cut, _behead, _remove, _insert, _insert, _overwrite, _overwrite),
    *(_double, _repeat_line, _move_line, _encode, _empty),
)

_TOKENS = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\r", b"\n", b"\t", b"\x1b", b"\x85"),
    *(b"[", b"]", b"{", b"}", b'"', b"'", b",", b":", b"-", b"#", b"[\n" * 1500, b"- " * 1500, b'{"a":' * 1500),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"9" * 5000, b"null", b"true", b"\\ud800", b"\\u0000"),
)
