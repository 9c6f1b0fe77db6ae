"""Bad input: one clear message each, with field and value, and all faults of a file at once."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, GGA_L, content, fault_cases, faults_of, on_tree, shown, write_tree

from gga_sweep import annealing as methods
from gga_sweep.algorithms import ALGORITHMS, TRAINING_HYPERPARAMETERS
from gga_sweep.datasets import BENCHMARKS
from gga_sweep.datasets.catalogue import EMBEDDED, FROM_FILES
from gga_sweep.datasets.image_cache import FORMATS
from gga_sweep.errors import InputError
from gga_sweep.execution.prepare import decode_images, require_writable
from gga_sweep.networks.choice import NETWORKS
from gga_sweep.spec import load, read_contents, searched_run
from gga_sweep.spec.models import ArmConfig, AveragingConfig, SweepConfig
from gga_sweep.spec.protocols import PROTOCOLS
from gga_sweep.spec.yaml_text import write_yaml

VALIDATION = "training-domain-validation"
LEAVE_ONE_OUT = "leave-one-domain-out"


# Without these fields too little is left to look for other faults.
WITHOUT_MORE = fault_cases(r"""
{7: 1}
    -> [7]: keys should be strings, got 7
{arms: {}}
    -> arms: must be a list, got {}
{dataset: RotatedDigits}
    -> dataset: must be a block of fields, got 'RotatedDigits'
{arms: []}
    -> arms: must not be empty, got []
""")

FIELDS = fault_cases(r"""
{trial_sedes: [0]}
    -> trial_sedes: unknown field, got [0]
{arms: [{}, {algorthm: ERM, name: b}]}
    -> arms[1].algorthm: unknown field, got 'ERM'
{training: {steps: many}}
    -> training.steps: must be an integer, got 'many'
{defaults: {lr: [0.001]}}
    -> defaults.lr: must be a number, text, true or false, got [0.001]
{defaults: {lr: .nan}}
    -> defaults.lr: must be a finite number, got nan
{training: {averaging: swa}}
    -> training.averaging: must be 'swad', got 'swa'
{training: {averaging: {n_converge: 2}}}
    -> training.averaging.method: must be given
{training: {averaging: {method: swad, n_end: 2}}}
    -> training.averaging.n_end: unknown field, got 2
{training: {averaging: {method: swad, n_converge: 0}}}
    -> training.averaging.n_converge: must be greater than or equal to 1, got 0
{arms: [{annealing: {radius: -1.0e-5}}], training: {steps: 500}}
    -> arms[0].annealing.radius: must be a finite number of at least 0, got -1e-05
{arms: [{algorithm: ERM, annealing: {method: gga}}], defaults: {annealing.radius: -1.0e-5}}
    -> defaults.annealing.radius: must be a finite number of at least 0, got -1e-05
{arms: [{algorithm: ERM, annealing: {method: gga}, vary: {annealing.radius: [1.0e-5, -0.0001]}}]}
    -> arms[0].vary.annealing.radius: must be a finite number of at least 0, got -0.0001
{arms: [{annealing: {variant: papr}}]}
    -> arms[0].annealing.variant: must be 'paper', 'paper-chained', 'released' or 'guided', got 'papr'
{arms: [{annealing: {method: gga-x}}]}
    -> arms[0].annealing.method: must be 'gga' or 'gga-l', got 'gga-x'
{draws: 0}
    -> draws: must be greater than or equal to 1, got 0
{trial_seeds: []}
    -> trial_seeds: must not be empty, got []
{trial_seeds: [0, -1]}
    -> trial_seeds[1]: must be greater than or equal to 0, got -1
{trial_seeds: [0, 1, 0]}
    -> trial_seeds: each may stand once, got 0
{name: demo/one}
    -> name: must begin with a letter or digit and hold only letters, digits and . _ -, got 'demo/one'
{arms: [{}, {name: a/b}]}
    -> arms[1].name: must begin with a letter or digit and hold only letters, digits and . _ -, got 'a/b'
{test_domains: []}
    -> test_domains: must be 'all', or a list of domains or of lists of domains, got []
{test_domains: [0.5]}
    -> test_domains[0]: must be 'all', or a list of domains or of lists of domains (quote a name that reads as anything
    but text), got 0.5
{resources: {gpus: 2}}
    -> resources.gpus: must be a number from 0 to 1, or auto, got 2
{resources: {cpus: 2, workers: 3}}
    -> resources.workers: a run's data workers must be at most its CPUs, of which resources.cpus gives it 2, got 3
{resources: {cpus: 0.5, workers: 1}}
    -> resources.workers: a run's data workers must be at most its CPUs, of which resources.cpus gives it 0.5, got 1
{resources: {workers: -1}}
    -> resources.workers: must be greater than or equal to 0, got -1
{resources: {gpus: all}}
    -> resources.gpus: must be a number from 0 to 1, or auto, got 'all'
{tracking: {system_metric: true}}
    -> tracking.system_metric: unknown field, got True
{search_space: {lr: {}}}
    -> search_space.lr: exactly one of uniform, loguniform, integers, logintegers, choice must be given, got none,
    got {}
{search_space: {lr: {uniform: [0.001]}}}
    -> search_space.lr.uniform[1]: must be given
{search_space: {lr: {uniform: [2, 1]}}}
    -> search_space.lr: low <= high must hold, got low=2.0, high=1.0, got {'uniform': [2, 1]}
{search: grid, search_space: {lr: {uniform: [0.001]}}}
    -> search_space.lr.uniform[1]: must be given
{search_space: {lr: {choice: []}}}
    -> search_space.lr.choice: must not be empty, got []
