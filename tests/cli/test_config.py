"""The config file: what it sets, what wins over it, and what is wrong in it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from imgsearch.cli import app, config
from imgsearch.cli.parsing import Group
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the path of the test's own config file, which is not there yet, in a folder that is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "imgsearch" / "config.toml"
    path.parent.mkdir(parents=True)
    assert imgsearch("config", "--path").lines == [str(path)]
    return path


@pytest.fixture
def index(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> str:
    """Give an index of five colours."""
    run(tmp_path / "ix", gallery)
    return str(tmp_path / "ix")


def shown(key: str) -> list[tuple[object, str]]:
    """Return value and source of a key, as `config` shows them."""
    done = imgsearch("config", key, "--json")
    assert done.code == 0, done.err
    return [(one["value"], one["source"]) for one in done.objects]


def test_the_file_sets_the_default_of_an_option(index: str, file: Path) -> None:
    """By any of its names; what is typed wins."""
    for name in ("limit", "k", "n"):
        file.write_text(f"[query]\n{name} = 2\n")
        assert len(imgsearch("query", "red", "--index", index).lines) == 2
    assert len(imgsearch("query", "red", "--index", index, "-n", "3").lines) == 3
    assert len(imgsearch("similar", Path(index).parent / "pictures/red.png", "--index", index).lines) == 5


def test_a_table_for_all_commands_gives_way_to_that_of_one(index: str, file: Path) -> None:
    """[all] counts for each command that has the option, and [query] wins over it."""
    file.write_text("[all]\njson = true\nlimit = 2\n[query]\nlimit = 1\n")
    assert len(imgsearch("query", "red", "--index", index).objects) == 1
    assert len(imgsearch("similar", Path(index).parent / "pictures/red.png", "--index", index).objects) == 2
    assert imgsearch("status", "--index", index).objects[0]["files"] == 5


def test_flags_lists_and_dates_are_what_they_are_in_toml(index: str, file: Path) -> None:
    """true for a flag, a list or one text for what may be repeated, and a date without quotes."""
    pictures = Path(index).parent / "pictures"
    file.write_text(f'[query]\nexact = true\nafter = 2001-01-01\nin = "{pictures}/sub"\n')
    assert len(imgsearch("query", "red", "--index", index).lines) == 2
    file.write_text(f'[query]\nin = ["{pictures}/sub", "{pictures}/red.png"]\nmin-score = -1\n')
    assert len(imgsearch("query", "red", "--index", index).lines) == 3
    file.write_text("[query]\nbefore = 2001-01-01\n")
    assert "taken before 2001" in imgsearch("query", "red", "--index", index).err


def test_the_environment_wins_over_the_file(
    index: str, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An index in IMGSEARCH_INDEX is used, though the file names another; what is typed wins over both."""
    file.write_text(f'[all]\nindex = "{tmp_path / "none"}"\n')
    assert "there is no index in" in imgsearch("query", "red").err
    assert shown("query.index") == [(str(tmp_path / "none"), "file")]
    monkeypatch.setenv("IMGSEARCH_INDEX", index)
    assert imgsearch("query", "red").code == 0
    assert shown("query.index") == [(index, "environment, IMGSEARCH_INDEX")]
    assert "there is no index in" in imgsearch("query", "red", "--index", tmp_path / "none").err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[query]\nlimt = 2", "query.limt: there is no such option; did you mean limit?"),
        ("[qurey]\nlimit = 2", "qurey: there is no such command; did you mean query?"),
        ("[search]\nlimit = 2", "search: there is no such command; did you mean query?"),
        ("limit = 2", "limit: belongs in a table: [all], or that of a command"),
        ("[query]\nlimit = 'many'", "query.limit: many: not a whole number"),
        ("[query]\nlimit = 2.5", "query.limit: 2.5: not a whole number"),
        ("[query]\nlimit = true", "query.limit: true is not a value of this option"),
        ("[query]\nlimit = [1]", "query.limit: [1] is not a value of this option"),
        ("[query]\nexact = 'yes'", "query.exact: 'yes' is not true or false"),
        ("[query]\nhas = [[1]]", "query.has: [1] is not a value of this option"),
        ("[query]\ndevice = 'tpu'", "query.device: tpu: choose one of auto, cuda, mps, cpu"),
        ("[query]\nlimit = 1\nk = 1", "query.k: is the same option as limit; keep one of them"),
        ("[all]\nlimt = 1", "all.limt: there is no such option"),
        ("[query]\nmore = ['1']", "query.more: there is no such option"),
        ("[query]\nhelp = true", "query.help: there is no such option"),
        ("[saved]\nx = 3", "saved.x: a saved query is a table with the key query"),
        ("[saved.x]\nquery = 3", "saved.x.query: 3 is not text"),
        (
            "[saved.x]\nquery = 'a + http://h/b.png'",
            "saved.x.query: an address is fetched only when it is typed",
        ),
        ("[saved.x]\nimage = 'http://h/b.png'", "saved.x.image: an address is fetched only when it is typed"),
        ("[query]\nallow-private = true", "query.allow-private: there is no such option"),
        ("[saved.x]\nquery = 'a'\nlimt = 3", "saved.x.limt: there is no such option"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(file: Path, text: str, message: str) -> None:
    """Every command but `config` and help refuses the file; these work, and `config --unset` repairs it."""
    file.write_text(text)
    done = imgsearch("status")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"imgsearch: {file}: {message}")
    assert imgsearch("status", "--help").code == imgsearch("help").code == 0
    listed = imgsearch("config")
    assert listed.code == 2
    assert message in listed.err
    assert "query.exact" in listed.out.decode()
    if "saved" not in text:
        key = message.partition(":")[0]
        assert imgsearch("config", "--unset", key).code == 0
        assert imgsearch("config").code == 0


