"""Words on figures that can be read: Streamlit's theme greys those of axes."""

import plotly.graph_objects as go


def colour_axes(figure: go.Figure, text: str) -> None:
    """Give ticks and titles of all axes the text's colour; the figure's font alone leaves them grey."""
    words = {"tickfont": {"color": text}, "title": {"font": {"color": text}}}
    figure.update_xaxes(words)
    figure.update_yaxes(words)
