"""Jobs in the background: found again by another process, cancelled, and a sentence when they fail."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import BUNDLE, ROOT
from streamlit.testing.v1 import AppTest

from explorer import job_panel, jobs, session
from explorer.bundle_reading import open_bundle

WORK = """
import json, os, sys, time
try:
    for done, doing in enumerate(["first", "second", "done"]):
        with open(sys.argv[1] + ".tmp", "w") as file:
            json.dump({"done": done, "of": 2, "doing": doing}, file)
        os.replace(sys.argv[1] + ".tmp", sys.argv[1])
        print(doing, flush=True)
        if doing == sys.argv[2]:
            time.sleep(300)
        if doing == sys.argv[3]:
            sys.exit("error: the disk is full; free some space")
except KeyboardInterrupt:  # whatever it is doing: it may be told to stop as soon as its progress is seen
    sys.exit("saved")
"""


def started(folder: Path, wait: str = "", fail: str = "") -> jobs.Job:
    """A job that waits, or fails, at a stage."""
    progress = folder / "out" / "progress.json"
    progress.parent.mkdir(parents=True, exist_ok=True)
    return jobs.start(folder, [sys.executable, "-c", WORK, str(progress), wait, fail], progress, ROOT)


def until(job: jobs.Job, done: int | None = None) -> jobs.Status:
    """The job's status when it has ended, or has done so many stages."""
    for _ in range(600):
        found = jobs.status(job)
        if found.state != "running" or (done is not None and found.of and found.done >= done):
            return found
        time.sleep(0.1)
    raise TimeoutError(found)


def test_a_job_runs_to_its_end(tmp_path):
    assert jobs.find(tmp_path / "job") is None
    job = started(tmp_path / "job")
    found = until(job)
    assert found == jobs.Status("finished", 2, 2, "done", "done")
    assert jobs.find(tmp_path / "job") == job


def test_another_process_finds_a_running_job_and_it_is_not_started_twice(tmp_path):
    job = started(tmp_path / "job", wait="second")
    assert until(job, done=1).state == "running"
    code = (
        "import sys; from pathlib import Path; from explorer import jobs;"
        "job = jobs.find(Path(sys.argv[1])); print(jobs.status(job).state, jobs.status(job).doing)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "job")], cwd=ROOT, capture_output=True, text=True
    )
    assert other.stdout == "running second\n", other.stderr
    with pytest.raises(jobs.JobError, match="already"):
        started(tmp_path / "job")
    jobs.cancel(job)


def test_a_cancelled_job_can_save_what_it_has_and_start_again(tmp_path):
    job = started(tmp_path / "job", wait="second")
    until(job, done=1)
    jobs.cancel(job)
    cancelled = jobs.find(tmp_path / "job")
    assert cancelled is not None
    found = jobs.status(cancelled)
    assert (found.state, found.last_line) == ("cancelled", "saved")
    assert until(started(tmp_path / "job")).state == "finished"


def test_a_job_that_does_not_listen_is_ended(tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); "
    job = jobs.start(
        tmp_path, [sys.executable, "-c", deaf + "time.sleep(300)"], tmp_path / "progress.json", ROOT
    )
    while jobs.status(job).last_line != "deaf":
        time.sleep(0.1)
    jobs.cancel(job, patience=0.5)
    assert jobs.status(replace(job, cancelled=True)).state == "cancelled"


def test_a_failed_job_leaves_its_sentence(tmp_path):
    found = until(started(tmp_path / "job", fail="second"))
    assert (found.state, found.last_line) == ("failed", "the disk is full; free some space")


def test_of_what_was_deleted_there_is_nothing_to_report(tmp_path):
    """A page tells people to delete what cannot be read: the run that made it has not failed by that."""
    job = started(tmp_path / "job", wait="second")
    until(job, done=1)
    out = tmp_path / "job" / "out"
    out.rename(tmp_path / "elsewhere")
    assert jobs.status(job).state == "running"  # and can be stopped
    (tmp_path / "elsewhere").rename(out)
    jobs.cancel(job)
    finished = started(tmp_path / "job")
    assert until(finished).state == "finished"
    shutil.rmtree(out)
    assert jobs.status(finished).state == "deleted"


def test_a_job_that_fails_before_it_makes_anything_has_failed(tmp_path):
    code = "import sys; sys.exit('error: there are no photographs')"
    progress = tmp_path / "job" / "out" / "progress.json"
    found = until(jobs.start(tmp_path / "job", [sys.executable, "-c", code], progress, ROOT))
    assert (found.state, found.last_line) == ("failed", "there are no photographs")


def test_a_progress_bar_is_one_line(tmp_path):
    (tmp_path / "job.log").write_text("judge:  1%|  | 1/100\x1b[A\rjudge: 43%|# | 43/100\r\n\n")
    job = jobs.Job(str(tmp_path), ("x",), str(tmp_path / "none"), 1, 0.0, 0.0)
    found = jobs.status(job)
    assert (found.state, found.doing, found.last_line) == ("failed", "starting", "judge: 43%|# | 43/100")


