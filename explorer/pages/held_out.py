"""The held_out page."""

import streamlit as st

from explorer.session import current_bundle

st.title("held_out")
bundle = current_bundle()
