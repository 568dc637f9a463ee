"""Fetch a checkpoint from the hub into a folder so that a kill loses nothing and nothing unchecked stays."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from imgsearch.errors import DownloadError
from imgsearch.model.checkpoint import SOURCE_FILE, check_family, missing_files
from imgsearch.model.pipeline import read_pipeline
from imgsearch.model.transfer import AGAIN, Job, Progress, RemoteFile, Talk, fetch_weights, size_text

_MARKER = ".imgsearch-download.incomplete"  # there as long as files of the folder are being exchanged
_SMALL = re.compile(
    r"(config|model\.safetensors\.index|tokenizer|tokenizer_config|vocab|special_tokens_map|added_tokens|chat_template"
    r"|processor_config|(video_)?preprocessor_config|modules|sentence_bert_config|config_sentence_transformers"
    r"|imgsearch|\d+_\w+/config)\.json|merges\.txt|chat_template\.jinja"
)
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WEIGHTS = re.compile(r"[^/]*\.safetensors")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_MARGIN = 64_000_000  # bytes that stay free on the disk


def download(
    name: str,
    revision: str | None,
    folder: str,
    *,
    progress: Progress | None = None,
    talk: Talk | None = None,
) -> str:
    """Make ``folder`` hold the checkpoint ``name`` of the hub as it is at ``revision`` (None: main); return it.

    Every file is compared with the hub's checksum; what is missing or different is fetched, all of one commit,
    and half a file of weights is continued. A second process waits for the first. ``progress(file, done, total)``
    counts bytes of the whole checkpoint; ``done`` steps back when a server can't continue. ``talk`` gets lines.

    Raises DownloadError, and before its weights are fetched CheckpointError for a model of another family, or with
    modules that are not supported.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever library it uses
    from huggingface_hub.utils import logging

    folder, revision, say = os.path.abspath(folder), revision or "main", talk or (lambda _: None)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(40)  # errors only: what it warns of, our errors say
    try:
        commit, files = _listing(name, revision)
        os.makedirs(folder, exist_ok=True)
        with _locked(folder, say):
            job = Job(name, commit, folder, sum(file.size for file in files), progress or (lambda *_: None))
            if wanted := [file for file in files if not job.holds(file)]:
                _fetch(job, wanted, say)
            _finish(job, revision, files)
    except (OSError, json.JSONDecodeError, HTTPError) as error:
        raise _explained(error, name, revision, folder) from error
    finally:
        logging.set_verbosity(verbosity)
    return folder


def _listing(name: str, revision: str) -> tuple[str, list[RemoteFile]]:
    """Ask the hub once which commit this is and which files it has; return those that are needed."""
    from huggingface_hub import HfApi, constants

    info = HfApi(endpoint=constants.ENDPOINT).model_info(
        name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    )
    small, weights = list[RemoteFile](), list[RemoteFile]()
    for sibling in info.siblings or []:
        path, lfs = sibling.rfilename, sibling.lfs
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise DownloadError(f"{name} on the hub lists {path!r}, outside its folder; nothing was fetched")
        if _SMALL.fullmatch(path) or _WEIGHTS.fullmatch(path):
            size, checksum = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
            if size is None or not _HASH.fullmatch(checksum or ""):
                raise DownloadError(f"{constants.ENDPOINT} gives no checksum of {path}; it can't be trusted")
            (small if _SMALL.fullmatch(path) else weights).append(RemoteFile(path, size, checksum or ""))
    # A repository may hold the same weights once more in another cut: one whole set is enough.
    single = [file for file in weights if file.path == "model.safetensors"]
    weights = single or [file for file in weights if _SHARD.fullmatch(file.path)] or weights
    commit, names = info.sha or "", {file.path for file in small}
    if not weights or "config.json" not in names or not _HASH.fullmatch(commit):
        raise DownloadError(f"{name} on the hub is no checkpoint: config.json or safetensors weights lack")
    return commit, small + weights


