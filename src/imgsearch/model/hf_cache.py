"""The cache of Hugging Face's own libraries, which is only read: where it is, and the snapshots of models in it."""

from __future__ import annotations

import contextlib
import os

from imgsearch.errors import CheckpointError
from imgsearch.text import Option

_MODEL = "models--"  # such a folder has one model: models--org--name/{blobs,refs,snapshots}
_MAIN = "main"


def cached_snapshot(name: str, revision: str | None) -> str | None:
    """Return the folder of a model's snapshot in the user's cache, at a branch, tag or commit (None: main).

    It may be incomplete: a snapshot has a link for each file that some program wanted. None if there is none.
    """
    return _snapshot(os.path.join(_cache(), _MODEL + name.replace("/", "--")), revision or _MAIN)


def model_folder(folder: str, revision: str | None = None) -> str:
    """Return the snapshot that a folder of the cache stands for, and any other folder as it is.

    For models--org--name it is the snapshot at ``revision``, not given: main, or the only one that there is; for a
    whole cache that of its only model. Raises CheckpointError where that leaves a choice, or nothing.
    """
    if models := _models_in(folder):
        if len(models) > 1:
            several = [os.path.join(folder, name) for name in models]
            raise CheckpointError(
                f"{folder} is a cache of {len(models)} models; give one of them with ",
                Option("model", metavar="DIR"),
                f": {', '.join(several[:4])}",
            )
        folder = os.path.join(folder, models[0])
    if not _is_model(folder):
        return folder
    if found := _snapshot(folder, revision or _MAIN):
        return found
    snapshots = _names(os.path.join(folder, "snapshots"))
    if len(snapshots) == 1 and revision is None:
        return os.path.join(folder, "snapshots", snapshots[0])
    have = f"it has {', '.join(snapshots[:4])}" if snapshots else "it has none at all"
    raise CheckpointError(f"{folder} has no snapshot of the revision {revision or _MAIN!r}; {have}")


def source_of(folder: str) -> dict[str, str]:
    """Return repo and commit of a snapshot, as its path has them; nothing for another folder."""
    model, snapshots, commit = ["", "", "", *os.path.abspath(folder).split(os.sep)][-3:]
    if not model.startswith(_MODEL) or snapshots != "snapshots":
        return {}
    return {"repo": model.removeprefix(_MODEL).replace("--", "/"), "commit": commit}


def _cache() -> str:
    """Return the user's cache, found as huggingface_hub finds it when it is imported, without importing it."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface"
    )
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return os.path.expandvars(os.path.expanduser(named or os.path.join(home, "hub")))


def _snapshot(model: str, revision: str) -> str | None:
    """Return the snapshot in a models--… folder that a branch, a tag or a commit names; None if it is not there."""
    commit = revision
    with contextlib.suppress(OSError), open(os.path.join(model, "refs", revision), encoding="utf-8") as file:
        commit = file.read().strip()
    folder = os.path.join(model, "snapshots", commit)
    return folder if commit and os.path.isdir(folder) else None


def _models_in(folder: str) -> list[str]:
    """Name the models in a whole cache; nothing if the folder is none."""
    return [
        name for name in _names(folder) if name.startswith(_MODEL) and _is_model(os.path.join(folder, name))
    ]


def _is_model(folder: str) -> bool:
    return os.path.basename(folder).startswith(_MODEL) and os.path.isdir(os.path.join(folder, "snapshots"))


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(folder))
    return []