""")

COLORED = {"name": "ColoredDigits"}

ACROSS = fault_cases(r"""
{training: {steps: 100, evaluate_every: 99, averaging: swad}}
    -> training.averaging.n_converge: must be at most the number of a run's evaluations, 2 (steps 100,
    evaluate_every 99), got 3
{arms: [{}, {name: ERM + SWAD}], training: {averaging: swad}}
    -> arms[1].name: must not be what the averaged weights of another arm are called, got 'ERM + SWAD'
{arms: [{annealing: {start_step: 90, num_steps: 20}}], training: {steps: 100}}
    -> arms[0].annealing.num_steps: the window 90..109 must end by the last step, 99, got 20
{arms: [{algorithm: ERM, annealing: {method: gga}}], defaults: {annealing.start_step: 299, annealing.num_steps: 2}}
    -> defaults.annealing.num_steps: the window 299..300 must end by the last step, 299, got 2
{arms: [{annealing: {num_steps: 10}}], search_space: {annealing.start_step: {choice: [100, 291]}}}
    -> arms[0].annealing.num_steps: the window 291..300 must end by the last step, 299, got 10
{test_domains: [[0, 15, 30, 45, 60, 75]]}
    -> test_domains[0]: must leave a training domain, got ['0', '15', '30', '45', '60', '75']
{arms: [{}, {algorithm: ERM, annealing: {method: gga}}], test_domains: [0, [0, 15, 30, 45, 60]]}
    -> test_domains[1]: must leave 2 training domains or more for the arm 'ERM + GGA', got ['0', '15', '30', '45',
    '60']
{test_domains: [0, 80]}
    -> test_domains[1]: must be a domain of RotatedDigits, got '80'
{test_domains: [[0, 0]]}
    -> test_domains[0]: a domain may be held out once, got ['0', '0']
{test_domains: [[0, 75], [75, 0]]}
    -> test_domains: each may stand once, got ('0', '75')
{dataset: {name: PACSS}}
    -> dataset.name: must be a known dataset, got 'PACSS'
{dataset: {name: 'nobodys_package:images'}}
    -> dataset.name: must name an attribute of an installed module (No module named 'nobodys_package'), got
    'nobodys_package:images'
{dataset: {name: RotatedDigits, root: /there}}
    -> dataset.root: RotatedDigits is embedded and has none, got '/there'
{dataset: {name: ImageFolder}}
    -> dataset.root: ImageFolder needs the folder that holds domain/class/image
{dataset: {name: ImageFolder, root: /nowhere/at/all}}
    -> dataset.root: must be a folder that holds domain/class/image, got '/nowhere/at/all'
{protocol: quik}
    -> protocol: must be a known protocol, got 'quik'
{arms: [{}, {algorithm: EMR}]}
    -> arms[1].algorithm: unknown algorithm, got 'EMR'
{training: {network: vgg}}
    -> training.network: unknown network, got 'vgg'
{training: {network: resnet18}}
    -> training.network: resnet18 needs images of 3 channels, got 1
{training: {augmentation: domainbed}}
    -> training.augmentation: needs images of 3 channels, RotatedDigits has 1, got 'domainbed'
{training: {trainable: tail}}
    -> training.trainable: must be all, head or last:N (N blocks, from 1 on), got 'tail'
{arms: [{vary: {training.trainable: ['last:0']}}]}
    -> arms[0].vary.training.trainable: must be all, head or last:N (N blocks, from 1 on), got 'last:0'
{arms: [{vary: {training.network: [3]}}]}
    -> arms[0].vary.training.network: must be text, got 3
{arms: [{}, {vary: {training.network: [small-cnn, vgg]}}]}
    -> arms[1].vary.training.network: unknown network, got 'vgg'
{arms: [{vary: {training.weights: [/nowhere/weights.pt]}}]}
    -> arms[0].vary.training.weights: the weights file must exist, got '/nowhere/weights.pt'
{arms: [{vary: {training.steps: [10]}}]}
    -> arms[0].vary.training.steps: the arm has no such hyperparameter
{arms: [{annealing: {variant: released}}], training: {trainable: head}}
    -> variant, annealing.perturbs: the annealing would move a featurizer that training.trainable: head keeps as it is,
    got 'featurizer'
{arms: [{annealing: {perturbs: featurizer}, vary: {training.trainable: [head, all]}}]}
    -> arms[0].annealing.perturbs: the annealing would move a featurizer that training.trainable: head keeps as it is,
    got 'featurizer'
{training: {weights: /nowhere/weights.pt}}
    -> training.weights: the weights file must exist, got '/nowhere/weights.pt'
{defaults: {batch_size: 241}}
    -> defaults.batch_size: must not exceed the training split of the smallest domain, '45' (240 images), got 241
{search_space: {batch_size: {integers: [8, 241]}}}
    -> search_space.batch_size: must not exceed the training split of the smallest domain, '45' (240 images), got
    241
{defaults: {lr: 0}}
    -> defaults.lr: must lie in (0, 100], got 0
{defaults: {lr: 1e-3}}
    -> defaults.lr: must be a number, got '1e-3'
{search_space: {annealing.radius: {uniform: [0, 1]}}}
    -> search_space.annealing.radius: no arm has this hyperparameter
{defaults: {momentum: 0.9}}
    -> defaults.momentum: no arm has this hyperparameter
{arms: [{vary: {annealing.radius: [1.0e-5]}}]}
    -> arms[0].vary.annealing.radius: the arm has no such hyperparameter
{defaults: {lr: 0.1}, search_space: {lr: {loguniform: [0.0001, 0.01]}}}
    -> defaults.lr: must lie in its own search_space range loguniform [0.0001, 0.01], got 0.1
{defaults: {batch_size: 12}, search_space: {batch_size: {choice: [8, 16]}}}
    -> defaults.batch_size: must lie in its own search_space range choice [8, 16], got 12
{search_space: {dropout: {uniform: [0, 1]}}}
    -> search_space.dropout: must lie in [0, 1), got 1.0
{search_space: {batch_size: {uniform: [8, 32]}}}
    -> search_space.batch_size: must be searched among whole numbers, got 'uniform'
{arms: [{algorithm: ERM, annealing: {method: gga}}], search_space: {annealing.num_candidates: {loguniform: [8, 32]}}}
    -> search_space.annealing.num_candidates: must be searched among whole numbers, got 'loguniform'
{arms: [{algorithm: ERM, annealing: {method: gga}}], search_space: {annealing.objective: {choice: [alignment, luck]}}}
    -> search_space.annealing.objective: must be one of the choices, got 'luck'
{arms: [{annealing: {radius: 0.001}, vary: {annealing.radius: [0.0001]}}]}
    -> arms[0].vary.annealing.radius: stands in the annealing block too; give it once
{arms: [{annealing: {method: gga-l, radius: 1.0e-5}}]}
    -> arms[0].annealing.radius: no field of the method gga-l, got 1e-05
{arms: [{annealing: {method: gga-l, variant: paper}}]}
    -> arms[0].annealing.variant: no field of the method gga-l, got 'paper'
{arms: [{annealing: {gamma: 0.001}}]}
    -> arms[0].annealing.gamma: no field of the method gga, got 0.001
{arms: [{algorithm: ERM, annealing: {method: gga-l}}], defaults: {annealing.num_steps: 5}}
    -> defaults.annealing.num_steps: no arm has this hyperparameter
{arms: [{annealing: {direction: gradient, origin: current}}]}
    -> arms[0].annealing.origin: must be start where direction is gradient, got 'current'
{arms: [{annealing: {variant: released, direction: gradient}}]}
    -> variant, annealing.origin: must be start where direction is gradient, got 'current'
{arms: [{annealing: {variant: guided}}], defaults: {annealing.origin: current}}
    -> defaults.annealing.origin: must be start where direction is gradient, got 'current'
{arms: [{algorithm: ERM, annealing: {method: gga}}], search_space: {annealing.direction: {choice: [random, gradient]},
  annealing.origin: {choice: [start, current]}}}
    -> search_space.annealing.origin: must be start where direction is gradient, got 'current'
{arms: [{annealing: {domain_gradients: layerwise}}], dataset: {name: ColoredDigits}, training: {network: resnet18,
  freeze_batch_norm: false}}
    -> arms[0].annealing.domain_gradients: batch norm that is not frozen couples the domains of resnet18, got
    'layerwise'
{arms: [{algorithm: ERM, annealing: {method: gga}}], search_space: {annealing.domain_gradients: {choice: [loop,
  layerwise]}}, dataset: {name: ColoredDigits}, training: {network: resnet18, freeze_batch_norm: false}}
    -> search_space.annealing.domain_gradients: batch norm that is not frozen couples the domains of resnet18, got
    'layerwise'
{arms: [{annealing: {cuda_graph: true}}]}
    -> arms[0].annealing.cuda_graph: needs a GPU (resources.gpus above 0), got True
{arms: [{annealing: {cuda_graph: true, mask: forward}}], resources: {gpus: 1}}
    -> arms[0].annealing.mask: must be step where cuda_graph is true, got 'forward'
{arms: [{vary: {lr: [0.001, 0.001]}}]}
    -> arms: two arms may not have one name (give one a `name:`), got 'ERM, lr 1e-3'
{arms: [{}, {}]}
    -> arms: two arms may not have one name (give one a `name:`), got 'ERM'
{arms: [{}, {name: other, baseline: EMR}]}
    -> arms[1].baseline: must name an arm, got 'EMR'
{search: grid, search_space: {lr: {uniform: [0.001, 0.01]}}}
    -> search_space.lr: must be a choice in a grid, got 'uniform'
{search: grid, draws: 3, search_space: {lr: {choice: [0.001]}}}
    -> draws: a grid's points are its draws; leave it out, got 3
{search: grid}
    -> search_space: a grid needs something to search
{selection: [training-domain-validation, training-domain-validation]}
    -> selection: each may stand once, got 'training-domain-validation'
{selection: [oracle, training-domain-validation]}
    -> selection: must not come first: what MLflow and chosen.yaml call selected may not look at a test domain, got
    'oracle'
{selection: [leave-one-domain-out], test_domains: [[0, 15]]}
    -> selection: leave-one-domain-out needs test domains that stand alone, got '0+15'
{selection: [leave-one-domain-out], arms: [{}, {algorithm: ERM, annealing: {method: gga}}], dataset: {name:
  ColoredDigits}}
    -> selection: trains on 1 of 3 domains, too few for the arm 'ERM + GGA', got 'leave-one-domain-out'
{selection: [training-domain-validation, leave-one-domain-out], training: {evaluate: selection}}
    -> selection: reads scores on test domains at every evaluation: set training.evaluate to all, got
    'leave-one-domain-out'
{selection: [training-domain-validation, oracle], training: {evaluate: selection}, early_stopping: {}, draws: 4}
    -> selection: reads scores on test domains where a run is stopped: set training.evaluate to all, got 'oracle'
{training: {evaluate: some}}
    -> training.evaluate: must be 'all' or 'selection', got 'some'
{arms: [{annealing: {diagnose_every: -1}}]}
    -> arms[0].annealing.diagnose_every: must be an integer of at least 0, got -1
{arms: [{annealing: {diagnose_every: 2.5}}]}
    -> arms[0].annealing.diagnose_every: must be an integer of at least 0, got 2.5
{arms: [{annealing: {method: gga-l, diagnose_every: 2}}]}
    -> arms[0].annealing.diagnose_every: no field of the method gga-l, got 2
{select_from: after-window}
    -> select_from: no arm has an annealing window, got 'after-window'
{select_from: after-window, arms: [{algorithm: ERM, annealing: {method: gga}}], defaults: {annealing.start_step: 199}}
    -> default annealing.num_steps: select_from after-window needs a step after the window 199..299, got 101
