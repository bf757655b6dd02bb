"""What shells are told to complete (https://click.palletsprojects.com/en/stable/shell-completion/)."""

import pytest
from click.shell_completion import BashComplete
from instantaudience_server.commands.root import main


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "se", {"segment", "send", "serve"}),
        (["segment"], "", {"add", "list", "remove", "set", "show"}),
        (["segment", "set", "1"], "--state", {"--state"}),
        (["segment", "set", "1", "--state"], "", {"active", "inactive"}),
        (["send"], "--dry", {"--dry-run"}),
    ],
)
def test_shells_complete_commands_options_and_words(words: list[str], incomplete: str, expected: set[str]) -> None:
    completing = BashComplete(main, {}, "instant-audience", "_INSTANT_AUDIENCE_COMPLETE")
    assert {found.value for found in completing.get_completions(words, incomplete)} == expected
