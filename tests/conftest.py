"""Fixtures: bundles to open and to damage, the app on a port of its own, and a page in Chromium.

A browser test that meets a console error, or a request that leaves the machine, fails at its end.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from explorer import jobs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

# How long an example takes says more of the machine than of what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
BUNDLE = "digits-copy"
JUDGED = "digits-judged"
DAMAGED = "digits-damaged"
PIXELS = "pixels"
CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")
CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 150_000  # generous: a shared machine may be slow, and no test measures time


@dataclass(frozen=True)
class App:
    """A running app. url: its address without a slash at the end."""

    url: str

    def link(self, page: str = "", bundle: str = BUNDLE) -> str:
        """Address of a page ("", "journey" or "held_out") with a bundle chosen."""
        return f"{self.url}/{page}?{urllib.parse.urlencode({'bundle': bundle})}"


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle, to be left as it is."""
    from tests.support import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A tiny bundle to damage."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of copies of pretrained/digits: with a race, with verdicts, and with a truncated file.

    And of a bundle with an untrained pixel generator.
    """
    from explorer.bundle_writing import update_bundle, write_bundle
    from explorer.measured import RACE, REACHABILITY
    from tests.support import copy_unmeasured, tiny_pixel_parts, tiny_race, tiny_reachability

    folder = tmp_path_factory.mktemp("bundles")
    for name in (BUNDLE, JUDGED, DAMAGED):
        copy_unmeasured(folder / name)
    race = tiny_race(latent=[(10, 200), (20, 150)], pixel=[(20, 300), (40, 200), (50, 180)])
    update_bundle(folder / BUNDLE, {RACE: race})
    hits = {0.05: (100, 130, 90, 110, 120), 0.01: (8, 12, 9, 11, 7)}
    update_bundle(folder / JUDGED, {REACHABILITY: tiny_reachability("0123456789", "7", hits)})
    map_file = folder / DAMAGED / "map.safetensors"
    map_file.write_bytes(map_file.read_bytes()[:-100])
    write_bundle(folder / PIXELS, **tiny_pixel_parts())
    return folder


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the app did not start:\n{log.read_text()}")


@contextmanager
def served(bundles: Path, folder: Path, port: int) -> Iterator[App]:
    """The real app, started as a user starts it, with a folder of bundles. folder: of what it writes."""
    url, log, runs = f"http://127.0.0.1:{port}", folder / "streamlit.log", folder / "runs"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "DUAL_SPACE_BUNDLES": str(bundles),
                "DUAL_SPACE_RUNS": str(runs),
                "STREAMLIT_SERVER_HEADLESS": "true",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_healthy(url, process, log)
        yield App(url)
    finally:
        process.terminate()
        process.wait(30)
        for record in runs.rglob(jobs.RECORD):  # of a test that failed
            if (job := jobs.find(record.parent)) is not None:
                jobs.cancel(job)


@pytest.fixture(scope="session")
def app(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The real app, with the folder of test bundles added."""
    from tests.support import free_port

    with served(bundles, tmp_path_factory.mktemp("app"), free_port()) as app:
        yield app


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """Chromium. Without it the browser tests are skipped, but in CI they fail."""
    if not Path(CHROMIUM).is_file() and not os.environ.get("CI"):
        pytest.skip(f"no Chromium at {CHROMIUM}; name one in CHROMIUM_PATH")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: "Browser") -> Iterator["Page"]:
    """A fresh browser page of 1440x900. At the end: no console error, no request to another machine."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []

    def check_message(message: "ConsoleMessage") -> None:
        # On a link to a page other than the first, Streamlit looks for its server below that page, too.
        if message.type == "error" and "/_stcore/" not in message.location["url"]:
            problems.append(f"console: {message.text}")

    def check_request(request: "Request") -> None:
        parts = urllib.parse.urlsplit(request.url)
        local = parts.hostname in ("127.0.0.1", "localhost")
        if parts.scheme in ("http", "https", "ws", "wss") and not local:
            problems.append(f"request: {request.url}")

    page.on("console", check_message)
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on("request", check_request)
    yield page
    context.close()
    assert not problems, problems
