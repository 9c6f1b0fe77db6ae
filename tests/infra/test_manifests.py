"""The files of infra/ before what reads them, by its program where the lock has it and by its schema elsewhere."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE = INFRA / "mlflow" / "compose.yaml"
SLURM_SCRIPT = INFRA / "slurm" / "sweep.sbatch"
SHELL_SCRIPTS = [
    path
    for path in sorted(INFRA.rglob("*"))
    if path.is_file() and re.match(rb"#!.*\b(?:ba|da)?sh\b", path.read_bytes())
]
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


@pytest.fixture
def filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What env.example asks for."""
    for name in ("POSTGRES_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY"):
        monkeypatch.setenv(name, f"of {name}")


def as_compose_reads_it(text: str) -> subprocess.CompletedProcess[str]:
    options = ("--project-directory", INFRA / "mlflow", "--env-file", "/dev/null")  # not the tester's .env
    return run_tool("docker-compose", *options, "--file", "-", "config", stdin=text)


def run_tool(name: str, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """A program of the environment, at the lock's version, whatever else the machine has."""
    program = Path(sysconfig.get_path("scripts")) / name
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("filled_in")
def test_compose_takes_the_tracking_servers_file() -> None:
    text = COMPOSE.read_text()
    read = as_compose_reads_it(text)
    assert read.returncode == 0, read.stderr
    assert read.stderr == ""  # no warning either
    misspelt = as_compose_reads_it(text.replace("cap_drop:", "cap_dropp:"))
    assert misspelt.returncode != 0
    assert "cap_dropp" in misspelt.stderr


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY"])
@pytest.mark.usefixtures("filled_in")
def test_the_tracking_server_does_not_start_without_its_secrets(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(missing, "")
    read = as_compose_reads_it(COMPOSE.read_text())
    assert read.returncode != 0
    assert f"{missing} is missing a value: copy env.example to .env" in read.stderr


@pytest.mark.usefixtures("filled_in")
def test_the_tracking_server_listens_on_loopback_has_passwords_and_the_locks_mlflow() -> None:
    services = yaml.safe_load(as_compose_reads_it(COMPOSE.read_text()).stdout)["services"]
    server, database = services["mlflow"], services["postgres"]
    assert [(port["host_ip"], port["published"], port["target"]) for port in server["ports"]] == [
        ("127.0.0.1", "5000", 5000)
    ]
    assert "ports" not in database
    assert "--app-name=basic-auth" in server["command"]
    assert server["environment"]["MLFLOW_AUTH_ADMIN_PASSWORD"] == "of MLFLOW_ADMIN_PASSWORD"
    assert not any("of " in word for word in server["command"])
    assert server["image"].endswith(f":{locked('mlflow')}")
    for line in (INFRA / "mlflow" / "env.example").read_text().splitlines():
        name, _, value = line.partition("=")
        assert not (re.search("PASSWORD|SECRET", name) and value), line


@pytest.mark.parametrize("path", sorted(INFRA.rglob("Dockerfile*")), ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say_about_an_image(path: Path) -> None:
    found = run_tool("hadolint", "--no-color", path)
    assert (found.returncode, found.stdout) == (0, "")
    assert run_tool("hadolint", "-", stdin=path.read_text() + "RUN cd /tmp && sudo ls $HOME\n").returncode != 0


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say_about_a_shell_script(path: Path) -> None:
    found = run_tool("shellcheck", "--external-sources", path)
    assert (found.returncode, found.stdout) == (0, "")
    assert run_tool("shellcheck", "-", stdin=path.read_text() + "rm -rf $folder/*\n").returncode != 0


def test_nor_about_what_the_slurm_script_runs_on_the_nodes() -> None:
    found = re.findall(r"^(on_\w+)='\n(.*?)^'$", SLURM_SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in found] == ["on_node", "on_head", "on_each_node"]
    for _, text in found:
        assert run_tool("shellcheck", "--shell=bash", "--exclude=SC1091", "-", stdin=text).stdout == ""


def test_the_slurm_script_is_started_by_slurm_alone() -> None:
    outside = subprocess.run(["bash", SLURM_SCRIPT, "demo"], capture_output=True, text=True, check=False, env={})
    assert outside.returncode == 2
    assert "start this with sbatch" in outside.stderr
