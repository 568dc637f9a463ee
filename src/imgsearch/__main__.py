"""The program's entry: imports next to nothing before Ctrl-C and missing streams are taken care of."""

import os
import sys

from imgsearch import startup


def main() -> None:
    """Run the command line; the console script's entry."""
    _open_missing_streams()
    try:
        with startup.uncollected("imgsearch.cli"):
            from imgsearch.cli import run

        run()
    except KeyboardInterrupt:
        startup.leave(startup.INTERRUPTED)
        sys.exit(startup.INTERRUPTED)
    except SystemExit as end:
        _let_go_of_full_streams()
        startup.leave(end.code)
        raise
    except Exception as error:
        if not (spent := _exhausted(error)):
            raise
        print(f"imgsearch: {spent}", file=sys.stderr)
        sys.exit(2)
    finally:
        _let_go_of_full_streams()


def _exhausted(error: Exception) -> object:
    """Return what to say where the command line itself could not be imported for want of something."""
    try:
        from imgsearch.errors import exhausted
    except Exception:
        return f"could not start: {error}"
    return exhausted(error)


def _open_missing_streams() -> None:
    """Put /dev/null where whoever started us closed a stream, so that no file of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode))


def _let_go_of_full_streams() -> None:
    """Drop what a stream could not take: Python flushes once more at exit, and would end with 120 for it."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


if __name__ == "__main__":
    main()
