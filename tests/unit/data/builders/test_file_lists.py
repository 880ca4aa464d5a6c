import pytest

from hf_noisy.data.builders.file_lists import check_images, read_labels, read_lines


@pytest.fixture
def file(tmp_path):
    return tmp_path / "list.txt"


def test_lines_and_labels_are_read_in_order(file):
    file.write_bytes(b"b/1,2.jpg 13\r\na 1.jpg 0\n\n  c.jpg\t 4\n")
    assert read_lines(file) == ["b/1,2.jpg 13", "a 1.jpg 0", "c.jpg\t 4"]
    assert list(read_labels(file, 14).items()) == [("b/1,2.jpg", 13), ("a 1.jpg", 0), ("c.jpg", 4)]


@pytest.mark.parametrize("line", ["a.jpg 14", "a.jpg -1", "a.jpg", "3", "a.jpg 1.0", "b.jpg 2"])
def test_another_line_is_named(file, line):
    file.write_text(f"b.jpg 3\n{line}\n")
    with pytest.raises(ValueError, match=rf"list.txt' must list images, each once, .* 0 to 13, got '{line}'"):
        read_labels(file, 14)


@pytest.mark.parametrize("image", ["../a.jpg", "/etc/a.jpg", "b/../../a.jpg"])
def test_images_outside_the_folder_are_refused(file, image):
    file.write_text(f"b.jpg 3\n{image} 4\n")
    with pytest.raises(ValueError, match=rf"list.txt' must name images of its own folder, got '{image}'"):
        read_labels(file, 14)


def test_absent_files_are_named(tmp_path, file):
    with pytest.raises(FileNotFoundError, match=r"file '.*list.txt' is missing; unpack all files of the release"):
        read_lines(file)
    file.write_text("")
    check_images("shop", [file])
    with pytest.raises(FileNotFoundError, match=r"image '.*a.jpg' of dataset 'shop' is missing; unpack the images"):
        check_images("shop", [file, tmp_path / "a.jpg"])
