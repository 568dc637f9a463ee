"""Lists and downloads a checkpoint of the hub, so that a kill loses nothing and nothing unchecked stays."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import IO, Any

from imgsearch.errors import DownloadError
from imgsearch.fs import FileLock, atomic_write, put_in_place, sync_file
from imgsearch.model.checkpoint import SOURCE_FILE, Checkpoint, refuse_quantised
from imgsearch.model.conventions import read_pipeline
from imgsearch.model.families import family_of, open_checkpoint
from imgsearch.text import Call, Message, Option, error_line, format_bytes
from imgsearch.types import Notify

Progress = Callable[[str, int, int], None]
"""Called with a file, the bytes of the whole checkpoint that have arrived, and all its bytes."""
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before another attempt, after one that brought nothing
AGAIN = "run the same command again"
ELSEWHERE = Message("or use a local copy with ", Option("model", metavar="DIR"))
TRY_DEMO = Message("To try imgsearch without a download: ", Option("model", "demo"))
BYTES = {"Qwen/Qwen3-VL-Embedding-2B": 4_266_000_000}
"""The size of a download that is known without asking: 2,127,532,032 numbers in bfloat16, by the model's config.json,
and 11 MB of tokenizer."""


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
        """Return where its first part lies. The checksum in the name keeps commits apart."""
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
        """Tell whether the folder has this file complete, by size and checksum; if so, count it as done."""
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
    os.makedirs(os.path.dirname(path), exist_ok=True)
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
                came = f"{format_bytes(part.have)} of {format_bytes(file.size)}"
                raise DownloadError(
                    f"the download of {file.path} was interrupted at {came}; {AGAIN} to resume"
                ) from failure
        out.flush()
        sync_file(out.fileno())
    if part.have != file.size or part.hasher.hexdigest() != file.checksum:
        os.unlink(path)
        raise DownloadError(f"{file.path} arrived damaged (wrong checksum) and was deleted; {AGAIN}")
    put_in_place(path, os.path.join(job.folder, file.path))


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


_MARKER = ".imgsearch-download.incomplete"  # there as long as files of the folder are being exchanged
# Modules of sentence-transformers lie in folders like 1_Pooling, those of a router in ones like query_0_Transformer.
_MODULE = r"((\w+_)?\d+_\w+/){0,2}"
_SMALL = re.compile(
    _MODULE
    + r"((config|model\.safetensors\.index|tokenizer|tokenizer_config|vocab|special_tokens_map|added_tokens"
    r"|chat_template|processor_config|(video_)?preprocessor_config|modules|sentence_[\w-]+_config|router_config"
    r"|config_sentence_transformers|imgsearch|tekken)\.json|(merges|vocab)\.txt|chat_template\.jinja"
    r"|(spiece|sentencepiece\.bpe|tokenizer)\.model)"
)
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WEIGHTS = re.compile(_MODULE + r"[^/]*\.safetensors")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_MARGIN = 64_000_000  # bytes that stay free on the disk


def download_checkpoint(
    name: str,
    revision: str | None,
    folder: str,
    *,
    progress: Progress | None = None,
    notify: Notify | None = None,
    approve: Callable[[str], bool] | None = None,
    check: Callable[[Checkpoint], object] | None = None,
) -> str:
    """Make ``folder`` hold the checkpoint ``name`` of the hub as it is at ``revision`` (None: main); return it.

    Every file is compared with the hub's checksum; what is missing or different is fetched, all of one commit,
    and half a file of weights is continued. A second process waits for the first. ``progress(file, done, total)``
    counts bytes of the whole checkpoint; ``done`` steps back when a server can't continue. ``notify`` gets lines.
    ``approve`` is asked before anything is downloaded, with the size; without it the answer is yes. ``check`` gets the
    folder before its weights are fetched, and may raise; without it, modules have to be those of an embedding model.

    Raises DownloadError, also where it is not approved; CheckpointError for a quantised model, if possible before it is
    approved, and before its weights are fetched for a model of another family, or with modules that are not supported.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever library it uses

    folder, revision, notify = os.path.abspath(folder), revision or "main", notify or (lambda _: None)
    try:
        with _quiet():
            commit, files = _listing(name, revision)
            os.makedirs(folder, exist_ok=True)
            with _locked(folder, notify):
                job = Job(
                    name, commit, folder, sum(file.size for file in files), progress or (lambda *_: None)
                )
                if wanted := [file for file in files if not job.holds(file)]:
                    _fetch(job, wanted, notify, approve or (lambda _: True), check or _check_modules)
                _finish(job, revision, files)
    except (OSError, json.JSONDecodeError, HTTPError) as error:
        raise _explained(error, name, revision, folder) from error
    return folder


