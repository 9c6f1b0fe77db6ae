"""Every name this package writes into MLflow: metrics, tags, parameters, artifacts.

| metric | meaning | unit | better |
|---|---|---|---|
| `val/<metric>`, `train/<metric>` | mean over the training domains, validation and training split | | |
| `val/<metric>/<domain>`, `val/loss/<domain>` | of one training domain; the sweep's metric alone | | |
| `train/batch_loss` | joint loss of the step's minibatches, before its update | nats | lower |
| `train/agreement_min`, `_mean` | cosines of the domains' gradients, training probe | [-1, 1] | higher |
| `val/agreement_min`, `_mean` | the same, validation probe | [-1, 1] | higher |
| `test/<metric>/<domain>` | of a test domain's 80 %: the reported ones | | |
| `test/validation_<metric>/<domain>` | of its other 20 %; the sweep's metric alone | [0, 1] | higher |
| `test/gradient_cosine/<domain>` | its gradient to the mean of the training domains' | [-1, 1] | higher |
| `annealing/...` | of each search, see `search_metrics`; of GGA-L where the run is evaluated, see `noise_metrics` | | |
| `selected/step`, `selected/val_<metric>`, `selected/test_<metric>` | the run's own best step, at that step | | |
| `averaged/val_<metric>`, `averaged/val_loss`, `averaged/test_<metric>` | of averaged weights, at the run's end | | |
| `averaged/first_step`, `averaged/last_step` | of the steps that were averaged | | |
| `system/...` | of the run's machine, as MLflow names them; on request (`tracking.system_metrics`) | | |
| `seconds/<phase>` | device seconds the run took | s | lower |
| `summary/mean`, `summary/standard_error`, `summary/n` | of a summary run, over trial seeds | | |
| `difference/mean`, `/low`, `/high` | an arm's average minus its baseline's, 95 % interval | [-1, 1] | higher |
| `difference/p` | of that difference, after Holm's adjustment | [0, 1] | |
| `<metric>/<arm>`, `difference/mean/<arm>`, ... | the same on the parent, of each arm | | |

`<metric>` stands for each of `gga_sweep.metrics.METRICS`. In `selected/`, `averaged/` and on the parent, and where the
table says "the sweep's metric", it stands for the `metric:` of the sweep file alone, by default accuracy.

A run over six domains has 54 of them. More would slow MLflow down: the training split and the validation gradients of
single domains stay in the ledger, and of the alignment under other masks and on other minibatches only the gain is
shown. An undefined value (the acceptance rate when nothing was tried, the AUROC where a class is missing) is left out
at that step, and so is what was not measured there (`training.evaluate: selection`, `annealing.diagnose_every`).

Tune results hold `validation_metrics` too; `test_metrics` is for MLflow alone.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

from gga_sweep.metrics import METRICS
from gga_sweep.records import AnnealedStep, NoisyStep, TestRecord, ValidationRecord

# Tags
PREFIX = "gga_sweep."
"""Of every tag of ours; reserved."""
ROLE = PREFIX + "role"
"""`sweep` (the parent), `run` or `summary`."""
LEDGER = PREFIX + "ledger"
"""On every run: the ledger it shows; two sweeps of one name on one server stay apart."""
FOLDER = PREFIX + "folder"
"""On the experiment: the sweep's folder; on a run: its folder in the ledger."""
SWEEP = PREFIX + "sweep"
PROTOCOL = PREFIX + "protocol"
DATASET = PREFIX + "dataset"
ARM = PREFIX + "arm"
ALGORITHM = PREFIX + "algorithm"
ANNEALING = PREFIX + "annealing"
"""The method, `gga` or `gga-l`; an un-annealed run lacks it."""
TEST_DOMAINS = PREFIX + "test_domains"
TRIAL_SEED = PREFIX + "trial_seed"
DRAW = PREFIX + "draw"
"""The draw number that selection and tables use: the highest of a run that several draws have in common."""
DRAWS = PREFIX + "draws"
"""All of them."""
RUN_KEY = PREFIX + "key"
STATUS = PREFIX + "status"
"""Ours; MLflow's own status has neither DIVERGED nor OUT_OF_MEMORY."""
REASON = PREFIX + "reason"
"""Why the status is not DONE; empty when it is."""
ATTEMPT = PREFIX + "attempt"
"""The attempt that wrote the status. A final run with the attempt and status of the ledger is complete."""
LOGGED = PREFIX + "logged"
"""Digest of the evaluations and annealed steps that were logged. A run found in the store with another digest than the
ledger's is deleted and logged anew."""
SELECTED = PREFIX + "selected"
"""`true` on the run that was selected in its cell, `false` on one that no longer is."""
WEIGHTS_STEP = PREFIX + "weights_step"
"""On a logged model: the step whose weights it has."""
METRIC = PREFIX + "metric"
"""By which runs are selected and summarised."""
INCOMPLETE = PREFIX + "incomplete"
"""On a summary: whether runs are missing from its numbers."""

PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
"""A description, Markdown; on the experiment and every run."""
USER = "mlflow.user"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
SOURCE_COMMIT = "mlflow.source.git.commit"
"""Of the sweep's last launch when the run was logged; absent if unknown."""

# Parameters: beside those below, hyperparameters by name, `annealing.<field>` and `training.<field>`
PARAM_ARM = "arm"
PARAM_ALGORITHM = "algorithm"
PARAM_DATASET = "dataset"
PARAM_TEST_DOMAINS = "test_domains"
PARAM_TRIAL_SEED = "trial_seed"
PARAM_DRAW = "draw"
"""As the tag. MLflow cannot change a parameter: when a longer plan raises it, the run is logged anew."""

# Artifacts
SWEEP_FILE = "sweep.yaml"
"""On the parent."""
WEIGHTS_FILE = "selected.safetensors"
"""In the logged model of a cell's winner, beside its configuration."""
CONFIG_FILE = "run.json"
ARTIFACTS_FOLDER = "mlflow-artifacts"
"""Within the sweep's folder."""

# Metrics
SELECTED_STEP = "selected/step"
AVERAGED_VAL_LOSS = "averaged/val_loss"
AVERAGED_FIRST_STEP = "averaged/first_step"
AVERAGED_LAST_STEP = "averaged/last_step"
SUMMARY_MEAN = "summary/mean"
SUMMARY_STANDARD_ERROR = "summary/standard_error"
SUMMARY_N = "summary/n"
# On the parent, the name of the metric followed by the arm's key: the mean of its average.
DIFFERENCES = ("difference/mean", "difference/low", "difference/high", "difference/p")
"""On the summary of an arm's average, if the arm has a baseline; on the parent followed by the arm's key."""

AVERAGE = "(average)"
"""In place of the test domains on the summary of an arm's average."""

LONGEST_VALUE = 5000
"""Characters of a tag in older versions of MLflow; a parameter may have 6,000."""
_LONGEST_DOMAIN = 150  # MLflow accepts keys of up to 250 characters


def value_of(text: str) -> str:
    """The text as the value of a tag or a parameter: long ones are cut and end in a digest."""
    if len(text) <= LONGEST_VALUE:
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{text[: LONGEST_VALUE - 20]}... {digest}"


def val_key(metric: str) -> str:
    """What searchers and schedulers optimise."""
    return f"val/{metric}"


def selected_keys(metric: str) -> tuple[str, str]:
    """At a run's own best step: on the validation splits, and on the test domains."""
    return f"selected/val_{metric}", f"selected/test_{metric}"


def averaged_keys(metric: str) -> tuple[str, str]:
    """The same of averaged weights."""
    return f"averaged/val_{metric}", f"averaged/test_{metric}"


def validation_metrics(record: ValidationRecord, metric: str) -> dict[str, float]:
    """`val/*` and `train/*`, of the training domains: all that Tune may see. What was not evaluated is left out.

    Args:
        metric: of the sweep.
    """
    metrics = {val_key(name): mean for name in METRICS if not math.isnan(mean := record.validation_mean(name))}
    for name in METRICS:
        if (of_training := record.training_mean(name)) is not None:
            metrics[f"train/{name}"] = of_training
    metrics["train/batch_loss"] = record.batch_loss
    for split, agreement in (("train", record.agreement), ("val", record.validation_agreement)):
        if agreement is not None:
            metrics[f"{split}/agreement_min"] = agreement.minimum
            metrics[f"{split}/agreement_mean"] = agreement.mean
    for domain, scores in record.domains.items():
        for name in (metric, "loss"):
            if (value := getattr(scores.validation, name)) is not None:
                metrics[f"{val_key(name)}/{domain_key(domain)}"] = value
    return metrics


