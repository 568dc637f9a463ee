"""Where an index is: how its folder is found, its files, and whether its file system is safe for it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from imgsearch.errors import IndexDamaged, UsageError
from imgsearch.fs import is_at_or_below, unusual
from imgsearch.text import Message, Option

NAME = ".imgsearch"
"""The folder that is looked for upward of the working directory."""
GENERATION = "generation-"
"""Begins the names of the folders in which indexes are made anew beside the one in use."""
CATALOGUE = "catalog.sqlite"
FOLDERS = ("vectors", "faiss", "columns")
"""Of a data folder: segments, and what is derived from them and the catalogue."""
DELIVERIES = "deliveries"
"""Of a data folder: what workers of a cluster have handed over, and is not registered yet."""

# As mount tables name them. The hosts': folders that a virtual machine is lent, without shared memory either.
_SERVERS = (
    "nfs|nfs3|nfs4|cifs|smb|smb2|smb3|smbfs|smbnetfs|afpfs|afs|ncpfs|webdav|davfs|davfs2|sshfs|curlftpfs"
)
_CLUSTERS = "ceph|ceph-fuse|cephfs|glusterfs|lustre|beegfs|orangefs|pvfs2|moosefs|mfs|juicefs"
_CLOUDS = "rclone|s3fs|goofys|gcsfuse|blobfuse|blobfuse2|gvfsd-fuse"
_HOSTS = "9p|vboxsf|vmhgfs|vmhgfs-fuse|prl_fs"
_NETWORK = re.compile(rf"(fuse\.)?({_SERVERS}|{_CLUSTERS}|{_CLOUDS}|{_HOSTS})", re.IGNORECASE)


def find_index(given: str | None = None) -> str:
    """Return the absolute folder of the index to use, whether or not there is one yet.

    Raises UsageError for one that nobody named and that may be somebody else's.
    """
    given = given or os.environ.get("IMGSEARCH_INDEX")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the folder we stand in was deleted: nothing lies upward of it
        folder = os.sep
    while True:
        found = os.path.join(folder, NAME)
        if os.path.isdir(found):
            if why := _mistrusted(found):
                raise UsageError(
                    f"{found} {why}, so it is not used automatically. To use it anyway: ",
                    Option("folder", found),
                )
            return found
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("imgsearch", appauthor=False), "index")


def _mistrusted(found: str) -> str:
    """Say why a folder that was found upward, and that nobody named, is not used; "" if it is, as git does it.

    Whoever can make a folder above ours could otherwise choose what our searches find and what our runs write to.
    """
    ours = {os.geteuid(), 0}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        ours.add(int(os.environ["SUDO_UID"]))
    for owner in (os.lstat(found).st_uid, os.stat(found).st_uid):
        if owner not in ours:
            return f"belongs to another user ({_user(owner)})"
    if (
        os.path.islink(found)
        and os.listdir(found)
        and not os.path.exists(os.path.join(found, "manifest.json"))
    ):
        return f"is a link to {os.path.realpath(found)}, which is not an index"
    return ""


def _user(uid: int) -> str:
    import pwd  # on use: hardly ever

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def check_files(data: str) -> None:
    """Raise IndexDamaged if what SQLite opens by name in ``data``, or a folder there, is a link or not what it must be.

    Everything else is opened by ``fs.open_own``, which refuses the same.
    """
    folders = [os.path.join(data, name) for name in FOLDERS]
    folders += (
        [data] if index_of(data) != data else []
    )  # the index's own folder may be a link: its user chose it
    files = [os.path.join(data, CATALOGUE + ending) for ending in ("", "-wal", "-shm", "-journal")]
    for path in (*folders, *files):
        if what := unusual(path, folder=path in folders):
            raise IndexDamaged(
                f"{path} can't be used: {what}. If you made it, move the whole index to where you want it instead, "
                "and name it with ",
                Option("folder", metavar="DIR"),
                "; if not, don't trust this index",
            )


def index_of(data: str) -> str:
    """Return the index's folder, given the folder of its catalogue and vectors: the same, or the one above it."""
    return os.path.dirname(data) if os.path.basename(data).startswith(GENERATION) else data


def base_of(data: str) -> str:
    """Return the folder that a portable index is in, given the folder of its catalogue and vectors: a real path."""
    return os.path.dirname(os.path.realpath(index_of(data)))


class Kind(NamedTuple):
    """A file system: its ``name`` in the mount table ("" if nobody knows), whether it is one of a network, and why."""

    name: str
    network: bool
    reason: str


def kind_of(path: str) -> Kind:
    """Return what ``path`` lies on: the deepest mount point above the real path; ``path`` itself need not exist."""
    real = os.path.realpath(path)
    best, name = "", ""
    for mount, kind in _mounts():
        # Of two mounts at one point the later one covers the earlier.
        if is_at_or_below(real, mount) and len(mount) >= len(best):
            best, name = mount, kind
    if not name:
        return Kind("", False, "it is not in the mount table")
    network = _NETWORK.fullmatch(name) is not None
    return Kind(name, network, f"{best} is mounted as {name}")


def advice(folder: str) -> Message | None:
    """Return one line on why an index in ``folder`` is not safe there and what to do; None if nothing is known."""
    kind = kind_of(folder)
    if not kind.network:
        return None
    return Message(
        f"{folder} is on a network file system ({kind.reason}). Locks and shared memory are not reliable there, "
        "and the index may be damaged; keep it on a local disk with ",
        Option("folder", metavar="DIR"),
        " (the images may stay where they are)",
    )


def _mounts() -> list[tuple[str, str]]:
    """Return (mount point, kind) of everything that is mounted, in the order of mounting."""
    import psutil  # on use: few commands ask

    try:
        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    except (OSError, RuntimeError, psutil.Error):  # a system that shows no mount table
        return []