def _check_modules(checkpoint: Checkpoint) -> None:
    if not family_of(checkpoint).by_library:
        read_pipeline(checkpoint)


def damaged_in_cache(folder: str, name: str, progress: Progress) -> list[str]:
    """Name the files of a snapshot in the Hugging Face cache that do not have the checksum they are stored under."""
    files = []
    for path in (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names):
        checksum = os.path.basename(os.path.realpath(path))
        if os.path.isfile(path) and _HASH.fullmatch(checksum):
            files.append(RemoteFile(os.path.relpath(path, folder), os.path.getsize(path), checksum))
    job = Job(name, os.path.basename(folder), folder, sum(file.size for file in files), progress)
    return [file.path for file in files if not job.holds(file)]


def download_bytes(name: str, revision: str | None) -> int | None:
    """Return how large a checkpoint of the hub is: known, or else asked for; None if the hub does not answer."""
    if revision is None and name in BYTES:
        return BYTES[name]
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        with _quiet():
            return sum(file.size for file in _listing(name, revision or "main")[1])
    except (OSError, HTTPError, DownloadError):
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Let huggingface_hub show errors only: what it warns of, our errors tell."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(40)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _listing(name: str, revision: str) -> tuple[str, list[RemoteFile]]:
    """Ask the hub once which commit this is and which files it has; return those that are needed."""
    from huggingface_hub import HfApi, constants

    info = HfApi(endpoint=constants.ENDPOINT).model_info(
        name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    )
    refuse_quantised(name, info.config or {}, [sibling.rfilename for sibling in info.siblings or []])
    small, weights = list[RemoteFile](), list[RemoteFile]()
    for sibling in info.siblings or []:
        path, lfs = sibling.rfilename, sibling.lfs
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise DownloadError(f"{name} lists {path!r}, outside its folder; nothing was downloaded")
        if _SMALL.fullmatch(path) or _WEIGHTS.fullmatch(path):
            size, checksum = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
            if size is None or not _HASH.fullmatch(checksum or ""):
                raise DownloadError(
                    f"{constants.ENDPOINT} gives no checksum for {path}, so it can't be trusted"
                )
            (small if _SMALL.fullmatch(path) else weights).append(RemoteFile(path, size, checksum or ""))
    weights = [
        file for _, files in groupby(sorted(weights, key=_folder), _folder) for file in _one_set(files)
    ]
    commit, names = info.sha or "", {file.path for file in small}
    pickles = [s.rfilename for s in info.siblings or [] if s.rfilename.endswith("pytorch_model.bin")]
    if not weights and pickles:
        raise DownloadError(
            f"{name} has its weights only as pickles ({pickles[0]}), which may run code when they are read and are "
            "never loaded; use a version of it with safetensors files"
        )
    known = "config.json" in names or "modules.json" in names
    if not weights or not known or not _HASH.fullmatch(commit):
        raise DownloadError(
            f"{name} is not a model for imgsearch: config.json or the safetensors files are missing"
        )
    return commit, small + weights


def _folder(file: RemoteFile) -> str:
    return os.path.dirname(file.path)


