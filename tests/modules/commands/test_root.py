"""What commands there are, and what shells are told of them to complete
(https://click.palletsprojects.com/en/stable/shell-completion/)."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from instantaudience_server.commands.printing.statuses import explained
from instantaudience_server.commands.root import main
from support.service.running import COMMAND

pytestmark = pytest.mark.process

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
READING = {"access", "doctor", "get", "list", "report", "show"}
"""The last words of commands that only read."""


def leaves(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The commands that do something, and their words."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        below = command.get_command(context, word)
        assert below is not None
        assert below.name == word
        yield from leaves(below, *words, word)


def test_what_commands_read_they_print_as_json_too() -> None:
    options = {words: {name for each in leaf.params for name in each.opts} for words, leaf in leaves(main)}
    reading = {words: names for words, names in options.items() if words[-1] in READING}
    assert {words[-1] for words in reading} == READING
    assert [words for words, names in reading.items() if "--json" not in names] == []


def test_the_operators_table_has_every_command() -> None:
    rows = re.findall(r"^\| (`.*`.*?) \|", OPERATIONS.read_text().partition("\n## Commands\n")[2], re.MULTILINE)
    named = {words[0] for row in rows for each in re.findall(r"`([^`]+)`", row) if (words := each.split())}
    assert {words[0] for words, _ in leaves(main)} - {"serve"} <= named


def test_no_summary_of_a_command_is_cut_off_in_a_list(subtests: pytest.Subtests) -> None:
    """On a terminal of 80 columns."""
    for words in [[], ["catalog"], ["user"], ["user", "key"], ["batch"], ["user-data"]]:
        with subtests.test(words=words):
            listed = (
                CliRunner().invoke(main, [*words, "--help"], terminal_width=80).stdout.partition("\nCommands:\n")[2]
            )
            assert listed
            assert "..." not in listed


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["get", "--help"]])
def test_an_output_that_cannot_be_written_is_told_in_a_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "Error: input or output: No space left on device\n")


def test_where_too_many_files_are_open_it_is_said_what_to_set() -> None:
    with pytest.raises(click.ClickException) as raised, explained():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    hint = "let a process have more (`ulimit -n`, LimitNOFILE)"
    assert raised.value.message == f"input or output: Too many open files; {hint}"


PRESSED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
module = "instantaudience_server.commands." + sys.argv.pop(1)
sys.addaudithook(lambda event, values: event == "import" and values[0] == module and signal.raise_signal(signal.SIGINT))
from instantaudience_server.__main__ import main
main()
"""
"""A run in which Ctrl-C is pressed when a module begins to be read."""


def test_ctrl_c_while_modules_are_read_ends_a_command_as_it_does_later(subtests: pytest.Subtests) -> None:
    for words, module, expected in [
        ("send users.csv", "root", (2, "Error: interrupted")),
        ("batch send users.csv", "connection.client", (2, "Error: interrupted")),
        ("segment list", "root", (1, "Aborted!")),
    ]:
        with subtests.test(words=words, module=module, expected=expected):
            command = [sys.executable, "-c", PRESSED, module, *words.split()]
            ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            assert (ended.returncode, ended.stderr.strip()) == expected


@pytest.mark.parametrize("words", ["segment list", "login --as a --password-stdin", "logout"])
def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """As with a user that the machine does not know, in a container for example."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    environment = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_CACHE_HOME"))
    ended = CliRunner().invoke(main, words.split(), input="Passw0rd!x\n", env=environment)
    assert (ended.exit_code, ended.stderr) == (1, "Error: there is no home directory: set HOME, or XDG_CONFIG_HOME\n")


def test_an_error_repeats_what_stands_in_a_file_and_steers_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('"\\u001b[31mred\\u0007" = 1\n')
    ended = CliRunner().invoke(main, ["doctor", "--config", str(file)], color=True)
    assert (ended.exit_code, ended.stderr.splitlines()[-1][-8:]) == (2, ": �[31mred�"[-8:])


def test_make_run_has_serve_name_commands_that_the_callers_shell_finds(tmp_path: Path) -> None:
    """`serve` looks where its own name is found; it was found where make alone looks."""
    program = tmp_path / "bin" / "instant-audience"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$PATH"\n')
    program.chmod(0o755)
    for stamp in (".installed", ".native-built"):
        (tmp_path / stamp).touch()
    root, path = Path(__file__).parents[3], "/usr/local/bin:/usr/bin:/bin"
    words = ["make", "--silent", f"VENV={tmp_path}", "run"]
    ended = subprocess.run(words, cwd=root, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{path}\n"


@pytest.mark.parametrize("of_venv", ["another", "the same"])
def test_make_uses_the_python_that_is_named(tmp_path: Path, of_venv: str) -> None:
    """Where `.venv` has another one, it is made anew; that one was used instead, and nothing said so."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + (f'exec {sys.executable} "$@"\n' if of_venv == "the same" else "echo 3.10\n"))
    program.chmod(0o755)
    for stamp in (".installed", ".native-built"):
        (tmp_path / stamp).touch()
    root = Path(__file__).parents[3]

    def done(*named: str) -> str:
        words = ["make", "--dry-run", f"VENV={tmp_path}", "setup", *named]
        env = {"PATH": "/usr/bin:/bin"}
        return subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=True).stdout

    assert "venv" not in done()
    made = [line for line in done(f"PYTHON={sys.executable}").splitlines() if "rm -rf" in line or "-m venv" in line]
    has_pip = f"{program} -m pip --version >/dev/null 2>&1"
    anew = [f"rm -rf {tmp_path}", f"{has_pip} || {sys.executable} -m venv {tmp_path}"]
    assert made == (anew if of_venv == "another" else [])


def test_defaults_are_shown_as_they_can_be_written() -> None:
    help_text = CliRunner().invoke(main, ["serve", "--help"]).stdout
    assert re.search(r"INSTANT_AUDIENCE_DURABILITY;\s+default:\s+primary\]", help_text)


def test_shells_complete_commands_options_and_words(subtests: pytest.Subtests) -> None:
    for words, incomplete, expected in [
        ([], "se", {"segment", "send", "serve"}),
        (["segment"], "", {"add", "list", "remove", "set", "show"}),
        (["segment", "set", "1"], "--state", {"--state"}),
        (["segment", "set", "1", "--state"], "", {"active", "inactive"}),
        (["send"], "--dry", {"--dry-run"}),
    ]:
        with subtests.test(words=words, incomplete=incomplete, expected=expected):
            completing = BashComplete(main, {}, "instant-audience", "_INSTANT_AUDIENCE_COMPLETE")
            assert {found.value for found in completing.get_completions(words, incomplete)} == expected
