"""Time from ``streamlit run`` to the first drawn map, beside a blank Streamlit app in the same run.

    python -m benchmarks.first_paint

Each round starts a new server and a new browser, first for the blank app, then for this one; the medians
and their ratio are printed. Needs Chromium (CHROMIUM_PATH, or /usr/bin/chromium) and Playwright.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")
ROUNDS = 3
BLANK = "import streamlit as st\nst.title('Blank')\n"
# What must be on the screen: the blank app's title; the map's legend, which is drawn with its points.
PAINTED = {"blank": "h1", "map": ".js-plotly-plot .legendtext"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def paint_time(script: Path, selector: str) -> float:
    """Seconds from starting the server to ``selector`` being visible in a new browser page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        port = free_port()
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
        start = time.perf_counter()
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            page.goto(url, wait_until="commit")
            page.wait_for_selector(selector)
            # The frame after the next one: what was added has been drawn.
            page.evaluate("() => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")
            return time.perf_counter() - start
        finally:
            server.terminate()
            server.wait()
            browser.close()


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {"blank": [], "map": []}
    with tempfile.TemporaryDirectory() as folder:
        blank = Path(folder) / "blank.py"
        blank.write_text(BLANK)
        for _ in range(ROUNDS):
            times["blank"].append(paint_time(blank, PAINTED["blank"]))
            times["map"].append(paint_time(ROOT / "app.py", PAINTED["map"]))
    for name, seconds in times.items():
        every = ", ".join(f"{s:.1f}" for s in seconds)
        print(f"{name}: median {statistics.median(seconds):.1f} s of {ROUNDS} ({every})")
    print(f"ratio: {statistics.median(times['map']) / statistics.median(times['blank']):.2f}")


if __name__ == "__main__":
    main()
