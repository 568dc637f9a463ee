"""What people type, and what they should get: a table for the test and for the page that docs/front_door.py makes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.pictures import scene


@dataclass(frozen=True)
class Typed:
    """A line after ``imgsearch``, its exit code, and what its output must and must not contain.

    ``stdin`` is what is piped in, "@FILE" the bytes of a file. ``changes``: it changes the index that all share.
    """

    line: str
    code: int
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    stdin: str = ""
    changes: bool = False

    def given(self, home: Path) -> bytes:
        """Return the bytes that are piped in."""
        return (home / self.stdin[1:]).read_bytes() if self.stdin.startswith("@") else self.stdin.encode()

    @property
    def words(self) -> list[str]:
        """The line as a shell splits it."""
        return shlex.split(self.line)


def make_home(folder: Path) -> None:
    """Fill an empty folder with what somebody has: photos in folders, one beside them, a text, an empty folder."""
    for number, name in enumerate(["Pictures/2023/a.jpg", "Pictures/2023/b.jpg", "Pictures/Scans/c.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(folder / name)
    scene(7).save(folder / "photo.jpg")
    scene(8).save(folder / "other.jpg")
    (folder / "notes.txt").write_text("this is definitely text")
    (folder / "Empty").mkdir()


INDEX = "index Pictures --model demo"
"""Run first: what the other lines search."""
THREE = ("a.jpg", "b.jpg", "c.png")
ONE_LINE = ("╭", "Traceback")
TYPED = (
    # Bare words search.
    Typed("red car at night", 0, THREE),
    Typed('"red car"', 0, THREE),
    Typed("-k 1 red car", 0),
    Typed("search cat", 0, THREE),
    Typed("find red car", 0, THREE),
    Typed("query red car at night", 0, THREE),
    Typed("query red car --limit 2", 0),
    Typed("-", 0, ("# red", *THREE), stdin="red\n"),
    # Folders and files.
    Typed("Pictures", 2, ("imgsearch index Pictures", "imgsearch query Pictures"), ONE_LINE),
    Typed("./Pictures", 2, ("imgsearch index ./Pictures",), ONE_LINE),
    Typed(
        "./Pictures cat", 2, ("imgsearch index ./Pictures", "imgsearch query cat --in ./Pictures"), ONE_LINE
    ),
    Typed("./Nowhere", 2, ("./Nowhere does not exist",), ONE_LINE),
    Typed("Pictures/2023/a.jpg", 0, ("1.0000", *THREE)),
    Typed("photo.jpg", 0, THREE),
    Typed("nowhere.jpg", 2, ("nowhere.jpg does not exist", "imgsearch query nowhere.jpg"), ONE_LINE),
    Typed("notes.txt", 2, ("notes.txt", "not an image"), ONE_LINE),
    Typed("photo.jpg at night", 2, ("imgsearch query at night + photo.jpg",), ONE_LINE),
    # Other names of commands.
    Typed("list", 0, THREE),
    Typed("ls Pictures/2023", 0, ("a.jpg", "b.jpg"), ("c.png",)),
    Typed("ls Nowhere", 1, ("not in the index: Nowhere",)),
    Typed('ls ""', 2, ("path is empty",), ONE_LINE),
    Typed("info", 0, ("3 files",)),
    Typed("update", 0, ("3 unchanged",), changes=True),
    Typed("add Pictures/Scans", 0, ("1 unchanged",), changes=True),
    Typed("help", 0, ("query", "index")),
    Typed("help query", 0, ("--min-score",)),
    Typed("help search", 0, ("--min-score",)),
    Typed("help --help", 0, ("query", "index")),
    Typed("help query --help-all", 0, ("--dtype",)),
    Typed("help qurey", 2, ("imgsearch help query",), ONE_LINE),
    Typed("version", 0, ("imgsearch ",)),
    # Nearly a command, and commands that are not there.
    Typed("serach cat", 2, ("did you mean: imgsearch search cat", "imgsearch query serach cat"), ONE_LINE),
    Typed("idnex Pictures", 2, ("imgsearch index Pictures", "imgsearch query idnex Pictures"), ONE_LINE),
    Typed("statue of liberty", 0, THREE),
    Typed("train station at night", 2, ("imgsearch query train station at night",), ONE_LINE),
    Typed("status symbol", 2, ("imgsearch query status symbol",), ONE_LINE),
    Typed("web --help", 0, ("browser", "--port")),
    Typed("open", 2, ("give a number", "imgsearch open 3"), ONE_LINE),
    Typed("open 1 99", 2, ("number",), ONE_LINE),
    Typed("open window", 2, ("imgsearch query open window",), ONE_LINE),
    Typed("duplicates", 1, ("no duplicates found",), ONE_LINE),
    Typed("undo", 2, ("imgsearch index PATH", "imgsearch query undo"), ONE_LINE),
    # Options.
    Typed(
        "query cat --opne",
        2,
        ("unknown option --opne", "--open", "imgsearch help query"),
        ("--dtype", *ONE_LINE),
    ),
    Typed("query cat --limit 1", 0),
    Typed("query cat --top 1", 0),
    Typed("query cat -k 1", 0),
    Typed("query cat -n 1", 0),
    Typed("query cat --top-k 5", 2, ("did you mean --limit?",), ONE_LINE),
    Typed("query cat --n 5", 2, ("did you mean --limit?",), ONE_LINE),
    Typed("query cat -n 0", 2, ("--limit 0",), ONE_LINE),
    Typed("query cat --within 5%", 0),
    Typed("query cat --within five", 2, ("--within five", "number"), ONE_LINE),
    Typed("query cat --min-score 2", 1, ("nothing found", "best score", "--min-score 2"), ONE_LINE),
    Typed("query cat --min-score 2 --json", 1, ("nothing found", "best score")),
    Typed("query cat --in Pictures/2032", 2, ("--in", "2032 does not exist"), ONE_LINE),
    Typed("query cat --in Empty", 2, ("not in an indexed folder",), ONE_LINE),
    Typed("query cat --in Pictures/2023", 0, ("a.jpg", "b.jpg"), ("c.png",)),
    Typed("query cat Pictures/2023", 2, ("imgsearch query cat --in Pictures/2023",), ONE_LINE),
    Typed("query cat --quiet", 0, THREE),
    Typed("--json status", 2, ("imgsearch status --json",), ONE_LINE),
    Typed("--foo", 2, ("unknown option --foo",), ONE_LINE),
    Typed("status x", 2, ("'x'", "imgsearch help status"), ONE_LINE),
    # Images as queries.
    Typed("query photo.jpg", 0, ("image file", *THREE)),
    Typed("query --image photo.jpg", 0, THREE),
    Typed("query cat photo.jpg", 2, ("imgsearch query cat + photo.jpg",), ONE_LINE),
    Typed("query", 2, ("imgsearch query red car at night",), ONE_LINE),
    Typed('query ""', 2, (), ONE_LINE),
    Typed("similar", 2, ("IMAGE is missing", "imgsearch help similar"), ONE_LINE),
    Typed('similar ""', 2, ("path is empty",), ONE_LINE),
    Typed("similar photo.jpg other.jpg", 0),
    Typed("similar -", 0, THREE, stdin="@photo.jpg"),
    Typed("similar -", 2, ("the image on stdin", "not an image"), ONE_LINE, stdin="@notes.txt"),
    Typed("similar http://127.0.0.1/cat.jpg", 2, ("on this machine", "--allow-private"), ONE_LINE),
    Typed("http://127.0.0.1/cat.jpg", 2, ("on this machine", "--allow-private"), ONE_LINE),
    Typed("query http://127.0.0.1/cat.jpg", 2, ("on this machine", "--allow-private"), ONE_LINE),
    Typed(
        "query red http://127.0.0.1/cat.jpg", 2, ("imgsearch query red + http://127.0.0.1/cat.jpg",), ONE_LINE
    ),
    Typed("similar Pictures", 2, ("Pictures is a folder",), ONE_LINE),
    Typed("similar notes.txt", 2, ("not an image",), ONE_LINE),
    Typed("similar nowhere.jpg", 2, ("nowhere.jpg",), ONE_LINE),
    # Removing.
    Typed("remove nowhere.jpg", 1, ("not in the index: nowhere.jpg",), ONE_LINE),
    Typed("remove Pictures/2023 --dry-run", 0, ("2 images would be removed",), ONE_LINE),
    Typed("rm Pictures/2023/b.jpg", 0, ("30 days",), ONE_LINE, changes=True),
    Typed(
        "delete Pictures",
        0,
        ("3 images removed", "imgsearch index Pictures"),
        ONE_LINE,
        changes=True,
    ),
)


def answers(done_code: int, output: str, typed: Typed) -> Iterator[str]:
    """Yield what is wrong with an answer; nothing if it is as the table wants it."""
    if done_code != typed.code:
        yield f"exit code {done_code}, not {typed.code}"
    yield from (f"lacks {part!r}" for part in typed.has if part not in output)
    yield from (f"has {part!r}" for part in typed.lacks if part in output)
