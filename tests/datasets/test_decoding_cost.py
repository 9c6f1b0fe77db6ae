"""What decoding takes is measured on photographs from everywhere in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import WriteTree

from gga_sweep.datasets import decoding_cost
from gga_sweep.datasets.decoding_cost import decoding_seconds
from gga_sweep.errors import InputError


def test_some_photographs_of_every_domain_are_decoded(write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(domains=("art", "photo"), per_class=20)
    sizes: list[int] = []
    decode = decoding_cost.decode
    monkeypatch.setattr(
        decoding_cost, "decode", lambda content, size: (sizes.append(len(content)), decode(content, size))
    )
    seconds = decoding_seconds(root, 32)
    assert 0 < seconds < 10
    assert 32 <= len(sizes) <= 60
    of_photo = {path.stat().st_size for path in (root / "photo").rglob("*.*")}
    assert of_photo & set(sizes)


def test_what_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder"):
        decoding_seconds(tmp_path / "nowhere", 32)