@pytest.mark.parametrize(
    "data", [b"[query", b"a = ", b"\xff\xfe", b"a = " + b"[" * 100_000, b"# " + b"x" * 1_000_001]
)
def test_a_file_that_is_not_toml_is_refused_in_one_line(file: Path, data: bytes) -> None:
    """Also one of other bytes, of endless brackets, or huge; the help works."""
    file.write_bytes(data)
    for argv in (["status"], ["config"], ["config", "query.limit", "3"]):
        done = imgsearch(*argv)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert str(file) in done.err
    assert file.read_bytes() == data
    assert imgsearch("query", "--help").code == 0


def test_a_file_that_others_can_write_is_refused(file: Path) -> None:
    """As ssh does it: whoever can write it could choose what our commands do. The group may be one's own."""
    file.write_text("[query]\nlimit = 2\n")
    file.chmod(0o666)
    done = imgsearch("status")
    assert done.code == 2
    assert "can be written by every user, so it is not used; to use it: chmod o-w" in done.err
    file.chmod(0o664)
    assert shown("query.limit") == [(2, "file")]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    """Only root's and one's own count."""
    file.write_text("[query]\nlimit = 2\n")
    os.chown(file, 1234, 1234)
    assert "belongs to another user" in imgsearch("status").err


def test_what_is_no_regular_file_does_not_block(file: Path) -> None:
    """A named pipe in its place is refused at once, and so is a folder."""
    os.mkfifo(file)
    assert "is not a regular file" in imgsearch("status").err
    file.unlink()
    file.mkdir()
    assert "is not a regular file" in imgsearch("status").err


def test_an_error_about_a_value_names_the_file(index: str, file: Path) -> None:
    """A value of the right type that makes no sense is refused by its command, which tells where it was set."""
    file.write_text("[query]\nlimit = -3\n")
    done = imgsearch("query", "red", "--index", index)
    assert done.err == f"imgsearch: --limit -3: ask for at least one image (set in {file})\n"
    assert "set in" not in imgsearch("query", "red", "--index", index, "--limit", "-3").err