def _one_set(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return the weights of one folder, once: a repository may hold them once more in another cut."""
    found = sorted(files, key=lambda file: file.path)
    single = [file for file in found if os.path.basename(file.path) == "model.safetensors"]
    return single or [file for file in found if _SHARD.fullmatch(os.path.basename(file.path))] or found


def _fetch(
    job: Job,
    files: list[RemoteFile],
    notify: Notify,
    approve: Callable[[str], bool],
    check: Callable[[Checkpoint], object],
) -> None:
    """Fetch files, if that is approved: the small ones first, for they tell whether the weights are of any use."""
    marker, parts = os.path.join(job.folder, _MARKER), {file.part_in(job.folder) for file in files}
    os.close(os.open(marker, os.O_CREAT | os.O_WRONLY, 0o644))
    for leftover in _leftovers(job.folder) - parts - {marker}:
        os.unlink(leftover)  # of another commit
    need = sum(f.size for f in files) - sum(os.path.getsize(p) for p in parts & _leftovers(job.folder))
    if (free := shutil.disk_usage(job.folder).free) < need + _MARGIN:
        needs = (
            f"{job.name} needs {format_bytes(need + _MARGIN)} in {job.folder}, but only {format_bytes(free)}"
        )
        raise DownloadError(f"{needs} are free; free some disk space, ", ELSEWHERE)
    size = format_bytes(need)
    if not approve(f"The model {job.name} must be downloaded once ({size}). Continue?"):
        raise DownloadError(
            f"the model was not downloaded ({size}). To download it later: ", download_call(job.name),
            "; to use a local copy: ", Option("model", metavar="DIR"), ". ", TRY_DEMO,
        )  # fmt: skip
    notify(f"downloading {job.name} ({size}) to {job.folder}")
    if small := [file for file in files if _SMALL.fullmatch(file.path)]:
        _fetch_small(job, small)
    checkpoint = open_checkpoint(job.folder, job.name)
    checkpoint.check_family()
    check(checkpoint)
    for file in files[len(small) :]:
        fetch_weights(job, file)


def download_call(name: str) -> Call:
    """Return the call that downloads a model."""
    return Call("download", {} if name in BYTES else {"name": name})


def _fetch_small(job: Job, files: list[RemoteFile]) -> None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import tqdm as bar  # type: ignore[attr-defined]

    class NoBar(bar):
        monitor_interval = 0  # else a thread of its own watches over each bar

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    try:
        # Forced, because it would take an older file, or a folder that is not empty, for the answer.
        snapshot_download(
            job.name, revision=job.commit, local_dir=job.folder, force_download=True, tqdm_class=NoBar,
            allow_patterns=[file.path for file in files], endpoint=constants.ENDPOINT,
        )  # fmt: skip
    except RuntimeError as error:  # what hf_xet raises, which it may use
        raise DownloadError(f"{job.name}: {error_line(error, first=True)}; {AGAIN}") from error
    for file in files:
        if not job.holds(file):
            raise DownloadError(f"{file.path} of {job.name} arrived incomplete; {AGAIN}")


def _finish(job: Job, revision: str, files: list[RemoteFile]) -> None:
    """Check that the folder is a checkpoint, clear up, and write down where it came from."""
    if missing := open_checkpoint(job.folder).missing_files(leftovers=False):
        raise DownloadError(f"{job.name} is incomplete on Hugging Face: {', '.join(missing[:4])} missing")
    shutil.rmtree(os.path.join(job.folder, ".cache"), ignore_errors=True)  # huggingface_hub's notes
    source = {"repo": job.name, "revision": revision, "commit": job.commit}
    path = os.path.join(job.folder, SOURCE_FILE)
    with atomic_write(path, beside=f"{path}.incomplete") as out:
        out.write(json.dumps({**source, "files": [asdict(file) for file in files]}, indent=1).encode())
    for leftover in _leftovers(job.folder):
        os.unlink(leftover)


def _locked(folder: str, notify: Notify) -> FileLock:
    """Take the folder's lock; while another process has it, tell so and wait."""
    return FileLock(
        os.path.join(folder, ".imgsearch-download.lock"),
        remove=True,
        waiting=lambda: notify(f"another process is downloading to {folder}; waiting for it"),
    )


def _explained(error: Exception, name: str, revision: str, folder: str) -> DownloadError:
    """Put what went wrong, and what to do next, into one line."""
    from huggingface_hub import constants, errors

    hub, number = constants.ENDPOINT, getattr(error, "errno", None)
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    reason = error_line(error, first=True)
    if isinstance(error, errors.OfflineModeIsEnabled):
        text = Message(
            f"{name} must be downloaded, but HF_HUB_OFFLINE is set; unset it and try again, ", ELSEWHERE
        )
    elif isinstance(error, errors.GatedRepoError):
        text = Message(f"{name} is gated: accept its license at {hub}/{name}, set HF_TOKEN, and try again")
    elif isinstance(error, errors.RevisionNotFoundError):
        text = Message(
            f"{name} has no revision {revision!r}; its branches and tags are listed at {hub}/{name}"
        )
    elif status in (401, 403, 404):
        check = "check the name, or set HF_TOKEN if it is private or gated"
        text = Message(f"{hub} has no model {name} ({status}); {check}")
    elif status is not None:
        text = Message(f"{hub} answered with status {status} for {name}; try again later, ", ELSEWHERE)
    elif number in (errno.ENOSPC, errno.EDQUOT):
        text = Message(f"the disk that holds {folder} is full; free some space, then {AGAIN} to resume")
    elif number is not None and not isinstance(error, ConnectionError):
        text = Message(f"can't write to {folder}: {os.strerror(number)}; make it writable, ", ELSEWHERE)
    else:
        size = f" ({format_bytes(BYTES[name])})" if name in BYTES else ""
        lost = f"can't reach {hub.removeprefix('https://')} to download the model{size}: {reason}. "
        check = "Check your connection and try again, "
        text = Message(lost, check, ELSEWHERE, ". ", TRY_DEMO)
    return DownloadError(text)


def _leftovers(folder: str) -> set[str]:
    return {
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".incomplete")
    }
