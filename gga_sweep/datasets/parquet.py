"""Images in parquet files, as datasets of Hugging Face have them: a column of images, of domains and of labels.

pyarrow is imported when a file is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from gga_sweep.datasets.downloads import PARQUET_SUFFIX, DownloadedFile
from gga_sweep.datasets.files import is_folder, is_hidden, is_plain, shown
from gga_sweep.datasets.image_folder import IMAGE_SUFFIXES
from gga_sweep.errors import Fault, InputError, first_line
from gga_sweep.input_files import open_regular

if TYPE_CHECKING:
    from pyarrow import DataType
    from pyarrow.parquet import ParquetFile

_ROWS = 64  # images that are in memory at once
_FEATURES = b"huggingface"  # the metadata of a schema that names the classes


@dataclass(frozen=True)
class ParquetColumns:
    """Columns of a parquet file.

    Args:
        image: bytes, or a struct of `bytes` and `path`.
        domain, label: text, or numbers. If the file names the classes of a column, its numbers are their ids.
    """

    image: str = "image"
    domain: str = "domain"
    label: str = "label"


def parquet_files(download: Path) -> list[Path]:
    """The parquet files that a download is or holds, at any depth, sorted; hidden ones are skipped.

    Links to files are read, since the cache of Hugging Face consists of them.
    """
    if not is_folder(download):
        return [download] if download.suffix == PARQUET_SUFFIX and download.is_file() else []
    found = [
        path
        for path in download.rglob(f"*{PARQUET_SUFFIX}")
        if path.is_file() and not any(map(is_hidden, path.relative_to(download).parts))
    ]
    return sorted(found)


def list_rows(files: Sequence[Path], columns: ParquetColumns) -> dict[str, DownloadedFile]:
    """The images of all rows, without reading them: domain/class/image -> its file and row.

    An image keeps the name in its `path`, if all names in its class are different image names. Else those of the class
    are numbered by their rows.

    Raises:
        InputError: a file that cannot be read or lacks a column (named: those that exist), a column of another type,
            rows without a domain or label, ids without a class, names that are no folder's.
    """
    rows: dict[tuple[str, str], list[tuple[int, str, DownloadedFile]]] = {}
    faults: list[Fault] = []
    number = 0
    for file in files:
        try:
            for domain, label, path, place in _rows_of(file, columns):
                rows.setdefault((domain, label), []).append((number, path, place))
                number += 1
        except InputError as error:
            for fault in error.faults:
                field = f"{file.name}: {fault.field}" if fault.field else file.name
                faults.append(Fault(field, fault.rule, fault.got, fault.allowed))
    if faults:
        raise InputError(faults)
    return {
        f"{domain}/{label}/{name}": place
        for (domain, label), images in rows.items()
        for name, (_, _, place) in zip(_names(images), images, strict=True)
    }


def images(file: Path, wanted: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The images of the rows in `wanted` (column/row), in the file's order.

    Raises:
        InputError: a row without the image's bytes.
    """
    from pyarrow.parquet import ParquetFile

    column = next(iter(wanted)).rpartition("/")[0]
    number = 0
    with open_regular(file) as opened:
        for batch in ParquetFile(opened).iter_batches(_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                member = f"{column}/{number}"
                if member in wanted:
                    content = value.get("bytes") if isinstance(value, dict) else value
                    if content is None:
                        rule = "must hold the bytes of each image, not only its path"
                        raise InputError([Fault(f"column {column}", rule, f"row {number}")], source=str(file))
                    yield member, io.BytesIO(content)
                number += 1


def _rows_of(file: Path, columns: ParquetColumns) -> Iterator[tuple[str, str, str, DownloadedFile]]:
    """Domain, label and path of each image of a file (an empty path where it has none), and its place."""
    from pyarrow.parquet import ParquetFile

    try:
        with open_regular(file) as opened:
            table = ParquetFile(opened)
            _require_columns(table, columns)
            read = [columns.domain, columns.label]
            has_paths = _has_field(table.schema_arrow.field(columns.image).type, "path")
            content = table.read([*read, *([f"{columns.image}.path"] if has_paths else [])])
            size = _mean_size(table, columns.image)
        domains, labels = (_texts(content.column(name), _classes(content.schema.metadata, name), name) for name in read)
        images = content.column(columns.image).to_pylist() if has_paths else [None] * len(domains)
    except InputError:
        raise
    except Exception as error:  # a reader may raise anything on a broken file
        raise InputError([Fault("", f"must be a readable parquet file ({first_line(error)})")]) from error
    for row, (domain, label, image) in enumerate(zip(domains, labels, images, strict=True)):
        path = image["path"] if image else None
        place = DownloadedFile(f"{columns.image}/{row}", size, file, packed=True)
        yield domain, label, path if isinstance(path, str) else "", place


def _require_columns(table: ParquetFile, columns: ParquetColumns) -> None:
    from pyarrow import types

    schema = table.schema_arrow
    faults = [
        Fault(f"column {name}", f"must exist (--{role}-column names the column of {role}s)", schema.names)
        for role, name in (("image", columns.image), ("domain", columns.domain), ("label", columns.label))
        if name not in schema.names
    ]
    for name in dict.fromkeys((columns.domain, columns.label)):
        if name in schema.names and types.is_nested(schema.field(name).type):
            rule = "must hold text or numbers from 0"
            faults.append(Fault(f"column {name}", rule, str(schema.field(name).type)))
    if columns.image in schema.names:
        kind = schema.field(columns.image).type
        if not (types.is_binary(kind) or types.is_large_binary(kind) or _has_field(kind, "bytes")):
            rule = "must hold images as bytes, or as a struct of bytes and path"
            faults.append(Fault(f"column {columns.image}", rule, str(kind)))
    if faults:
        raise InputError(faults)


def _has_field(kind: DataType, name: str) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind)) and kind.get_field_index(name) >= 0


