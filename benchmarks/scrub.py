"""How fast is the Journey's slider? Frames per second and latency of a drag, in headless Chromium.

    python -m benchmarks.scrub --bundle imagewoof64

Starts the app itself. A picture counts as a frame when its pixels differ from those of the frame before.
Latency runs from the pointer event to the end of the browser's frame that shows other pixels.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tyro
from playwright.async_api import Page, async_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")

# Every animation frame, compare the canvas with the frame before; a message posted from there arrives
# when the frame is painted.
_WATCH = """
() => {
  const slider = find('.slider'), canvas = find('.picture');
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const sample = () => {
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let hash = 0;
    for (let i = 0; i < pixels.length; i++) hash = (Math.imul(hash, 31) + pixels[i]) | 0;
    return hash;
  };
  const watch = window.scrub = {moves: 0, frames: 0, latencies: [], waiting: [], on: true};
  slider.addEventListener('pointermove', (event) => {
    watch.moves++;
    watch.waiting.push(event.timeStamp);
  });
  let before = sample();
  const painted = new MessageChannel();
  painted.port1.onmessage = ({data}) => {
    for (const start of data) watch.latencies.push(performance.now() - start);
  };
  const look = () => {
    const now = sample();
    if (now !== before) {
      before = now;
      watch.frames++;
      painted.port2.postMessage(watch.waiting);
      watch.waiting = [];
    }
    if (watch.on) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""
# The player lives in an open shadow root.
_FIND = """
window.find = (selector) => {
  for (const host of document.querySelectorAll('*')) {
    const found = host.shadowRoot?.querySelector(selector);
    if (found) return found;
  }
};
"""


@contextmanager
def running_app() -> Iterator[str]:
    """The app on a free port; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def drag(page: Page, seconds: float, rate: int) -> dict[str, float]:
    """Drag the slider to and fro, ``rate`` pointer moves a second; returns what the browser counted."""
    box = await page.locator(".slider").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] / 2, y)
    await page.mouse.down()
    await page.evaluate(_WATCH)
    start = time.perf_counter()
    moves = []
    for i in range(round(seconds * rate)):
        # A triangle wave: two seconds from end to end.
        phase = (i / rate / 2 + 0.5) % 2
        x = box["x"] + box["width"] * (0.02 + 0.96 * min(phase, 2 - phase))
        # A hand does not wait until the browser has drawn its last move.
        moves.append(asyncio.create_task(page.mouse.move(x, y)))
        await asyncio.sleep(max(0, start + (i + 1) / rate - time.perf_counter()))
    await asyncio.gather(*moves)
    elapsed = time.perf_counter() - start
    await page.mouse.up()
    await page.wait_for_timeout(200)
    watch = await page.evaluate("() => { window.scrub.on = false; return window.scrub; }")
    latencies = sorted(watch["latencies"])
    return {
        "moves/s": watch["moves"] / elapsed,
        "frames/s": watch["frames"] / elapsed,
        "p50 ms": statistics.median(latencies),
        "p95 ms": latencies[int(0.95 * (len(latencies) - 1))],
        "load": os.getloadavg()[0],
    }


async def measure(url: str, bundle: str, runs: int, seconds: float, rate: int) -> list[dict[str, float]]:
    """Open the Journey page and drag ``runs`` times."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        print(f"{bundle}: {runs} drags of {seconds:g} s, Chromium {browser.version}, {os.cpu_count()} cores")
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        await page.add_init_script(_FIND)
        await page.goto(f"{url}/journey?bundle={bundle}")
        await page.get_by_role("heading", name="Distance to the training set").wait_for()
        await page.locator(".slider[aria-valuetext]").wait_for()
        await page.wait_for_timeout(2000)  # the rest of the page settles
        results = [await drag(page, seconds, rate) for _ in range(runs)]
        await browser.close()
    return results


def main(bundle: str = "imagewoof64", runs: int = 5, seconds: float = 6, rate: int = 60) -> None:
    """Print a table of drags.

    Args:
        bundle: name of the bundle to open; DUAL_SPACE_BUNDLES may name more folders, as for the app.
        runs: drags; the last row is their median.
        seconds: length of each.
        rate: pointer moves a second.

    """
    with running_app() as url:
        results = asyncio.run(measure(url, bundle, runs, seconds, rate))
    results.append({k: statistics.median(r[k] for r in results) for k in results[0]})
    print("| run | " + " | ".join(results[0]) + " |")
    print("|" + " --- |" * (len(results[0]) + 1))
    for i, result in enumerate(results):
        name = "median" if i == runs else str(i + 1)
        print(f"| {name} | " + " | ".join(f"{v:.1f}" for v in result.values()) + " |")


if __name__ == "__main__":
    tyro.cli(main)
