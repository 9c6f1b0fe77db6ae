"""What belongs to the process and not to us: set for the length of a block, then put back as it was."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any

_LOCK = threading.RLock()
_SET: Counter[str] = Counter()
"""Environment variables that blocks have set, with the number of these blocks."""
_REPLACED: dict[tuple[int, str], tuple[int, Any]] = {}
"""Attributes that blocks have replaced, with the number of these blocks and the original."""


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Within the block each variable has this value, unless the user set it. Blocks of several threads may overlap."""
    with _LOCK:
        ours = [name for name in values if name not in os.environ or name in _SET]
        for name in ours:
            os.environ[name] = values[name]
        _SET.update(ours)
    try:
        yield
    finally:
        with _LOCK:
            _SET.subtract(ours)
            for name in ours:
                if not _SET[name]:
                    del _SET[name]
                    os.environ.pop(name, None)


@contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:
    """Within the block an attribute has another value. Blocks of several threads may overlap."""
    place = id(owner), name
    with _LOCK:
        number, original = _REPLACED.get(place, (0, getattr(owner, name)))
        _REPLACED[place] = number + 1, original
        setattr(owner, name, value)
    try:
        yield
    finally:
        with _LOCK:
            number, original = _REPLACED[place]
            if number > 1:
                _REPLACED[place] = number - 1, original
            else:
                del _REPLACED[place]
                setattr(owner, name, original)


@contextmanager
def kept(variables: tuple[str, ...] = (), loggers: tuple[str, ...] = ()) -> Iterator[None]:
    """After the block these variables, the levels of these loggers and Python's random numbers are as before."""
    environ: MutableMapping[str, str] = os.environ
    before = {name: environ.get(name) for name in variables}
    found = [logging.getLogger(name) for name in loggers]
    numbers = random.getstate()
    try:
        with ExitStack() as levels:  # of overlapping blocks the last one puts a level back
            for logger in found:
                levels.enter_context(replaced(logger, "level", logger.level))
            yield
    finally:
        random.setstate(numbers)
        for logger in found:
            logger.setLevel(logger.level)  # clears its cache
        for name, value in before.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value


@contextmanager
def collection_paused() -> Iterator[None]:
    """Within the block no garbage is collected: it would scan many new objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def imported_meanwhile(*modules: str) -> Iterator[None]:
    """While the block runs, which mostly waits, a thread imports these modules; they are imported when it ends.

    An import that fails raises nothing here: it fails again, with its error, where the module is used.

    Args:
        modules: that the block itself does not import, nor imports of which they are a part: two threads that import
            modules which import each other may see half of one.
    """

    def load() -> None:
        for module in modules:
            with suppress(Exception):  # a module may raise anything while it is imported
                import_module(module)

    thread = threading.Thread(target=load, name="imports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
