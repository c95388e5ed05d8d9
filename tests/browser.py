"""Helpers of the browser tests: open a page, wait for it, and read what it computes.

Streamlit says that no script runs also before the run has begun that a click causes. So each test first waits
for what the click changes; that the page is settled then means that the run is over.
"""

import re
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from conftest import BUNDLE, TIMEOUT_MS, App
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

T = TypeVar("T")

PLOT = ".js-plotly-plot"
CARD = ".dse-card"
PICTURE = f"{CARD} img"
PICKER = "[data-testid=stSidebar] [data-testid=stSelectbox] input"
# The script's run is over, and all that it drew is there: nothing is left from the run before, no widget
# waits for its code, and every figure is drawn, has its handlers, and is as wide as its place.
SETTLED = """
() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
  && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')
  && document.fonts.status === 'loaded'
  && [...document.querySelectorAll('[data-testid=stFullScreenFrame]')].every(frame => {
    const place = frame.querySelector('.stPlotlyChart'), plot = frame.querySelector('.js-plotly-plot');
    return plot?._ev?._events?.plotly_selected
      && Math.abs(plot._fullLayout.width - place.getBoundingClientRect().width) < 1;
  })
"""


def settle(page: Page) -> None:
    """Wait until the script's run is over and the page stands still."""
    page.wait_for_function(SETTLED)


def open_page(page: Page, app: App, path: str = "", bundle: str = BUNDLE) -> None:
    """Open a page by its address, and wait for all of it."""
    page.goto(app.link(path, bundle))
    page.locator("h1").first.wait_for()
    settle(page)


def open_map(page: Page, app: App, bundle: str = BUNDLE) -> None:
    """Open the Map, on which nothing is selected."""
    open_page(page, app, bundle=bundle)
    page.locator(f"{PLOT} .nsewdrag").first.wait_for()
    page.locator(f"{PLOT} .legendtext").first.wait_for()
    expect(page.get_by_text("Nothing is selected")).to_be_visible()


def choose_bundle(page: Page, name: str) -> None:
    """Choose another bundle in the sidebar, as a user does."""
    page.locator(PICKER).click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page).to_have_url(re.compile(rf"bundle={re.escape(name)}$"))  # the run does that
    settle(page)


class SlowConnection:
    """Holds back what the server sends to a page, so that an answer comes after the user's next choice."""

    def __init__(self, page: Page) -> None:
        """Of a page that is not open yet."""
        self.page = page
        self.held: list[str | bytes] | None = None  # None: nothing is held back
        self.sockets: list[WebSocketRoute] = []
        page.route_web_socket(re.compile("/_stcore/stream"), self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        server = socket.connect_to_server()
        socket.on_message(server.send)
        server.on_message(lambda sent: socket.send(sent) if self.held is None else self.held.append(sent))

    def hold(self) -> None:
        """Hold back what is sent from now on."""
        self.held = []

    def wait_until_answered(self) -> None:
        """Wait until nothing more comes: the run is over."""

        def no_more_comes() -> bool:
            before = len(self.held)
            self.page.wait_for_timeout(1000)
            return 0 < before == len(self.held)

        assert once(self.page, no_more_comes, bool)

    def answer(self) -> None:
        """Let what was held back arrive; what is sent from now on is held back."""
        late, self.held = self.held, []
        for message in late:
            self.sockets[-1].send(message)

    def release(self) -> None:
        """Let all arrive, in its order, also what is sent meanwhile."""
        while self.held:
            self.sockets[-1].send(self.held.pop(0))
        self.held = None


def unfold(page: Page, title: str) -> None:
    """Open an expander, and wait until it no longer moves what is in it: a button that slides away between
    mouse down and mouse up is not clicked.
    """
    page.get_by_text(title).click()
    page.wait_for_function("() => document.getAnimations().every(a => a.playState !== 'running')")


def visit(page: Page, title: str) -> None:
    """Go to another page by the sidebar, as a user does."""
    page.locator("[data-testid=stSidebarNavLink]", has_text=title).click()
    page.locator("h1", has_text=title).wait_for()
    settle(page)


def box_of(locator: Locator) -> dict[str, float]:
    """Where an element is (x, y, width, height), once it stands still and can be reached by the mouse."""
    locator.hover(trial=True, position={"x": 5, "y": 5})  # the middle may be below what was drawn there
    box = locator.bounding_box()
    assert box
    return dict(box)


def once(page: Page, read: Callable[[], T], holds: Callable[[T], Any]) -> T:
    """What ``read`` reads as soon as it ``holds``; at the time limit, whatever it is."""
    deadline = monotonic() + TIMEOUT_MS / 1000
    while not holds(value := read()) and monotonic() < deadline:
        page.wait_for_timeout(100)
    return value
