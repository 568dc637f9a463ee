"""A Milvus server for tests: the one in the wheel `milvus`, which `make stores` installs, as a child process.

It is ended, and killed, by the process id of that child. Its data lie in a folder of their own, and its ports are free
ones; the wheel has no setting that keeps them on loopback.
"""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from pathlib import Path

_READY = 180.0


class MilvusProcess:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        """Unpack the server into a folder, choose its ports, and start it."""
        import milvus

        config = milvus.MilvusServerConfig(data_dir=str(folder))
        config.resolve()
        milvus._initialize_data_files(config.base_data_dir)
        web, socket = config.resolve_port(29_091)
        socket.close()
        self.folder, self.port, self._web = folder, int(config.get("proxy_port")), int(web)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Start the server on the data that are there."""
        binaries = self.folder / "bin"
        own = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._web),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": f"{binaries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        }
        with (self.folder / "logs" / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [binaries / "milvus", "run", "standalone"],
                cwd=self.folder,
                env={**os.environ, **own},
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when the server says that it is healthy."""
        end = time.monotonic() + _READY
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, "the server has ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/healthz", timeout=5) as reply:
                    if b"OK" in reply.read():
                        return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError("the server did not start")

    @property
    def memory(self) -> int:
        """Bytes that the server holds in memory."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in order; at once if it takes its time."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
