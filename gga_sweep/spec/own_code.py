"""Digests of the source of a user's own parts, which sweep files name as `module:attribute`.

The source decides a run's numbers. It is found without importing anything: modules are located as Python would, and
their `import` statements are read. Counted are the named module and, from one module of the user to the next, every
module of theirs that it imports. Modules of Python and of installed packages are not followed; an installed module that
a sweep file names counts by its own source.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from gga_sweep.errors import Fault, InputError

_NOT_OWN = frozenset({*sys.stdlib_module_names, *sys.builtin_module_names, "gga_sweep"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def own_parts(names: Iterable[str]) -> tuple[str, ...]:
    """Those among the names of a dataset, a network and algorithms that are `module:attribute`, each once."""
    return tuple(dict.fromkeys(name for name in names if ":" in name))


def source_digest(part: str, field: str = "") -> str:
    """The digest of a part's source, 32 hexadecimal digits: of names and bytes of modules, not of where they are.

    Args:
        part: `module:attribute`.
        field: of the sweep file, for the message.

    Raises:
        InputError: the module has no file, or one that cannot be read.
    """
    module = part.partition(":")[0]
    try:
        sources = _sources(module)
    except (OSError, ValueError) as error:
        raise InputError([Fault(field, f"its source cannot be read: {error}", part)]) from error
    if module not in sources:
        raise InputError([Fault(field, "must be in a file: its source is part of the runs' keys", part)])
    lines = (f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(sources.items()))
    return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()


def _sources(module: str) -> dict[str, bytes]:
    """The content of the files that count, by the modules' names."""
    sources: dict[str, bytes] = {}
    waiting, seen = [module], {module}
    while waiting:
        name = waiting.pop()
        spec = _find(name)
        if spec is None:
            continue
        own = _is_own(name, spec)
        if not own and name != module:
            continue
        content = _content(spec)
        if content is not None:
            sources[name] = content
        if own:
            for other in (*_packages(name), *_imported(content or b"", spec.parent or "")):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
    return sources


def _find(name: str) -> ModuleSpec | None:
    """Where a module is. Imports neither it nor its packages, as `importlib.util.find_spec` does."""
    package = name.rpartition(".")[0]
    try:
        if not package:
            return importlib.util.find_spec(name)
        above = _find(package)
        places = None if above is None else above.submodule_search_locations
        return None if places is None else PathFinder.find_spec(name, places)
    except (ImportError, ValueError):  # no name of a module, or a module that was not imported from anywhere
        return None


def _is_own(name: str, spec: ModuleSpec) -> bool:
    """Whether it is neither Python's, nor ours, nor of an installed package."""
    if name.partition(".")[0] in _NOT_OWN:
        return False
    places = [spec.origin] if spec.has_location and spec.origin else [*(spec.submodule_search_locations or ())]
    return bool(places) and all(_INSTALLED.isdisjoint(Path(place).parts) for place in places)


def _content(spec: ModuleSpec) -> bytes | None:
    """The bytes of a module's file; None of a namespace package, or of a module that is built in."""
    read = getattr(spec.loader, "get_data", None)
    if read is None or not spec.has_location or spec.origin is None:
        return None
    content: bytes = read(spec.origin)
    return content


def _imported(content: bytes, package: str) -> Iterator[str]:
    """The names of modules, and of attributes that may be modules, in a source's `import` statements."""
    try:
        nodes = [*ast.walk(ast.parse(content))]
    except (SyntaxError, ValueError, RecursionError):  # a compiled module, or source for another Python
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # relative beyond its package
                continue
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.partition(".")[0] not in _NOT_OWN:
                yield from (*_packages(name), name)


def _packages(name: str) -> list[str]:
    """The packages around a module, which are imported before it."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]
