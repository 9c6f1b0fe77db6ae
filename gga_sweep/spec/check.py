"""Checks across the fields of a sweep; each fault names its place in the file."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gga_sweep.annealing.options import DEPENDENT_OPTIONS, GGA, GGAL, WINDOW_OPTIONS, option_faults, options_of
from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.choice import couples_images, lacks_batch_norm, network_faults
from gga_sweep.records import Scalar
from gga_sweep.selection.methods import METHODS as SELECTION_METHODS
from gga_sweep.selection.methods import needing_pairs, reading_more_tests
from gga_sweep.spec.adaptive_search import adaptive_faults
from gga_sweep.spec.arm_values import Values, arm_values, searched_space
from gga_sweep.spec.arms import PREFIX, Arm, annealing_name
from gga_sweep.spec.averaging import averaging_faults
from gga_sweep.spec.chosen import chosen_faults
from gga_sweep.spec.draws import contains, grid_points
from gga_sweep.spec.metric import metric_faults
from gga_sweep.spec.models import TRAINING_FACTORS, trainable_rule
from gga_sweep.spec.plan import CACHE_FOLDER, TRACKING_FILE, SweepSpec

_INTERDEPENDENT = tuple(map(annealing_name, (*DEPENDENT_OPTIONS, "domain_gradients")))
"""Choices that may be valid one by one but not together, or not with the network."""


def check_sweep(sweep: SweepSpec) -> list[Fault]:
    """All faults; empty if the sweep can be planned. Loads no image."""
    faults = [
        *_reserved_name(sweep),
        *_repetitions(sweep),
        *_test_domain_faults(sweep),
        *_selection_faults(sweep),
        *metric_faults(sweep),
        *chosen_faults(sweep),
        *_name_faults(sweep),
        *_default_faults(sweep),
        *_space_faults(sweep),
        *_images_faults(sweep),
        *_worker_faults(sweep),
        *averaging_faults(sweep),
        *adaptive_faults(sweep),
    ]
    for arm in sweep.arms:
        if unusable := [*_training_factor_faults(arm)]:
            faults.extend(unusable)
            continue
        faults.extend(_network_faults(sweep, arm))
        faults.extend(_algorithm_faults(sweep, arm))
        faults.extend(_arm_faults(sweep, arm))
    return list({str(fault): fault for fault in faults}.values())


def drawn_faults(arm: Arm, sweep: SweepSpec, drawn: Mapping[str, Scalar]) -> list[Fault]:
    """What is wrong with the values of a single run of an arm."""
    values = arm_values(sweep, arm, drawn)
    return list(_values_faults(sweep, arm, values)) or list(_extent_faults(sweep, arm, values))


def _reserved_name(sweep: SweepSpec) -> Iterator[Fault]:
    """The storage needs these names for itself, and SQLite adds files beside its own."""
    name = sweep.name.casefold()  # on some disks `Cache` is `cache`
    if name == CACHE_FOLDER or name.startswith(TRACKING_FILE):
        rule = f"must not be {CACHE_FOLDER} nor begin with {TRACKING_FILE}, which the storage itself needs"
        yield Fault("name", rule, sweep.name)


def _repetitions(sweep: SweepSpec) -> Iterator[Fault]:
    held_out = [tuple(sorted(names)) for names in sweep.test_domains]  # their order makes no other runs
    for field, values in (("trial_seeds", sweep.config.trial_seeds), ("test_domains", held_out)):
        for value, times in Counter(values).items():
            if times > 1:
                yield Fault(field, "each may stand once", value)
    for name, times in Counter(arm.name for arm in sweep.arms).items():
        if times > 1:
            yield Fault("arms", "two arms may not have one name (give one a `name:`)", name)
    names = tuple(arm.name for arm in sweep.arms)
    for arm in sweep.arms:
        if arm.baseline is not None and arm.baseline not in names:
            yield Fault(f"arms[{arm.index}].baseline", "must name an arm", arm.baseline, names)


def _test_domain_faults(sweep: SweepSpec) -> Iterator[Fault]:
    known = sweep.dataset.domain_names
    for index, held_out in enumerate(sweep.test_domains):
        field = "test_domains" if sweep.config.test_domains == "all" else f"test_domains[{index}]"
        unknown = [name for name in held_out if name not in known]
        for name in unknown:
            yield Fault(field, f"must be a domain of {sweep.dataset.name}", name, known)
        if len(set(held_out)) < len(held_out):
            yield Fault(field, "a domain may be held out once", list(held_out))
        left = len(known) - len(set(held_out) & set(known))
        if left == 0:
            yield Fault(field, "must leave a training domain", list(held_out))
        elif short := [arm for arm in sweep.arms if _needed_domains(arm) > left]:
            needed = max(map(_needed_domains, short))
            rule = f"must leave {needed} training domains or more for {_listed(short)}"
            yield Fault(field, rule, list(held_out))


def _needed_domains(arm: Arm) -> int:
    """The number of training domains that its algorithm needs, and its annealing, which compares two."""
    return max(arm.declared.min_domains, 1 if arm.annealing is None else 2)


def _listed(arms: Sequence[Arm]) -> str:
    """ "the arm 'ERM + GGA'", "the arms 'CORAL', 'CORAL + GGA'"."""
    return f"the arm{'s' * (len(arms) > 1)} {', '.join(repr(arm.name) for arm in arms)}"


def _selection_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Selection methods that cannot work in this sweep."""
    methods = sweep.selection
    for method, times in Counter(methods).items():
        if times > 1:
            yield Fault("selection", "each may stand once", method)
    if not SELECTION_METHODS[methods[0]].may_come_first:
        rule = "must not come first: what MLflow and chosen.yaml call selected may not look at a test domain"
        yield Fault("selection", rule, methods[0])
    for method in needing_pairs(methods):
        yield from _pair_faults(sweep, method)
    yield from unmet_needs(methods, sweep, "selection")
    windows = any(arm.annealing is not None and arm.annealing.kind is GGA for arm in sweep.arms)
    if sweep.config.select_from == "after-window" and not windows:
        yield Fault("select_from", "no arm has an annealing window", "after-window", ("any",))


