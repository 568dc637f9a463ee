"""A Milvus server for tests: the one in the wheel `milvus`, which `make stores` installs, as a child process.

It is ended, and killed, by the process id of that child. Its data lie in a folder of their own, and its ports are free
ones. They can't be kept on loopback: with every ``ip`` of its configuration set to 127.0.0.1, 2.3.5 still listens on
all interfaces, but for the embedded etcd. That one listens on port 2380, whatever its configuration says, so that only
one server can run on a machine at a time.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

_READY = 180.0


class MilvusProcess:
    """A running server."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Unpack the server into a folder, choose its ports, and start it.

        ``settings`` are those of its configuration, as variables of the environment have them.
        """
        import milvus

        config = milvus.MilvusServerConfig(data_dir=str(folder))
        config.resolve()
        milvus._initialize_data_files(config.base_data_dir)
        web, socket = config.resolve_port(29_091)
        socket.close()
        self.folder, self.port, self._web = folder, int(config.get("proxy_port")), int(web)
        self._settings, self._stopping = settings, threading.Event()
        self._process = self._started()
        self._manager = threading.Thread(target=self._start_again, daemon=True)
        self._manager.start()
        self.wait()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def _started(self) -> subprocess.Popen[bytes]:
        """Start the server on the data that are there."""
        binaries = self.folder / "bin"
        own = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._web),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": f"{binaries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        }
        with (self.folder / "logs" / "server.txt").open("ab") as log:
            return subprocess.Popen(
                [binaries / "milvus", "run", "standalone"],
                cwd=self.folder,
                env={**os.environ, **own, **self._settings},
                stdout=log,
                stderr=log,
            )

    def _start_again(self) -> None:
        """Start the server whenever it has ended, as a service manager does.

        On a busy machine 2.3.5 may end by itself soon after a kill, by a nil pointer of its own.
        """
        while True:
            self._process.wait()
            if self._stopping.wait(1.0):
                return
            self._process = self._started()

    def wait(self) -> None:
        """Return when the server says that it is healthy."""
        end = time.monotonic() + _READY
        while time.monotonic() < end:
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
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End it at once, and return when it has been started again."""
        ended = self._process
        ended.kill()
        while self._process is ended:
            time.sleep(0.05)

    def stop(self) -> None:
        """End it for good, in order; at once if it takes its time."""
        self._stopping.set()
        self._process.terminate()
        self._manager.join(20)
        while self._manager.is_alive():
            self._process.kill()
            self._manager.join(1)