def test_another_process_of_the_same_number_is_not_the_job(tmp_path):
    me = psutil.Process()
    job = jobs.Job(str(tmp_path), ("x",), str(tmp_path / "none"), me.pid, me.create_time() - 100, 0.0)
    assert jobs.status(job).state == "failed"
    assert jobs.status(replace(job, created=me.create_time())).state == "running"


def test_a_running_job_is_known_by_its_command_after_the_clock_was_set(tmp_path):
    """The system reckons from its clock when a process was created: what was noted is then another time."""
    job = started(tmp_path / "job", wait="second")
    until(job, done=1)
    jobs._save(replace(job, created=job.created - 3600))
    moved = jobs.find(tmp_path / "job")
    assert moved is not None
    try:
        assert jobs.status(moved).state == "running"
        with pytest.raises(jobs.JobError, match="already"):
            started(tmp_path / "job")
        jobs.cancel(moved)
        assert jobs._process(job) is None
    finally:
        jobs.cancel(job)


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_job_of_another_account_goes_on_and_is_not_noted_as_cancelled(tmp_path, monkeypatch):
    job = started(tmp_path / "job", wait="second")
    until(job, done=1)
    try:
        with monkeypatch.context() as other_account:
            other_account.setattr(os, "killpg", refuse)
            with pytest.raises(jobs.JobError, match="account"):
                jobs.cancel(job)
        assert jobs.find(tmp_path / "job") == job
        assert jobs.status(job).state == "running"
    finally:
        jobs.cancel(job)


def test_a_damaged_record_is_no_job_and_a_missing_program_a_sentence(tmp_path):
    for text in ("", "{}", json.dumps({"command": ["x"], "nonsense": 1})):
        (tmp_path / "job.json").write_text(text)
        assert jobs.find(tmp_path) is None
    with pytest.raises(jobs.JobError, match="could not be started"):
        jobs.start(tmp_path, ["/no/such/program"], tmp_path / "progress.json", ROOT)


def test_of_several_that_ask_at_once_one_is_started(tmp_path):
    told: list[object] = []

    def ask() -> None:
        try:
            told.append(started(tmp_path / "job", wait="first"))
        except jobs.JobError as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = (t for t in told if isinstance(t, jobs.Job))
    assert told.count("it is being measured already") == 3
    assert jobs.find(tmp_path / "job") == job
    jobs.cancel(job)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_on_a_full_disk_a_job_can_still_be_cancelled(tmp_path, monkeypatch):
    job = started(tmp_path / "job", wait="second")
    until(job, done=1)
    monkeypatch.setattr(jobs, "_save", full)
    jobs.cancel(job)
    assert jobs.status(job).state != "running"


def test_what_cannot_be_noted_is_not_left_running(tmp_path, monkeypatch):
    children = set(psutil.Process().children())
    monkeypatch.setattr(jobs, "_save", full)
    with pytest.raises(jobs.JobError, match="No space left"):
        started(tmp_path / "job", wait="second")
    new = [p for p in psutil.Process().children() if p not in children]
    psutil.wait_procs(new, timeout=10)
    assert not [p for p in new if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("new_class", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_the_form_holds_the_numbers_of_a_job_that_did_not_end(
    bundles, tmp_path, monkeypatch, cancelled, new_class
):
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(bundles))
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(tmp_path / "runs"))
    (tmp_path / "fox").mkdir()
    asked = []

    def stopped(folder: Path, command: tuple[str, ...], progress: Path, cwd: Path) -> None:
        """A job that never ran."""
        asked.append(command)
        progress.parent.mkdir(parents=True, exist_ok=True)
        jobs._save(jobs.Job(str(folder), command, str(progress), 2**22 + 1, 0.0, time.time(), cancelled))

    monkeypatch.setattr(jobs, "start", stopped)
    numbers = [500, 7, 20_000]
    for _ in range(2):  # in a session, and in another one: the form is found as it was
        at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "held_out.py"), default_timeout=120)
        at.query_params["bundle"] = BUNDLE
        at.run()
        if not asked:
            for box, value in zip(at.number_input, numbers, strict=True):
                assert box.help
                box.set_value(value)
            folder_box(at).set_value(str(tmp_path / "fox") if new_class else "")
        else:
            assert folder_box(at).value == (str(tmp_path / "fox") if new_class else "")
        next(b for b in at.button if b.label == "Start").click().run()
        assert not at.exception
        assert [box.value for box in at.number_input] == numbers
    assert asked[0] == asked[1]
    assert asked[0][asked[0].index("--samples") + 1] == "500"
    folder = job_panel.job_folder(open_bundle(bundles / BUNDLE))
    assert jobs.status(jobs.find(folder)).state == ("cancelled" if cancelled else "failed")


def folder_box(at: AppTest):
    return next(box for box in at.text_input if box.label == "Folder of a new class")