def _worker_faults(sweep: SweepSpec) -> Iterator[Fault]:
    resources = sweep.config.resources
    if resources.data_workers > resources.cpus:
        rule = f"a run's data workers must be at most its CPUs, of which resources.cpus gives it {resources.cpus:g}"
        yield Fault("resources.workers", rule, resources.data_workers)


def unmet_needs(methods: Sequence[str], sweep: SweepSpec, field: str) -> Iterator[Fault]:
    """Methods that need scores on test domains which `training.evaluate: selection` leaves out.

    Args:
        field: where the methods are named.
    """
    if sweep.training.evaluate == "all":
        return
    stops_early = sweep.config.early_stopping is not None
    more = reading_more_tests(SELECTION_METHODS, stops_early)
    for method in methods:
        if method in more:
            where = (
                "at every evaluation" if SELECTION_METHODS[method].reads_tests == "every" else "where a run is stopped"
            )
            rule = f"reads scores on test domains {where}: set training.evaluate to all"
            yield Fault(field, rule, method, tuple(name for name in SELECTION_METHODS if name not in more))


def _pair_faults(sweep: SweepSpec, method: str) -> Iterator[Fault]:
    """A validating run leaves out its test domain and one more."""
    for names in sweep.test_domains:
        if len(names) > 1:
            rule = f"{method} needs test domains that stand alone"
            others = tuple(name for name, one in SELECTION_METHODS.items() if not one.needs_pairs and not one.one_draw)
            yield Fault("selection", rule, "+".join(names), others)
    domains = sweep.dataset.domain_names
    left = len(domains) - 2
    if left < 1:
        yield Fault("selection", f"{method} needs three domains", list(domains))
    elif short := [arm for arm in sweep.arms if _needed_domains(arm) > left]:
        rule = f"trains on {left} of {len(domains)} domains, too few for {_listed(short)}"
        yield Fault("selection", rule, method)


