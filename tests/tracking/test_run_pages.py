"""Addresses of MLflow's own pages."""

from __future__ import annotations

import pytest

from gga_sweep.tracking.run_pages import server_address


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000"),
        ("postgresql://me:secret@host/db", "http://127.0.0.1:5000"),
        ("http://host:5000", "http://host:5000"),
        ("https://me:se%40cret@host/mlflow/?token=x#y", "https://host/mlflow"),
    ],
)
def test_a_link_holds_no_credentials(uri: str, address: str) -> None:
    assert server_address(uri) == address
