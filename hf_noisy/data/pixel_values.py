"""Images of any depth as RGB with 8 bits."""

from typing import Any

import numpy as np
import PIL.Image


def to_rgb(image: Any) -> Any:
    """The image in RGB; grey values of 16 bits and floats in [0, 1] are scaled, where Pillow would clip them."""
    if image.mode[0] not in "IF":
        return image.convert("RGB")
    values = np.asarray(image)
    limit = 1.0 if image.mode == "F" else 65535.0
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not 0 <= low <= high <= limit:
        raise ValueError(
            f"grey values from {low:g} to {high:g}, but they must be floats in [0, 1] or whole numbers of 8 or 16 bits"
        )
    return PIL.Image.fromarray(np.rint(values / limit * 255).astype(np.uint8)).convert("RGB")
