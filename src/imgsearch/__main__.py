"""The program's entry: imports nothing before Ctrl-C and missing streams are taken care of."""

import os
import sys


def main() -> None:
    """Run the command line; the console script's entry."""
    _open_missing_streams()
    try:
        from imgsearch.cli import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _open_missing_streams() -> None:
    """Put /dev/null where whoever started us closed a stream, so that no file of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode))


if __name__ == "__main__":
    main()
