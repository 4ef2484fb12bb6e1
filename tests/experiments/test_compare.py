import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frailt.experiments.compare import CompareConfig, compare
from frailt.experiments.records import Run

WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "accelerate", "datasets", "tokenizers"):
            raise ModuleNotFoundError(f"{name} is not for tables")

sys.meta_path.insert(0, Absent())
from frailt.cli import main
sys.exit(main(sys.argv[1:]))
"""


def fields_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def changed(run, tmp_path):
    """A copy of a run's records, without its checkpoints, with changes to what they say."""

    def changed(name="changed", **changes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("run.json", "metrics.jsonl"):
            shutil.copy(run / file, folder / file)
        record = json.loads((folder / "run.json").read_text()) | changes
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return changed


def test_the_table_has_the_numbers_of_the_records(run, plain_run):
    head, rule, *lines = compare(CompareConfig(runs=[str(run), str(plain_run)])).splitlines()
    assert set(rule) <= set("|-:")
    assert len(lines) == 2
    for folder, line in zip((run, plain_run), lines, strict=True):
        record = json.loads((folder / "run.json").read_text())
        row = dict(zip(fields_of(head), fields_of(line), strict=True))
        assert row["layout"] == f"`{record['model']['layout']}`"
        assert row["width"] == "16"
        assert row["depth"] == str(record["model"]["depth"])
        assert row["unique parameters"] == f"{record['model']['parameters']['total']:,}"
        assert row["FLOPs/token (forward)"] == f"{record['model']['forward_flops_per_token']:,}"
        assert row["tokens"] == f"{24 * 8 * 47:,}"
        assert row["validation nats/token"] == f"{record['validation']['nats_per_token']:.4f}"
        assert row["bits/byte"] == f"{record['validation']['bits_per_byte']:.4f}"


def test_a_run_and_its_baseline_differ_by_encodings_and_depth_only(run, plain_run):
    looped, plain = (Run.read(folder).record["model"] for folder in (run, plain_run))
    assert looped["parameters"].pop("iteration_encodings") == 2 * 2 * 16
    assert plain["parameters"].pop("iteration_encodings") == 0
    looped["parameters"].pop("total"), plain["parameters"].pop("total")
    assert looped["parameters"] == plain["parameters"]
    assert (looped["depth"], plain["depth"]) == (4, 2)


def test_table_and_plot_are_made_from_records_alone_without_torch(changed, tmp_path):
    folders = [changed("one"), changed("two")]
    plot = tmp_path / "new" / "loss.svg"
    command = ["compare", "--runs", f"[{folders[0]},{folders[1]}]", "--plot", str(plot)]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == compare(CompareConfig(runs=list(map(str, folders)))) + "\n"
    assert plot.read_text().startswith("<?xml")


def test_a_curve_is_tokens_and_values_wherever_they_were_logged(run):
    tokens, losses = Run.read(run).curve("validation_nats_per_token")
    assert tokens == [8 * 8 * 47, 16 * 8 * 47, 24 * 8 * 47]
    assert len(losses) == 3
    assert len(Run.read(run).curve("loss_nats_per_token")[0]) == 6
    assert Run.read(run).curve("no such metric") == ([], [])


def test_the_plot_is_a_png_on_request(changed, tmp_path):
    compare(CompareConfig(runs=[str(changed())], plot=str(tmp_path / "loss.png")))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_says_the_widths_and_is_the_same_each_time(changed, tmp_path):
    folders = [changed("one"), changed("two")]
    record = json.loads((folders[1] / "run.json").read_text())
    record["model"]["hidden_size"] = 32
    for name, runs in (("same.svg", folders[:1] * 2), ("unlike.svg", folders), ("again.svg", folders)):
        compare(CompareConfig(runs=list(map(str, runs)), plot=str(tmp_path / name)))
        (folders[1] / "run.json").write_text(json.dumps(record))
    same, unlike, again = ((tmp_path / name).read_text() for name in ("same.svg", "unlike.svg", "again.svg"))
    assert "Width 16: training" in same
    assert "Width" not in unlike
    assert "depth 4, width 16" in unlike
    assert "depth 4, width 32" in unlike
    assert unlike == again


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_a_run_that_is_not_finished_is_refused(status, changed):
    with pytest.raises(ValueError, match=f"must be a finished run, its status is '{status}'"):
        compare(CompareConfig(runs=[str(changed(status=status))]))


def test_runs_on_different_data_are_refused(run, changed):
    other = changed(data={"source": "other", "data_hash": "0" * 64})
    with pytest.raises(ValueError, match="runs must be on the same data, got 2 different data hashes"):
        compare(CompareConfig(runs=[str(run), str(other)]))


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"runs must be folders .* got .* without a run\.json"):
        compare(CompareConfig(runs=[str(tmp_path)]))


def truncate(file: str):
    def truncate(folder):
        (folder / file).write_text((folder / file).read_text()[:-20])

    return truncate


DAMAGES = {
    "a truncated record": truncate("run.json"),
    "a truncated last metric": truncate("metrics.jsonl"),
    "no metrics": lambda folder: (folder / "metrics.jsonl").unlink(),
    "a record that is no mapping": lambda folder: (folder / "run.json").write_text("[1]"),
    "a record with nothing but a status": lambda folder: (folder / "run.json").write_text('{"status": "finished"}'),
    "bytes that are no text": lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe\x00"),
    "a metric that is no mapping": lambda folder: (folder / "metrics.jsonl").write_text("5\n"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_record_is_one_line_that_names_the_folder(what, changed):
    folder = changed()
    DAMAGES[what](folder)
    with pytest.raises(ValueError, match=str(folder)) as raised:
        compare(CompareConfig(runs=[str(folder)]))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("plot", ["loss", "loss.jpg", "loss.png.txt"])
def test_a_plot_is_png_or_svg(plot):
    with pytest.raises(ValueError, match=f"plot must end in .png or .svg, got '{plot}'"):
        CompareConfig(runs=["run"], plot=plot)


def test_at_least_one_run_is_needed():
    with pytest.raises(ValueError, match="runs must name at least one run folder"):
        CompareConfig(runs=[])
