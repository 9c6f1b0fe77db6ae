"""What is wrong with a cluster, from what its nodes see: findings with what to do. Asks nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gga_sweep.errors import Fault
from gga_sweep.ray_backend.gpu_sharing import NO_GPU
from gga_sweep.ray_backend.nodes import Look, Node
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import ResourcesConfig
from gga_sweep.tracking.location import SERVERS, redact, sqlite_path

CLOCK_SECONDS = 5.0
"""By so much the clocks of two nodes may differ: a launch counts as dead without a heartbeat for 120 s."""

LITTLE_SPACE = 1 << 30
"""Bytes."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Args:
        check: what was looked at, in a word.
        where: on which nodes, in words.
        said: what was found.
        remedy: what to do about it; empty where nothing is wrong.
    """

    level: Level
    check: str
    where: str
    said: str
    remedy: str = ""


def diagnose(
    nodes: Sequence[Node],
    here: Mapping[str, str],
    storage: Location,
    resources: ResourcesConfig | None = None,
    images: Mapping[str, int] | None = None,
    decoded: int = 0,
) -> list[Finding]:
    """All that the nodes' looks tell, check by check.

    Args:
        here: versions on this machine.
        storage: that they were asked for.
        resources: of a run; None asks for none.
        images: sizes of the domains as they are here; None looks at none.
        decoded: bytes that the decoded images take.
    """
    silent = [
        Finding(
            Level.FAULT,
            "answer",
            node.name,
            str(node.silence),
            "Install the package there, as on this machine; see infra/README.md.",
        )
        for node in nodes
        if node.look is None
    ]
    heard = [(node, node.look) for node in nodes if node.look is not None]
    training = [(node, look) for node, look in heard if node.cpus > 0]
    found = [*silent, *_merged(nodes, _versions(heard, here)), *_merged(nodes, _storage(heard, storage))]
    if images is not None:
        found += _merged(nodes, _images(training, images))
    found += _merged(nodes, _disk(training, decoded))
    found += [*_devices(nodes, resources), *_merged(nodes, _clocks(heard))]
    return found


def tracking_finding(uri: str, error: str | None, nodes: int) -> Finding:
    """Of MLflow, which the launch alone writes to.

    Args:
        uri: of MLflow.
        error: why it cannot be used from here, as it may be shown; None where it can.
        nodes: of the cluster.
    """
    shown, path = redact(uri), sqlite_path(uri)
    if error is not None:
        remedy = "Start it, or give its address with --tracking-uri; `gga-sweep sync` catches up later."
        return Finding(Level.FAULT, "tracking", "this machine", f"{shown}: {error}", remedy)
    if path is not None and nodes > 1:
        said = f"{shown} is a file on this machine: nobody sees it from another node"
        remedy = "Launch from this machine each time, or use a server: infra/mlflow."
        return Finding(Level.NOTE, "tracking", "this machine", said, remedy)
    kind = "answers" if shown.partition("://")[0] in SERVERS else "opens"
    return Finding(Level.OK, "tracking", "this machine", f"{shown} {kind}")


def launch_faults(findings: Iterable[Finding]) -> list[Fault]:
    """Those that keep a launch from starting, as faults of its input."""
    fields = {"storage": "--storage", "images": "dataset", "devices": "resources", "versions": "--address"}
    return [
        Fault(fields.get(found.check, "--address"), f"{found.where}: {found.said}. {found.remedy}")
        for found in findings
        if found.level is Level.FAULT and found.check != "clocks"  # a launch needs no other's clock
    ]


def resource_faults(nodes: Iterable[Mapping[str, float]], resources: ResourcesConfig) -> list[Fault]:
    """Of a run that no node can take, now or later.

    Args:
        nodes: what Ray may give away on each.
    """
    faults = []
    nodes = list(nodes)
    gpus = 1.0 if resources.gpus == "auto" else resources.gpus  # it may come to a whole one
    for field, name, wanted in (("cpus", "CPU", resources.cpus), ("gpus", "GPU", gpus)):
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if field == "gpus" and resources.gpus == "auto" and not most:
            faults.append(NO_GPU)
        elif wanted > most:
            rule = f"no node has so many: the most is {most:g}"
            faults.append(Fault(f"resources.{field}", rule, wanted))
    fits = any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= gpus for node in nodes)
    if not faults and not fits:
        rule = f"no node has {resources.cpus:g} CPUs and {gpus:g} GPUs together"
        faults.append(Fault("resources", rule))
    return faults


Told = Iterator[tuple[str, Finding]]
"""Findings of one check, each with the node it is of."""


def _versions(heard: Sequence[tuple[Node, Look]], here: Mapping[str, str]) -> Told:
    for node, look in heard:
        other = [
            f"{package} {look.versions.get(package, 'missing')}, here {mine}"
            for package, mine in here.items()
            if look.versions.get(package) != mine
        ]
        if other:
            remedy = "Install what requirements.lock says on every node, or use one image: infra/docker."
            yield node.name, Finding(Level.FAULT, "versions", "", "; ".join(other), remedy)
        else:
            said = ", ".join(f"{package} {mine}" for package, mine in here.items())
            yield node.name, Finding(Level.OK, "versions", "", said)


def _storage(heard: Sequence[tuple[Node, Look]], storage: Location) -> Told:
    for node, look in heard:
        if look.storage is None:
            yield node.name, Finding(Level.OK, "storage", "", f"{storage} is seen and written")
        else:
            remedy = "Mount one folder at this path on every node, or give --storage s3://BUCKET/FOLDER."
            yield node.name, Finding(Level.FAULT, "storage", "", f"{storage}: {look.storage}", remedy)


def _images(heard: Sequence[tuple[Node, Look]], images: Mapping[str, int]) -> Told:
    remedy = "Copy or mount the same images at the same path on every node."
    for node, look in heard:
        if look.images_missing is not None:
            yield node.name, Finding(Level.FAULT, "images", "", look.images_missing, remedy)
        elif dict(look.images) != dict(images):
            other = [
                f"{name} has {look.images.get(name, 0)} images, here {images.get(name, 0)}"
                for name in sorted({*look.images, *images})
                if look.images.get(name) != images.get(name)
            ]
            yield node.name, Finding(Level.FAULT, "images", "", "; ".join(other), remedy)
        else:
            said = f"{sum(images.values()):,} images in {len(images)} domains"
            yield node.name, Finding(Level.OK, "images", "", said)


def _disk(heard: Sequence[tuple[Node, Look]], decoded: int) -> Told:
    for node, look in heard:
        folder, free = look.cache
        said = f"{free / 1e9:.0f} GB free in {folder} for decoded images"
        if free < max(decoded, LITTLE_SPACE):
            needed = f", of which they need {decoded / 1e9:.1f} GB" if decoded else ""
            remedy = "Make room, or set GGA_SWEEP_CACHE on the node to a folder on a larger disk."
            yield node.name, Finding(Level.FAULT if free < decoded else Level.NOTE, "disk", "", said + needed, remedy)
        else:
            yield node.name, Finding(Level.OK, "disk", "", said)


def _devices(nodes: Sequence[Node], resources: ResourcesConfig | None) -> Iterator[Finding]:
    told = []
    for node in nodes:
        devices = f" ({', '.join(sorted(set(node.look.devices)))})" if node.look and node.look.devices else ""
        said = f"{node.cpus:g} CPUs, {node.gpus:g} GPUs{devices}"
        if node.look is not None and node.gpus and node.look.devices and node.look.cuda is None:
            remedy = "Install a torch that is built for CUDA there."
            told.append(
                (node.name, Finding(Level.FAULT, "devices", "", f"{said}, but its torch knows no CUDA", remedy))
            )
        else:
            told.append((node.name, Finding(Level.OK, "devices", "", said)))
    yield from _merged(nodes, told)
    if resources is None:
        return
    remedy = "Lower it in the sweep's `resources`, or start a node that has it."
    for fault in resource_faults([{"CPU": node.cpus, "GPU": node.gpus} for node in nodes], resources):
        yield Finding(Level.FAULT, "devices", "the cluster", str(fault), remedy)


def _clocks(heard: Sequence[tuple[Node, Look]]) -> Told:
    for node, _ in heard:
        if abs(node.clock_ahead) > CLOCK_SECONDS:
            said = f"its clock is {abs(node.clock_ahead):.0f} s {'ahead' if node.clock_ahead > 0 else 'behind'}"
            yield node.name, Finding(Level.FAULT, "clocks", "", said, "Let it set its clock by NTP.")
        else:
            yield node.name, Finding(Level.OK, "clocks", "", f"within {CLOCK_SECONDS:.0f} s of this machine's")


def _merged(nodes: Sequence[Node], told: Iterable[tuple[str, Finding]]) -> list[Finding]:
    """What is said of several nodes alike, once; where only numbers differ, the first stands for all that are well."""
    groups: dict[tuple[Level, str], list[tuple[str, Finding]]] = {}
    for name, finding in told:
        alike = re.sub(r"\d+", "0", finding.said) if finding.check == "disk" else finding.said
        groups.setdefault((finding.level, alike), []).append((name, finding))
    merged = []
    for of_group in groups.values():
        where = _named([name for name, _ in of_group], len(nodes))
        merged.append(replace(of_group[0][1], where=where))
    return merged


def _named(names: Sequence[str], of: int) -> str:
    if len(names) == of:
        return "all nodes" if of > 1 else names[0]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