def _name_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Unknown names of hyperparameters."""
    everywhere = tuple(dict.fromkeys(name for arm in sweep.arms for name in arm.hyperparameters))
    for field in ("defaults", "search_space"):
        for name in getattr(sweep.config, field):
            if name not in everywhere:
                yield Fault(f"{field}.{name}", "no arm has this hyperparameter", None, everywhere)
    for arm in sweep.arms:
        names = arm.hyperparameters
        for name in arm.factors:
            if name not in (*names, *TRAINING_FACTORS):
                allowed = (*names, *TRAINING_FACTORS)
                yield Fault(f"arms[{arm.index}].vary.{name}", "the arm has no such hyperparameter", None, allowed)
        yield from _block_faults(arm)
        given = {} if arm.annealing is None else arm.annealing.given
        for name in arm.factors:
            if name.startswith(PREFIX) and name.removeprefix(PREFIX) in given:
                yield Fault(f"arms[{arm.index}].vary.{name}", "stands in the annealing block too; give it once")


def _block_faults(arm: Arm) -> Iterator[Fault]:
    """Fields of an annealing block that its method does not have."""
    block = arm.annealing
    if block is None:
        return
    known = ("method", *(("variant",) if block.kind is GGA else ()), *options_of(block.kind))
    given = block.given if block.variant is None else {"variant": block.variant, **block.given}
    for name, value in given.items():
        if name not in known:
            yield Fault(f"arms[{arm.index}].annealing.{name}", f"no field of the method {block.method}", value, known)


def _default_faults(sweep: SweepSpec) -> Iterator[Fault]:
    for name, value in sweep.config.defaults.items():
        searched = sweep.config.search_space.get(name)
        if searched is not None and not contains(searched, value):
            yield Fault(f"defaults.{name}", f"must lie in its own search_space range {_range(searched)}", value)


def _space_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Ranges beyond what a hyperparameter allows, and grids without points."""
    if sweep.config.search == "grid":
        try:
            grid_points(sweep.config.search_space)
        except InputError as error:
            yield from error.faults
        if sweep.config.draws > 1 or any(arm.draws > 1 for arm in sweep.arms):
            yield Fault("draws", "a grid's points are its draws; leave it out", sweep.config.draws)
        if not sweep.config.search_space:
            yield Fault("search_space", "a grid needs something to search")
    for name, searched in sweep.config.search_space.items():
        arm = next((arm for arm in sweep.arms if name in arm.hyperparameters), None)
        if arm is None:
            continue
        if searched.choice is None and isinstance(_default(arm, name), bool):
            rule = "must be searched as a choice of true and false"
            yield Fault(f"search_space.{name}", rule, searched.kind, ("choice",))
            continue
        if searched.kind in ("uniform", "loguniform") and isinstance(_default(arm, name), int):
            rule = "must be searched among whole numbers"
            yield Fault(f"search_space.{name}", rule, searched.kind, ("integers", "logintegers", "choice"))
            continue
        for value in _ends(searched):
            yield from _value_faults(arm, name, value, f"search_space.{name}")


def _training_factor_faults(arm: Arm) -> Iterator[Fault]:
    """Factors of the training that are no names."""
    for name in TRAINING_FACTORS:
        value = arm.factors.get(name, "all")
        if not isinstance(value, str):
            yield Fault(arm.field_of(name), "must be text", value)
        elif name.endswith("trainable") and (rule := trainable_rule(value)):
            yield Fault(arm.field_of(name), rule, value)


def _network_faults(sweep: SweepSpec, arm: Arm) -> Iterator[Fault]:
    training = sweep.training_of(arm)
    for fault in network_faults(training.network, sweep.dataset.image_shape[0], training.weights):
        yield replace(fault, field=arm.field_of(fault.field))


def _images_faults(sweep: SweepSpec) -> Iterator[Fault]:
    training = sweep.training
    channels = sweep.dataset.image_shape[0]
    if training.augmentation != "none" and channels != 3:
        rule = f"needs images of 3 channels, {sweep.dataset.name} has {channels}"
        yield Fault("training.augmentation", rule, training.augmentation, ("none",))
    for name, size in sweep.dataset.domain_sizes.items():
        if not 0 < int(training.holdout * size) < size:
            rule = f"must leave an image in each split of domain {name!r} ({size} images)"
            yield Fault("training.holdout", rule, training.holdout)


