import json
from pathlib import Path

import pytest

from frailt.judge.config import JudgeConfig


def write_completions(folder: Path, stories: dict[str, list[str]], **changed) -> Path:
    """Completions as `frailt complete` writes them: beginnings with what followed, as many for each."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "checkpoint": "runs/looped",
        "checkpoint_sha256": "ab" * 32,
        "model": {"layout": "2^4", "hidden_size": 16, "iteration_encoding": "learned", "depth": 8, "parameters": {}},
        "seed": 1,
        "validation_nats_per_token": 2.5,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64, "seed": 0}
        | {"samples": len(next(iter(stories.values())))},
        "prompts": len(stories),
        "prompts_sha256": "cd" * 32,
        "versions": {},
        "status": "finished",
    }
    lines = [
        {"prompt_id": i, "sample": s, "prompt": prompt, "completion": told, "ended": True, "new_tokens": 5}
        for i, (prompt, all_told) in enumerate(stories.items())
        for s, told in enumerate(all_told)
    ]
    (folder / "completions.json").write_text(json.dumps(about | changed))
    (folder / "completions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def told(tmp_path) -> Path:
    """Three beginnings, two completions each, all different."""
    stories = {f"Once upon a time {name}": [f"ran {name}.", f"sang {name}."] for name in ("Tim", "Dot", "Sue")}
    return write_completions(tmp_path / "told", stories)


@pytest.fixture
def config(told, tmp_path, monkeypatch):
    """Settings for a server, with waits of no length."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def make(server=None, **changed) -> JudgeConfig:
        settings = {
            "completions": [str(told)],
            "out": str(tmp_path / "judged"),
            "model": "judge-1",
            "base_url": server.url if server else "http://127.0.0.1:9/v1",
            "backoff_s": 0.0,
            "timeout_s": 5.0,
        }
        return JudgeConfig(**(settings | changed))

    return make
