"""What Streamlit is told: it asks nothing and sends nothing."""

import tomllib
from pathlib import Path

from streamlit.web import bootstrap

CONFIG = Path(__file__).parent.parent / ".streamlit" / "config.toml"


def test_no_prompt_and_no_usage_statistics():
    config = tomllib.loads(CONFIG.read_text())
    assert config["server"]["showEmailPrompt"] is False
    assert config["browser"]["gatherUsageStats"] is False


def test_a_server_without_a_screen_asks_no_outside_host_for_its_address(monkeypatch, capsys):
    from streamlit import config, net_util

    def never() -> str:
        raise AssertionError("an outside host was asked")

    monkeypatch.chdir(CONFIG.parent.parent)
    config.get_config_options(force_reparse=True, options_from_flags={"server.headless": True})
    monkeypatch.setattr(net_util, "get_external_ip", never)
    bootstrap._print_url(is_running_hello=False)
    assert "localhost" in capsys.readouterr().out
