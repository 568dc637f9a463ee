"""How long the screen stays empty: seconds from a command's start to the first character that it writes to a terminal.

Theory: Python and the command line's imports take 0.1 to 0.2 s; whatever is imported or read after that may take
seconds, so a command that takes longer has to say before it what it is about to do. Target: 0.3 s for every command,
on a machine that does nothing else.

    python benchmarks/first_sign.py [--runs 3] [--scratch DIR] [--only NAME ...]

Draws 600 images, indexes them with the demo model, then runs each command in a pseudo-terminal of 80 by 24
characters and notes when the first byte arrives and when the process ends. The query cache is bypassed
(--no-remember), so `query` and `similar` load the model. `index, new` starts without an index. `download` asks a hub
that never answers; it, `serve` and `demo` are stopped after their first sign. Prints one line per command: first sign
and whole run, medians.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "recipes"))

from shapes.gallery import draw_gallery

HOME_OFF = {"IMGSEARCH_SERVER": "off", "TERM": "xterm-256color"}
MOST_SECONDS = 600.0
IMGSEARCH = [sys.executable, "-m", "imgsearch"]


def first_sign(command: list[str], environment: dict[str, str], stop: bool = False) -> tuple[float, float]:
    """Return the seconds to the first byte on the terminal and to the end; ``stop`` ends it after the first byte."""
    import fcntl
    import termios

    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    began, first = time.monotonic(), 0.0
    process = subprocess.Popen(
        command, stdin=inner, stdout=inner, stderr=inner, env={**os.environ, **environment}
    )
    os.close(inner)
    try:
        while time.monotonic() - began < MOST_SECONDS:
            if not select.select([outer], [], [], 0.5)[0]:
                continue
            try:
                data = os.read(outer, 65536)
            except OSError:  # the last one who had the terminal open is gone
                break
            if not data:
                break
            if not first:
                first = time.monotonic() - began
                if stop:
                    process.send_signal(signal.SIGINT)
    finally:
        os.close(outer)
        process.wait()
    return first, time.monotonic() - began


def main() -> None:
    """Draw the images, run the commands, print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=asked.scratch) as scratch,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        images, index, fresh = (os.path.join(scratch, name) for name in ("images", "index", "fresh"))
        for seed in (0, 1):
            draw_gallery(os.path.join(images, str(seed)), seed)
        environment = {
            **HOME_OFF,
            "XDG_DATA_HOME": scratch,
            "HF_ENDPOINT": f"http://127.0.0.1:{mute.getsockname()[1]}",
        }
        subprocess.run(
            [*IMGSEARCH, "index", images, "--index", index, "--model", "demo"],
            env={**os.environ, **environment}, check=True, capture_output=True,
        )  # fmt: skip
        outside = shutil.copy(next(Path(images).rglob("*.png")), os.path.join(scratch, "outside.png"))
        with open(outside, "ab") as file:
            file.write(b"another content")
        at = ["--index", index]
        commands = {
            "--help": ["--help"],
            "query, cold": ["query", "a red circle", "--no-remember", *at],
            "similar, cold": ["similar", outside, *at],
            "embed": ["embed", outside, "--model", "demo", "--npy", os.path.join(scratch, "one.npy")],
            "index, new": ["index", images, "--index", fresh, "--model", "demo"],
            "index, unchanged": ["index", *at],
            "status": ["status", *at],
            "doctor": ["doctor", *at],
            "verify": ["verify", *at],
            "compact": ["compact", *at],
            "export": ["export", os.path.join(scratch, "out.npy"), *at],
            "serve": ["serve", *at],
            "download": ["download", "acme/model"],
            "demo": ["demo", "--out", os.path.join(scratch, "demo")],
        }  # fmt: skip
        print(f"{'command':<18} {'first sign':>10} {'all':>8}   (seconds, medians of {asked.runs})")
        for name, words in commands.items():
            if asked.only and name.split(",")[0] not in asked.only:
                continue
            signs = []
            for _ in range(asked.runs):
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.rmtree(os.path.join(scratch, "demo"), ignore_errors=True)
                signs.append(
                    first_sign([*IMGSEARCH, *words], environment, stop=name in ("serve", "download", "demo"))
                )
            first, whole = (statistics.median(values) for values in zip(*signs, strict=True))
            print(f"{name:<18} {first:>10.2f} {whole:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
