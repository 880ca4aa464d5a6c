"""What the self-contained HTML pages share: templates, JSON in a script, names in the browser storage, thumbnails."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_noisy.data.pixel_values import to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_PNG = 2**16  # bytes; above it a photograph is far smaller as a JPEG, and looks the same


def render_template(name: str, **values: Any) -> str:
    """The page of a template, with every value escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(name).render(**values)


def script_safe(data: dict[str, Any]) -> str:
    """JSON that cannot close its script element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def storage_key(page: str, content: Any) -> str:
    """A name in the browser's storage that no other data has, as all local files may share one storage."""
    return f"hf-noisy-{page}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]}"


def thumbnail(image: "Image", side: int = 96) -> str:
    """The image of at most `side` pixels per side as a `data:` URL, without the metadata of the original."""
    small = to_rgb(image)
    small.thumbnail((side, side))
    content = _encoded(small, "PNG")
    if len(content) > _MAX_PNG:
        return data_url(_encoded(small, "JPEG", quality=90), "image/jpeg")
    return data_url(content)


def data_url(content: bytes, kind: str = "image/png") -> str:
    """The content of an image file as a `data:` URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: "Image", file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()
