"""A commented sweep file to start from: ERM with and without annealing."""

from __future__ import annotations

import json

import yaml

from gga_sweep.datasets import describe, traits_of
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import Fault, InputError
from gga_sweep.spec.loading import load
from gga_sweep.spec.protocols import PROTOCOLS, get_protocol

SCHEMA_FILE = "sweep.schema.json"
"""The schema beside a new sweep file, to which its first line refers."""

_FIXED = """\
draws: 1                    # hyperparameters are the protocol's; with a search_space, the number that each cell tries
resources: {cpus: 2, gpus: 1}  # of one run; gpus: 0.5 trains two on a GPU, auto as many as fit
"""

_SEARCHED = """\
draws: 2                    # hyperparameter configurations that each cell tries; validation selects one of them
defaults:                   # of hyperparameters that are not searched; those of the annealing begin with annealing.
  batch_size: 16            # images of each training domain in a minibatch
  annealing.start_step: 20  # the window: annealing acts at steps 20 to 24
  annealing.num_steps: 5
  annealing.num_candidates: 8  # points that it tries at each of these steps
  annealing.radius: 1.0e-4  # of the box around the weights in which it tries them
search_space:               # what the draws are taken from: uniform, loguniform, integers, logintegers or choice
  lr: {loguniform: [3.0e-4, 3.0e-3]}
resources: {cpus: 1, gpus: 0}  # of one run: it trains on the CPU. gpus: 1 trains it on a GPU, 0.5 two on one
"""


def new_sweep(name: str, dataset: DatasetConfig, protocol: str | None = None) -> str:
    """The text of a sweep file.

    Args:
        name: of the sweep.
        dataset: named in the file; its domains are listed there if they are known.
        protocol: its name; None: `quick` for small images, `gga-paper` for photographs.

    Raises:
        InputError: a bad name, unknown dataset or protocol, photographs without a root, or too few domains.
    """
    protocol = protocol or ("quick" if traits_of(dataset.name).small_images else "gga-paper")
    get_protocol(protocol)  # raises if there is no such protocol
    description = describe(dataset)
    if not description.domain_names:
        raise InputError([Fault("--root", "must be the folder of the tree domain/class/image")])
    root = "" if dataset.root is None else f", root: {_text(str(dataset.root))}"
    domains = ", ".join(_text(domain) for domain in description.domain_names)
    others = ", ".join(other for other in PROTOCOLS if other != protocol)
    example = _text(description.domain_names[-1])
    meant = traits_of(dataset.name).test_domains
    held_out = f"[{', '.join(map(_text, meant))}]" if meant else "all"
    note = f"of {domains}" if meant else f"each of {domains} in turn; or a list, such as [{example}]"
    text = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
#
# Does gradient-guided annealing help on {dataset.name}? Each run holds one domain out and trains on the others.
#   gga-sweep plan FILE   lists the runs and prices them; it trains nothing
#   gga-sweep run FILE    trains them, selects and compares; again, it continues where it stopped
name: {_text(name)}
dataset: {{name: {_text(dataset.name)}{root}}}
protocol: {f"{protocol}  ":<17} # network, steps, splits, default hyperparameters; or {others}
arms:                       # what is compared; `vary:` makes an arm of each value of a hyperparameter
  - {{algorithm: ERM}}        # the baseline of the others
  - {{algorithm: ERM, annealing: {{method: gga, variant: paper}}}}
test_domains: {held_out:<13} # {note}
trial_seeds: [0, 1, 2]      # repetitions; more of them detect smaller differences
{_SEARCHED if protocol in ("quick", "shared-hp") else _FIXED}"""
    load(yaml.safe_load(text))
    return text


def _text(value: str) -> str:
    """A YAML text: bare where YAML reads it as text, else in quotes."""
    bare = value.replace("_", "").replace("-", "").replace("/", "").replace(".", "")
    return value if bare.isalpha() and bare.isascii() and bare.lower() not in _NOT_TEXT else json.dumps(value)


_NOT_TEXT = ("true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "all")
