"""Entry of the web app: page navigation, nothing else. Start it with ``streamlit run app.py``."""

import streamlit as st

st.set_page_config(page_title="Dual-Space Explorer", page_icon=":material/hub:", layout="wide")
st.navigation(
    [
        st.Page("explorer/pages/map.py", title="Map", icon=":material/scatter_plot:", default=True),
        st.Page("explorer/pages/journey.py", title="Journey", icon=":material/route:"),
        st.Page("explorer/pages/held_out.py", title="Held-out", icon=":material/pets:"),
    ]
).run()
