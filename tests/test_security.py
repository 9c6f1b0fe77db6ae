"""The promises of SECURITY.md: files from storage run no code, names cannot leave their folder, telemetry is off.

Who can reach what we start is tested in `ray_backend/test_cluster.py` and `tracking/test_page.py`, credentials in
`tracking/test_credentials.py`, and pages in `report/test_html.py`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow.telemetry.utils
import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from ray import cloudpickle
from ray._common.usage import usage_lib

import gga_sweep
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.image_cache import images_on_disk
from gga_sweep.domainbed.export import MARKER, export_domainbed
from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.execution.model import open_run_folder
from gga_sweep.execution.predictions import predict
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched_runs import keep_searched
from gga_sweep.ledger.store import PosixStore
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.networks.network import load_featurizer
from gga_sweep.process_state import environment_variables
from gga_sweep.ray_backend.callbacks import OwnTunerCallback
from gga_sweep.ray_backend.ray_internals import RAY_ENVIRONMENT
from gga_sweep.report.files import write_report
from gga_sweep.report.make_report import make_report
from gga_sweep.spec import SweepSpec, load, plan_sweep
from gga_sweep.spec.key import folder_name
from gga_sweep.spec.models import RunSpec, SweepConfig, TrainingSettings
from gga_sweep.tracking.environment import ENVIRONMENT
from gga_sweep.training.checkpoint import dump_state, parse_state

PACKAGE = Path(gga_sweep.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


# Nothing of ours unpickles a file, or runs text.

MODULES_THAT_RUN_CODE = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
}
CALLS_THAT_RUN_CODE = {
    *("eval", "exec", "os.system", "os.popen", "ray.cloudpickle.load", "ray.cloudpickle.loads", "pandas.read_pickle"),
    *("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "torch.serialization.add_safe_globals"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all", "yaml.load_all"),
    *("shutil.unpack_archive", "tempfile.mktemp"),
}


def unsafe_calls(source: str, module: Mapping[str, object]) -> list[str]:
    """The calls and imports in a file's source that may run what others wrote, as `line: what`.

    Args:
        module: the names that the file defines, by which a YAML loader is known.
    """
    tree = ast.parse(source)
    names = Imports(tree)
    found = [f"{line}: {name}" for line, name in names.lines if name.partition(".")[0] in MODULES_THAT_RUN_CODE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = names.dotted(node.func)
            if name in CALLS_THAT_RUN_CODE or name.endswith(".extractall") or not _is_safe(name, node, module):
                found.append(f"{node.lineno}: {name}")
    return found


class Imports:
    """What a file's names stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self.lines: list[tuple[int, str]] = []  # of each import, and what it imports
        self._names: dict[str, str] = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in node.names:
                whole = above + name.name
                self.lines.append((node.lineno, whole))
                if name.asname or above:
                    self._names[name.asname or name.name] = whole

    def dotted(self, function: ast.expr) -> str:
        """`np.load` -> "numpy.load"; a method of a value -> ".name"."""
        parts: list[str] = []
        while isinstance(function, ast.Attribute):
            parts.append(function.attr)
            function = function.value
        head = self._names.get(function.id, function.id) if isinstance(function, ast.Name) else ""
        return ".".join([head, *reversed(parts)])


def _is_safe(name: str, call: ast.Call, module: Mapping[str, object]) -> bool:
    given_options = {option.arg: option.value for option in call.keywords}

    def constant(option: str) -> object:
        value = given_options.get(option)
        return value.value if isinstance(value, ast.Constant) else value

    if name == "torch.load":
        return constant("weights_only") is True
    if name in ("numpy.load", "numpy.lib.format.read_array"):
        return constant("allow_pickle") in (None, False)
    if name.startswith("subprocess."):
        return constant("shell") in (None, False)
    if name == "yaml.load":
        loader = given_options.get("Loader", call.args[1] if len(call.args) > 1 else None)
        found = module.get(loader.id) if isinstance(loader, ast.Name) else None
        return isinstance(found, type) and issubclass(found, yaml.SafeLoader)
    return True


