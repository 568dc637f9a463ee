"""What kind of file system a folder lies on, and whether an index is safe there."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

# As mount tables name them. The hosts': folders that a virtual machine is lent, without shared memory either.
_SERVERS = (
    "nfs|nfs3|nfs4|cifs|smb|smb2|smb3|smbfs|smbnetfs|afpfs|afs|ncpfs|webdav|davfs|davfs2|sshfs|curlftpfs"
)
_CLUSTERS = "ceph|ceph-fuse|cephfs|glusterfs|lustre|beegfs|orangefs|pvfs2|moosefs|mfs|juicefs"
_CLOUDS = "rclone|s3fs|goofys|gcsfuse|blobfuse|blobfuse2|gvfsd-fuse"
_HOSTS = "9p|vboxsf|vmhgfs|vmhgfs-fuse|prl_fs"
_NETWORK = re.compile(rf"(fuse\.)?({_SERVERS}|{_CLUSTERS}|{_CLOUDS}|{_HOSTS})", re.IGNORECASE)


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
        if (real == mount or real.startswith(mount.rstrip(os.sep) + os.sep)) and len(mount) >= len(best):
            best, name = mount, kind
    if not name:
        return Kind("", False, "the mount table does not say")
    network = _NETWORK.fullmatch(name) is not None
    return Kind(name, network, f"{best} is mounted as {name}")


def advice(folder: str) -> str | None:
    """Return one line on why an index in ``folder`` is not safe there and what to do; None if nothing is known."""
    kind = kind_of(folder)
    if not kind.network:
        return None
    return (
        f"{folder} lies on a network file system ({kind.reason}): the catalogue's log and the writer lock "
        "need shared memory and kernel locks that such file systems do not give reliably, so the index may be "
        "damaged there; keep it on a local disk with --index DIR (the pictures may stay where they are)"
    )


def _mounts() -> list[tuple[str, str]]:
    """Return (mount point, kind) of everything that is mounted, in the order of mounting."""
    import psutil  # on use: few commands ask

    try:
        return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    except (OSError, RuntimeError, psutil.Error):  # a system that shows no mount table
        return []
