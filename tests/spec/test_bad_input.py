"""Bad input: one clear message each, with field and value, and all faults of a file at once."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, GGA_L, content, on_tree, write_tree

from gga_sweep.errors import InputError
from gga_sweep.execution.prepare import decode_images, require_writable
from gga_sweep.spec import load, read_contents, searched_run

DIGITS = "RotatedDigits"
VALIDATION = "training-domain-validation"
LEAVE_ONE_OUT = "leave-one-domain-out"


def faults_of(source: Any, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(source, overrides=overrides)
    return [str(fault) for fault in caught.value.faults]


ARM_FIELDS = "name, algorithm, annealing, vary, draws, baseline"
ONE_OF = "exactly one of uniform, loguniform, integers, logintegers, choice must be given"

FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": (
        {"trial_sedes": [0]},
        "trial_sedes: unknown field, got [0] (allowed: name, dataset, protocol, arms, test_domains, trial_seeds, "
        "draws, search, adaptive, early_stopping, defaults, search_space, chosen, selection, select_from, training, "
        "resources)",
    ),
    "unknown field of an arm": (
        {"arms": [{}, {"algorthm": "ERM", "name": "b"}]},
        f"arms[1].algorthm: unknown field, got 'ERM' (allowed: {ARM_FIELDS})",
    ),
    "a key that is no text": ({7: 1}, "[7]: keys should be strings, got 7"),
    "wrong type": (
        {"training": {"steps": "many"}},
        "training.steps: must be an integer, got 'many'",
    ),
    "block instead of list": ({"arms": {}}, "arms: must be a list, got {}"),
    "text instead of block": ({"dataset": DIGITS}, f"dataset: must be a block of fields, got '{DIGITS}'"),
    "list instead of a value": (
        {"defaults": {"lr": [1e-3]}},
        "defaults.lr: must be a number, text, true or false, got [0.001]",
    ),
    "NaN": ({"defaults": {"lr": float("nan")}}, "defaults.lr: must be a finite number, got nan"),
    "an unknown method of averaging": (
        {"training": {"averaging": "swa"}},
        "training.averaging: must be 'swad', got 'swa'",
    ),
    "an unknown method of averaging, in a block": (
        {"training": {"averaging": {"method": "swa"}}},
        "training.averaging.method: must be 'swad', got 'swa'",
    ),
    "averaging without a method": (
        {"training": {"averaging": {"n_converge": 2}}},
        "training.averaging.method: must be given",
    ),
    "an unknown field of averaging": (
        {"training": {"averaging": {"method": "swad", "n_end": 2}}},
        "training.averaging.n_end: unknown field, got 2 (allowed: method, n_converge, n_tolerance, tolerance_ratio)",
    ),
    "averaging that converges at once": (
        {"training": {"averaging": {"method": "swad", "n_converge": 0}}},
        "training.averaging.n_converge: must be greater than or equal to 1, got 0",
    ),
    "averaging that tolerates nothing": (
        {"training": {"averaging": {"method": "swad", "n_tolerance": 0}}},
        "training.averaging.n_tolerance: must be greater than or equal to 1, got 0",
    ),
    "a threshold below the losses": (
        {"training": {"averaging": {"method": "swad", "tolerance_ratio": -0.1}}},
        "training.averaging.tolerance_ratio: must be greater than or equal to 0, got -0.1",
    ),
    "negative radius": (
        {"arms": [{"annealing": {"radius": -1e-5}}], "training": {"steps": 500}},
        "arms[0].annealing.radius: must be a finite number of at least 0, got -1e-05",
    ),
    "negative radius among the defaults": (
        {"arms": [GGA], "defaults": {"annealing.radius": -1e-5}},
        "defaults.annealing.radius: must be a finite number of at least 0, got -1e-05",
    ),
    "negative radius as a factor": (
        {"arms": [{**GGA, "vary": {"annealing.radius": [1e-5, -1e-4]}}]},
        "arms[0].vary.annealing.radius: must be a finite number of at least 0, got -0.0001",
    ),
    "unknown variant": (
        {"arms": [{"annealing": {"variant": "papr"}}]},
        "arms[0].annealing.variant: must be 'paper', 'released' or 'guided', got 'papr'",
    ),
    "unknown method": (
        {"arms": [{"annealing": {"method": "gga-x"}}]},
        "arms[0].annealing.method: must be 'gga' or 'gga-l', got 'gga-x'",
    ),
    "negative gamma": (
        {"arms": [{"annealing": {"method": "gga-l", "gamma": -1e-3}}]},
        "arms[0].annealing.gamma: must be a finite number of at least 0, got -0.001",
    ),
    "negative gamma as a factor": (
        {"arms": [{**GGA_L, "vary": {"annealing.gamma": [1e-3, -1e-3]}}]},
        "arms[0].vary.annealing.gamma: must be a finite number of at least 0, got -0.001",
    ),
    "no arm": ({"arms": []}, "arms: must not be empty, got []"),
    "zero draws": ({"draws": 0}, "draws: must be greater than or equal to 1, got 0"),
    "zero draws of an arm": (
        {"arms": [{"draws": 0}]},
        "arms[0].draws: must be greater than or equal to 1, got 0",
    ),
    "no trial seed": ({"trial_seeds": []}, "trial_seeds: must not be empty, got []"),
    "negative trial seed": ({"trial_seeds": [0, -1]}, "trial_seeds[1]: must be greater than or equal to 0, got -1"),
    "a trial seed twice": ({"trial_seeds": [0, 1, 0]}, "trial_seeds: each may stand once, got 0"),
    "a name with a slash": (
        {"name": "demo/one"},
        "name: must begin with a letter or digit and hold only letters, digits and . _ -, got 'demo/one'",
    ),
    "an arm's name with a slash": (
        {"arms": [{}, {"name": "a/b"}]},  # without it there are two arms named ERM, which is no fault of its own
        "arms[1].name: must begin with a letter or digit and hold only letters, digits and . _ -, got 'a/b'",
    ),
    "no test domain": (
        {"test_domains": []},
        "test_domains: must be 'all', or a list of domains or of lists of domains, got []",
    ),
    "a test domain that is no name": (
        {"test_domains": [0.5]},
        "test_domains[0]: must be 'all', or a list of domains or of lists of domains, got 0.5",
    ),
    "two GPUs": ({"resources": {"gpus": 2}}, "resources.gpus: must be a number from 0 to 1, or auto, got 2"),
    "a word for GPUs": (
        {"resources": {"gpus": "all"}},
        "resources.gpus: must be a number from 0 to 1, or auto, got 'all'",
    ),
    "no distribution": ({"search_space": {"lr": {}}}, f"search_space.lr: {ONE_OF}, got none, got {{}}"),
    "half a range": ({"search_space": {"lr": {"uniform": [1e-3]}}}, "search_space.lr.uniform[1]: must be given"),
    "a range the wrong way round": (
        {"search_space": {"lr": {"uniform": [2, 1]}}},
        "search_space.lr: low <= high must hold, got low=2.0, high=1.0, got {'uniform': [2, 1]}",
    ),
    "a grid over half a range": (  # without it the grid has nothing to search, which is no fault of its own
        {"search": "grid", "search_space": {"lr": {"uniform": [1e-3]}}},
        "search_space.lr.uniform[1]: must be given",
    ),
    "no choice": ({"search_space": {"lr": {"choice": []}}}, "search_space.lr.choice: must not be empty, got []"),
}

ALGORITHMS_KNOWN = (
    "ERM, Mixup, MixStyle, GroupDRO, MMD, CORAL, ANDMask, ARM, IRM, MTL, VREx, MLDG, SagNet, RSC, Fish, SAM, GSAM, "
    "SAGM, PCGrad, AgrSum, Fishr, module:Class"
)
LR = "lr, batch_size, weight_decay, dropout"
OF_GGA = (
    "method, variant, start_step, num_steps, radius, num_candidates, loss_tolerance, objective, direction, origin, "
    "perturbs, mask, joint_loss, loss_reference, domain_gradients, cuda_graph"
)
OF_GGA_L = "method, gamma, noise, alpha, domain_gradients"
AT_START = "must be start where direction is gradient, got 'current' (allowed: start)"
UNFROZEN = {"network": "resnet18", "freeze_batch_norm": False}
COUPLED = "batch norm that is not frozen couples the domains of resnet18, got 'layerwise' (allowed: loop)"
COLORED = {"name": "ColoredDigits"}

ACROSS: dict[str, tuple[dict[str, Any], str]] = {
    "too few evaluations to find a valley in": (
        {"training": {"steps": 100, "evaluate_every": 99, "averaging": "swad"}},
        "training.averaging.n_converge: must be at most the number of a run's evaluations, 2 (steps 100, "
        "evaluate_every 99), got 3",
    ),
    "an arm called as another's averaged weights": (
        {"arms": [{}, {"name": "ERM + SWAD"}], "training": {"averaging": "swad"}},
        "arms[1].name: must not be what the averaged weights of another arm are called, got 'ERM + SWAD'",
    ),
    "window past the last step": (
        {"arms": [{"annealing": {"start_step": 90, "num_steps": 20}}], "training": {"steps": 100}},
        "arms[0].annealing.num_steps: the window 90..109 must end by the last step, 99, got 20",
    ),
    "window of the defaults past the last step": (
        {"arms": [GGA], "defaults": {"annealing.start_step": 299, "annealing.num_steps": 2}},
        "defaults.annealing.num_steps: the window 299..300 must end by the last step, 299, got 2",
    ),
    "searched window past the last step": (
        {
            "arms": [{"annealing": {"num_steps": 10}}],
            "search_space": {"annealing.start_step": {"choice": [100, 291]}},
        },
        "arms[0].annealing.num_steps: the window 291..300 must end by the last step, 299, got 10",
    ),
    "no training domain left": (
        {"test_domains": [[0, 15, 30, 45, 60, 75]]},
        "test_domains[0]: must leave a training domain, got ['0', '15', '30', '45', '60', '75']",
    ),
    "one training domain for an annealed arm": (
        {"arms": [{}, GGA], "test_domains": [0, [0, 15, 30, 45, 60]]},
        "test_domains[1]: must leave 2 training domains or more for the arm 'ERM + GGA', "
        "got ['0', '15', '30', '45', '60']",
    ),
    "unknown domain": (
        {"test_domains": [0, 80]},
        "test_domains[1]: must be a domain of RotatedDigits, got '80' (allowed: 0, 15, 30, 45, 60, 75)",
    ),
    "a domain held out twice": (
        {"test_domains": [[0, 0]]},
        "test_domains[0]: a domain may be held out once, got ['0', '0']",
    ),
    "test domains twice": ({"test_domains": [[0, 75], [75, 0]]}, "test_domains: each may stand once, got ('0', '75')"),
    "unknown dataset": (
        {"dataset": {"name": "PACSS"}},
        "dataset.name: must be a known dataset, got 'PACSS' (allowed: RotatedDigits, ColoredDigits, ImageFolder, VLCS, "
        "PACS, OfficeHome, TerraIncognita, DomainNet, module:attribute)",
    ),
    "a dataset that cannot be imported": (
        {"dataset": {"name": "nobodys_package:images"}},
        "dataset.name: must name an attribute of an installed module (No module named 'nobodys_package'), "
        "got 'nobodys_package:images'",
    ),
    "a root where none belongs": (
        {"dataset": {"name": DIGITS, "root": "/there"}},
        "dataset.root: RotatedDigits is embedded and has none, got '/there'",
    ),
    "a tree without root": (
        {"dataset": {"name": "ImageFolder"}},
        "dataset.root: ImageFolder needs the folder that holds domain/class/image",
    ),
    "missing root": (
        {"dataset": {"name": "ImageFolder", "root": "/nowhere/at/all"}},
        "dataset.root: must be a folder that holds domain/class/image, got '/nowhere/at/all'",
    ),
    "unknown protocol": (
        {"protocol": "quik"},
        "protocol: must be a known protocol, got 'quik' (allowed: quick, shared-hp, gga-paper, domainbed, "
        "domainbed-head)",
    ),
    "unknown algorithm": (
        {"arms": [{}, {"algorithm": "EMR"}]},
        f"arms[1].algorithm: unknown algorithm, got 'EMR' (allowed: {ALGORITHMS_KNOWN})",
    ),
    "unknown network": (
        {"training": {"network": "vgg"}},
        "training.network: unknown network, got 'vgg' (allowed: small-cnn, resnet18, resnet50, module:attribute)",
    ),
    "resnet on one channel": (
        {"training": {"network": "resnet18"}},
        "training.network: resnet18 needs images of 3 channels, got 1",
    ),
    "augmentation on one channel": (
        {"training": {"augmentation": "domainbed"}},
        "training.augmentation: needs images of 3 channels, RotatedDigits has 1, got 'domainbed' (allowed: none)",
    ),
    "missing weights": (
        {"training": {"weights": "nowhere/weights.pt"}},
        "training.weights: the weights file must exist, got 'nowhere/weights.pt'",
    ),
    "a batch larger than a domain": (
        {"defaults": {"batch_size": 241}},
        "defaults.batch_size: must not exceed the training split of the smallest domain, '45' (240 images), got 241",
    ),
    "a searched batch larger than a domain": (
        {"search_space": {"batch_size": {"integers": [8, 241]}}},
        "search_space.batch_size: must not exceed the training split of the smallest domain, '45' (240 images), "
        "got 241",
    ),
    "a validation split of everything but one": (
        {"training": {"holdout": 0.9999}},
        "default batch_size: must not exceed the training split of the smallest domain, '45' (1 images), got 32",
    ),
    "learning rate 0": ({"defaults": {"lr": 0}}, "defaults.lr: must lie in (0, 100], got 0"),
    "learning rate as text": ({"defaults": {"lr": "1e-3"}}, "defaults.lr: must be a number, got '1e-3'"),
    "a search space naming what no arm has": (
        {"search_space": {"annealing.radius": {"uniform": [0, 1]}}},
        f"search_space.annealing.radius: no arm has this hyperparameter (allowed: {LR})",
    ),
    "a default that no arm has": (
        {"defaults": {"momentum": 0.9}},
        f"defaults.momentum: no arm has this hyperparameter (allowed: {LR})",
    ),
    "a factor that the arm lacks": (
        {"arms": [{"vary": {"annealing.radius": [1e-5]}}]},
        f"arms[0].vary.annealing.radius: the arm has no such hyperparameter (allowed: {LR})",
    ),
    "a default outside its own range": (
        {"defaults": {"lr": 0.1}, "search_space": {"lr": {"loguniform": [1e-4, 1e-2]}}},
        "defaults.lr: must lie in its own search_space range loguniform [0.0001, 0.01], got 0.1",
    ),
    "a default that is no choice": (
        {"defaults": {"batch_size": 12}, "search_space": {"batch_size": {"choice": [8, 16]}}},
        "defaults.batch_size: must lie in its own search_space range choice [8, 16], got 12",
    ),
    "a range beyond what makes sense": (
        {"search_space": {"dropout": {"uniform": [0, 1]}}},
        "search_space.dropout: must lie in [0, 1), got 1.0",
    ),
    "a range of fractions for whole numbers": (
        {"search_space": {"batch_size": {"uniform": [8, 32]}}},
        "search_space.batch_size: must be searched among whole numbers, got 'uniform' "
        "(allowed: integers, logintegers, choice)",
    ),
    "a range of fractions for candidates": (
        {"arms": [GGA], "search_space": {"annealing.num_candidates": {"loguniform": [8, 32]}}},
        "search_space.annealing.num_candidates: must be searched among whole numbers, got 'loguniform' "
        "(allowed: integers, logintegers, choice)",
    ),
    "an objective that is none": (
        {"arms": [GGA], "search_space": {"annealing.objective": {"choice": ["alignment", "luck"]}}},
        "search_space.annealing.objective: must be one of the choices, got 'luck' "
        "(allowed: alignment, none, anti, loss)",
    ),
    "a factor given twice": (
        {"arms": [{"annealing": {"radius": 1e-3}, "vary": {"annealing.radius": [1e-4]}}]},
        "arms[0].vary.annealing.radius: stands in the annealing block too; give it once",
    ),
    "a field of gga under gga-l": (
        {"arms": [{"annealing": {"method": "gga-l", "radius": 1e-5}}]},
        f"arms[0].annealing.radius: no field of the method gga-l, got 1e-05 (allowed: {OF_GGA_L})",
    ),
    "a variant of gga-l": (
        {"arms": [{"annealing": {"method": "gga-l", "variant": "paper"}}]},
        f"arms[0].annealing.variant: no field of the method gga-l, got 'paper' (allowed: {OF_GGA_L})",
    ),
    "a field of gga-l under gga": (
        {"arms": [{"annealing": {"gamma": 1e-3}}]},
        f"arms[0].annealing.gamma: no field of the method gga, got 0.001 (allowed: {OF_GGA})",
    ),
    "a factor of the other method": (
        {"arms": [{**GGA_L, "vary": {"annealing.radius": [1e-5]}}]},
        "arms[0].vary.annealing.radius: the arm has no such hyperparameter (allowed: "
        f"{LR}, annealing.gamma, annealing.noise, annealing.alpha, annealing.domain_gradients)",
    ),
    "a default of the other method": (
        {"arms": [GGA_L], "defaults": {"annealing.num_steps": 5}},
        "defaults.annealing.num_steps: no arm has this hyperparameter (allowed: "
        f"{LR}, annealing.gamma, annealing.noise, annealing.alpha, annealing.domain_gradients)",
    ),
    "a noise that is none": (
        {"arms": [GGA_L], "search_space": {"annealing.noise": {"choice": ["uniform", "laplace"]}}},
        "search_space.annealing.noise: must be one of the choices, got 'laplace' "
        "(allowed: gaussian, uniform, uniform-centred)",
    ),
    "one training domain for an arm of gga-l": (
        {"arms": [GGA_L], "test_domains": [[0, 15, 30, 45, 60]]},
        "test_domains[0]: must leave 2 training domains or more for the arm 'ERM + GGA-L', "
        "got ['0', '15', '30', '45', '60']",
    ),
    "a walk along the gradient": (
        {"arms": [{"annealing": {"direction": "gradient", "origin": "current"}}]},
        f"arms[0].annealing.origin: {AT_START}",
    ),
    "the released variant along the gradient": (
        {"arms": [{"annealing": {"variant": "released", "direction": "gradient"}}]},
        f"variant, annealing.origin: {AT_START}",
    ),
    "a guided variant from elsewhere": (
        {"arms": [{"annealing": {"variant": "guided"}}], "defaults": {"annealing.origin": "current"}},
        f"defaults.annealing.origin: {AT_START}",
    ),
    "a draw that may walk along the gradient": (
        {
            "arms": [GGA],
            "search_space": {
                "annealing.direction": {"choice": ["random", "gradient"]},
                "annealing.origin": {"choice": ["start", "current"]},
            },
        },
        f"search_space.annealing.origin: {AT_START}",
    ),
    "domains of one batch split where batch norm couples them": (
        {"arms": [{"annealing": {"domain_gradients": "layerwise"}}], "dataset": COLORED, "training": UNFROZEN},
        f"arms[0].annealing.domain_gradients: {COUPLED}",
    ),
    "domains of one batch split by gga-l where batch norm couples them": (
        {
            "arms": [GGA_L],
            "defaults": {"annealing.domain_gradients": "layerwise"},
            "dataset": COLORED,
            "training": UNFROZEN,
        },
        f"defaults.annealing.domain_gradients: {COUPLED}",
    ),
    "a draw that may split the domains of one batch where batch norm couples them": (
        {
            "arms": [GGA],
            "search_space": {"annealing.domain_gradients": {"choice": ["loop", "layerwise"]}},
            "dataset": COLORED,
            "training": UNFROZEN,
        },
        f"search_space.annealing.domain_gradients: {COUPLED}",
    ),
    "a CUDA graph without a GPU": (
        {"arms": [{"annealing": {"cuda_graph": True}}]},
        "arms[0].annealing.cuda_graph: needs a GPU (resources.gpus above 0), got True",
    ),
    "a CUDA graph where every forward has its own mask": (
        {"arms": [{"annealing": {"cuda_graph": True, "mask": "forward"}}], "resources": {"gpus": 1}},
        "arms[0].annealing.mask: must be step where cuda_graph is true, got 'forward' (allowed: step)",
    ),
    "a factor value twice": (
        {"arms": [{"vary": {"lr": [1e-3, 1e-3]}}]},
        "arms: two arms may not have one name (give one a `name:`), got 'ERM, lr 1e-3'",
    ),
    "an arm twice": ({"arms": [{}, {}]}, "arms: two arms may not have one name (give one a `name:`), got 'ERM'"),
    "unknown baseline": (
        {"arms": [{}, {"name": "other", "baseline": "EMR"}]},
        "arms[1].baseline: must name an arm, got 'EMR' (allowed: ERM, other)",
    ),
    "a grid with a range": (
        {"search": "grid", "search_space": {"lr": {"uniform": [1e-3, 1e-2]}}},
        "search_space.lr: must be a choice in a grid, got 'uniform' (allowed: choice)",
    ),
    "a grid with draws": (
        {"search": "grid", "draws": 3, "search_space": {"lr": {"choice": [1e-3]}}},
        "draws: a grid's points are its draws; leave it out, got 3",
    ),
    "a grid over nothing": ({"search": "grid"}, "search_space: a grid needs something to search"),
    "a method twice": (
        {"selection": [VALIDATION, VALIDATION]},
        "selection: each may stand once, got 'training-domain-validation'",
    ),
    "the oracle as headline": (
        {"selection": ["oracle", VALIDATION]},
        "selection: must not come first: what MLflow and chosen.yaml call selected may not look at a test domain, got "
        "'oracle'",
    ),
    "leave-one-domain-out on pairs": (
        {"selection": [LEAVE_ONE_OUT], "test_domains": [[0, 15]]},
        "selection: leave-one-domain-out needs test domains that stand alone, got '0+15' (allowed: "
        "training-domain-validation, oracle)",
    ),
    "leave-one-domain-out annealed on three domains": (
        {"selection": [LEAVE_ONE_OUT], "arms": [{}, GGA], "dataset": COLORED},
        "selection: trains on 1 of 3 domains, too few for the arm 'ERM + GGA', got 'leave-one-domain-out'",
    ),
    "steps after a window that no arm has": (
        {"select_from": "after-window"},
        "select_from: no arm has an annealing window, got 'after-window' (allowed: any)",
    ),
    "steps after a window that ends with the training": (
        {"select_from": "after-window", "arms": [GGA], "defaults": {"annealing.start_step": 199}},
        "default annealing.num_steps: select_from after-window needs a step after the window 199..299, got 101",
    ),
}

MLDG, ONE_LEFT = {"algorithm": "MLDG"}, [[0, 15, 30, 45, 60]]
META_TEST = "must be below the number of training domains, 2 where '{}' is held out"
COUPLED_BY = "in one forward {} lets a domain see the others, got 'layerwise' (allowed: loop)"
NO_GRADIENT = "{} takes no step along one gradient, to which noise could be added, got 'gga-l' (allowed: gga)"
STATISTICS = "somebodys_algorithms:NeedsStatistics"

OF_ALGORITHMS: dict[str, tuple[dict[str, Any], str]] = {
    "one training domain for algorithms that compare domains": (
        {"arms": [{}, {"algorithm": "CORAL"}, {"algorithm": "SAM"}, MLDG], "test_domains": ONE_LEFT},
        "test_domains[0]: must leave 2 training domains or more for the arms 'CORAL', 'MLDG', "
        "got ['0', '15', '30', '45', '60']",
    ),
    "one training domain for two reasons": (
        {"arms": [GGA, {"algorithm": "VREx"}], "test_domains": ONE_LEFT},
        "test_domains[0]: must leave 2 training domains or more for the arms 'ERM + GGA', 'VREx', "
        "got ['0', '15', '30', '45', '60']",
    ),
    "three training domains for an algorithm that needs more": (
        {"arms": [{"name": "four", "algorithm": "somebodys_algorithms:NeedsFour"}], "test_domains": [[0, 15, 30]]},
        "test_domains[0]: must leave 4 training domains or more for the arm 'four', got ['0', '15', '30']",
    ),
    "leave-one-domain-out with two domains compared": (
        {"selection": [LEAVE_ONE_OUT], "arms": [{}, {"algorithm": "Mixup"}], "dataset": COLORED},
        "selection: trains on 1 of 3 domains, too few for the arm 'Mixup', got 'leave-one-domain-out'",
    ),
    "a default meta split of all training domains": (
        {"arms": [MLDG], "dataset": COLORED},
        f"default mldg_n_meta_test: {META_TEST.format('90')} (set defaults.mldg_n_meta_test), got 2 (allowed: 1)",
    ),
    "a meta split of all training domains": (
        {"arms": [MLDG], "defaults": {"mldg_n_meta_test": 4}, "test_domains": [0, [15, 30, 45, 60]]},
        f"defaults.mldg_n_meta_test: {META_TEST.format('15+30+45+60')}, got 4 (allowed: 1)",
    ),
    "a meta split of more domains than a validating run has": (
        {"arms": [{**MLDG, "vary": {"mldg_n_meta_test": [3, 4]}}], "selection": [LEAVE_ONE_OUT]},
        "arms[0].vary.mldg_n_meta_test: must be below the number of training domains, 4 where '0+15' is held out, "
        "got 4 (allowed: 1, 2, 3)",
    ),
    "a searched meta split of all training domains": (
        {
            "arms": [MLDG],
            "defaults": {"mldg_n_meta_test": 1},
            "search_space": {"mldg_n_meta_test": {"choice": [2, 1]}},
            "dataset": COLORED,
        },
        f"search_space.mldg_n_meta_test: {META_TEST.format('90')}, got 2 (allowed: 1)",
    ),
    "a chosen meta split of all training domains": (
        {
            "arms": [MLDG],
            "defaults": {"mldg_n_meta_test": 1},
            "test_domains": [90],
            "trial_seeds": [0],
            "chosen": {
                "search": "ours",
                "cells": [{"arm": "MLDG", "test_domains": 90, "values": {"mldg_n_meta_test": 3}}],
            },
            "dataset": COLORED,
        },
        f"chosen.cells[0].values.mldg_n_meta_test: {META_TEST.format('90')}, got 3 (allowed: 1)",
    ),
    "a meta split that is searched by the protocol": (
        {"arms": [MLDG], "defaults": {"mldg_n_meta_test": 1}, "dataset": COLORED, "protocol": "domainbed"},
        f"search_space.mldg_n_meta_test: {META_TEST.format('90')} (the protocol searches it: fix it under "
        "arms[0].vary), got 2 (allowed: 1)",
    ),
    "a batch of one image for covariances": (
        {"arms": [{"algorithm": "CORAL"}], "defaults": {"batch_size": 1}},
        "defaults.batch_size: CORAL needs 2 images or more a domain, got 1",
    ),
    "a batch of one image among those searched": (
        {"arms": [{"algorithm": "IRM"}], "search_space": {"batch_size": {"integers": [1, 40]}}},
        "search_space.batch_size: IRM needs 2 images or more a domain, got 1",
    ),
    "batch statistics of a network without batch norm": (
        {"arms": [{"algorithm": STATISTICS}]},
        f"training.network: has no batch norm, whose batch statistics {STATISTICS} needs, got 'small-cnn' "
        "(allowed: resnet18, resnet50, module:attribute)",
    ),
    "batch statistics of a frozen network": (
        {"arms": [{"algorithm": STATISTICS}], "dataset": COLORED, "training": {"network": "resnet18"}},
        f"training.freeze_batch_norm: must be false for {STATISTICS}, which needs batch statistics, got True",
    ),
    "noise on a gradient that SagNet lacks": (
        {"arms": [{**GGA_L, "algorithm": "SagNet"}]},
        f"arms[0].annealing.method: {NO_GRADIENT.format('SagNet')}",
    ),
    "noise on a gradient that Fish lacks": (
        {"arms": [GGA_L, {**GGA_L, "algorithm": "Fish"}]},
        f"arms[1].annealing.method: {NO_GRADIENT.format('Fish')}",
    ),
    "ARM's domains in one forward": (
        {"arms": [{"algorithm": "ARM", "annealing": {"domain_gradients": "layerwise"}}]},
        f"arms[0].annealing.domain_gradients: {COUPLED_BY.format('ARM')}",
    ),
    "MTL's domains in one forward": (
        {"arms": [{**GGA_L, "algorithm": "MTL"}], "defaults": {"annealing.domain_gradients": "layerwise"}},
        f"defaults.annealing.domain_gradients: {COUPLED_BY.format('MTL')}",
    ),
    "domains in one forward among what is searched": (
        {
            "arms": [GGA, {**GGA, "algorithm": "MTL"}],
            "search_space": {"annealing.domain_gradients": {"choice": ["loop", "layerwise"]}},
        },
        f"search_space.annealing.domain_gradients: {COUPLED_BY.format('MTL')}",
    ),
    "a switch that is a number": (
        {"arms": [{"algorithm": "CORAL"}], "defaults": {"paper_form": 1}},
        "defaults.paper_form: must be true or false, got 1",
    ),
    "a switch as a factor that is a word": (
        {"arms": [{"algorithm": "MTL", "vary": {"paper_form": [True, "no"]}}]},
        "arms[0].vary.paper_form: must be true or false, got 'no'",
    ),
    "a switch among numbers": (
        {"arms": [{"algorithm": "ARM"}], "search_space": {"paper_form": {"choice": [True, 0]}}},
        "search_space.paper_form: must be true or false, got 0",
    ),
    "a switch in a range": (
        {"arms": [{"algorithm": "ARM"}], "search_space": {"paper_form": {"uniform": [0, 1]}}},
        "search_space.paper_form: must be searched as a choice of true and false, got 'uniform' (allowed: choice)",
    ),
    "a switch among whole numbers": (
        {"arms": [GGA], "search_space": {"annealing.cuda_graph": {"integers": [0, 1]}}},
        "search_space.annealing.cuda_graph: must be searched as a choice of true and false, got 'integers' "
        "(allowed: choice)",
    ),
    "a hyperparameter of another algorithm": (
        {"arms": [{"algorithm": "MMD", "vary": {"irm_lambda": [1]}}]},
        f"arms[0].vary.irm_lambda: the arm has no such hyperparameter (allowed: {LR}, mmd_gamma)",
    ),
    "a default of an algorithm that is not there": (
        {"arms": [{}, {"algorithm": "RSC"}], "defaults": {"sag_w_adv": 0.1}},
        f"defaults.sag_w_adv: no arm has this hyperparameter (allowed: {LR}, rsc_f_drop_factor, rsc_b_drop_factor)",
    ),
    "a value that makes no sense for its algorithm": (
        {"arms": [{"algorithm": "Fishr"}], "defaults": {"fishr_ema": 1}},
        "defaults.fishr_ema: must lie in [0, 1), got 1",
    ),
}


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
@pytest.mark.parametrize("case", OF_ALGORITHMS)
def test_what_an_algorithm_cannot_do_is_one_message_with_field_and_value(case: str) -> None:
    changes, message = OF_ALGORITHMS[case]
    assert faults_of(content() | changes) == [message]


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
    "domains of hosts in a loop": {
        "arms": [{"algorithm": "ARM", "annealing": {"domain_gradients": "loop"}}, {**GGA, "algorithm": "MTL"}],
        "defaults": {"batch_size": 8},
    },
}


@pytest.mark.usefixtures("algorithms_of_somebody")
@pytest.mark.parametrize("case", GOOD)
def test_what_an_algorithm_can_do_is_let_pass(case: str) -> None:
    load(content() | GOOD[case])


def test_faults_of_all_algorithms_are_told_at_once() -> None:
    arms = [MLDG, {**GGA_L, "algorithm": "Fish"}, {"algorithm": "CORAL"}, {**GGA, "algorithm": "ARM"}]
    defaults = {"batch_size": 1, "paper_form": 3, "annealing.domain_gradients": "layerwise", "mldg_n_meta_test": 9}
    faults = faults_of(content(arms=arms, defaults=defaults, training={"steps": 500}))
    assert [fault.partition(", got")[0] for fault in faults] == [
        "defaults.mldg_n_meta_test: must be below the number of training domains, 5 where '0' is held out",
        "arms[1].annealing.method: Fish takes no step along one gradient, to which noise could be added",
        "defaults.paper_form: must be true or false",
        "defaults.batch_size: CORAL needs 2 images or more a domain",
        f"defaults.annealing.domain_gradients: {COUPLED_BY.format('ARM').partition(', got')[0]}",
    ]


@pytest.mark.parametrize("case", [*FIELDS, *ACROSS])
def test_each_fault_is_one_message_with_field_and_value(case: str) -> None:
    changes, message = {**FIELDS, **ACROSS}[case]
    assert faults_of(content() | changes) == [message]


TOO_LITTLE_LEFT = {"no arm", "block instead of list", "text instead of block", "a key that is no text"}


@pytest.mark.parametrize("case", [case for case in FIELDS if case not in TOO_LITTLE_LEFT])
def test_a_faulty_field_hides_no_fault_elsewhere(case: str) -> None:
    changes, message = FIELDS[case]
    further = {"protocol": "quick", "training": {"evaluate_every": 0, **changes.get("training", {})}}
    if "test_domains" not in changes:
        further["test_domains"] = [80]
    faults = faults_of(content() | changes | further)
    assert message in faults
    assert "training.evaluate_every: must be greater than or equal to 1, got 0" in faults
    if "test_domains" not in changes:
        assert any(fault.startswith("test_domains[0]: must be a domain of RotatedDigits") for fault in faults)
    assert len(faults) == 2 + ("test_domains" not in changes)


def test_all_faults_of_a_file_are_told_at_once_with_its_name(tmp_path: Path) -> None:
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
    fields = [line.strip().partition(": ")[0] for line in text[1:]]
    assert fields == [
        "name",
        "arms[1].vary.lr[1]",
        "trial_seeds[0]",
        "trial_seeds[1]",
        "draws",
        "search_space.dropout",
        "training.epochs",
        "test_domains[1]",
        "defaults.momentum",
        "arms[0].annealing.windw",
        "defaults.lr",
        "training.network",
        "arms[0].annealing.radius",
        "default annealing.num_steps",
    ]


def test_names_of_three_kinds_are_looked_up_before_giving_up() -> None:
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
def test_a_file_that_says_a_thing_twice_or_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: 1 fault\n  {message}"


@pytest.mark.parametrize("content_", [b"name: [", b"name: \xff\xfe", b"a: !!python/object:os.system {}", b"\x00"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content_: bytes) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content_)
    with pytest.raises(InputError, match=rf"{file}: 1 fault\n  must be a readable YAML file"):
        load(file)


def test_a_file_that_is_not_there_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(InputError, match=r"must be a file or a shipped name, got 'dmeo' \(allowed: .*demo"):
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
        (
            "arms[0].algorithm=EMR",
            f"arms[0].algorithm: unknown algorithm, got 'EMR' (allowed: {ALGORITHMS_KNOWN})",
        ),
    ],
)
def test_an_assigned_value_is_checked_like_a_written_one(assignment: str, message: str) -> None:
    assert faults_of(content(), overrides=(assignment,)) == [message]


def test_domains_whose_classes_differ_are_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "photo" / "dog").rename(tree / "photo" / "dogs")
    faults = faults_of(on_tree(tree))
    assert [fault.partition(", got")[0] for fault in faults] == [
        f"dataset.root: domain '{domain}' must have the class folders of the other domains, lacks {lacking}"
        for domain, lacking in (("art", "['dogs']"), ("photo", "['dog']"), ("sketch", "['dogs']"))
    ]


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
        f"dataset.root: image must open (of no known format), got '{path}'" for path in broken
    ]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_storage_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    file = tmp_path / "storage"
    file.write_text("a file where a folder should be")
    with pytest.raises(InputError, match=rf"--storage: must be a folder that can be written.*got '{file / below}'"):
        require_writable(file / below)


def test_a_known_benchmark_is_planned_without_its_images_but_not_read() -> None:
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
        ({"arm": "EMR"}, ["arm: must be one of the sweep's, got 'EMR' (allowed: ERM, ERM + GGA, ERM + GGA-L)"]),
        ({"test_domain": "15"}, ["test_domain: must be one of the sweep's, got '15' (allowed: 0, 75)"]),
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
                "search_space.annealing.mask: must be one of the choices, got 'none' (allowed: step, forward)",
            ],
        ),
        (
            {"arm": "ERM + GGA", "annealing.num_steps": 300},
            ["search_space.annealing.num_steps: the window 0..299 must end by the last step, 9, got 300"],
        ),
        (
            {"arm": "ERM + GGA", "annealing.direction": "gradient", "annealing.origin": "current"},
            [f"search_space.annealing.origin: {AT_START}"],
        ),
        (
            {"arm": "ERM + GGA-L", "annealing.gamma": -1.0, "annealing.radius": -1.0},  # it has no radius
            ["search_space.annealing.gamma: must be a finite number of at least 0, got -1.0"],
        ),
        (
            {"arm": "EMR", "test_domain": None, "trial_seed": "one"},
            [
                "arm: must be one of the sweep's, got 'EMR' (allowed: ERM, ERM + GGA, ERM + GGA-L)",
                "test_domain: must be one of the sweep's (allowed: 0, 75)",
                "trial_seed: must be a whole number from 0 on, got 'one'",
            ],
        ),
    ],
)
def test_a_searchers_configuration_that_makes_no_sense_is_refused(changes: dict[str, Any], messages: list[str]) -> None:
    window = {"annealing.start_step": 0, "annealing.num_steps": 1}
    arms = [{}, GGA, GGA_L]
    sweep = load(content(arms=arms, test_domains=[0, 75], defaults=window, training={"steps": 10}))
    with pytest.raises(InputError) as caught:
        searched_run(sweep, CONTENTS, {"arm": "ERM", "test_domain": "0", "trial_seed": 0, **changes})
    assert [str(fault) for fault in caught.value.faults] == messages


def test_a_searchers_meta_split_of_all_training_domains_is_refused() -> None:
    sweep = load(content(arms=[MLDG], dataset=COLORED, defaults={"mldg_n_meta_test": 1}))
    trial = {"arm": "MLDG", "test_domain": "90", "trial_seed": 0}
    assert (
        searched_run(sweep, CONTENTS, {**trial, "mldg_n_meta_test": 1}).config.hyperparameters["mldg_n_meta_test"] == 1
    )
    with pytest.raises(InputError, match=r"mldg_n_meta_test: must be below the number of training domains, 2"):
        searched_run(sweep, CONTENTS, {**trial, "mldg_n_meta_test": 2})


def test_every_fault_of_an_annealing_block_is_told_at_once() -> None:
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


def test_gga_l_has_no_window_to_fit_whatever_the_protocol_says_of_one() -> None:
    load(content(arms=[GGA_L], protocol="gga-paper", training={"steps": 10}))
    with pytest.raises(InputError, match=r"annealing\.num_steps: the window 100\.\.200 must end by the last step, 9"):
        load(content(arms=[GGA], protocol="gga-paper", training={"steps": 10}))
