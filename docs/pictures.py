"""Makes the pictures of the README: `docs/pictures.py`. Needs Chromium. Most of its time, it trains the demo."""

from __future__ import annotations

import base64
import codecs
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).with_name("pictures")
GGA_SWEEP = [sys.executable, "-m", "gga_sweep.cli"]
STORAGE = "gga-sweep-results"
"""The default of `run`, in its working folder."""
COLUMNS, LINES = 100, 22
FRAMES, SECONDS, LAST_SECONDS = 8, 1.5, 8
"""Of the cast of the terminal: its frames, how long each is shown, and the last one."""
MAX_BYTES = 200_000


def main() -> None:
    """Make all three pictures."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("Chromium is required for the pictures: install the package `chromium`.")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        draw_terminal(Path(folder))
        storage = Path(folder, STORAGE)
        picture_page(chromium, storage)
        picture_mlflow(chromium, storage / "demo")
    for picture in sorted(PICTURES.iterdir()):
        size = picture.stat().st_size
        print(f"{picture}: {size / 1000:.0f} kB")
        if size > MAX_BYTES:
            sys.exit(f"{picture} must have at most {MAX_BYTES} bytes, got {size}.")


def draw_terminal(folder: Path) -> None:
    """Run the demo in a pseudo-terminal, and draw a cast of it: frames at equal distances in time, and the end."""
    printed = on_a_terminal([*GGA_SWEEP, "run", "demo"], folder)
    end = printed[-1][0]
    times = [end * number / (FRAMES - 1) for number in range(FRAMES)]
    here = f"{folder.resolve()}/"
    shown = ["".join(text for at, text in printed if at <= time).replace(here, "") for time in times]
    frames = [frame(screen(text), number) for number, text in enumerate(shown)]
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', frames[0]).groups()  # type: ignore[union-attr]
    whole = FRAMES * SECONDS - SECONDS + LAST_SECONDS
    rules = [f".frame {{ visibility: hidden; animation: {whole}s step-end infinite; }}"]
    for number in range(FRAMES):
        start, stop = (f"{100 * SECONDS * at / whole:.2f}%" for at in (number, number + 1))
        before = "0% { visibility: hidden; } " * (number > 0)
        after = f" {stop} {{ visibility: hidden; }}" * (number < FRAMES - 1)
        rules.append(f"@keyframes frame-{number} {{ {before}{start} {{ visibility: visible; }}{after} }}")
        rules.append(f"#frame-{number} {{ animation-name: frame-{number}; }}")
    # Where nothing moves, the end is shown.
    rules.append(f"#frame-{FRAMES - 1} {{ visibility: visible; }}")
    rules.append("@media (prefers-reduced-motion) { .frame { animation: none; } }")
    groups = (f'<g class="frame" id="frame-{number}">{svg}</g>' for number, svg in enumerate(frames))
    style = f"<style>{' '.join(rules)}</style>"
    svg = f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">{style}{"".join(groups)}</svg>\n'
    (PICTURES / "terminal.svg").write_text(svg, encoding="utf-8")


def frame(lines: list[str], number: int) -> str:
    """The last lines of a terminal as SVG.

    Args:
        lines: without the command.
        number: of the frame, for names that are its own.
    """
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    command = "\x1b[1m$ gga-sweep run demo\x1b[0m"
    for line in [command, *lines, *LINES * [""]][: max(LINES, len(lines) + 1)][-LINES:]:
        console.print(Text.from_ansi(line), overflow="crop", no_wrap=True)
    svg = console.export_svg(title="gga-sweep", unique_id=f"frame{number}")
    # The font is the reader's own: a picture in a README loads nothing.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def on_a_terminal(command: list[str], folder: Path) -> list[tuple[float, str]]:
    """What a command prints in a pseudo-terminal of `COLUMNS` columns, with the seconds since its start.

    Args:
        command: the program and its arguments.
        folder: its working folder.
    """
    process, descriptor = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.execvp(command[0], command)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    started, printed = time.monotonic(), list[tuple[float, str]]()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := os.read(descriptor, 65536):
            printed.append((time.monotonic() - started, decoder.decode(block)))
    except OSError:  # Linux's end of a pseudo-terminal
        pass
    if status := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        sys.exit(f"{command} ended with {status}:\n{''.join(text for _, text in printed)}")
    return printed


def screen(printed: str) -> list[str]:
    """The lines that remain after a live display has erased and redrawn its own.

    Args:
        printed: the output of a program that moves the cursor by `ESC [ n A` and erases lines by `ESC [ 2 K` only.
    """
    lines, row = [""], 0
    for part in re.split(r"(\n|\x1b\[\d*A|\x1b\[2K)", printed.replace("\r", "")):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif up := re.fullmatch(r"\x1b\[(\d*)A", part):
            row = max(0, row - int(up[1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        else:
            lines[row] += part
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    return lines


def picture_page(chromium: str, storage: Path) -> None:
    """Take a picture of the report's first screen, with the default storage in place of this machine's folder."""
    text = (storage / "demo" / "report.html").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(text.replace(str(storage.absolute()), "gga-sweep-results"), encoding="utf-8")
        screenshot(chromium, page.as_uri(), PICTURES / "page.png", seconds=2)


def picture_mlflow(chromium: str, sweep: Path) -> None:
    """Serve the sweep by `gga-sweep ui`, and take a picture of the first page that it names."""
    command = [*GGA_SWEEP, "ui", str(sweep), "--port", "5057"]
    environment = os.environ | {"COLUMNS": "400"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            address = next(filter(None, (re.search(r"https?://\S+", line) for line in server.stdout)))[0]
            wait_for(address.partition("#")[0])
            screenshot(chromium, address, PICTURES / "mlflow.png", seconds=12)
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def wait_for(address: str) -> None:
    """Wait until a server answers, at most a minute."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"{address} did not answer within a minute.")


def screenshot(chromium: str, address: str, picture: Path, seconds: float) -> None:
    """Save the first screen of a page, in 256 colours.

    Args:
        chromium: the browser.
        address: the page.
        picture: a PNG.
        seconds: how long the page may load and draw.
    """
    with tempfile.TemporaryDirectory() as profile, Browser(chromium, profile) as browser:
        browser.call("Page.navigate", url=address)
        time.sleep(seconds)
        png = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)


class Browser:
    """A page of Chromium, controlled through its DevTools protocol: its own option for screenshots does not wait.

    Args:
        chromium: the browser.
        profile: an empty folder for its settings.
    """

    def __init__(self, chromium: str, profile: str) -> None:
        to_browser, self._commands = os.pipe()
        self._answers, from_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-pipe"]
        redirected = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'  # the numbers that Chromium uses
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", chromium, *options, f"--user-data-dir={profile}/profile"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._count, self._unread, self._session = 0, b"", ""

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        light = {"name": "prefers-color-scheme", "value": "light"}
        self.call("Emulation.setEmulatedMedia", features=[light])
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(30)
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._unread:
                block = os.read(self._answers, 1 << 20)
                if not block:
                    sys.exit("Chromium ended early.")
                self._unread += block
            line, _, self._unread = self._unread.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._count:
                if "error" in answer:
                    sys.exit(f"Chromium refuses {method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result


if __name__ == "__main__":
    main()
