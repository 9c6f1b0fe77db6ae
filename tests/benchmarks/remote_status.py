"""`status` and a first `report` of 5,000 finished runs in a bucket whose answers take 20 ms longer: `make bench`.

The bucket is moto's on the loopback interface, a server in Python that shares the CPUs with the command; a proxy before
it holds each answer back. The ledger is that of large_ledger.py, copied into the bucket. `status` is timed without an
index, once more, and after what a launch does at the end of each of its waves: it reads the states of its runs, which
leaves them in `index/states`. Told first is what the server can do at all, asked by 32 threads as the commands ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from large_ledger import content, make_ledger  # noqa: E402
from services import BUCKET, free_port, s3_server  # noqa: E402

from gga_sweep.ledger.ledger import Ledger  # noqa: E402
from gga_sweep.ledger.s3_store import S3LedgerStore  # noqa: E402
from gga_sweep.ledger.store import for_each  # noqa: E402
from gga_sweep.ledger.stored_sweep import read_plan  # noqa: E402

NAME = "large"
PLACE = f"s3://{BUCKET}/{NAME}"
LATENCY = 0.02  # seconds
AIM = 10.0  # seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as storage, s3_server() as environment:
        os.environ.update(environment)
        folder = make_ledger(Path(storage), content(NAME, trial_seeds=5))
        uploaded = upload(folder)
        with delayed(int(environment["AWS_ENDPOINT_URL"].rpartition(":")[2])) as port:
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            away = f"{uploaded:,} files in a bucket {1000 * LATENCY:.0f} ms away"
            print(f"5,000 finished runs, {away}, {os.cpu_count()} CPUs")
            print(f"  the server: {floor()}", flush=True)
            tell("status, the first, which reads each run's state", seconds("status"))
            tell(f"status from then on (aim {AIM:.0f})", seconds("status"))
            clear_index()
            read_states_as_a_launch_does()
            tell(f"status after a launch (aim {AIM:.0f})", seconds("status"))
            clear_index()
            tell("report --format text, the first, which makes the index", seconds("report"))
            tell("report --format text from then on", seconds("report"))


def tell(what: str, taken: float) -> None:
    print(f"  {what}: {taken:.1f} s", flush=True)


def floor() -> str:
    """What the server answers a second: files, and pages of its list, which come one after the other."""
    store = ledger().store
    started = time.perf_counter()
    found = store.stats("runs")
    listing = time.perf_counter() - started
    states = [f"runs/{path}" for path in found if path.endswith("/status.json")]
    started = time.perf_counter()
    read = sum(content is not None for content in for_each(store, store.read, states))
    reading = time.perf_counter() - started
    pages = math.ceil(len(found) / 1000)
    return f"{read / reading:.0f} files a second, {pages} pages of the list in {listing:.1f} s"


def ledger() -> Ledger:
    """By a client of its own, of the server that the environment names now."""
    return Ledger(PLACE, S3LedgerStore(BUCKET, NAME))


def read_states_as_a_launch_does() -> None:
    ledger().read_states(run.folder for run in read_plan(PLACE).runs)


def clear_index() -> None:
    store = ledger().store
    for name in store.list("index"):
        store.delete(f"index/{name}")


def upload(folder: Path) -> int:
    """Copy a sweep's folder into the bucket; gives the number of files."""
    store = ledger().store
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(
        1 for _ in for_each(store, lambda path: store.replace(str(path.relative_to(folder)), path.read_bytes()), files)
    )


def seconds(*words: str) -> float:
    command, *options = words
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gga_sweep.cli", command, PLACE, *options], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


@contextlib.contextmanager
def delayed(port: int) -> Iterator[int]:
    """A proxy of a server on the loopback interface that holds what it answers back; gives its port."""
    own, loop = free_port(), asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, here, 0), pump(there, writer, LATENCY))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, hold: float) -> None:
        """Each piece that comes is held for so long, and holds no other: an answer of many pieces is not slower."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def release() -> None:
            while (piece := await held.get())[1]:
                await asyncio.sleep(piece[0] - loop.time())
                sink.write(piece[1])
                await sink.drain()

        with contextlib.suppress(ConnectionError):
            releasing = asyncio.ensure_future(release())
            while data := await source.read(1 << 16):
                held.put_nowait((loop.time() + hold, data))
            held.put_nowait((0.0, b""))
            await releasing
        sink.close()

    loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", own))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield own
    finally:
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main()
