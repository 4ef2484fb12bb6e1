"""`frailt measure` as tests give it, and what it leaves."""

import json

from frailt.cli import main


def measure(*folders, **options) -> int:
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return main(["measure", "--completions", *map(str, folders), *arguments, "--threads", "1"])


def record_of(folder) -> dict:
    return json.loads((folder / "measures.json").read_text())


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "measures.jsonl").read_text().splitlines()]


def refusal(capfd, code) -> str:
    assert code == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("frailt ")
    assert "Traceback" not in said
    return said
