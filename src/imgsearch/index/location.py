"""Where the index is: the folder given, the environment's, the nearest .imgsearch upward, or the user's own."""

from __future__ import annotations

import os

NAME = ".imgsearch"


def find_index(given: str | None = None) -> str:
    """Return the absolute folder of the index to use, whether or not there is one yet."""
    given = given or os.environ.get("IMGSEARCH_INDEX")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    folder = os.getcwd()
    while True:
        if os.path.isdir(os.path.join(folder, NAME)):
            return os.path.join(folder, NAME)
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("imgsearch", appauthor=False), "index")
