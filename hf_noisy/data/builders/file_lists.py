"""Lists of image files and their classes, as large collections of images are published."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not empty, without the space around them.

    Args:
        path: A file in UTF-8.

    Returns:
        The lines.

    Raises:
        FileNotFoundError: If the file is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"file '{path}' is missing; unpack all files of the release into that folder")
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def read_labels(path: Path, num_classes: int) -> dict[str, int]:
    r"""Read a file with an image and the number of its class a line.

    Args:
        path: A file with lines such as `images/4/53/2353677288,3969504453.jpg 5`.
        num_classes: Classes are numbered from 0 to one below it.

    Returns:
        Image -> class, in the order of the file.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If a line is anything else, an image is there twice, or it is outside the folder.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "list.txt")
        >>> _ = file.write_text("a.jpg 1\nb.jpg 0\n")
        >>> read_labels(file, num_classes=2)
        {'a.jpg': 1, 'b.jpg': 0}
    """
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
    """Refuse a folder with lists but without images; of a million files the first few tell.

    Args:
        name: Name of the dataset.
        paths: Files that must be there.

    Raises:
        FileNotFoundError: If one is not.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"image '{path}' of dataset '{name}' is missing; unpack the images beside the lists"
            )
