"""Whose process is at the other end of a TCP connection over loopback, as Linux tells it; others do not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000"  # before an IPv4 address in the table of IPv6

Ends = tuple[str, int]


def peer_is_other(
    server: Ends, client: Ends, allowed: frozenset[int], tables: tuple[str, ...] = _TABLES
) -> bool:
    """Whether the system says that ``client``, an (IPv4 address, port), is a process of none of the ``allowed`` users.

    Where the system keeps no such table, or does not have this very connection in it, nobody knows: False.
    """
    ours, theirs = (_written(server), _written(client)), (_written(client), _written(server))
    owners: dict[tuple[str, str], int] = {}
    for local, remote, uid in _connections(tables):
        owners[local, remote] = uid
    if ours not in owners:
        return False
    # Our end is there, and so the other one would be: if it is not, it has hung up.
    return owners.get(theirs) not in allowed


def _connections(tables: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    for table in tables:
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            words = line.split()
            if len(words) > 7 and words[3] == _ESTABLISHED and words[7].isdecimal():
                local, remote = (word.removeprefix(_MAPPED) for word in words[1:3])
                yield local, remote, int(words[7])


def _written(end: Ends) -> str:
    """Return an address as the table has it: the number as this machine's memory holds it, and the port."""
    (number,) = struct.unpack("=I", socket.inet_aton(end[0]))
    return f"{number:08X}:{end[1]:04X}"