def test_setting_keeps_comments_and_order(file: Path) -> None:
    """Only the value changes; a new key goes to its table, and the file's mode stays."""
    file.write_text("# mine\n[query]\nk = 5  # few\n\n[index]\n# large\ndetail = 'low'\n")
    file.chmod(0o644)
    assert imgsearch("config", "query.limit", "20").code == 0
    assert imgsearch("config", "index.detail", "standard").code == 0
    assert imgsearch("config", "query.has", "gps", "date").code == 0
    assert imgsearch("config", "query.exact", "yes").code == 0
    assert file.read_text() == (
        '# mine\n[query]\nk = 20  # few\nhas = ["gps", "date"]\nexact = true\n\n'
        '[index]\n# large\ndetail = "standard"\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert shown("query.limit") == [(20, "file")]


def test_a_word_for_a_number_stays_a_word(file: Path) -> None:
    """`all` is kept as it was typed, numbers as numbers."""
    for key, value in (("query.limit", "all"), ("query.min-score", "0.5"), ("query.rating", "4")):
        assert imgsearch("config", key, value).code == 0
    assert file.read_text() == '[query]\nlimit = "all"\nmin-score = 0.5\nrating = 4\n'
    assert imgsearch("config").code == 0


def test_a_new_file_is_private_and_a_link_is_followed(file: Path, tmp_path: Path) -> None:
    """A file that is kept elsewhere stays there."""
    target = tmp_path / "dotfiles.toml"
    file.symlink_to(target)
    assert imgsearch("config", "query.limit", "20").code == 0
    assert file.is_symlink()
    assert target.read_text() == "[query]\nlimit = 20\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == [file.name]


def test_unset_removes_the_key_and_an_empty_table(file: Path) -> None:
    """By any name of the option; what is not set is an error."""
    file.write_text("[query]\nk = 5\n")
    assert imgsearch("config", "--unset", "query.limit").code == 0
    assert file.read_text() == ""
    done = imgsearch("config", "--unset", "query.limit")
    assert (done.code, done.err) == (2, f"imgsearch: query.limit is not set in {file}\n")


def test_every_value_is_shown_with_its_source(file: Path) -> None:
    """A line for each option of each command; a key shows one, a command its own."""
    file.write_text("[all]\ndevice = 'cpu'\n")
    lines = imgsearch("config").lines
    assert "query.limit = 10  (default)" in lines
    assert 'index.device = "cpu"  (file)' in lines
    assert "query.camera  (not set)" in lines
    assert imgsearch("config", "query.k").lines == ["query.limit = 10  (default)"]
    assert all(line.startswith("index.") for line in imgsearch("config", "index").lines)
    assert {line.partition(".")[2] for line in imgsearch("config", "all").lines} == {'device = "cpu"  (file)'}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["query.lmit", "3"], "query.lmit: there is no such option; did you mean query.limit?"),
        (["qurey.limit", "3"], "there is no command 'qurey'; did you mean query?"),
        (["query", "3"], "query: a key is a command and an option of it, as in query.limit"),
        (["query.limit", "x"], "query.limit: x: not a whole number"),
        (["query.limit", "1", "2"], "query.limit: give one value"),
        (["query.exact", "maybe"], "query.exact: give true or false"),
        (["query.device", "tpu"], "query.device: tpu: choose one of"),
        (["--unset"], "--unset takes one KEY"),
        (["--unset", "saved.bills"], "to delete a saved query: imgsearch save --delete NAME"),
    ],
)
def test_a_call_that_makes_no_sense_changes_nothing(file: Path, argv: list[str], message: str) -> None:
    """The error shows what to type."""
    done = imgsearch("config", *argv)
    assert done.code == 2
    assert message in done.err
    assert not file.exists()


def test_a_file_that_can_not_be_written_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file stands in the folder's place, the error names the config file."""
    file.parent.rmdir()
    file.parent.write_text("")
    done = imgsearch("config", "query.limit", "3")
    assert done.code == 2
    assert f"{file} can't be changed" in done.err


def test_no_option_is_left_out() -> None:
    """Each option of each command can be set, by names that are unique in the command."""
    import typer.main

    program = typer.main.get_command(app)
    assert isinstance(program, Group)
    for command in program.commands.values():
        options = [one for one in command.params if one.param_type_name == "option"]
        names = [name for one in options for name in config.names_of(one)]
        assert len(names) == len(set(names)), command.name


def test_json_has_one_object_per_value(file: Path) -> None:
    """With key, value and source."""
    done = imgsearch("config", "query.limit", "--json")
    assert json.loads(done.out) == {"key": "query.limit", "value": 10, "source": "default"}
