"""Take the README's screenshots: start the app, open the Map and the Journey in Chromium, light and dark.

    python docs/screenshots.py [CHROMIUM]

Needs requirements-dev.txt and a Chromium (/usr/bin/chromium unless named). Pictures go to docs/img. The app
runs in a copy without data beside it, so that no photograph comes into a picture.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PAGES = {"map": "", "journey": "journey", "held-out": "held_out", "speed": "speed"}


def main(chromium: str = "/usr/bin/chromium") -> None:
    """Write docs/img/<page>-<light|dark>.png, 1440x900."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    copy = Path(tempfile.mkdtemp()) / "app"
    for folder in ("explorer", "pretrained", ".streamlit"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "app.py", copy)
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=copy)
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health")
                break
            except OSError:
                time.sleep(0.5)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            for scheme in ("light", "dark"):
                for name, path in PAGES.items():
                    page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
                    page.goto(f"{url}/{path}")
                    page.get_by_test_id("stMain").wait_for()
                    page.wait_for_function(
                        "document.querySelector('[data-testid=stApp]')"
                        ".getAttribute('data-test-script-state') === 'notRunning'",
                        timeout=120_000,
                    )
                    page.wait_for_timeout(3000)  # pictures and the WebGL map draw after the script ends
                    page.screenshot(path=ROOT / "docs" / "img" / f"{name}-{scheme}.png")
                    page.close()
            browser.close()
    finally:
        server.terminate()
        shutil.rmtree(copy.parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
