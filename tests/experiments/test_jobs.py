import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frailt.experiments.jobs import ClusterJobs, LocalJobs


def wait_for(job, seconds: float = 60.0) -> int:
    ends = time.monotonic() + seconds
    while (code := job.exit_code()) is None and time.monotonic() < ends:
        time.sleep(0.02)
    return code


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_local_job_gives_its_exit_code_and_appends_all_it_prints(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    job = LocalJobs(1, 1).start(
        "one", python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"), log
    )
    assert wait_for(job) == 7
    assert sorted(log.read_text().split()) == ["before", "err", "out"]


def test_local_jobs_have_their_threads_and_share_the_gpus(tmp_path):
    jobs = LocalJobs(3, 5, gpus=2)
    show = python(
        "import os, time; time.sleep(0.5); print(os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES'))"
    )
    for started in [jobs.start(str(i), show, tmp_path / str(i)) for i in range(3)]:
        wait_for(started)
    assert [(tmp_path / str(i)).read_text().split() for i in range(3)] == [["5", "0"], ["5", "1"], ["5", "0"]]
    wait_for(LocalJobs(1, 1, gpus=1).start("one", show, tmp_path / "one"))
    assert (tmp_path / "one").read_text().split()[1] == os.environ.get("CUDA_VISIBLE_DEVICES", "None")


def test_gpus_are_shared_out_among_those_that_the_user_lets_us_have(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    jobs = LocalJobs(2, 1, gpus=2)
    show = python("import os, time; time.sleep(0.5); print(os.environ['CUDA_VISIBLE_DEVICES'])")
    for started in [jobs.start(str(i), show, tmp_path / str(i)) for i in range(2)]:
        wait_for(started)
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["2\n", "5\n"]


def test_a_local_job_is_asked_to_end(tmp_path):
    job = LocalJobs(1, 1).start("one", python("import time; print('up', flush=True); time.sleep(60)"), tmp_path / "log")
    while "up" not in (tmp_path / "log").read_text():
        time.sleep(0.02)
    job.stop()
    assert wait_for(job) == -signal.SIGTERM
    job.stop()  # once more does no harm


@pytest.fixture
def cluster(tmp_path) -> ClusterJobs:
    pytest.importorskip("submitit")
    return ClusterJobs(tmp_path / "submitit", 2, {"timeout_min": 2}, cluster="local")


def test_a_cluster_job_gives_the_exit_code_of_its_command(cluster, tmp_path):
    assert wait_for(cluster.start("cells/one", python("print('here'); raise SystemExit(75)"), tmp_path / "log")) == 75
    assert (tmp_path / "log").read_text() == "here\n"


@pytest.mark.parametrize("signal_", [signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM])
def test_a_cluster_job_whose_time_is_nearly_over_saves_and_ends_as_it_says(signal_, tmp_path):
    log = tmp_path / "log"
    saves = (
        "import signal, sys, time\nfor each in (signal.SIGUSR1, signal.SIGTERM):\n"
        "    signal.signal(each, lambda *got: sys.exit(75))\nprint('up', flush=True); time.sleep(60)"
    )
    on_node = f"import sys; from frailt.experiments.jobs import _run; sys.exit(_run({python(saves)!r}, {str(log)!r}))"
    job = subprocess.Popen(python(on_node))
    while not log.exists() or "up" not in log.read_text():
        time.sleep(0.02)
    time.sleep(0.1)  # it listens for signals right after it has started the command
    job.send_signal(signal_)
    assert job.wait(timeout=60) == 75


def test_a_job_that_another_sweep_submitted_is_found_while_it_has_not_ended(cluster, tmp_path, monkeypatch):
    submitted = cluster.start("cells/one", python(""), tmp_path / "log")
    again = ClusterJobs(tmp_path / "submitit", 2, {}, cluster="local")
    # submitit's own local jobs are known to the process that started them alone; Slurm's to all.
    monkeypatch.setattr(again._job_class, "done", lambda self: False)
    found = again.find("cells/one")
    assert found is not None
    assert found.job.job_id == submitted.job.job_id
    assert again.find("cells/two") is None
    monkeypatch.undo()
    assert wait_for(submitted) == 0
    assert again.find("cells/one") is None


@pytest.mark.parametrize("wrong", [{"partitions": "gpu"}, {"timeout_min": 0.5}])
def test_settings_that_submitit_does_not_know_are_refused_in_a_line(wrong, tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(ValueError, match="slurm must be settings of submitit"):
        ClusterJobs(tmp_path, 1, wrong, cluster="local")


def test_no_cluster_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(Path(tmp_path)))  # no sbatch
    with pytest.raises(ValueError, match="slurm must be settings of submitit on a cluster"):
        ClusterJobs(tmp_path, 1, {})
