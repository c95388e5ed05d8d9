"""Entry of the web app: page navigation, nothing else. Start it with ``streamlit run app.py``."""

from pathlib import Path

import streamlit as st

# A file of our own: Streamlit would fetch a named icon from the internet.
ICON = Path(__file__).parent / "explorer" / "icon.png"

st.set_page_config(page_title="Dual-Space Explorer", page_icon=ICON, layout="wide")
# Streamlit leaves a hand's breadth around the page: the map should be seen without scrolling. What is too
# wide for a telephone scrolls by itself, not the page.
st.html(
    """<style>
.stMainBlockContainer{padding:2.5rem 3rem}
@media (max-width:40rem){.stMainBlockContainer{padding:2.5rem 1rem}}
[data-testid="stMarkdownContainer"] table{display:block;overflow-x:auto}
[class*="st-key-scrolls"]{overflow-x:auto}
[class*="st-key-scrolls"] [data-testid="stElementContainer"]{min-width:38rem}
</style>"""
)
st.navigation(
    [
        st.Page("explorer/pages/map.py", title="Map", icon=":material/scatter_plot:", default=True),
        st.Page("explorer/pages/journey.py", title="Journey", icon=":material/route:"),
        st.Page("explorer/pages/held_out.py", title="Held-out", icon=":material/pets:"),
        st.Page("explorer/pages/speed.py", title="Speed", icon=":material/speed:"),
    ]
).run()
