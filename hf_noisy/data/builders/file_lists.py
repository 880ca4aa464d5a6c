"""Lists of image files and their classes, as large collections of images are published."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without the space around them."""
    if not path.is_file():
        raise FileNotFoundError(f"file '{path}' is missing; unpack all files of the release into that folder")
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def read_labels(path: Path, num_classes: int) -> dict[str, int]:
    """Image -> class, of a file with lines such as `images/4/53/2353677288.jpg 5`, in its order."""
    labels: dict[str, int] = {}
    for line in read_lines(path):
        image, _, number = line.rpartition(" ")
        image = image.strip()
        if not image or image in labels or not number.isdecimal() or int(number) >= num_classes:
            raise ValueError(
                f"file '{path}' must hold an image, each once, and a class from 0 to {num_classes - 1} a line, got "
                f"'{line}'"
            )
        if (written := PurePosixPath(image)).is_absolute() or ".." in written.parts:
            raise ValueError(f"file '{path}' must name images of its own folder, got '{image}'")
        labels[image] = int(number)
    return labels


def check_images(name: str, paths: Iterable[Path]) -> None:
    """Refuse a folder with lists but without images; of a million files the first few tell."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"image '{path}' of dataset '{name}' is missing; unpack the images beside the lists"
            )
