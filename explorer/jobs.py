"""A long command in the background: started from a page, found again by any other, watched, cancelled.

What is known of a job lies in its folder: ``job.json`` says which process it is, ``job.log`` what it printed.
How far it is stands in a file that the command itself keeps. So a job outlives the page that started it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock

RECORD, LOG, LOCK = "job.json", "job.log", "job.lock"
PATIENCE = 10.0  # seconds a job has to stop by itself, before it is ended
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # what a progress bar moves the cursor with

State = Literal["running", "finished", "cancelled", "failed", "deleted"]


class JobError(Exception):
    """A job cannot be started, or stopped; the message is one sentence."""


@dataclass(frozen=True)
class Job:
    """A command that was started.

    progress: file in which it says how far it is, as {"done", "of", "doing"}. pid, created: its process, and
    when the system says it was created: numbers of processes are used again.
    started: seconds since 1970. cancelled: whether somebody stopped it.
    """

    folder: str
    command: tuple[str, ...]
    progress: str
    pid: int
    created: float
    started: float
    cancelled: bool = False


@dataclass(frozen=True)
class Status:
    """How a job is doing. done, of: its stages. doing: the one in progress. last_line: of what it printed.

    state: "deleted" where it ended, and the folder of its progress was deleted: there is nothing to report.
    """

    state: State
    done: int
    of: int
    doing: str
    last_line: str


def start(folder: Path, command: Sequence[str], progress: Path, cwd: Path) -> Job:
    """Start a command, detached from this process; its output goes into the folder.

    Raises JobError if one is running there, or it cannot be started.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=PATIENCE):  # two pages may ask at once
            before = find(folder)
            if before is not None and status(before).state == "running":
                raise JobError("it is being measured already")
            progress.unlink(missing_ok=True)  # of the run before
            # Made here: so where it is missing somebody deleted it, and a job that failed at once has one.
            progress.parent.mkdir(parents=True, exist_ok=True)
            with (folder / LOG).open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True, env={**os.environ, "TQDM_MININTERVAL": "2"},
                )  # fmt: skip
            created = psutil.Process(process.pid).create_time()
            job = Job(str(folder), tuple(command), str(progress), process.pid, created, time.time())
            _save(job)
    except (OSError, psutil.Error) as error:  # a timeout of the lock is an OSError
        if process is not None:  # what is not noted could not be found again, nor stopped
            process.kill()
        raise JobError(f"it could not be started ({error})") from None
    return job


def find(folder: Path) -> Job | None:
    """The job that was last started in a folder; None if there is none."""
    try:
        saved = json.loads((folder / RECORD).read_text())
        return Job(**{**saved, "command": tuple(saved["command"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def status(job: Job) -> Status:
    """How the job is doing now."""
    running = _process(job) is not None  # asked first: it may finish while its files are read
    try:
        progress = json.loads(Path(job.progress).read_text())
        done, of, doing = int(progress["done"]), int(progress["of"]), str(progress["doing"])
    except (OSError, ValueError, TypeError, KeyError):
        done, of, doing = 0, 0, "starting"
    state: State = "failed"
    if running:
        state = "running"
    elif not Path(job.progress).parent.is_dir():
        state = "deleted"
    elif of and done >= of:
        state = "finished"
    elif job.cancelled:
        state = "cancelled"
    return Status(state, done, of, doing, _last_line(Path(job.folder) / LOG))


def cancel(job: Job, patience: float = PATIENCE) -> None:
    """Stop the job: ask it as Ctrl-C does, so that it can save what it has; end it if it does not listen.

    Raises JobError if this account may not.
    """
    if not _send(job, 0):  # which only asks: of one that goes on, or failed, it is not noted
        return
    with suppress(OSError):  # a full disk, say, which the job may have filled
        _save(replace(job, cancelled=True))
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not _send(job, sent):
            return
        deadline = time.monotonic() + patience
        while _process(job) is not None and time.monotonic() < deadline:
            time.sleep(0.1)


def _send(job: Job, sent: int) -> bool:
    """Send the job, and what it started, a signal. Returns whether it was still running.

    Raises JobError if this account may not.
    """
    if (process := _process(job)) is None:
        return False
    try:
        os.killpg(process.pid, sent)
    except ProcessLookupError:  # it has just ended
        return False
    except PermissionError:
        raise JobError("another account started it, and only that one can stop it") from None
    return True


def _process(job: Job) -> psutil.Process | None:
    """The job's process, if it still runs and is no other of the same number."""
    try:
        process = psutil.Process(job.pid)
        # By its command where times differ: they are reckoned from the clock, which may have been set since.
        same = abs(process.create_time() - job.created) < 1 or process.cmdline() == list(job.command)
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _save(job: Job) -> None:
    path = Path(job.folder) / RECORD
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(job)))
    temporary.replace(path)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in re.split(r"[\r\n]", _TERMINAL.sub("", text))]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line), "")


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module with this Python."""
    return (sys.executable, "-m", module, *arguments)
