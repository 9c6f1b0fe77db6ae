from __future__ import annotations

from pathlib import Path

import pytest
from invented_ledger import invented_plan
from memory_store import MemoryStore
from tracked_sweep import TrackedSweep

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec import Plan

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:  # SQLAlchemy's complaint about MLflow, once, when its store is imported
            item.add_marker(pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A folder of sweeps."""
    return tmp_path


@pytest.fixture
def uri(storage: Path, template_store: Path) -> str:
    """An empty SQLite store in that folder."""
    (storage / "mlflow.db").write_bytes(template_store.read_bytes())
    return f"sqlite:///{storage / 'mlflow.db'}"


@pytest.fixture
def plan(storage: Path) -> Plan:
    return invented_plan(storage)


@pytest.fixture
def ledger(plan: Plan) -> Ledger:
    return Ledger(plan.sweep.folder)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def tracked(plan: Plan, store: MemoryStore) -> TrackedSweep:
    return TrackedSweep(plan, store)