def _algorithm_faults(sweep: SweepSpec, arm: Arm) -> Iterator[Fault]:
    """What its algorithm cannot do with any hyperparameters."""
    training, name, spec = sweep.training_of(arm), arm.algorithm, arm.declared
    if spec.needs_batch_statistics and lacks_batch_norm(training.network):
        rule = f"has no batch norm, whose batch statistics {name} needs"
        fitting = [network.name for network in NETWORKS.values() if network.has_batch_norm]
        field = arm.field_of("training.network")
        yield Fault(field, rule, training.network, (*fitting, "timm/NAME", "module:attribute"))
    elif spec.needs_batch_statistics and training.freeze_batch_norm:
        yield Fault("training.freeze_batch_norm", f"must be false for {name}, which needs batch statistics", True)
    if not spec.has_joint_gradient and arm.annealing is not None and arm.annealing.kind is GGAL:
        rule = f"{name} takes no step along one gradient, to which noise could be added"
        yield Fault(f"arms[{arm.index}].annealing.method", rule, "gga-l", ("gga",))


def _arm_faults(sweep: SweepSpec, arm: Arm) -> Iterator[Fault]:
    """Values out of range or in conflict, windows past the end, batches and meta splits that do not fit.

    Checks the defaults, every extreme, and every combination of the interdependent choices.
    """
    if any(name not in (*arm.hyperparameters, *TRAINING_FACTORS) for name in arm.factors):
        return  # reported already
    space = searched_space(sweep, arm)
    defaults = arm_values(sweep, arm, {})
    yield from _values_faults(sweep, arm, defaults)
    for drawn in _combinations(arm, space):
        yield from _values_faults(sweep, arm, arm_values(sweep, arm, drawn))
    yield from _extent_faults(sweep, arm, defaults)
    for furthest in (min, max):
        extreme = {name: furthest(_ends(searched), key=_as_number) for name, searched in space.items()}
        yield from _extent_faults(sweep, arm, arm_values(sweep, arm, extreme))
    for index, entry in enumerate(sweep.config.chosen.cells if sweep.config.chosen else ()):
        if entry.arm == arm.name and entry.values.keys() <= set(arm.hyperparameters):
            values = arm_values(sweep, arm, entry.values, f"chosen.cells[{index}].values.")
            yield from _values_faults(sweep, arm, values)
            yield from _extent_faults(sweep, arm, values)


def _combinations(arm: Arm, space: Mapping[str, Distribution]) -> Iterator[dict[str, Scalar]]:
    """Every combination of the interdependent choices that can be drawn; invalid ones are reported already."""
    choices = {
        name: [value for value in dict.fromkeys(_ends(space[name])) if not [*_value_faults(arm, name, value, name)]]
        for name in _INTERDEPENDENT
        if name in space and space[name].choice
    }
    for point in itertools.product(*choices.values()):
        yield dict(zip(choices, point, strict=True))


def _values_faults(sweep: SweepSpec, arm: Arm, values: Values) -> Iterator[Fault]:
    """Values out of range or in conflict."""
    for name, value in values.training.items():
        yield from _value_faults(arm, name, value, values.origins[name])
    if arm.annealing is None:
        return
    for fault in option_faults(arm.annealing.kind, values.annealing):
        yield Fault(values.origins[annealing_name(fault.field)], fault.rule, fault.got, fault.allowed)
    how, training = values.annealing["domain_gradients"], sweep.training_of(arm)
    if values.annealing.get("perturbs") == "featurizer" and training.trainable == "head":
        field = values.origins["annealing.perturbs"]
        rule = "the annealing would move a featurizer that training.trainable: head keeps as it is"
        yield Fault(field, rule, "featurizer", ("all",))
    if how == "layerwise" and couples_images(training.network, training.freeze_batch_norm):
        rule = f"batch norm that is not frozen couples the domains of {training.network}"
        yield Fault(values.origins["annealing.domain_gradients"], rule, how, ("loop",))
    if how == "layerwise" and not arm.declared.splits_by_layer:
        rule = f"in one forward {arm.algorithm} lets a domain see the others"
        yield Fault(values.origins["annealing.domain_gradients"], rule, how, ("loop",))
    if values.annealing.get("cuda_graph") is True and not sweep.config.resources.on_gpu:
        yield Fault(values.origins["annealing.cuda_graph"], "needs a GPU (resources.gpus above 0)", True)


def _extent_faults(sweep: SweepSpec, arm: Arm, values: Values) -> Iterator[Fault]:
    if arm.annealing is not None and arm.annealing.kind is GGA:
        yield from _window_faults(sweep, values)
    yield from _batch_faults(sweep, arm, values)
    yield from _domain_count_faults(sweep, arm, values)