""")

MLDG, ONE_LEFT = {"algorithm": "MLDG"}, [[0, 15, 30, 45, 60]]
STATISTICS = "somebodys_algorithms:NeedsStatistics"

OF_ALGORITHMS = fault_cases(r"""
{arms: [{}, {algorithm: CORAL}, {algorithm: SAM}, {algorithm: MLDG}], test_domains: [[0, 15, 30, 45, 60]]}
    -> test_domains[0]: must leave 2 training domains or more for the arms 'CORAL', 'MLDG', got ['0', '15', '30',
    '45', '60']
{arms: [{name: four, algorithm: 'somebodys_algorithms:NeedsFour'}], test_domains: [[0, 15, 30]]}
    -> test_domains[0]: must leave 4 training domains or more for the arm 'four', got ['0', '15', '30']
{selection: [leave-one-domain-out], arms: [{}, {algorithm: Mixup}], dataset: {name: ColoredDigits}}
    -> selection: trains on 1 of 3 domains, too few for the arm 'Mixup', got 'leave-one-domain-out'
{arms: [{algorithm: MLDG}], dataset: {name: ColoredDigits}}
    -> default mldg_n_meta_test: must be below the number of training domains, 2 where '90' is held out (set
    defaults.mldg_n_meta_test), got 2
{arms: [{algorithm: MLDG}], defaults: {mldg_n_meta_test: 4}, test_domains: [0, [15, 30, 45, 60]]}
    -> defaults.mldg_n_meta_test: must be below the number of training domains, 2 where '15+30+45+60' is held out,
    got 4
{arms: [{algorithm: MLDG, vary: {mldg_n_meta_test: [3, 4]}}], selection: [leave-one-domain-out]}
    -> arms[0].vary.mldg_n_meta_test: must be below the number of training domains, 4 where '0+15' is held out, got
    4
{arms: [{algorithm: MLDG}], defaults: {mldg_n_meta_test: 1}, search_space: {mldg_n_meta_test: {choice: [2, 1]}},
  dataset: {name: ColoredDigits}}
    -> search_space.mldg_n_meta_test: must be below the number of training domains, 2 where '90' is held out, got 2
{arms: [{algorithm: MLDG}], defaults: {mldg_n_meta_test: 1}, test_domains: [90], trial_seeds: [0], chosen: {search:
  ours, cells: [{arm: MLDG, test_domains: 90, values: {mldg_n_meta_test: 3}}]}, dataset: {name: ColoredDigits}}
    -> chosen.cells[0].values.mldg_n_meta_test: must be below the number of training domains, 2 where '90' is held
    out, got 3
{arms: [{algorithm: MLDG}], defaults: {mldg_n_meta_test: 1}, dataset: {name: ColoredDigits}, protocol: domainbed-head}
    -> search_space.mldg_n_meta_test: must be below the number of training domains, 2 where '90' is held out (the
    protocol searches it: fix it under arms[0].vary), got 2
{arms: [{algorithm: CORAL}], defaults: {batch_size: 1}}
    -> defaults.batch_size: CORAL needs 2 images or more a domain, got 1
{arms: [{algorithm: IRM}], search_space: {batch_size: {integers: [1, 40]}}}
    -> search_space.batch_size: IRM needs 2 images or more a domain, got 1
{defaults: {batch_size: 1}, dataset: {name: ColoredDigits}, training: {network: resnet18, freeze_batch_norm: false}}
    -> defaults.batch_size: must be 2 or more: resnet18 has batch norm that is not frozen, got 1
{search_space: {batch_size: {choice: [8, 1]}}, dataset: {name: ColoredDigits}, training: {network: resnet18,
  freeze_batch_norm: false}}
    -> search_space.batch_size: must be 2 or more: resnet18 has batch norm that is not frozen, got 1
{arms: [{algorithm: 'somebodys_algorithms:NeedsStatistics'}]}
    -> training.network: has no batch norm, whose batch statistics somebodys_algorithms:NeedsStatistics needs, got
    'small-cnn'
{arms: [{algorithm: 'somebodys_algorithms:NeedsStatistics'}], dataset: {name: ColoredDigits}, training: {network:
  resnet18}}
    -> training.freeze_batch_norm: must be false for somebodys_algorithms:NeedsStatistics, which needs batch
    statistics, got True
{arms: [{algorithm: ERM, annealing: {method: gga-l}}, {algorithm: Fish, annealing: {method: gga-l}}]}
    -> arms[1].annealing.method: Fish takes no step along one gradient, to which noise could be added, got 'gga-l'
{arms: [{algorithm: ARM, annealing: {domain_gradients: layerwise}}]}
    -> arms[0].annealing.domain_gradients: in one forward ARM lets a domain see the others, got 'layerwise'
{arms: [{algorithm: MTL, annealing: {method: gga-l}}], defaults: {annealing.domain_gradients: layerwise}}
    -> defaults.annealing.domain_gradients: in one forward MTL lets a domain see the others, got 'layerwise'
{arms: [{algorithm: ERM, annealing: {method: gga}}, {algorithm: MTL, annealing: {method: gga}}], search_space:
  {annealing.domain_gradients: {choice: [loop, layerwise]}}}
    -> search_space.annealing.domain_gradients: in one forward MTL lets a domain see the others, got 'layerwise'
{arms: [{algorithm: CORAL}], defaults: {paper_form: 1}}
    -> defaults.paper_form: must be true or false, got 1
{arms: [{algorithm: ARM}], search_space: {paper_form: {choice: [true, 0]}}}
    -> search_space.paper_form: must be true or false, got 0
{arms: [{algorithm: ARM}], search_space: {paper_form: {uniform: [0, 1]}}}
    -> search_space.paper_form: must be searched as a choice of true and false, got 'uniform'
{arms: [{algorithm: ERM, annealing: {method: gga}}], search_space: {annealing.cuda_graph: {integers: [0, 1]}}}
    -> search_space.annealing.cuda_graph: must be searched as a choice of true and false, got 'integers'
{arms: [{algorithm: MMD, vary: {irm_lambda: [1]}}]}
    -> arms[0].vary.irm_lambda: the arm has no such hyperparameter
{arms: [{}, {algorithm: RSC}], defaults: {sag_w_adv: 0.1}}
    -> defaults.sag_w_adv: no arm has this hyperparameter
{arms: [{algorithm: Fishr}], defaults: {fishr_ema: 1}}
    -> defaults.fishr_ema: must lie in [0, 1), got 1
