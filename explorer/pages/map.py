"""The map page."""

import streamlit as st

from explorer.session import current_bundle

st.title("map")
bundle = current_bundle()