def _fetch(job: Job, files: list[RemoteFile], say: Talk) -> None:
    """Fetch files: the small ones first, for they tell whether the weights are of any use."""
    marker, parts = os.path.join(job.folder, _MARKER), {file.part_in(job.folder) for file in files}
    os.close(os.open(marker, os.O_CREAT | os.O_WRONLY, 0o644))
    for leftover in _leftovers(job.folder) - parts - {marker}:
        os.unlink(leftover)  # of another commit
    need = sum(f.size for f in files) - sum(os.path.getsize(p) for p in parts & _leftovers(job.folder))
    if (free := shutil.disk_usage(job.folder).free) < need + _MARGIN:
        needs = (
            f"{job.name} needs {size_text(need + _MARGIN)} in {job.folder}, where {size_text(free)} are free"
        )
        raise DownloadError(f"{needs}; make room, or give a folder with --model DIR")
    say(f"downloading {job.name} ({size_text(need)}) into {job.folder}")
    if small := [file for file in files if _SMALL.fullmatch(file.path)]:
        _fetch_small(job, small)
    check_family(job.folder)
    read_pipeline(job.folder)
    for file in files[len(small) :]:
        fetch_weights(job, file)


def _fetch_small(job: Job, files: list[RemoteFile]) -> None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import tqdm as bar  # type: ignore[attr-defined]

    class Silent(bar):
        monitor_interval = 0  # else a thread of its own watches over each bar

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    try:
        # Forced, because it would take an older file, or a folder that is not empty, for the answer.
        snapshot_download(
            job.name, revision=job.commit, local_dir=job.folder, force_download=True, tqdm_class=Silent,
            allow_patterns=[file.path for file in files], endpoint=constants.ENDPOINT,
        )  # fmt: skip
    except RuntimeError as error:  # what hf_xet raises, which it may use
        raise DownloadError(f"{job.name}: {str(error).split(chr(10))[0]}; {AGAIN}") from error
    for file in files:
        if not job.holds(file):
            raise DownloadError(f"{file.path} of {job.name} did not arrive whole; {AGAIN}")


def _finish(job: Job, revision: str, files: list[RemoteFile]) -> None:
    """Check that the folder is a checkpoint, clear up, and write down where it came from."""
    if lacking := missing_files(job.folder, leftovers=False):
        raise DownloadError(f"{job.name} on the hub is incomplete: it lacks {', '.join(lacking[:4])}")
    shutil.rmtree(os.path.join(job.folder, ".cache"), ignore_errors=True)  # huggingface_hub's notes
    source = {"repo": job.name, "revision": revision, "commit": job.commit}
    beside = os.path.join(job.folder, f"{SOURCE_FILE}.incomplete")
    with open(beside, "w", encoding="utf-8") as out:
        json.dump({**source, "files": [asdict(file) for file in files]}, out, indent=1)
    os.replace(beside, os.path.join(job.folder, SOURCE_FILE))
    for leftover in _leftovers(job.folder):
        os.unlink(leftover)


@contextlib.contextmanager
def _locked(folder: str, say: Talk) -> Iterator[None]:
    """Hold the folder's lock; while another process has it, say so and wait."""
    path = os.path.join(folder, ".imgsearch-download.lock")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is downloading into {folder}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever had it has removed the file, and a lock on a file without a name protects nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                break
        os.close(lock)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(lock)


def _explained(error: Exception, name: str, revision: str, folder: str) -> DownloadError:
    """Put what went wrong, and what to do next, into one line."""
    from huggingface_hub import constants, errors

    hub, number = constants.ENDPOINT, getattr(error, "errno", None)
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    elsewhere = "or give a folder with --model DIR"
    if isinstance(error, errors.OfflineModeIsEnabled):
        text = f"{name} has to be fetched, but HF_HUB_OFFLINE is set; run 'imgsearch download' without it, {elsewhere}"
    elif isinstance(error, errors.GatedRepoError):
        text = f"{name} is gated: accept its licence on {hub}/{name}, set HF_TOKEN, and run it again"
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{name} has no revision {revision!r} on {hub}; look there for its branches and tags"
    elif status in (401, 403, 404):
        text = f"{hub} shows no {name} ({status}); check the name, or set HF_TOKEN if it is private or gated"
    elif status is not None:
        text = f"{hub} answered {status} for {name}; try again later, {elsewhere}"
    elif number in (errno.ENOSPC, errno.EDQUOT):
        text = f"the disk that holds {folder} is full; make room and {AGAIN}, it goes on from there"
    elif number is not None and not isinstance(error, ConnectionError):
        text = f"can't write to {folder}: {os.strerror(number)}; make it writable, {elsewhere}"
    else:
        text = f"no hub answers at {hub} ({reason}); run 'imgsearch download' when one does, {elsewhere}"
    return DownloadError(text)


def _leftovers(folder: str) -> set[str]:
    return {os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".incomplete")}
