"""The metrics of a run, as JSON lines and in TensorBoard."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from training.cli import UserError
from training.files import write_atomically


class MetricsLog:
    """Metrics as JSON lines and in TensorBoard. On resuming, lines after the checkpoint are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        if self.path.is_file():
            kept = [line for line in read_metrics(self.path) if line["step"] <= step]
            write_metrics(self.path, kept)
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Append one line: ``{"step", "images", ...values}``."""
        self.file.write(json.dumps({"step": step, "images": images, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close both; every line was flushed when it was written."""
        for part in (self.file, self.board):
            with suppress(OSError):
                part.close()


def write_metrics(path: Path, lines: Iterable[Mapping[str, float]]) -> None:
    """Write a metrics.jsonl."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a half-written last line, from a killed run, is ignored.

    Raises UserError where there is no such file.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(
            f"{path}, the log of a training run, is missing; put it back or train it anew"
        ) from None
    lines = []
    for line in text.splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]