def _mean_size(table: ParquetFile, column: str) -> int:
    """Bytes of an image, rounded up, as the file's own statistics count them."""
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    total: int = sum(
        chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in (column, f"{column}.bytes")
    )
    n_rows: int = table.metadata.num_rows
    return -(-total // max(1, n_rows))


def _classes(metadata: Any, column: str) -> list[str] | None:
    """The names of the classes of a column, by id; None if the file has none."""
    try:
        names = json.loads((metadata or {})[_FEATURES])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _texts(values: Any, names: Sequence[str] | None, column: str) -> list[str]:
    """The values of a column as names of folders.

    Raises:
        InputError: values that are neither text nor ids of classes, or no folder may be called so.
    """
    found: list[Any] = values.to_pylist()
    meaning = {value: _text(value, names) for value in dict.fromkeys(found)}
    if unknown := [value for value, text in meaning.items() if text is None]:
        rule = "must hold ids of its classes" if names else "must hold text or numbers from 0"
        allowed = (f"0 to {len(names) - 1}",) if names else ()
        raise InputError([Fault(f"column {column}", rule, shown(list(map(str, unknown))), allowed)])
    if unfit := [text for text in meaning.values() if text is not None and (not is_plain(text) or is_hidden(text))]:
        rule = "values become folders: must be names in one line, without / and not beginning with a dot"
        raise InputError([Fault(f"column {column}", rule, shown(unfit))])
    return [str(meaning[value]) for value in found]


def _text(value: object, names: Sequence[str] | None) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, int) or value < 0:  # Hugging Face writes -1 where a label is unknown
        return None
    if names is None:
        return str(int(value))
    return names[value] if value < len(names) else None


def _names(rows: Sequence[tuple[int, str, DownloadedFile]]) -> list[str]:
    """The names of the images of a class."""
    names = [PurePosixPath(path).name for _, path, _ in rows]
    suffixes = [PurePosixPath(name).suffix.lower() for name in names]
    fit = all(is_plain(name) and not is_hidden(name) for name in names)
    if fit and len(set(names)) == len(names) and all(suffix in IMAGE_SUFFIXES for suffix in suffixes):
        return names
    # the suffix decides that a file is read, its content how
    return [
        f"{row:08d}{suffix if suffix in IMAGE_SUFFIXES else '.png'}"
        for (row, _, _), suffix in zip(rows, suffixes, strict=True)
    ]
