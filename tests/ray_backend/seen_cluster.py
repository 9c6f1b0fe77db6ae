"""A program: starts a cluster as a launch does and prints, as JSON, what others can see of it."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import ray

from gga_sweep.ray_backend.cluster import joined_cluster

ASK = """
import sys
from ray._raylet import GcsClient
try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info()))
except Exception as error:
    print(type(error).__name__)
"""


def listening_addresses() -> list[str]:
    """Where this process and those below it wait for connections."""
    sockets = {
        os.readlink(descriptor)  # noqa: PTH115  a socket's is no path
        for pid in (os.getpid(), *descendants(os.getpid()))
        for descriptor in Path(f"/proc/{pid}/fd").glob("*")
        if descriptor.is_symlink()
    }
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.append(str(address(local.partition(":")[0])))
    return found


def address(hexadecimal: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Of words of four bytes in the machine's order; an IPv4 address within an IPv6 one as itself."""
    words = [bytes.fromhex(hexadecimal[i : i + 8]) for i in range(0, len(hexadecimal), 8)]
    found = ipaddress.ip_address(b"".join(word[:: -1 if sys.byteorder == "little" else 1] for word in words))
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found


@ray.remote  # type: ignore[untyped-decorator]
def environment() -> dict[str, str]:
    return dict(os.environ)


def ask_dashboard() -> dict[str, int]:
    """What its interface answers to whom."""
    url = f"http://{ray._private.worker.get_dashboard_url()}/nodes?view=summary"
    token = (Path.home() / ".ray" / "auth_token").read_text()
    who = {"without a token": {}, "another token": {"Authorization": "Bearer " + "0" * 64}}
    who["the token"] = {"Authorization": f"Bearer {token}"}
    answers = {}
    for name, headers in who.items():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
                answers[name] = answer.status
        except urllib.error.HTTPError as error:
            answers[name] = error.code
            error.close()
    return answers


def look() -> dict[str, object]:
    from ray._private.state import state

    worker = environment.remote()
    stranger = subprocess.run(
        [sys.executable, "-c", ASK, ray.get_runtime_context().gcs_address],
        env={**os.environ, "RAY_AUTH_TOKEN": "0" * 64},
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "worker": ray.get(worker),
        "stranger": stranger.stdout.strip(),
        "listening": listening_addresses(),
        "token": oct((Path.home() / ".ray" / "auth_token").stat().st_mode & 0o777),
        "entrypoints": [job["Entrypoint"] for job in state.job_table()],
        "folder": ray._private.worker._global_node.get_session_dir_path(),
    }


if __name__ == "__main__":
    tempfile.tempdir = sys.argv[1]
    ray.init = partial(ray.init, num_cpus=1)
    with joined_cluster(None, dashboard="dashboard" in sys.argv) as dashboard:
        asked = {} if dashboard is None else ask_dashboard()
        seen = {**look(), "dashboard": dashboard, "asked": asked}
    print(json.dumps(seen))
