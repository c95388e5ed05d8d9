"""The journey page."""

import streamlit as st

from explorer.session import current_bundle

st.title("journey")
bundle = current_bundle()