def test_no_module_runs_what_it_reads() -> None:
    for path in SOURCES:
        source = path.read_text()
        has_loader = "yaml.load(" in source
        name = ".".join(["gga_sweep", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        module = vars(importlib.import_module(name)) if has_loader else {}
        assert unsafe_calls(source, module) == [], path


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(f)",
        "from torch import load\nload(f, weights_only=False)",
        "import torch as t\nt.load(f, weights_only=flag)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import pickle",
        "def f():\n    from joblib import load",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "import yaml\nyaml.load(text, Lax)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.unsafe_load(text)",
        "import subprocess\nsubprocess.run(f'rm {name}', shell=True)",
        "from subprocess import Popen\nPopen(name, shell=anything)",
        "import os\nos.system(name)",
        "eval(text)",
        "import tarfile\ntarfile.open(f).extractall()",
        "import pandas as pd\npd.read_pickle(f)",
        "from ray import cloudpickle\ncloudpickle.loads(b)",
    ],
)
def test_the_search_for_such_calls_finds_them(source: str) -> None:
    assert len(unsafe_calls(source, {"Lax": yaml.UnsafeLoader})) == 1


def test_the_search_for_such_calls_lets_the_others_be() -> None:
    source = (
        "import torch, numpy as np, yaml\ntorch.load(f, weights_only=True)\nnp.load(f)\nyaml.load(t, Strict)\nx.eval()"
    )
    assert unsafe_calls(source, {"Strict": yaml.SafeLoader}) == []


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """What code of a file would leave."""
    path = tmp_path / "it ran"
    yield path
    assert not path.exists()


def test_a_checkpoint_runs_no_code(trace: Path) -> None:
    with pytest.raises(Exception, match=r"[Ww]eights"):  # torch's own, in whose words it says what to do
        parse_state(dump_state({"step": Hostile(trace)}))


