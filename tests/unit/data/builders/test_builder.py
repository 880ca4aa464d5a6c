import os
import sys
from typing import ClassVar

import datasets
import pytest

from hf_noisy.core.rng import uniforms
from hf_noisy.data import list_noisy_datasets, noise_record
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.load import dataset_builder


class LinesBuilder(NoisyDatasetBuilder):
    """`rows.txt`: the true class and the given one, a row a line."""

    NAME = "lines"
    DESCRIPTION = "Lines of a test."
    LICENSE = "CC0"
    CITATION = "none"
    DOWNLOAD = "download rows.txt from the desk and put it there"
    MARKERS = ("rows.txt",)
    BUILDER_CONFIGS: ClassVar = [NoisyConfig(name="clean"), NoisyConfig(name="given", noise="desk", description="So.")]
    DEFAULT_CONFIG_NAME = "given"

    def _features(self):
        return noisy_features("text", datasets.Value("string"), ["a", "b"])

    def _split_generators(self, dl_manager):
        splits = {"train": (self.folder / "rows.txt").read_text().split(), "test": ["00", "11"]}
        return [datasets.SplitGenerator(name, gen_kwargs={"rows": rows}) for name, rows in splits.items()]

    def _generate_examples(self, rows):
        for index, row in enumerate(rows):
            label = int(row[1] if self.config.noise else row[0])
            yield index, {"text": row, "label": label, "clean_label": int(row[0])}


class FetchedBuilder(LinesBuilder):
    FETCHED = True


class HubBuilder(LinesBuilder):
    HUB_ID = "nobody/nothing"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "rows.txt").write_text("00 01 11 10")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "lines"])
def test_the_folder_or_the_one_that_holds_it(root, inner):
    assert LinesBuilder(data_dir=root / inner).folder == root / "lines"


@pytest.mark.usefixtures("no_general_folder")
def test_the_folder_of_the_environment(root, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"dataset 'lines' is read from a folder.* point .*; download rows.txt"
    ):
        LinesBuilder()
    monkeypatch.setenv("HF_NOISY_DATA_DIR", str(root))
    assert LinesBuilder().folder == root / "lines"
    assert FetchedBuilder().folder == root / "lines"


def test_a_missing_folder_is_named_with_what_to_download(tmp_path, monkeypatch):
    message = r"folder '.*lines' with rows.txt is missing: .* must point .*'lines'; download rows.txt from the desk"
    for builder in (LinesBuilder, FetchedBuilder, HubBuilder):
        with pytest.raises(FileNotFoundError, match=message):
            builder(data_dir=tmp_path)
    # The general folder may lack what can be had elsewhere.
    monkeypatch.setenv("HF_NOISY_DATA_DIR", str(tmp_path))
    assert FetchedBuilder().folder is None
    assert HubBuilder().folder is None
    with pytest.raises(FileNotFoundError, match=message):
        LinesBuilder()


@pytest.mark.usefixtures("no_general_folder")
def test_a_hub_dataset_that_cannot_be_had_is_told_in_one_sentence():
    with pytest.raises(
        FileNotFoundError, match=r"download rows.txt .*; the Hub's 'nobody/nothing' cannot be loaded either"
    ):
        HubBuilder().hub_splits()


def test_the_noise_is_recorded_where_labels_differ(root):
    given = LinesBuilder(data_dir=root).build()
    record = noise_record(given["train"])
    assert (record["kind"], record["rate_measured"]) == ("desk", 0.5)
    assert record["transition_matrix"] == [[0.5, 0.5], [0.5, 0.5]]
    assert noise_record(given["test"]) is None
    clean = LinesBuilder("clean", data_dir=root).build()
    assert clean["train"]["label"][:] == [0, 0, 1, 1]
    assert noise_record(clean["train"]) is None


def test_the_info_tells_of_the_dataset(root):
    info = LinesBuilder(data_dir=root).build()["test"].info
    assert (info.description, info.license, info.citation) == ("Lines of a test.\nSo.", "CC0", "none")
    assert (info.dataset_name, info.config_name) == ("hf_noisy_lines", "given")


def test_changed_files_are_not_served_old_rows(root):
    file = root / "lines" / "rows.txt"
    first = LinesBuilder(data_dir=root)
    first.download_and_prepare()
    assert LinesBuilder(data_dir=root).cache_dir == first.cache_dir
    os.utime(file, (1, 1))
    assert LinesBuilder(data_dir=root).cache_dir != first.cache_dir
    file.write_text("00 01 11 11")
    assert LinesBuilder(data_dir=root).build()["train"]["label"][:] == [0, 1, 1, 1]
    (root / "lines" / "more.txt").touch()
    assert LinesBuilder(data_dir=root).hash != first.hash


def test_changed_code_is_not_served_old_rows(root, monkeypatch):
    before = LinesBuilder(data_dir=root).hash
    monkeypatch.setattr(LinesBuilder, "CODE", (datasets.builder,))
    assert LinesBuilder(data_dir=root).hash != before


def test_an_unknown_configuration_is_refused(root):
    with pytest.raises(ValueError, match="'other' not found"):
        LinesBuilder("other", data_dir=root)


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        ({}, ["text", "label", "clean_label"]),
        ({"votes": True}, ["text", "label", "clean_label", "votes"]),
        ({"clean": False}, ["text", "label"]),
    ],
)
def test_columns_stand_in_one_order(arguments, columns):
    features = noisy_features("text", datasets.Value("string"), ["a", "b"], **arguments)
    assert list(features) == columns
    assert features["label"].names == ["a", "b"]


@pytest.mark.parametrize("name", list_noisy_datasets())
def test_every_builder_is_documented(name):
    builder = dataset_builder(name)
    assert name == builder.NAME
    assert builder.DESCRIPTION
    assert builder.LICENSE
    assert builder.CITATION
    assert builder.DEFAULT_CONFIG_NAME in [config.name for config in builder.BUILDER_CONFIGS]
    assert all(config.description for config in builder.BUILDER_CONFIGS)
    assert builder.HOMEPAGE or name == "docs"
    assert bool(builder.MARKERS) == bool(builder.DOWNLOAD) == (name not in ("docs", "digits"))


@pytest.mark.parametrize("name", [name for name in list_noisy_datasets() if name not in ("docs", "digits")])
def test_every_builder_says_what_to_download(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"holds '{name}'; (download|ask the authors for) .*https?://"):
        dataset_builder(name)(data_dir=tmp_path)


@pytest.mark.parametrize("name", ["digits", "wrench"])
def test_the_generator_of_random_numbers_belongs_to_the_code(name):
    assert uniforms in dataset_builder(name).CODE


def test_rows_that_cannot_be_read_are_told_in_one_sentence(root):
    (root / "lines" / "rows.txt").write_text("01 x1")
    with pytest.raises(ValueError, match=r"dataset 'lines' cannot be read from '.*': \w+: .*'x'"):
        LinesBuilder(data_dir=root).build()
    (root / "lines" / "rows.txt").write_text("01 11")
    assert len(LinesBuilder(data_dir=root).build()["train"]) == 2


def test_the_environment_is_that_of_now(root, monkeypatch):
    LinesBuilder(data_dir=root)  # `datasets` gives the modules of builders, this one too, an `os` of its own
    monkeypatch.setattr(sys.modules["os"], "environ", {"HF_NOISY_DATA_DIR": str(root)})  # as some launchers do
    assert LinesBuilder().folder == root / "lines"
