"""The type of pictures. A module of its own, since it needs NumPy."""

from __future__ import annotations

from typing import Any

import numpy

from . import _core


class Picture(numpy.ndarray[Any, Any]):
    """An array uint8 [height, width, 3] in RGB that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes | None:
        is_image = self.ndim == 3 and self.shape[2] == 3 and self.dtype == numpy.uint8 and self.size > 0
        return _core.png(self) if is_image else None

    def save(self, path: Any) -> None:
        """Writes a PNG file."""
        data = self._repr_png_()
        if data is None:
            raise _core.Error(f"picture: {self.dtype} {self.shape}; expected uint8 [height, width, 3]")
        with open(path, "wb") as file:
            file.write(data)
