"""Where a user's server listens, and whether what lies there can only be this user's."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from dataclasses import dataclass

from imgsearch.errors import StorageError


@dataclass(frozen=True, slots=True)
class Address:
    """The files of a user's server: one folder that nobody else may enter."""

    folder: str

    @property
    def socket(self) -> str:
        """The Unix socket."""
        return os.path.join(self.folder, "serve.sock")

    @property
    def token(self) -> str:
        """The file with the token that HTTP clients must show."""
        return os.path.join(self.folder, "token")

    @property
    def lock(self) -> str:
        """The file whose kernel lock the running server holds."""
        return os.path.join(self.folder, "serve.lock")

    def problem(self) -> str | None:
        """Say why the folder can't be trusted: not this user's, or open to others; None if all is well."""
        try:
            found = os.lstat(self.folder)
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{self.folder} is no folder"
        if found.st_uid != os.geteuid():
            return f"{self.folder} belongs to another user"
        if found.st_mode & 0o077:
            return f"{self.folder} is open to other users"
        return None


def own_address() -> Address:
    """Return where this user's server is: IMGSEARCH_RUNTIME_DIR, else the user's folder for sockets.

    Raises StorageError where the system has no such folder for this user.
    """
    given = os.environ.get("IMGSEARCH_RUNTIME_DIR")
    if given:
        return Address(os.path.abspath(os.path.expanduser(given)))
    import platformdirs

    try:
        return Address(platformdirs.user_runtime_dir("imgsearch", appauthor=False))
    except OSError as error:  # the place for it below /tmp may be somebody else's folder
        raise StorageError(
            f"there is no folder for sockets ({error}); name one of your own with IMGSEARCH_RUNTIME_DIR"
        ) from error


def peer_uid(connected: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket, as the kernel knows it; None where it does not say.

    Linux says it by SO_PEERCRED (pid, uid, gid), macOS by LOCAL_PEERCRED (struct xucred: version, uid, …).
    """
    system: str = sys.platform  # a plain str, so that the type checker reads both branches
    try:
        if system == "linux":
            credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[1])
        if system == "darwin":
            return int(struct.unpack_from("II", connected.getsockopt(0, 1, 76))[1])
    except (OSError, struct.error):
        pass
    return None
