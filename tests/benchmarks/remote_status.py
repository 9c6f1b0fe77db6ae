"""`status` of a sweep of 5,000 finished runs in a bucket whose answers take 20 ms longer: `make bench`.

The bucket is moto's on the loopback interface, a server in Python that shares the CPUs with the command; a proxy before
it holds each answer back. The ledger is that of large_ledger.py, copied into the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
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

LATENCY = 0.02  # seconds
AIM = 10.0  # seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as storage, s3_server() as environment:
        os.environ.update(environment)
        folder = make_ledger(Path(storage), content("large", trial_seeds=5))
        uploaded = upload(folder)
        with delayed(int(environment["AWS_ENDPOINT_URL"].rpartition(":")[2])) as port:
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            away = f"{uploaded:,} files in a bucket {1000 * LATENCY:.0f} ms away"
            print(f"5,000 finished runs, {away}, {os.cpu_count()} CPUs")
            for which in ("the first, which reads each run", f"from then on (aim {AIM:.0f})"):
                print(f"  status, {which}: {seconds('status'):.1f} s", flush=True)


def upload(folder: Path) -> int:
    """Copy a sweep's folder into the bucket; gives the number of files."""
    from gga_sweep.ledger.location import as_location, open_store
    from gga_sweep.ledger.store import for_each

    store = open_store(as_location(f"s3://{BUCKET}/{folder.name}"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(
        1 for _ in for_each(store, lambda path: store.replace(str(path.relative_to(folder)), path.read_bytes()), files)
    )


def seconds(*words: str) -> float:
    command, *options = words
    place = f"s3://{BUCKET}/large"
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gga_sweep.cli", command, place, *options], check=True, stdout=subprocess.DEVNULL
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
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                await asyncio.sleep(hold)
                sink.write(data)
                await sink.drain()
        sink.close()

    loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", own))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield own
    finally:
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main()