def test_a_file_of_weights_runs_no_code(trace: Path, tmp_path: Path) -> None:
    torch.save({"weight": Hostile(trace)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="must be a state-dict file"):
        load_featurizer(torch.nn.Linear(1, 1), str(tmp_path / "weights.pt"))


def test_decoded_images_run_no_code(trace: Path, tmp_path: Path) -> None:
    file = tmp_path / "domain.npy"
    np.save(file, np.array([Hostile(trace)], dtype=object), allow_pickle=True)
    with suppress(Exception):  # it may refuse the file, or write it anew
        images_on_disk(tmp_path, [], 8, file)


def test_a_sweep_file_runs_no_code(trace: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir [{str(trace)!r}]\n")
    with pytest.raises(InputError, match="must be a readable YAML file"):
        load(file)


# Ray and MLflow tell nobody what runs here, unless the user wants it.


@pytest.fixture
def fresh_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Of a user who has set nothing, on a machine that MLflow does not take for a test's."""
    for name in ("RAY_USAGE_STATS_ENABLED", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    for name in ("_IS_IN_CI_ENV_OR_TESTING", "_IS_MLFLOW_TESTING_TELEMETRY", "_IS_MLFLOW_DEV_VERSION"):
        monkeypatch.setattr(mlflow.telemetry.utils, name, False)
    return monkeypatch


def sends_telemetry() -> tuple[bool, bool]:
    """Whether Ray does, and MLflow."""
    return usage_lib.usage_stats_enabled(), not mlflow.telemetry.utils.is_telemetry_disabled()


def test_telemetry_of_ray_and_mlflow_is_off_where_we_use_them(fresh_environment: pytest.MonkeyPatch) -> None:
    assert sends_telemetry() == (True, True)
    with environment_variables({**RAY_ENVIRONMENT, **ENVIRONMENT}):
        assert sends_telemetry() == (False, False)
    assert sends_telemetry() == (True, True)


def test_a_user_can_turn_telemetry_on(fresh_environment: pytest.MonkeyPatch) -> None:
    fresh_environment.setenv("RAY_USAGE_STATS_ENABLED", "1")
    fresh_environment.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    fresh_environment.setenv("DO_NOT_TRACK", "false")
    with environment_variables({**RAY_ENVIRONMENT, **ENVIRONMENT}):
        assert sends_telemetry() == (True, True)


def test_mlflow_is_imported_in_one_module_after_its_environment_is_set_and_in_its_server() -> None:
    assert importers_of("mlflow") == {"tracking/mlflow_api.py", "tracking/served_page.py"}
    body = [ast.unparse(node) for node in ast.parse((PACKAGE / "tracking/mlflow_api.py").read_text()).body]
    imports = [line for line in body if "from mlflow" in line]
    assert imports
    assert all("with environment_variables(ENVIRONMENT):" in line for line in imports)


def test_ray_is_imported_in_one_package() -> None:
    assert {PurePosixPath(path).parent.as_posix() for path in importers_of("ray")} == {"ray_backend"}


def importers_of(package: str) -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        for _, name in Imports(ast.parse(path.read_text())).lines
        if name.partition(".")[0] == package
    }


# No name leads out of the folder it belongs in.

NASTY = (
    *("..", ".", "/", "\\", "../../x", "/etc/passwd", "..\\..\\x", "C:\\x", "~", "~root", "\0", "a\0b", "%2e%2e%2f"),
    *(
        "-rf",
        "*",
        "$(touch x)",
        "`x`",
        ";x",
        "|x",
        "\n",
        "a\n",
        "\u2025",
        "\uff0f",
        "\u2215",
        "CON",
        "x" * 300,
        "\udcff",
    ),
)
ANY_NAME = st.sampled_from(NASTY) | st.text(min_size=1) | st.lists(st.sampled_from(NASTY), min_size=2).map("/".join)


def is_one_folder(name: str) -> bool:
    """Whether it names something directly in the folder that it is joined to, on any system."""
    return (
        PurePosixPath(name).parts == (name,)
        and name not in (".", "..")
        and not set(name) & set('\\:*?"<>|\0\n')
        and len(os.fsencode(name)) <= 255
        and not name.startswith(("-", "~", "."))
    )


@given(ANY_NAME)
@example("demo\n")  # a pattern's end is before a last line break, too, for some
def test_a_sweeps_name_is_one_folder_or_refused(name: str) -> None:
    try:
        config = SweepConfig(name=name, dataset={"name": "RotatedDigits"}, arms=[{}])  # type: ignore[arg-type]
    except ValidationError:
        return
    assert is_one_folder(config.name)


SETTINGS = TrainingSettings(
    steps=1,
    evaluate_every=1,
    evaluate="all",
    network="small-cnn",
    weights=None,
    freeze_batch_norm=True,
    split="stream",
    holdout=0.2,
    augmentation="none",
    augment_validation=False,
    precision="float32",
    threads=1,
)


@given(ANY_NAME, ANY_NAME, st.lists(ANY_NAME, min_size=1, max_size=3))
def test_a_runs_folder_is_one_folder_whatever_its_dataset_algorithm_and_domains_are_called(
    dataset: str, algorithm: str, domains: list[str]
) -> None:
    config = RunSpec(
        dataset=DatasetConfig.model_construct(name=dataset, root=None, image_size=None),
        algorithm=algorithm,
        hyperparameters={},
        annealing={"method": "gga-l"},
        test_domains=tuple(domains),
        trial_seed=0,
        training=SETTINGS,
    )
    assert is_one_folder(folder_name(config, "0" * 64))


@given(ANY_NAME)
def test_no_path_leads_out_of_a_ledgers_store(path: str) -> None:
    """A file above it is out of reach; what cannot be a path is an error."""
    root = Path("/nowhere/a/store")
    try:
        located = PosixStore(root)._locate(path)
    except (ValueError, GGASweepError):
        return
    assert Path(os.path.normpath(located)).is_relative_to(root)
    assert Path(os.path.normpath(located)) != root


DOMAINS = ("x\\..\\..\\y", "~root", "$(touch x) ; `x`")
CLASSES = ("-rf", "%2e%2e%2f")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in folders whose names would lead elsewhere, if anything but a file system read them."""
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        for name in CLASSES:
            (root / domain / name).mkdir(parents=True)
            for number in range(6):
                image = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(image).save(root / domain / name / f"{number}.png")
    return root


def train(sweep: SweepSpec) -> None:
    from trained_sweep import train_all  # not before pytest has it as a plugin

    train_all(sweep)


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_a_sweep_of_such_images_writes_in_its_storage_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ledger, its cache, its export and its predictions; a report's files have names of their own."""
    here = tmp_path / "a" / "b" / "c"  # deep enough for a name to climb
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    before = files_in(tmp_path), files_in(tree)
    content: dict[str, Any] = {
        "name": "nasty",
        "dataset": {"name": "ImageFolder", "root": str(tree), "image_size": 8},
        "arms": [{"algorithm": "ERM"}],
        "test_domains": list(DOMAINS[:1]),
        "trial_seeds": [0],
        "defaults": {"batch_size": 2},
        "training": {"steps": 1, "evaluate_every": 1},
    }
    sweep = load(content, storage=here / "results")
    train(sweep)
    ledger = Ledger(sweep.folder)
    plan = read_plan(sweep.folder)
    for run in plan.runs:
        keep_searched(ledger, run)
        predict(open_run_folder(sweep.folder / "runs" / run.folder)).to_csv(here / "results" / "predictions.csv")
    exported = export_domainbed(sweep.folder, here / "results" / "export", models=True)
    assert exported.models == len(plan.runs) == 1
    written = files_in(tmp_path) - before[0]
    assert {"records.jsonl", "model.pkl", "predictions.csv"} <= {path.name for path in written}
    assert [path for path in written if not path.is_relative_to(here / "results")] == []
    assert files_in(tree) == before[1]


def test_an_export_deletes_nothing_outside_whatever_its_marker_says(
    own_copy: Callable[[], SweepSpec], tmp_path: Path
) -> None:
    sweep = own_copy()
    out = tmp_path / "export"
    export_domainbed(sweep.folder, out)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "done").touch()
    marker = json.loads((out / MARKER).read_text())
    for name in ("../victim", str(victim), "x/../../victim"):
        (out / MARKER).write_text(json.dumps({**marker, "folders": [*marker["folders"], name]}))
        with pytest.raises((GGASweepError, ValueError)):
            export_domainbed(sweep.folder, out)
        assert (victim / "done").exists()


# A password for the tracking store goes nowhere but there.

SECRET = "s3cret-passw0rd"


def test_a_sweep_keeps_no_password_where_it_is_stored_or_pickled(
    own_copy: Callable[[], SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Drawing takes long, and knows of no store.
    monkeypatch.setattr("gga_sweep.report.html.draw", lambda name, report: None)
    sweep = replace(own_copy(), tracking_uri=f"https://anna:{SECRET}@127.0.0.1:9/mlflow")
    contents = prepare_ledger(sweep)
    plan, ledger = plan_sweep(sweep, contents), Ledger(sweep.folder)
    write_report(make_report(plan, ledger), ledger)
    assert "report.html" in {path.name for path in files_in(sweep.storage)}
    assert [path.name for path in files_in(sweep.storage) if SECRET.encode() in path.read_bytes()] == []
    assert SECRET.encode() in cloudpickle.dumps(sweep)  # it would be found
    assert SECRET.encode() not in cloudpickle.dumps(OwnTunerCallback(plan, contents))
