"""Entry of the web app: page navigation, nothing else. Start it with ``streamlit run app.py``."""

from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent / "explorer"
ICON = HERE / "icon.png"  # a file of our own: Streamlit would fetch a named icon from the internet

st.set_page_config(page_title="Dual-Space Explorer", page_icon=ICON, layout="wide")
st.html(HERE / "style.css")
page = st.navigation(
    [
        st.Page("explorer/pages/map.py", title="Map", icon=":material/scatter_plot:", default=True),
        st.Page("explorer/pages/journey.py", title="Journey", icon=":material/route:"),
        st.Page("explorer/pages/held_out.py", title="Held-out", icon=":material/pets:"),
        st.Page("explorer/pages/speed.py", title="Speed", icon=":material/speed:"),
    ]
)
page.run()
