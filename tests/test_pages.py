"""What holds for every page: no run of it puts an older value over one that was chosen since."""

import pytest
from conftest import BUNDLE, ROOT
from streamlit.testing.v1 import AppTest

from explorer import session

KINDS = (
    *("number_input", "radio", "selectbox", "select_slider", "slider", "text_input", "multiselect"),
    "button_group",
)


@pytest.mark.parametrize("page", ["map", "journey", "held_out", "speed"])
def test_a_widget_is_given_its_value_once(page, bundles, monkeypatch):
    """A browser puts what it is given over what was typed while the run went on."""
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(bundles))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / f"{page}.py"), default_timeout=120)
    at.query_params["bundle"] = BUNDLE

    def given() -> list[str]:
        return [w.label for kind in KINDS for w in getattr(at, kind) if w.proto.set_value and not w.disabled]

    at.run()
    assert not at.exception
    assert "Bundle" in given()
    at.run()
    assert not at.exception
    assert given() == []
