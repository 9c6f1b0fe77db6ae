"""The files of infra/ against the schemas of what reads them, and their versions against the lock."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
RAY_SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
KUBERAY_SCHEMA = json.loads((Path(__file__).parent / "kuberay.json").read_text())


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def locked(package: str) -> str:
    (version,) = re.findall(rf"^{package}(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return str(version)


@pytest.mark.parametrize("path", sorted((INFRA / "ray").glob("*.yaml")), ids=lambda path: path.name)
def test_rays_cluster_launcher_takes_its_files(path: Path) -> None:
    (content,) = documents(path)
    jsonschema.validate(content, RAY_SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "head_start_ray_comands": []}, RAY_SCHEMA)
    assert "RAY_AUTH_MODE=token" in path.read_text()


@pytest.mark.parametrize("path", sorted((INFRA / "kuberay").glob("*.yaml")), ids=lambda path: path.name)
def test_kuberay_takes_its_files(path: Path) -> None:
    for content in documents(path):
        jsonschema.validate(content, KUBERAY_SCHEMA)
        misspelt = copy.deepcopy(content)
        misspelt["spec"]["acessModes"] = []
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(misspelt, KUBERAY_SCHEMA)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_a_cluster_on_kubernetes_has_the_locks_ray_and_asks_for_a_token(name: str) -> None:
    (content,) = documents(INFRA / "kuberay" / name)
    cluster = content["spec"].get("rayClusterSpec", content["spec"])
    assert cluster["rayVersion"] == locked("ray")
    assert cluster["authOptions"] == {"mode": "token"}


def test_the_tracking_server_listens_on_loopback_has_passwords_and_the_locks_mlflow() -> None:
    (compose,) = documents(INFRA / "mlflow" / "compose.yaml")
    server, database = compose["services"]["mlflow"], compose["services"]["postgres"]
    assert server["ports"] == ["${MLFLOW_BIND:-127.0.0.1}:${MLFLOW_PORT:-5000}:5000"]
    assert "ports" not in database
    assert "--app-name=basic-auth" in server["command"]
    assert server["image"].endswith(f":{locked('mlflow')}")
    for line in (INFRA / "mlflow" / "env.example").read_text().splitlines():
        name, _, value = line.partition("=")
        assert not (re.search("PASSWORD|SECRET", name) and value), line


def test_the_slurm_script_is_bash(tmp_path: Path) -> None:
    script = INFRA / "slurm" / "sweep.sbatch"
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False).returncode == 0
    outside = subprocess.run(["bash", str(script), "demo"], capture_output=True, text=True, check=False, env={})
    assert outside.returncode == 2
    assert "start this with sbatch" in outside.stderr
    if shellcheck := shutil.which("shellcheck"):
        assert subprocess.run([shellcheck, str(script)], check=False).returncode == 0
