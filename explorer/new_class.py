"""A class that a bundle's data does not have, measured beside its own: how it is kept, and found again."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from explorer.bundle import Bundle, BundleError
from explorer.bundle_reading import check_measured
from explorer.measured import REACHABILITY

FILE = "new_class.safetensors"


@dataclass(frozen=True)
class NewClass:
    """Photographs of one more class, through a bundle's encoder.

    name: of the class. names: k file names relative to its folder. codes: float32 (k, code_dim).
    """

    name: str
    names: tuple[str, ...]
    codes: np.ndarray

    def beside(self, bundle: Bundle) -> Bundle:
        """The bundle with this class as one more that was held out; its images come after all others.

        They have no place on the map, and the bundle's judge was not asked about them.
        """
        label, k = len(bundle.classes), len(self.names)
        return replace(
            bundle,
            classes=(*bundle.classes, self.name),
            held_out=(*bundle.held_out, self.name),
            labels=np.append(bundle.labels, np.full(k, label)),
            splits=np.append(bundle.splits, np.full(k, "held_out")),
            names=(*bundle.names, *(f"{self.name}/{name}" for name in self.names)),
            real_codes=np.concatenate([bundle.real_codes, self.codes]),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the codes, to know the photographs again."""
        return hashlib.sha256(self.codes.tobytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """What ``FILE`` holds."""
        return save({"codes": self.codes}, {"name": self.name, "names": json.dumps(self.names)})


def read_measured(folder: Path, bundle: Bundle) -> tuple[NewClass, dict[str, Any]]:
    """The class that was measured in a folder, and the report. Raises BundleError if they cannot be read."""
    try:
        with safe_open(folder / FILE, framework="np") as file:
            about, codes = file.metadata(), file.get_tensor("codes")
        new = NewClass(about["name"], tuple(json.loads(about["names"])), codes)
        if codes.shape != (len(new.names), bundle.real_codes.shape[1]):
            raise ValueError(f"codes of shape {codes.shape} for {len(new.names)} photographs")
        report = json.loads((folder / REACHABILITY).read_text())
        report["classes"][new.name]
        if report["new_class"]["sha256"] != new.digest:
            raise ValueError("the report is about other photographs")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"what was measured in {folder} cannot be read ({error}); delete that folder and measure again"
        ) from None
    return new, check_measured(report, folder / REACHABILITY, len(bundle.labels) + len(new.names))


def measured_folders(folder: Path, beginning: str) -> list[Path]:
    """Sub-folders with such names that hold a new class and a whole report, oldest report first."""
    found = [path.parent for path in folder.glob(f"{beginning}*/{REACHABILITY}")]
    return sorted(
        (path for path in found if (path / FILE).is_file()),
        key=lambda path: (path / REACHABILITY).stat().st_mtime,
    )
