"""Where a checkpoint is on this machine; what is not here is downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from imgsearch.errors import CheckpointError, DownloadError, UsageError
from imgsearch.model.checkpoint import RERANKER, Checkpoint, refuse_quantised
from imgsearch.model.families import check_before_download, check_embeds, family_of, open_checkpoint
from imgsearch.model.hf_cache import cached_snapshot, model_folder
from imgsearch.model.hub import (
    ELSEWHERE,
    Progress,
    damaged_in_cache,
    download_bytes,
    download_call,
    download_checkpoint,
)
from imgsearch.model.known import refuse_known
from imgsearch.text import Call, Message, Option, format_bytes
from imgsearch.types import Notify, Reporter

DEFAULT_MODEL = "Qwen/Qwen3-VL-Embedding-2B"
DEMO_MODEL = "demo"
# Inside the package, so that it comes with every installation.
DEMO_FOLDER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "demo", "checkpoint"
)
# What huggingface_hub, too, takes for a name; so a folder made from one stays inside its parent.
_HUB_NAME = re.compile(
    r"(?!.*(--|\.\.|\.git$))[a-z0-9][\w.-]*(?<=\w)/[a-z0-9][\w.-]{0,95}(?<=\w)", re.A | re.I
)


@dataclass(frozen=True, slots=True)
class Absent:
    """A checkpoint of the hub that is not complete on this machine: its ``name``, and what ``folder`` is to hold."""

    name: str
    revision: str | None
    folder: str
    missing: tuple[str, ...]


def look_for(model: str | None, revision: str | None, notify: Notify | None = None) -> Checkpoint | Absent:
    """Look for a checkpoint on this machine, as ``find_checkpoint`` describes; nothing touches the network.

    Raises CheckpointError (a folder that is not a checkpoint; an absent model that is known to need its authors' own
    code), UsageError (a revision of a folder).
    """
    if model is None:
        folder = os.environ.get("IMGSEARCH_MODEL_DIR")
        if folder and (revision is None or Checkpoint(folder).is_revision(revision)):
            return _user_folder(folder, "IMGSEARCH_MODEL_DIR")
        model = DEFAULT_MODEL
    elif model == DEMO_MODEL:
        return _demo(revision)
    elif model != DEFAULT_MODEL and os.path.isdir(os.path.expanduser(model)):
        return _user_folder(model, Message(Option("model")), revision)
    elif model.lower().endswith(".gguf") and os.path.isfile(os.path.expanduser(model)):
        refuse_quantised(model, {}, [model])
    if not _HUB_NAME.fullmatch(model):
        raise CheckpointError(
            f"{model}: there is no such folder; the name of a model on Hugging Face looks like {DEFAULT_MODEL}"
        )

    target, folders = data_folder(model, revision), dict[str, str]()
    if model == DEFAULT_MODEL:
        folders = {os.path.join(root, *model.split("/")): "./Qwen" for root in _roots()}
        if revision is None and (root := _checkout_around()):
            target = os.path.join(root, *model.split("/"))
    folders |= dict.fromkeys((data_folder(model), data_folder(model, revision)), "the user's data folder")
    if revision is None:  # a download that was begun is resumed where it is
        target = next(filter(_is_begun, folders), target)
    if snapshot := cached_snapshot(model, revision):
        folders[snapshot] = "the Hugging Face cache"
    for folder, reason in folders.items():
        checkpoint = open_checkpoint(folder, model, reason)
        if revision is not None and folder not in (target, snapshot) and not checkpoint.is_revision(revision):
            continue
        if not (missing := checkpoint.missing_files()):
            return checkpoint
        if notify and folder != target and os.path.exists(os.path.join(folder, "config.json")):
            notify(f"{folder} is not used because it is incomplete: {_listed(missing)} missing")
    if revision is None:  # a revision may be one that needs no such code
        refuse_known(model)
    return Absent(model, revision, target, tuple(open_checkpoint(target, model).missing_files()))


def find_checkpoint(
    model: str | None = None,
    *,
    revision: str | None = None,
    download: bool = True,
    progress: Progress | None = None,
    notify: Notify | None = None,
    talk: Notify | None = None,
    approve: Callable[[str], bool] | None = None,
    force_model: bool = False,
    check: Callable[[Checkpoint], object] | None = None,
) -> Checkpoint:
    """Find a checkpoint, or download it; with complete weights on disk nothing touches the network.

    Looked for in this order: "demo", the one that ships with the package (a folder of that name is ./demo); ``model``
    as a folder, also one of the Hugging Face cache; without ``model``, the folder in IMGSEARCH_MODEL_DIR; for the
    default model ./Qwen/… of the source checkout and of the working directory; the user's data folder; the Hugging
    Face cache; the hub. A download goes to the data folder; that of the default model, if the working directory is in
    a source checkout, to its ./Qwen/…. With a ``revision`` only a folder that was downloaded as that revision or
    commit counts. A model that only generates text is not downloaded without ``force_model``; if ``check`` is given,
    what that refuses is not, instead. ``progress`` and ``approve`` are called as ``download_checkpoint`` does,
    ``notify`` with a line of text. (``talk`` is its name of the version before.)

    Raises CheckpointError (nothing there, or an incomplete folder), UsageError (a revision of a folder), DownloadError.
    """
    notify = notify or talk
    found = look_for(model, revision, notify)
    if isinstance(found, Checkpoint):
        return found
    if not download:
        raise CheckpointError(
            f"the model {found.name} is not complete on this computer ({_listed(found.missing)} missing in "
            f"{found.folder}); download it with '",
            download_call(found.name),
            "', ",
            ELSEWHERE,
        )
    download_checkpoint(
        found.name,
        revision,
        found.folder,
        progress=progress,
        notify=notify,
        approve=approve,
        check=check or (None if force_model else check_before_download),
    )
    return open_checkpoint(found.folder, found.name, "downloaded from Hugging Face")


def fetch_checkpoint(
    model: str | None,
    revision: str | None,
    reporter: Reporter,
    *,
    download: bool = True,
    force_model: bool = False,
) -> Checkpoint:
    """Find a checkpoint, or download it with a progress bar once the user agrees; raises as ``find_checkpoint``.

    Without ``force_model`` also CheckpointError for a model that only generates text.
    """
    try:
        found = find_checkpoint(
            model,
            revision=revision,
            download=download,
            progress=_progress(reporter),
            notify=reporter.say,
            approve=reporter.approve,
            force_model=force_model,
        )
    finally:
        reporter.stop()
    if not force_model:
        check_embeds(found)
    return found


def fetch_reranker(model: str | None, reporter: Reporter, *, download: bool = True) -> Checkpoint:
    """Find the reranker of a name or folder, the published one for None, or download it as ``fetch_checkpoint`` does.

    Raises as that does, and CheckpointError for a model that is no reranker.
    """
    try:
        found = find_checkpoint(
            model or RERANKER,
            download=download,
            progress=_progress(reporter),
            notify=reporter.say,
            approve=reporter.approve,
            check=_check_reranks,
        )
    except (CheckpointError, DownloadError, UsageError) as error:
        raise type(error)(*map(_of_reranker, error.as_message.parts)) from error
    finally:
        reporter.stop()
    _check_reranks(found)
    return found


def _of_reranker(part: str | Option | Call) -> str | Option | Call:
    """Return a part of a message with the option that names the reranker in place of the model's."""
    return replace(part, name="rerank_model") if isinstance(part, Option) and part.name == "model" else part


