import shutil

import pytest

from frailt.cli import main


@pytest.fixture(scope="session")
def told_once(run, tmp_path_factory):
    """Completions of a small model: three beginnings, two samples each."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "few.yaml").write_text("- One day\n- Tom and his dog\n- Lily\n")
    arguments = ["--prompts", str(folder / "few.yaml"), "--samples", "2", "--max_new_tokens", "12", "--threads", "1"]
    assert main(["complete", "--checkpoints", str(run), "--out", str(folder), *arguments]) == 0
    return folder / "2^2"


@pytest.fixture
def told(told_once, tmp_path):
    return shutil.copytree(told_once, tmp_path / "told")
