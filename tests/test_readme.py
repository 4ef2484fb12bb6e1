"""What the README says to type can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from frailt.cli import _parse

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("frailt ")
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_commands_parse(command):
    _parse(command[1], command[2:])


def test_commands_were_found():
    assert {command[1] for command in COMMANDS} >= {"prepare", "train", "evaluate", "generate", "compare", "info"}


def test_the_snippet_runs_in_ten_lines(capsys):
    [snippet] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for line in snippet.splitlines() if line.strip()]
    assert len(lines) <= 10
    exec(compile(snippet, "README.md", "exec"), {})
    assert "applications" in capsys.readouterr().out


def test_no_placeholder_is_left():
    assert not re.search(r"^[A-Z_]{8,}$", README, flags=re.MULTILINE)
