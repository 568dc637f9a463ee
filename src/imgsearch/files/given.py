"""A path that a person gave to be indexed: what it stands for, or one line on why it is no use."""

from __future__ import annotations

import os
import stat

from imgsearch.errors import FolderError
from imgsearch.files.opening import said, shown


def check_root(path: str) -> str:
    """Return the absolute real path of a folder to index, or of a single file.

    Raises FolderError if there is nothing at ``path``, or it can't be read, or is neither of the two.
    """
    if not path:
        raise FolderError("the path is empty")
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(real) as entries:
                next(entries, None)
        elif not stat.S_ISREG(mode):
            raise FolderError(f"{shown(path)} is neither a folder nor a file")
        elif not os.access(real, os.R_OK):
            raise FolderError(f"{shown(path)} can't be read: permission denied")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FolderError(f"{shown(path)} does not exist") from error
    except (OSError, ValueError) as error:
        raise FolderError(f"{shown(path)} can't be read: {said(error)}") from error
    return real
