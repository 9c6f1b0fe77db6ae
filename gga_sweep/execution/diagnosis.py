"""Judges a cluster by the reports of its nodes: findings, each with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gga_sweep.errors import Fault
from gga_sweep.execution.node_check import Node, NodeReport
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import ResourcesConfig

CLOCK_SECONDS = 5.0
"""How far the clocks of two nodes may differ. Only the times that `status` and reports show depend on them."""

LITTLE_SPACE = 1 << 30
"""Bytes."""

NO_GPU = Fault("resources.gpus", "auto needs a GPU in the Ray cluster; 0 trains on the CPU", "auto")

Reports = Sequence[tuple[Node, NodeReport]]
NodeFindings = Iterator[tuple[str, "Finding"]]
"""Findings of one check, each with the name of its node."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Args:
        check: what was checked, in a word.
        where: the nodes.
        text: what was found.
        remedy: what to do about it; empty where nothing is wrong.
    """

    level: Level
    check: str
    where: str
    text: str
    remedy: str = ""


def diagnose(
    nodes: Sequence[Node],
    here: Mapping[str, str],
    storage: Location,
    resources: ResourcesConfig | None = None,
    images: Mapping[str, int] | None = None,
    decoded: int = 0,
) -> list[Finding]:
    """All findings, check by check.

    Args:
        here: versions on this machine.
        storage: that the nodes checked.
        resources: of a run; None checks none.
        images: domain sizes on this machine; None checks none.
        decoded: bytes that the decoded images take.
    """
    reports = [(node, node.report) for node in nodes if node.report is not None]
    training = [(node, report) for node, report in reports if node.cpus > 0]
    findings = [_no_answer(node) for node in nodes if node.report is None]
    findings += [*_merged(nodes, _versions(reports, here)), *_merged(nodes, _storage(reports, storage))]
    if images is not None:
        findings += _merged(nodes, _images(training, images))
    findings += _merged(nodes, _disk(training, decoded))
    findings += _merged(nodes, _devices(nodes))
    if resources is not None:
        findings += _resources(nodes, resources)
    return [*findings, *_merged(nodes, _clocks(reports))]


def launch_faults(findings: Iterable[Finding]) -> list[Fault]:
    """The findings that prevent a launch, as faults of its input."""
    fields = {"storage": "--storage", "images": "dataset", "devices": "resources", "versions": "--address"}
    return [
        Fault(fields.get(found.check, "--address"), f"{found.where}: {found.text}. {found.remedy}")
        for found in findings
        if found.level is Level.FAULT
    ]


def resource_faults(nodes: Iterable[Mapping[str, float]], resources: ResourcesConfig) -> list[Fault]:
    """Faults of a run that fits on no node.

    Args:
        nodes: what Ray may assign on each.
    """
    nodes = list(nodes)
    gpus = 1.0 if resources.gpus == "auto" else resources.gpus  # it may come to a whole one
    faults = []
    for field, name, required in (("cpus", "CPU", resources.cpus), ("gpus", "GPU", gpus)):
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if field == "gpus" and resources.gpus == "auto" and not most:
            faults.append(NO_GPU)
        elif required > most:
            faults.append(Fault(f"resources.{field}", f"no node has so many: the most is {most:g}", required))
    fits = any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= gpus for node in nodes)
    if not faults and not fits:
        faults.append(Fault("resources", f"no node has {resources.cpus:g} CPUs and {gpus:g} GPUs together"))
    return faults


def _no_answer(node: Node) -> Finding:
    remedy = "Install the package there, as on this machine; see infra/README.md."
    return Finding(Level.FAULT, "answer", node.name, str(node.error), remedy)


def _versions(reports: Reports, here: Mapping[str, str]) -> NodeFindings:
    for node, report in reports:
        other = [
            f"{package} {report.versions.get(package, 'missing')}, here {mine}"
            for package, mine in here.items()
            if report.versions.get(package) != mine
        ]
        if other:
            remedy = "Install the versions of requirements.lock on every node, or use one image: infra/docker."
            yield node.name, Finding(Level.FAULT, "versions", "", "; ".join(other), remedy)
        else:
            text = ", ".join(f"{package} {mine}" for package, mine in here.items())
            yield node.name, Finding(Level.OK, "versions", "", text)


def _storage(reports: Reports, storage: Location) -> NodeFindings:
    for node, report in reports:
        if report.storage_fault is None:
            yield node.name, Finding(Level.OK, "storage", "", f"{storage} can be read and written")
        else:
            remedy = "Mount one folder at this path on every node, or give --storage s3://BUCKET/FOLDER."
            yield node.name, Finding(Level.FAULT, "storage", "", f"{storage}: {report.storage_fault}", remedy)


def _images(reports: Reports, images: Mapping[str, int]) -> NodeFindings:
    remedy = "Copy or mount the same images at the same path on every node."
    for node, report in reports:
        if report.images_fault is not None:
            yield node.name, Finding(Level.FAULT, "images", "", report.images_fault, remedy)
        elif dict(report.images) != dict(images):
            other = [
                f"{name} has {report.images.get(name, 0)} images, here {images.get(name, 0)}"
                for name in sorted({*report.images, *images})
                if report.images.get(name) != images.get(name)
            ]
            yield node.name, Finding(Level.FAULT, "images", "", "; ".join(other), remedy)
        else:
            text = f"{sum(images.values()):,} images in {len(images)} domains"
            yield node.name, Finding(Level.OK, "images", "", text)


def _disk(reports: Reports, decoded: int) -> NodeFindings:
    for node, report in reports:
        folder, free = report.cache
        text = f"{free / 1e9:.0f} GB free in {folder} for decoded images"
        if free < max(decoded, LITTLE_SPACE):
            needed = f", {decoded / 1e9:.1f} GB needed" if decoded else ""
            remedy = "Make room, or set GGA_SWEEP_CACHE on the node to a folder on a larger disk."
            yield node.name, Finding(Level.FAULT if free < decoded else Level.NOTE, "disk", "", text + needed, remedy)
        else:
            yield node.name, Finding(Level.OK, "disk", "", text)


def _devices(nodes: Sequence[Node]) -> NodeFindings:
    for node in nodes:
        devices = node.report.devices if node.report else ()
        names = f" ({', '.join(sorted(set(devices)))})" if devices else ""
        text = f"{node.cpus:g} CPUs, {node.gpus:g} GPUs{names}"
        if node.gpus and devices and node.report and node.report.cuda is None:
            remedy = "Install a PyTorch that is built for CUDA there."
            text += ", but PyTorch there lacks CUDA support"
            yield node.name, Finding(Level.FAULT, "devices", "", text, remedy)
        else:
            yield node.name, Finding(Level.OK, "devices", "", text)


def _resources(nodes: Sequence[Node], resources: ResourcesConfig) -> Iterator[Finding]:
    remedy = "Lower it in the sweep's `resources`, or start a node that has it."
    for fault in resource_faults([{"CPU": node.cpus, "GPU": node.gpus} for node in nodes], resources):
        yield Finding(Level.FAULT, "devices", "the cluster", str(fault), remedy)


def _clocks(reports: Reports) -> NodeFindings:
    for node, _ in reports:
        if abs(node.clock_ahead) > CLOCK_SECONDS:
            text = f"its clock is {abs(node.clock_ahead):.0f} s {'ahead' if node.clock_ahead > 0 else 'behind'}"
            yield node.name, Finding(Level.NOTE, "clocks", "", text, "Synchronise its clock by NTP.")
        else:
            yield node.name, Finding(Level.OK, "clocks", "", f"within {CLOCK_SECONDS:.0f} s of this machine's")


def _merged(nodes: Sequence[Node], findings: Iterable[tuple[str, Finding]]) -> list[Finding]:
    """Equal findings of several nodes as one. Free disk space counts as equal at the same level."""
    groups: dict[tuple[Level, str], list[tuple[str, Finding]]] = {}
    for name, finding in findings:
        text = re.sub(r"\d+", "0", finding.text) if finding.check == "disk" else finding.text
        groups.setdefault((finding.level, text), []).append((name, finding))
    merged = []
    for group in groups.values():
        where = _names([name for name, _ in group], len(nodes))
        merged.append(replace(group[0][1], where=where))
    return merged


def _names(names: Sequence[str], of: int) -> str:
    if len(names) == of:
        return "all nodes" if of > 1 else names[0]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
