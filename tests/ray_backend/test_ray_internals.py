"""What `ray_internals` patches and reads still exists in the installed Ray, and is patched for a while only."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor, wait
from importlib import import_module
from unittest.mock import Mock

import pytest
import ray
from ray.tune.experiment import Trial, experiment

from gga_sweep.errors import GGASweepError
from gga_sweep.ray_backend import ray_internals
from gga_sweep.ray_backend.ray_internals import PATCHED, SEEN_ON

CHANGED = f"Ray {ray.__version__} has changed since {SEEN_ON}: read its source, and update ray_internals.py"


@pytest.mark.parametrize("target", PATCHED, ids=".".join)
def test_a_patched_name_exists(target: tuple[str, str]) -> None:
    assert hasattr(import_module(target[0]), target[1]), CHANGED


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("ray._private.services", "ray_constants.ENABLE_RAY_CLUSTER"),
        ("ray._private.worker", "utils.get_entrypoint_name()"),
        ("ray.tune.tune", "air_usage.tag_callbacks(callbacks)"),
        ("ray.tune.execution.tune_controller", "_scheduler_alg.choose_trial_to_run(self._wrapped())"),
        ("ray.tune.execution.tune_controller", "_scheduler_alg.on_trial_add(self._wrapped(), trial)"),
    ],
)
def test_ray_calls_what_we_replace_as_we_expect(module: str, call: str) -> None:
    assert call in inspect.getsource(import_module(module)), CHANGED


def test_the_attributes_of_a_trial_exist() -> None:
    trial = Trial("x", stub=True)
    assert trial.temporary_state.ray_actor is None, CHANGED
    assert ray_internals.actor_id(trial) is None
    trial.run_metadata.metric_analysis["step"] = {"max": 3}
    ray_internals.forget_metrics(trial)
    assert (trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps) == ({}, {}), CHANGED
    trial.temporary_state.ray_actor = Mock(_actor_id=Mock(hex=lambda: "0a1b"))
    assert ray_internals.actor_id(trial) == "0a1b"


def test_patches_end_with_their_block() -> None:
    def present() -> list[object]:
        return [getattr(import_module(module), name) for module, name in PATCHED]

    before = present()
    with (
        ray_internals.loopback_only(),
        ray_internals.hidden_command_line(),
        ray_internals.no_usage_tags(),
        ray_internals.registered_in_turn(),
    ):
        inside = present()
    assert all(now is not then for now, then in zip(inside, before, strict=True))
    assert present() == before


def test_trainables_are_registered_while_no_other_thread_does() -> None:
    with ray_internals.registered_in_turn(), ThreadPoolExecutor(1) as pool:
        with ray_internals.REGISTRY:
            registered = pool.submit(experiment.register_trainable, "in turn", lambda config: None)
            assert wait([registered], timeout=0.2).not_done
        registered.result(timeout=60)


def test_a_name_that_is_gone_is_an_error_with_the_supported_version() -> None:
    with (
        pytest.raises(GGASweepError, match=r"no ray\._private\.utils\.gone; use Ray \d"),
        ray_internals._replaced(("ray._private.utils", "gone"), None),
    ):
        pytest.fail("it was replaced")


def test_actors_are_read_from_the_message_of_the_memory_monitor() -> None:
    error = ray.exceptions.OutOfMemoryError("Selected to kill: (Actor(0a1b): job), then Actor(2c3d)")
    assert ray_internals.killed_actors(error) == ["0a1b", "2c3d"]
