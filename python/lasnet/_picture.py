"""The type of pictures. A module of its own, since it needs NumPy."""

from __future__ import annotations

import os
from typing import Any

import numpy

from . import _core


class Picture(numpy.ndarray[Any, Any]):
    """An array uint8 [height, width, 3] in RGB that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes | None:
        is_image = self.ndim == 3 and self.shape[2] == 3 and self.dtype == numpy.uint8 and self.size > 0
        return _core.png(self) if is_image else None

    def save(self, path: Any) -> None:
        """Writes a PNG file. Raises Error on a name that does not end in .png, and a failed write."""
        name = os.fspath(path)
        if not os.fsdecode(name).lower().endswith(".png"):
            raise _core.Error(f"path: {os.fsdecode(name)}; pictures are PNG files: give a name that ends in .png")
        data = self._repr_png_()
        if data is None:
            raise _core.Error(f"picture: {self.dtype} {self.shape}; expected uint8 [height, width, 3]")
        try:
            with open(name, "wb") as file:
                file.write(data)
        except OSError as error:
            raise _core.Error(f"path: {os.fsdecode(name)}: {error.strerror}") from error
