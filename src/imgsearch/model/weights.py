"""Where checkpoints lie: the order in which they are looked for, and the hub where none is found."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from imgsearch.errors import CheckpointError, UsageError
from imgsearch.model import hub
from imgsearch.model.checkpoint import is_revision, missing_files
from imgsearch.model.transfer import Progress, Talk

DEFAULT_MODEL = "Qwen/Qwen3-VL-Embedding-2B"
DEMO_MODEL = "demo"
# Inside the package, so that it comes with every installation.
DEMO_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "demo_checkpoint")
# What huggingface_hub, too, takes for a name; so a folder made from one stays in its place.
_HUB_NAME = re.compile(
    r"(?!.*(--|\.\.|\.git$))[a-z0-9][\w.-]*(?<=\w)/[a-z0-9][\w.-]{0,95}(?<=\w)", re.A | re.I
)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, its name (hub id, "demo", or the absolute folder as given), why this one."""

    folder: str
    name: str
    reason: str


def find_checkpoint(
    model: str | None = None,
    *,
    revision: str | None = None,
    download: bool = True,
    progress: Progress | None = None,
    talk: Talk | None = None,
) -> Checkpoint:
    """Find a checkpoint, or fetch it; with complete weights on disk nothing touches the network.

    Order: "demo", the one that ships with the package (a folder of that name is ./demo); ``model`` as a folder;
    without ``model``, the folder in IMGSEARCH_MODEL_DIR; for the default model ./Qwen/… of the source checkout
    and of the working directory; the user's data folder; the hub. With a ``revision`` only a folder that was
    downloaded as that revision or commit counts. ``progress`` is called as ``hub.download`` does, ``talk``
    with a line of text.

    Raises CheckpointError (nothing there, or a folder that lacks files), UsageError (a revision of a folder),
    DownloadError.
    """
    if model is None:
        given = os.environ.get("IMGSEARCH_MODEL_DIR")
        if given and (revision is None or is_revision(given, revision)):
            return _given(given, "IMGSEARCH_MODEL_DIR")
        model = DEFAULT_MODEL
    elif model == DEMO_MODEL:
        return _demo(revision)
    elif model != DEFAULT_MODEL and os.path.isdir(os.path.expanduser(model)):
        if revision is not None:
            raise UsageError(f"{model} is a folder; --revision needs a name on the hub, like {DEFAULT_MODEL}")
        return _given(model, "--model")
    if not _HUB_NAME.fullmatch(model):
        raise CheckpointError(f"{model}: no folder of that name; a hub name looks like {DEFAULT_MODEL}")

    target = data_folder(model, revision)
    places = {data_folder(model): "the user's data folder", target: "the user's data folder"}
    if model == DEFAULT_MODEL:
        places = {**dict.fromkeys(_checkouts(), "./Qwen"), **places}
    for folder, reason in places.items():
        if revision is not None and folder != target and not is_revision(folder, revision):
            continue
        if not (lacking := missing_files(folder)):
            return Checkpoint(folder, model, reason)
        if talk and folder != target and os.path.exists(os.path.join(folder, "config.json")):
            talk(f"{folder} is not used: it lacks {', '.join(lacking[:4])}")
    if not download:
        raise CheckpointError(
            f"no complete weights of {model} on this machine ({target} lacks {', '.join(lacking[:4])}); "
            "fetch them with 'imgsearch download', or give a folder with --model DIR"
        )
    hub.download(model, revision, target, progress=progress, talk=talk)
    return Checkpoint(target, model, "downloaded from the hub")


def data_folder(model: str, revision: str | None = None) -> str:
    """Return where a download of this hub name and revision lies; the folder need not exist."""
    import platformdirs

    # A revision may hold slashes (refs/pr/1); escaped, they stay inside one folder name.
    suffix = "" if revision is None else "@" + re.sub(r"[^\w.-]", lambda m: f"%{ord(m[0]):02X}", revision)
    return os.path.join(platformdirs.user_data_dir("imgsearch"), "models", *model.split("/")) + suffix


def _demo(revision: str | None) -> Checkpoint:
    if revision is not None:
        raise UsageError(f"the model {DEMO_MODEL} ships with imgsearch and has no --revision")
    if lacking := missing_files(DEMO_FOLDER):
        raise CheckpointError(
            f"the demo checkpoint is not whole in this installation ({DEMO_FOLDER} lacks {', '.join(lacking[:4])}); "
            "install imgsearch anew"
        )
    return Checkpoint(DEMO_FOLDER, DEMO_MODEL, "ships with imgsearch")


def _given(folder: str, how: str) -> Checkpoint:
    path = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(path):
        raise CheckpointError(f"{how} names {path}, which is no folder; give the folder of a checkpoint")
    if lacking := missing_files(path):
        who = "the model's folder" if how == "--model" else f"{how}, which is"
        raise CheckpointError(
            f"{who} {path} lacks {', '.join(lacking[:4])}, or has it only in part; copy the checkpoint there "
            "anew, or give another folder with --model DIR"
        )
    return Checkpoint(path, path, how)


def _checkouts() -> list[str]:
    """Name ./Qwen/… of the source checkout that holds this file, if one does, and of the working directory."""
    root, src = os.path.split(os.path.abspath(os.path.join(__file__, "../../..")))
    roots = [root] if src == "src" and os.path.isfile(os.path.join(root, "pyproject.toml")) else []
    return [os.path.join(root, *DEFAULT_MODEL.split("/")) for root in (*roots, *_here())]


def _here() -> list[str]:
    try:
        return [os.getcwd()]
    except FileNotFoundError:  # the folder we stand in was deleted
        return []
