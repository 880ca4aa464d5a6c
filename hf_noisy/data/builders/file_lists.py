"""Lists of image files and their classes, the form in which large image datasets are published."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file, stripped."""
    if not path.is_file():
        raise FileNotFoundError(f"file '{path}' is missing; unpack all files of the release into that folder")
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def read_labels(path: Path, num_classes: int) -> dict[str, int]:
    """Image -> class, from a file with lines such as `images/4/53/2353677288.jpg 5`."""
    labels: dict[str, int] = {}
    for line in read_lines(path):
        image, _, number = line.rpartition(" ")
        image = image.strip()
        if not image or image in labels or not number.isdecimal() or int(number) >= num_classes:
            raise ValueError(
                f"file '{path}' must list images, each once, with a class 0 to {num_classes - 1}, got '{line}'"
            )
        if (written := PurePosixPath(image)).is_absolute() or ".." in written.parts:
            raise ValueError(f"file '{path}' must name images of its own folder, got '{image}'")
        labels[image] = int(number)
    return labels


def check_images(name: str, paths: Iterable[Path]) -> None:
    """Refuse a folder with lists but without images, by the first few files."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"image '{path}' of dataset '{name}' is missing; unpack the images beside the lists"
            )