""")


@pytest.fixture
def algorithms_of_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("somebodys_algorithms")
    bare = {"HYPERPARAMETERS": {}, "NUMERICS": 1}
    for name, traits in {
        "NeedsFour": {"MIN_DOMAINS": 4},
        "NeedsStatistics": {"NEEDS_BATCH_STATISTICS": True},
    }.items():
        setattr(module, name, type(name, (), {**bare, **traits}))
    monkeypatch.setitem(sys.modules, "somebodys_algorithms", module)


@pytest.mark.usefixtures("algorithms_of_somebody")
@pytest.mark.parametrize(("changes", "message"), [*WITHOUT_MORE, *FIELDS, *ACROSS, *OF_ALGORITHMS])
def test_each_fault_is_one_message_with_field_rule_and_value(changes: dict[Any, Any], message: str) -> None:
    assert faults_of(content() | changes) == [message]


@pytest.mark.parametrize(("changes", "message"), FIELDS)
def test_a_faulty_field_hides_no_fault_elsewhere(changes: dict[str, Any], message: str) -> None:
    further: dict[str, Any] = {"training": {"evaluate_every": 0, **changes.get("training", {})}}
    expected = {message, "training.evaluate_every: must be greater than or equal to 1, got 0"}
    if "test_domains" not in changes:
        further["test_domains"] = [80]
        expected.add("test_domains[0]: must be a domain of RotatedDigits, got '80'")
    assert set(faults_of(content() | changes | further)) == expected


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"trial_sedes": [0]}, SweepConfig.model_fields),
        ({"arms": [{"algorthm": "ERM"}]}, ArmConfig.model_fields),
        ({"training": {"averaging": {"method": "swad", "n_end": 2}}}, AveragingConfig.model_fields),
        ({"dataset": {"name": "PACSS"}}, (*EMBEDDED, *FROM_FILES, "ImageFolder", *BENCHMARKS, "module:attribute")),
        ({"protocol": "quik"}, PROTOCOLS),
        ({"arms": [{"algorithm": "EMR"}]}, (*ALGORITHMS, "module:Class")),
        ({"training": {"network": "vgg"}}, (*NETWORKS, "timm/NAME", "module:attribute")),
        ({"test_domains": [80]}, ("0", "15", "30", "45", "60", "75")),
        ({"defaults": {"momentum": 0.9}}, TRAINING_HYPERPARAMETERS),
        ({"arms": [{"annealing": {"gamma": 1}}]}, ("method", "variant", *methods.GGA().values())),
        ({"arms": [{"annealing": {"method": "gga-l", "radius": 1}}]}, ("method", *methods.GGAL().values())),
        ({"arms": [{**GGA, "vary": {"annealing.mask": ["none"]}}]}, ("step", "forward")),
        ({"arms": [{"name": "a", "baseline": "b"}]}, ("a",)),
        ({"selection": [LEAVE_ONE_OUT], "test_domains": [[0, 15]]}, (VALIDATION, "oracle")),
        ({"search": "grid", "search_space": {"lr": {"uniform": [1e-3, 1e-2]}}}, ("choice",)),
        ({"arms": [{"algorithm": "MLDG"}], "dataset": {"name": "ColoredDigits"}}, ("1",)),
    ],
)
def test_a_fault_lists_what_is_allowed(changes: dict[str, Any], allowed: Iterable[str]) -> None:
    with pytest.raises(InputError) as caught:
        load(content() | changes)
    assert [fault.allowed for fault in caught.value.faults] == [tuple(allowed)]
    assert f"(allowed: {', '.join(allowed)})" in str(caught.value)


GOOD: dict[str, dict[str, Any]] = {
    "one training domain for algorithms that take what is there": {
        "arms": [{"algorithm": name} for name in ("ERM", "GroupDRO", "SAM", "RSC", "SagNet", "Fish", "MTL", "ARM")],
        "test_domains": ONE_LEFT,
    },
    "a meta split below the training domains": {
        "arms": [{"name": "MLDG", **MLDG, "vary": {"mldg_n_meta_test": [1]}}],
        "dataset": COLORED,
        "protocol": "domainbed",
    },
    "batch statistics that are there": {
        "arms": [{"algorithm": STATISTICS}],
        "dataset": COLORED,
        "training": {"network": "resnet18", "freeze_batch_norm": False},
    },
    "batch statistics of a network that nobody knows here": {
        "arms": [{"algorithm": STATISTICS}],
        "training": {"network": "builtins:len", "freeze_batch_norm": False},
    },
    "a ResNet with ARM, which adds a channel": {
        "arms": [{"algorithm": "ARM"}],
        "dataset": COLORED,
        "training": {"network": "resnet18"},
    },
    "a switch by default, as a factor and among choices": {
        "arms": [{"algorithm": "CORAL", "vary": {"paper_form": [True, False]}}, {"algorithm": "MTL"}],
        "defaults": {"paper_form": True},
        "search_space": {"paper_form": {"choice": [True, False]}},
    },
    "domains of ARM and MTL in a loop": {
        "arms": [{"algorithm": "ARM", "annealing": {"domain_gradients": "loop"}}, {**GGA, "algorithm": "MTL"}],
        "defaults": {"batch_size": 8},
    },
}


@pytest.mark.usefixtures("algorithms_of_somebody")
@pytest.mark.parametrize("case", GOOD)
def test_valid_combinations_of_algorithms_have_no_fault(case: str) -> None:
    load(content() | GOOD[case])


def test_faults_of_all_algorithms_are_reported_at_once() -> None:
    arms = [MLDG, {**GGA_L, "algorithm": "Fish"}, {"algorithm": "CORAL"}, {**GGA, "algorithm": "ARM"}]
    defaults = {"batch_size": 1, "paper_form": 3, "annealing.domain_gradients": "layerwise", "mldg_n_meta_test": 9}
    faults = faults_of(content(arms=arms, defaults=defaults, training={"steps": 500}))
    assert [fault.partition(", got")[0] for fault in faults] == [
        "defaults.mldg_n_meta_test: must be below the number of training domains, 5 where '0' is held out",
        "arms[1].annealing.method: Fish takes no step along one gradient, to which noise could be added",
        "defaults.paper_form: must be true or false",
        "defaults.batch_size: CORAL needs 2 images or more a domain",
        "defaults.annealing.domain_gradients: in one forward ARM lets a domain see the others",
    ]


def test_all_faults_of_a_file_are_reported_at_once_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        """
        name: a/b
        dataset: {name: RotatedDigits}
        arms:
          - {algorithm: ERM, annealing: {radius: -1, windw: 3}}
          - {algorithm: ERM, vary: {lr: [0, [1]]}}
        test_domains: [0, 80]
        trial_seeds: [-1, one]
        draws: 0
        defaults: {momentum: 0.9, lr: 0.1}
        search_space: {lr: {loguniform: [1e-4, 1e-2]}, dropout: {uniform: [1, 0]}}
        training: {steps: 50, network: resnet50, epochs: 3}
        """
    )
    with pytest.raises(InputError) as caught:
        load(file)
    text = str(caught.value).splitlines()
    assert text[0] == f"{file}: {len(text) - 1} faults"
    fields = [fault.field for fault in caught.value.faults]
    assert fields == [
        "default annealing.num_steps",
        "name",
        "arms[0].annealing.windw",
        "arms[0].annealing.radius",
        "arms[1].vary.lr[1]",
        "test_domains[1]",
        "trial_seeds[0]",
        "trial_seeds[1]",
        "draws",
        "defaults.momentum",
        "defaults.lr",
        "search_space.dropout",
        "training.epochs",
        "training.network",
    ]


def test_unknown_names_of_three_kinds_are_reported_at_once() -> None:
    faults = faults_of(
        content(protocol="quik", dataset={"name": "PACSS"}, arms=[{"algorithm": "EMR"}], trial_seeds=[-1])
    )
    fields = [fault.partition(":")[0] for fault in faults]
    assert fields == ["trial_seeds[0]", "arms[0].algorithm", "protocol", "dataset.name"]


@pytest.mark.parametrize("missing", ["name", "dataset", "arms"])
def test_a_field_that_is_missing_must_be_given(missing: str) -> None:
    whole = content()
    del whole[missing]
    assert faults_of(whole) == [f"{missing}: must be given"]


def test_every_field_that_is_missing_is_named() -> None:
    assert faults_of({}) == ["name: must be given", "dataset: must be given", "arms: must be given"]
    assert faults_of({"dataset": {}, "arms": [{}], "draws": 0}) == [
        "name: must be given",
        "dataset.name: must be given",
        "draws: must be greater than or equal to 1, got 0",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", "name: a key may stand once, but stands again in line 2"),
        ("name: a\ndefaults:\n  lr: 1\n  lr: 2\n", "lr: a key may stand once, but stands again in line 4"),
        ("arms:\n- {vary: {lr: [1], lr: [2]}}\n", "lr: a key may stand once, but stands again in line 2"),
        ("? [a]\n: b\n", "a key must be text, not a list or block as in line 1, got ['a']"),
        ("[1, 2]", "must hold fields such as name and arms, got [1, 2]"),
        ("", "must hold fields such as name and arms"),
    ],
)
def test_files_with_duplicate_keys_or_without_fields_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: 1 fault\n  {message}"


@pytest.mark.parametrize("content_", [b"name: [", b"name: \xff\xfe", b"a: !!python/object:os.system {}", b"\x00"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content_: bytes) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content_)
    rule = r"(line \d: )?must be (a readable YAML file|text in UTF-8)"
    with pytest.raises(InputError, match=rf"{file}: 1 fault\n  {rule}"):
        load(file)


def test_a_file_that_is_not_there_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(
        InputError, match=r"must be a file or a shipped name, got 'dmeo'; did you mean 'demo'\? \(allowed: "
    ):
        load("dmeo")


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("draws", "must read key=value"),
        ("=3", "must read key=value"),
        ("arms[3].draws=2", "list index out of range"),
        ("arms.draws=2", "'draws' is no index of a list"),
        ("name.first=a", "'str' object does not support item assignment"),
        ("draws=[1", "while parsing a flow sequence"),
        ("defaults={lr: 1, lr: 2}", "a key may stand once"),
    ],
)
def test_an_assignment_that_cannot_be_applied_is_named(assignment: str, reason: str) -> None:
    [fault] = faults_of(content(), overrides=("training.steps=200", assignment))
    assert fault.startswith("--set: cannot be applied: ")
    assert reason in fault
    assert fault.endswith(f"got {assignment!r}")


def test_all_assignments_that_cannot_be_applied_are_named_at_once() -> None:
    faults = faults_of(content(), overrides=("draws", "seed", "training.steps=3", "arms.x=1"))
    assert [fault.rpartition("got ")[2] for fault in faults] == ["'draws'", "'seed'", "'arms.x=1'"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("draws=0", "draws: must be greater than or equal to 1, got 0"),
        ("defaults.lr=-1", "defaults.lr: must lie in (0, 100], got -1"),
        ("arms[0].algorithm=EMR", "arms[0].algorithm: unknown algorithm, got 'EMR'"),
    ],
)
def test_an_assigned_value_is_checked_like_a_written_one(assignment: str, message: str) -> None:
    assert faults_of(content(), overrides=(assignment,)) == [message]


def test_domains_whose_classes_differ_are_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "photo" / "dog").rename(tree / "photo" / "dogs")
    faults = faults_of(on_tree(tree))
    assert [fault.partition(", got")[0] for fault in faults] == [
        "dataset.root: a class folder must lie in every domain; move away those that lie in few, or add them to the "
        "others",
        "dataset.root: domain 'photo' must have the class folders of the other domains, lacks ['dog']",
    ]


@pytest.mark.parametrize("written", ["caf\u00e9", "cafe\u0301"])
def test_a_test_domain_is_found_whichever_unicode_form_its_name_has(tmp_path: Path, written: str) -> None:
    tree = write_tree(tmp_path / "tree", domains=("cafe\u0301", "photo", "sketch"))
    assert load(on_tree(tree, test_domains=[written])).test_domains == (("cafe\u0301",),)


def test_domains_with_names_that_look_like_numbers_are_held_out_as_written(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", domains=("38", "43", "46", "046"))
    file = tmp_path / "sweep.yaml"
    file.write_text(write_yaml(on_tree(tmp_path / "tree")) + "test_domains: [046, 46]\n")
    assert load(file).test_domains == (("046",), ("46",))


def add_small_domain(tree: Path, per_class: int) -> None:
    write_tree(tree.with_name("small"), domains=["toy"], per_class=per_class)
    (tree.with_name("small") / "toy").rename(tree / "toy")


def test_a_domain_smaller_than_its_batch_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    add_small_domain(tree, per_class=4)
    load(on_tree(tree, defaults={"batch_size": 7}))
    assert faults_of(on_tree(tree, defaults={"batch_size": 8})) == [
        "defaults.batch_size: must not exceed the training split of the smallest domain, 'toy' (7 images), got 8"
    ]


def test_a_domain_without_an_image_to_validate_on_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    add_small_domain(tree, per_class=2)
    assert faults_of(on_tree(tree)) == [
        "training.holdout: must leave an image in each split of domain 'toy' (4 images), got 0.2"
    ]


def test_images_that_do_not_open_are_all_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    broken = ["art/cat/0.png", "sketch/dog/4.png"]
    for path in broken:
        (tree / path).write_text("no picture")
    sweep = load(on_tree(tree), storage=tmp_path / "storage")
    require_writable(sweep.storage)
    with pytest.raises(InputError) as caught:
        decode_images(sweep)
    assert [str(fault) for fault in caught.value.faults] == [
        f"dataset.root: image must open (not of the formats {', '.join(FORMATS)}), got '{path}'" for path in broken
    ]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_storage_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    file = tmp_path / "storage"
    file.write_text("a file where a folder should be")
    with pytest.raises(InputError, match=rf"--storage: must be a folder that can be written.*got '{file / below}'"):
        require_writable(file / below)


def test_contents_of_a_benchmark_without_images_cannot_be_read() -> None:
    for dataset in ({"name": "PACS"}, {"name": "PACS", "root": "/nowhere"}):
        sweep = load(content(dataset=dataset))
        assert not sweep.dataset.available
        with pytest.raises(
            InputError, match=r"dataset\.root: must be the folder that holds domain/class/image"
        ) as caught:
            read_contents(sweep)
        assert [fault.got for fault in caught.value.faults] == [dataset.get("root")]


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"arm": "EMR"}, ["arm: must be one of the sweep's, got 'EMR'"]),
        ({"test_domain": "15"}, ["test_domain: must be one of the sweep's, got '15'"]),
        ({"trial_seed": -1}, ["trial_seed: must be a whole number from 0 on, got -1"]),
        ({"momentum": 0.9}, ["momentum: no arm has this hyperparameter"]),
        ({"lr": -1.0}, ["search_space.lr: must lie in (0, 100], got -1.0"]),
        (
            {"batch_size": 9999},
            [
                "search_space.batch_size: must not exceed the training split of the smallest domain, "
                "'45' (240 images), got 9999"
            ],
        ),
        (
            {"arm": "ERM + GGA", "annealing.radius": -1.0, "annealing.mask": "none"},
            [
                "search_space.annealing.radius: must be a finite number of at least 0, got -1.0",
                "search_space.annealing.mask: must be one of the choices, got 'none'",
            ],
        ),
        (
            {"arm": "ERM + GGA", "annealing.num_steps": 300},
            ["search_space.annealing.num_steps: the window 0..299 must end by the last step, 9, got 300"],
        ),
        (
            {"arm": "ERM + GGA", "annealing.direction": "gradient", "annealing.origin": "current"},
            ["search_space.annealing.origin: must be start where direction is gradient, got 'current'"],
        ),
        (
            {"arm": "ERM + GGA-L", "annealing.gamma": -1.0, "annealing.radius": -1.0},  # it has no radius
            ["search_space.annealing.gamma: must be a finite number of at least 0, got -1.0"],
        ),
        (
            {"arm": "EMR", "test_domain": None, "trial_seed": "one"},
            [
                "arm: must be one of the sweep's, got 'EMR'",
                "test_domain: must be one of the sweep's",
                "trial_seed: must be a whole number from 0 on, got 'one'",
            ],
        ),
    ],
)
def test_invalid_configurations_of_a_searcher_are_refused(changes: dict[str, Any], messages: list[str]) -> None:
    window = {"annealing.start_step": 0, "annealing.num_steps": 1}
    arms = [{}, GGA, GGA_L]
    sweep = load(content(arms=arms, test_domains=[0, 75], defaults=window, training={"steps": 10}))
    with pytest.raises(InputError) as caught:
        searched_run(sweep, CONTENTS, {"arm": "ERM", "test_domain": "0", "trial_seed": 0, **changes})
    assert [shown(fault) for fault in caught.value.faults] == messages


def test_a_searchers_meta_split_of_all_training_domains_is_refused() -> None:
    sweep = load(content(arms=[MLDG], dataset=COLORED, defaults={"mldg_n_meta_test": 1}))
    trial = {"arm": "MLDG", "test_domain": "90", "trial_seed": 0}
    assert (
        searched_run(sweep, CONTENTS, {**trial, "mldg_n_meta_test": 1}).config.hyperparameters["mldg_n_meta_test"] == 1
    )
    with pytest.raises(InputError, match=r"mldg_n_meta_test: must be below the number of training domains, 2"):
        searched_run(sweep, CONTENTS, {**trial, "mldg_n_meta_test": 2})


def test_all_faults_of_an_annealing_block_are_reported_at_once() -> None:
    block = {
        "method": "gga-l",
        "variant": "guided",
        "gamma": -1,
        "noise": "laplace",
        "num_steps": 5,
        "alpha": "constant",
    }
    faults = faults_of(content(arms=[{"annealing": block}], draws=0))
    assert [fault.partition(":")[0] for fault in faults] == [
        "draws",
        "arms[0].annealing.variant",
        "arms[0].annealing.num_steps",
        "arms[0].annealing.gamma",
        "arms[0].annealing.noise",
    ]


def test_gga_l_has_no_window_to_check() -> None:
    load(content(arms=[GGA_L], protocol="gga-paper", training={"steps": 10}))
    with pytest.raises(InputError, match=r"annealing\.num_steps: the window 100\.\.200 must end by the last step, 9"):
        load(content(arms=[GGA], protocol="gga-paper", training={"steps": 10}))