def _window_faults(sweep: SweepSpec, values: Values) -> Iterator[Fault]:
    steps, config = sweep.training.steps, sweep.config
    place = {name: values.annealing[name] for name in WINDOW_OPTIONS}
    if option_faults(GGA, place):
        return  # reported already
    window = GGA.of_variant("paper", **place).window
    shown = f"{window.start}..{window.stop - 1}"
    if window.stop > steps:
        rule = f"the window {shown} must end by the last step, {steps - 1}"
        yield Fault(values.origins["annealing.num_steps"], rule, len(window))
    elif window.stop == steps and config.select_from == "after-window":
        rule = f"select_from after-window needs a step after the window {shown}"
        yield Fault(values.origins["annealing.num_steps"], rule, len(window))
    grace = None if config.early_stopping is None else config.early_stopping.grace_period
    if grace is not None and grace <= window.stop:
        rule = f"must end past the annealing window {shown}"
        yield Fault("early_stopping.grace_period", rule, grace)


def _batch_faults(sweep: SweepSpec, arm: Arm, values: Values) -> Iterator[Fault]:
    batch = values.values["batch_size"]
    name, size = min(sweep.dataset.domain_sizes.items(), key=lambda item: item[1])
    left = size - int(sweep.training.holdout * size)
    if isinstance(batch, int | float) and batch > left:
        rule = f"must not exceed the training split of the smallest domain, {name!r} ({left} images)"
        yield Fault(values.origins["batch_size"], rule, batch)
    least = arm.declared.min_batch
    if isinstance(batch, int | float) and 1 <= batch < least:
        yield Fault(values.origins["batch_size"], f"{arm.algorithm} needs {least} images or more a domain", batch)
    elif batch == 1 and couples_images(sweep.training_of(arm).network, sweep.training.freeze_batch_norm):
        rule = f"must be 2 or more: {sweep.training_of(arm).network} has batch norm that is not frozen"
        yield Fault(values.origins["batch_size"], rule, batch)


def _domain_count_faults(sweep: SweepSpec, arm: Arm, values: Values) -> Iterator[Fault]:
    """Numbers of domains that the smallest set of training domains does not have."""
    held_out = max((*sweep.test_domains, *sweep.pairs), key=len)
    left = len(sweep.dataset.domain_names) - len(held_out)
    if left < _needed_domains(arm):
        return  # reported already
    for name, item in arm.declared.own.items():
        value, origin = values.values[name], values.origins[name]
        if item.below_domains and isinstance(value, int | float) and value >= left:
            rule = f"must be below the number of training domains, {left} where {'+'.join(held_out)!r} is held out"
            if not sweep.config.search_space and name in searched_space(sweep, arm):
                rule += f" (the protocol searches it: fix it under arms[{arm.index}].vary)"
            elif origin.startswith(("default ", "protocol ")):
                rule += f" (set defaults.{name})"
            yield Fault(origin, rule, value, tuple(map(str, range(1, min(left, 10)))))


def _value_faults(arm: Arm, name: str, value: Scalar, field: str) -> Iterator[Fault]:
    if arm.annealing is not None and name.startswith(PREFIX):
        for fault in option_faults(arm.annealing.kind, {name.removeprefix(PREFIX): value}):
            yield Fault(field, fault.rule, fault.got, fault.allowed)
        return
    found = arm.declared.hyperparameters[name].fault(field, value)
    if found is not None:
        yield found


def _default(arm: Arm, name: str) -> object:
    """A value of the hyperparameter's type."""
    if arm.annealing is not None and name.startswith(PREFIX):
        return options_of(arm.annealing.kind)[name.removeprefix(PREFIX)].default
    return arm.declared.hyperparameters[name].default


def _ends(searched: Distribution) -> tuple[Scalar, ...]:
    """Every choice, or the two ends of a range as the values that can be drawn there."""
    if searched.choice is not None:
        return searched.choice
    low, high = getattr(searched, searched.kind)
    return (int(low), int(high)) if searched.kind in ("integers", "logintegers") else (low, high)


def _as_number(value: Scalar) -> float:
    return float("-inf") if isinstance(value, str) else float(value)


def _range(searched: Distribution) -> str:
    return f"{searched.kind} {list(getattr(searched, searched.kind))}"