def _check_reranks(checkpoint: Checkpoint) -> None:
    from imgsearch.model.prompt import check_reranks  # on use: it loads the tokenizers

    check_reranks(checkpoint)


def _check_either(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a model that neither embeds nor reranks."""
    from imgsearch.model.prompt import is_reranker  # on use: it loads the tokenizers

    if family_of(checkpoint).by_library or not is_reranker(checkpoint):
        check_before_download(checkpoint)


def to_download(model: str | None, revision: str | None, reporter: Reporter) -> str:
    """Return what must be downloaded before the model can be used, with its size; "" if it is on this machine.

    For the default model no connection is opened; for any other one the hub is asked. Raises as ``look_for`` does.
    """
    found = look_for(model, revision)
    if isinstance(found, Checkpoint):
        return ""
    reporter.wait("Asking Hugging Face for the model's size")
    size = download_bytes(found.name, revision)
    reporter.stop()
    return f"the model {found.name} ({format_bytes(size) if size else 'size unknown'})"


def download(name: str | None, revision: str | None, reporter: Reporter, *, force_model: bool = False) -> str:
    """Fetch a checkpoint ahead of time, or check the one that is here against the hub; return its folder.

    Every file is compared with the hub's checksum, so this also repairs a damaged checkpoint. One in the Hugging Face
    cache is compared with the checksums in the cache, and stays as it is: if it is damaged, another is downloaded.
    "demo", which ships with the program, is only looked for. Raises DownloadError, CheckpointError (without
    ``force_model`` also for a model that only generates text), and UsageError for a folder.
    """
    name = name or DEFAULT_MODEL
    if name == DEMO_MODEL:
        return find_checkpoint(name, revision=revision).folder
    if name != DEFAULT_MODEL and os.path.isdir(os.path.expanduser(name)):
        raise UsageError(
            f"{name} is a folder; download takes the name of a model on Hugging Face, like {DEFAULT_MODEL}"
        )
    found, check = look_for(name, revision), None if force_model else _check_either
    folder = found.folder
    try:
        if isinstance(found, Checkpoint) and folder == cached_snapshot(name, revision):
            if not (damaged := damaged_in_cache(folder, name, _progress(reporter))):
                return folder
            reporter.stop()
            reporter.say(f"{folder} is not used because it is damaged: {_listed(damaged)}")
            folder = data_folder(name, revision)
        return download_checkpoint(
            name, revision, folder, progress=_progress(reporter), notify=reporter.say, check=check
        )
    finally:
        reporter.stop()


def _progress(reporter: Reporter) -> Progress:
    """Hand on how much of a checkpoint has arrived; the count steps back when a file starts again."""
    last: list[int] = []

    def progress(name: str, done: int, total: int) -> None:
        if not last:
            reporter.start(total, "bytes")
            last.append(0)
        reporter.advance(done - last[0])
        last[0] = done

    return progress


def data_folder(model: str, revision: str | None = None) -> str:
    """Return where a download of this hub name and revision lies; the folder need not exist."""
    import platformdirs

    # A revision may hold slashes (refs/pr/1); escaped, they stay inside one folder name.
    suffix = "" if revision is None else "@" + re.sub(r"[^\w.-]", lambda m: f"%{ord(m[0]):02X}", revision)
    return os.path.join(platformdirs.user_data_dir("imgsearch"), "models", *model.split("/")) + suffix


def _demo(revision: str | None) -> Checkpoint:
    if revision is not None:
        raise UsageError(f"the model {DEMO_MODEL} ships with imgsearch and has no ", Option("revision"))
    checkpoint = Checkpoint(DEMO_FOLDER, DEMO_MODEL, "ships with imgsearch")
    if missing := checkpoint.missing_files():
        raise CheckpointError(
            f"the demo model is incomplete in this installation ({_listed(missing)} missing in {DEMO_FOLDER}); "
            "reinstall imgsearch"
        )
    return checkpoint


def _user_folder(folder: str, how: str, revision: str | None = None) -> Checkpoint:
    path = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(path):
        raise CheckpointError(how, f" {path}: not a folder; give the folder of a model")
    real = model_folder(path, revision)
    if revision is not None and real == path:
        raise UsageError(
            f"{folder} is a folder; ",
            Option("revision"),
            f" needs a name on Hugging Face, like {DEFAULT_MODEL}",
        )
    checkpoint = open_checkpoint(real, path, how)
    checkpoint.check_quantisation()
    if missing := checkpoint.missing_files():
        raise CheckpointError(
            how,
            f" {real}: the model is incomplete ({_listed(missing)} missing or incomplete); copy it there again, or "
            "give another folder with ",
            Option("model", metavar="DIR"),
        )
    return checkpoint


def _listed(missing: Sequence[str]) -> str:
    return ", ".join(missing[:4])


def _roots() -> list[str]:
    """Name the folders whose ./Qwen/… counts: the checkout that holds this file, the one around us, and our own."""
    root, src = os.path.split(os.path.abspath(os.path.join(__file__, "../../..")))
    roots = [root] if src == "src" and os.path.isfile(os.path.join(root, "pyproject.toml")) else []
    around = _checkout_around()
    return [*roots, *([around] if around else []), *_here()]


def _is_begun(folder: str) -> bool:
    """Tell whether a folder holds a part of a download that can be resumed."""
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        return False
    return any(name.endswith(".incomplete") for name in os.listdir(folder))


def _checkout_around() -> str | None:
    """Return the source checkout that the working directory is in, None if there is none that can be written to."""
    for folder in _here():
        while folder != (above := os.path.dirname(folder)):
            if os.path.isfile(os.path.join(folder, "pyproject.toml")) and os.path.isdir(
                os.path.join(folder, "src", "imgsearch")
            ):
                return folder if os.access(folder, os.W_OK) else None
            folder = above
    return None


def _here() -> list[str]:
    try:
        return [os.getcwd()]
    except FileNotFoundError:  # the folder we stand in was deleted
        return []
