"""Bring one large file from the hub: ranged requests that go on where an earlier run stopped, checked at the end."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from imgsearch.errors import DownloadError

Progress = Callable[[str, int, int], None]
"""Called with a file, the bytes of the whole checkpoint that have arrived, and all its bytes."""
Talk = Callable[[str], None]
"""Takes a line for the user."""
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before another attempt, after one that brought nothing
AGAIN = "run 'imgsearch download' again"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of one commit on the hub; ``checksum`` is its sha256, or git's sha1 where it is not in LFS."""

    path: str
    size: int
    checksum: str

    def hasher(self) -> hashlib._Hash:
        """Start the digest that ``checksum`` is of."""
        return hashlib.sha256() if len(self.checksum) == 64 else hashlib.sha1(b"blob %d\0" % self.size)

    def part_in(self, folder: str) -> str:
        """Return where its first half lies. The checksum in the name keeps commits apart."""
        return os.path.join(folder, f"{self.path}.{self.checksum[:16]}.incomplete")


@dataclass(slots=True)
class Job:
    """What is being downloaded, where to, and how far it has come (bytes of all files)."""

    name: str
    commit: str
    folder: str
    total: int
    progress: Progress
    done: int = 0

    def holds(self, file: RemoteFile) -> bool:
        """Tell whether the folder has this file whole, by size and checksum; if so, count it as done."""
        path = os.path.join(self.folder, file.path)
        if not os.path.isfile(path) or os.path.getsize(path) != file.size:
            return False
        with open(path, "rb") as content:
            if hashlib.file_digest(content, file.hasher).hexdigest() != file.checksum:
                return False
        self.advance(file.path, file.size)
        return True

    def advance(self, path: str, count: int) -> None:
        """Count bytes of a file as here, or, negative, as gone."""
        self.done += count
        self.progress(path, self.done, self.total)


def fetch_weights(job: Job, file: RemoteFile) -> None:
    """Fetch one large file, from where an earlier run stopped; it gets its name once its checksum fits."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    path = file.part_in(job.folder)
    with open(path, "a+b") as out:
        part = _Part(job, file, out)
        best, waits = part.have, iter(WAITS)
        while part.have < file.size:
            failure: Exception | None = None
            try:
                _receive(part)
            except HfHubHTTPError as error:
                if (status := error.response.status_code) < 500 and status not in (408, 429):
                    raise
                failure = error
            except HTTPError as error:
                failure = error
            if part.have > best:
                best, waits = part.have, iter(WAITS)
            elif (wait := next(waits, None)) is not None:
                time.sleep(wait)
            else:
                came = f"{file.path} broke off at {size_text(part.have)} of {size_text(file.size)}"
                raise DownloadError(f"{came}; {AGAIN}, it goes on there") from failure
        out.flush()
        os.fsync(out.fileno())
    if part.have != file.size or part.hasher.hexdigest() != file.checksum:
        os.unlink(path)
        raise DownloadError(
            f"{file.path} arrived damaged (its checksum is not the hub's), was removed; {AGAIN}"
        )
    os.replace(path, os.path.join(job.folder, file.path))


class _Part:
    """The part of a file that is on disk, with its digest so far."""

    def __init__(self, job: Job, file: RemoteFile, out: IO[bytes]) -> None:
        self.job, self.file, self.out = job, file, out
        self.hasher, self.have = file.hasher(), os.fstat(out.fileno()).st_size
        if self.have > file.size:
            out.truncate(0)
            self.have = 0
        elif self.have:
            out.seek(0)
            self.hasher = hashlib.file_digest(out, file.hasher)  # type: ignore[arg-type]
            job.advance(file.path, self.have)

    def restart(self) -> None:
        self.out.truncate(0)
        self.job.advance(self.file.path, -self.have)
        self.hasher, self.have = self.file.hasher(), 0

    def append(self, chunk: bytes) -> None:
        self.out.write(chunk)
        self.hasher.update(chunk)
        self.have += len(chunk)
        self.job.advance(self.file.path, len(chunk))


def _receive(part: _Part) -> None:
    """Ask once for the rest of a file and append what comes; huggingface_hub's session brings its settings."""
    from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(part.job.name, part.file.path, revision=part.job.commit, endpoint=constants.ENDPOINT)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if part.have:
        headers["Range"] = f"bytes={part.have}-"
    # Redirects lead to a CDN; on the way to another host the session drops the token.
    with get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        answer = (response.status_code, response.headers.get("Content-Range", "").split("-")[0])
        if part.have and answer[0] in (200, 206, 416) and answer != (206, f"bytes {part.have}"):
            part.restart()
            if answer[0] != 200:
                return  # not the piece that was asked for: ask again, for the whole
        hf_raise_for_status(response)
        for chunk in response.iter_bytes():
            part.append(chunk)
            if part.have > part.file.size:
                return


def size_text(count: int) -> str:
    """Put a number of bytes into MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