def test_metrics(record: TestRecord, metric: str) -> dict[str, float]:
    """`test/*`, of the test domains where they were evaluated: never part of a Tune result.

    Args:
        metric: of the sweep.
    """
    metrics: dict[str, float] = {}
    for domain, scores in record.domains.items():
        for name in METRICS:
            if (value := getattr(scores.train, name)) is not None:
                metrics[f"test/{name}/{domain_key(domain)}"] = value
        if scores.validation is not None and (value := getattr(scores.validation, metric)) is not None:
            metrics[f"test/validation_{metric}/{domain_key(domain)}"] = value
    for domain, cosine in record.gradient_cosine.items():
        metrics[f"test/gradient_cosine/{domain_key(domain)}"] = cosine
    return metrics


test_metrics.__test__ = False  # type: ignore[attr-defined]  # keeps pytest from collecting it


def search_metrics(annealed: AnnealedStep) -> dict[str, float]:
    """Of one annealed step; see `AnnealedStep` for the meaning.

    A gain is the alignment after the search minus the one before: under the masks of the search (alignment), under
    other masks (fresh), on other minibatches (next). The acceptance rate is the fraction of tried candidates.
    """
    metrics = {
        "annealing/alignment_before": annealed.alignment_before,
        "annealing/alignment_after": annealed.alignment_after,
        "annealing/alignment_gain": annealed.gain,
        "annealing/loss_before": annealed.loss_before,
        "annealing/loss_after": annealed.loss_after,
        "annealing/tried": annealed.tried,
        "annealing/accepted": annealed.accepted,
        "annealing/moved_radii": annealed.moved_radii,
        "annealing/moved_updates": annealed.moved_updates,
    }
    for name, gain in (("fresh_gain", annealed.fresh_gain), ("next_gain", annealed.next_gain)):
        if gain is not None:
            metrics[f"annealing/{name}"] = gain
    if annealed.tried:
        metrics["annealing/acceptance_rate"] = annealed.acceptance_rate
    return metrics


def noise_metrics(noisy: NoisyStep) -> dict[str, float]:
    """Of one step of GGA-L: the noise's scale, the cosine that sets it, and the ratio of the noise's to the gradient's
    norm."""
    metrics = {"annealing/alpha": noisy.alpha}
    if not math.isnan(noisy.mean_cosine):
        metrics["annealing/mean_cosine"] = noisy.mean_cosine
    if noisy.gradient_norm:
        metrics["annealing/noise_over_gradient"] = noisy.noise_over_gradient
    return metrics


def arm_keys(arms: Iterable[str]) -> dict[str, str]:
    """Arms as parts of metrics' names: `ERM with GGA` for `ERM + GGA`, unless that is another arm's."""
    arms = tuple(arms)
    plain = {arm: domain_key(arm.replace("+", "with")) for arm in arms}
    return plain if len(set(plain.values())) == len(plain) else {arm: domain_key(arm) for arm in arms}


def seconds_key(phase: str) -> str:
    return f"seconds/{domain_key(phase)}"


def domain_key(domain: str) -> str:
    """A domain's name as part of a metric's name.

    Characters that MLflow forbids become their code point, `é` becomes `:e9:`. Different names give different keys.
    Long ones are cut and end in a digest.
    """
    kept = r"[^A-Za-z0-9_ .-]" if domain.strip(" .") == domain else r"[^A-Za-z0-9_-]"  # no "..", no blank at an end
    key = re.sub(kept, lambda character: f":{ord(character[0]):x}:", domain)
    if len(key) > _LONGEST_DOMAIN:
        digest = hashlib.blake2b(domain.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        key = f"{key[:_LONGEST_DOMAIN]}::{digest}"
    return key
