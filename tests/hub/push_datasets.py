"""Datasets and their cards, pushed and loaded again. Run by `child.py`."""

import hashlib
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset
from huggingface_hub import DatasetCard, HfApi
from PIL import Image
from server import READER, LocalHub
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.data.noise import inject_noise, symmetric
from hf_noisy.detection.audit import audit
from hf_noisy.hub.dataset_card import audit_card, injected_card, purified_card
from hf_noisy.hub.errors import clear_hub_errors
from hf_noisy.hub.list_card import list_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.hub.text import BEGIN, END
from hf_noisy.purification.list_labels import purify_lists
from hf_noisy.purification.policies import purify
from hf_noisy.purification.restore import restore_labels
from hf_noisy.purification.summary import summarise

datasets.disable_progress_bars()
NAMES = ["a|b", "<b>no</b>\n---\nx: 1", "snake_case"]


def rows(count: int = 60) -> Dataset:
    features = Features(
        {"text": Value("string"), "features": List(Value("float32"), length=3), "label": ClassLabel(names=NAMES)}
    )
    true = np.arange(count) % 3
    vectors = 5 * np.eye(3)[true] + np.random.default_rng(0).normal(size=(count, 3))
    given = np.where(np.arange(count) % 10 == 0, (true + 1) % 3, true)
    texts = [f"row {i}\n| {i} |" for i in range(count)]
    return Dataset.from_dict({"text": texts, "features": vectors, "label": given}, features=features)


def purified(policy: str = "relabel", split: str = "train", count: int = 60) -> DatasetDict:
    return purify(DatasetDict({split: rows(count), "test": rows(9)}), "knn", policy, split=split, k=5)


def card_of(splits: DatasetDict, split: str = "train", name: str = "rows") -> DatasetCard:
    return purified_card(splits, split, summarise(splits), name=name)


def push(splits: DatasetDict, name: str, **options) -> str:
    return push_dataset_to_hub(splits, name, card_of(splits), **options)


def same(left: Dataset, right: Dataset) -> bool:
    return left.features == right.features and left.to_dict() == right.to_dict()


def readme(at: LocalHub, name: str, branch: str = "main") -> str:
    return at.files("datasets", f"tester/{name}", branch)["README.md"].decode()


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def what_is_loaded_is_what_was_pushed(hub: LocalHub, tmp: Path) -> None:
    splits = purified("drop")
    url = push(splits, "whole", private=True)
    assert str(url).startswith(f"{hub.url}/datasets/tester/whole/commit/")
    assert hub.created[-1]["visibility"] == "private"
    assert hub.repos["datasets", "tester/whole"].private
    loaded = load_dataset("tester/whole")
    assert list(loaded) == ["train", "dropped"]
    assert all(same(loaded[name], splits[name]) for name in loaded)
    assert same(load_dataset("tester/whole", "unchanged", split="test"), rows(9))
    assert same(restore_labels(loaded)["train"], rows())


def the_code_in_the_card_runs(hub: LocalHub, tmp: Path) -> None:
    push(purified("drop"), "code")
    code = readme(hub, "code").split("```python\n")[1].split("```")[0]
    known: dict = {}
    exec(code, known)
    assert same(known["given"]["train"], rows())


def every_policy_is_published(hub: LocalHub, tmp: Path) -> None:
    for policy in ("relabel", "soft", "weight", "flag"):
        splits = purified(policy)
        push(splits, f"policy-{policy}")
        loaded = load_dataset(f"tester/policy-{policy}")
        assert same(loaded["train"], splits["train"])
        assert same(restore_labels(loaded)["train"], rows())


def no_split_need_be_called_train(hub: LocalHub, tmp: Path) -> None:
    splits = purified("relabel", "validation")
    push_dataset_to_hub(splits, "tester/untrained", card_of(splits, "validation"))
    assert list(load_dataset("tester/untrained")) == ["validation"]


def a_lazy_transform_is_not_run(hub: LocalHub, tmp: Path) -> None:
    splits = purified()
    splits["train"].set_transform(lambda batch: {"text": ["changed"] * len(batch["text"])})
    push(splits, "lazy")
    assert load_dataset("tester/lazy", split="train")[0]["text"] == "row 0\n| 0 |"


def images_are_published(hub: LocalHub, tmp: Path) -> None:
    pictures = [Image.fromarray(np.full((4, 4, 3), 40 * i, dtype=np.uint8)) for i in range(6)]
    clean = Dataset.from_dict({"image": pictures, "label": [0, 1] * 3}).cast_column("image", datasets.Image())
    splits = DatasetDict({"train": inject_noise(clean, symmetric(0.5))})
    push_dataset_to_hub(splits, "pictures", injected_card(splits, "train", name="pictures"))
    loaded = load_dataset("tester/pictures", split="train")
    assert np.array_equal(np.asarray(loaded[2]["image"]), np.asarray(pictures[2]))
    assert loaded["label"][:] == splits["train"]["label"][:]
    assert DatasetCard(readme(hub, "pictures")).data.task_categories == ["image-classification"]


def audits_are_published(hub: LocalHub, tmp: Path) -> None:
    splits = DatasetDict({"train": rows()})
    push_dataset_to_hub(splits, "audited", audit_card(splits, "train", audit(rows(), epochs=1), name="rows"))
    assert "wrong labels, estimated" in readme(hub, "audited")
    assert same(load_dataset("tester/audited", split="train"), rows())


def names_cannot_break_the_card(hub: LocalHub, tmp: Path) -> None:
    splits = purified("drop")
    push_dataset_to_hub(splits, "names", card_of(splits, name=f"{tmp}/x|y <b>\n---\n# z"))
    text = readme(hub, "names")
    card = DatasetCard(text)
    assert card.data.pretty_name == "x|y <b> --- # z"
    assert "\n# x&#124;y &#60;b&#62; --- &#35; z\n" in text
    assert "\n| &#60;b&#62;no&#60;/b&#62; --- x: 1 |" in card.text
    assert str(tmp) not in text
    assert os.path.expanduser("~") not in text


def a_card_that_is_there_is_merged_into(hub: LocalHub, tmp: Path) -> None:
    theirs = "# My data\n\nWords of mine.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    HfApi().create_repo("tester/merged", repo_type="dataset")
    hub.edit("datasets", "tester/merged", "README.md", f"---\nlicense: mit\ntags:\n- mine\n---\n{theirs}")
    push(purified("flag"), "merged")
    push(purified("drop"), "merged")
    card = DatasetCard(readme(hub, "merged"))
    assert card.text.startswith(theirs.rstrip())
    assert card.text.count(BEGIN) == card.text.count(END) == 1
    assert "policy `drop`" in card.text
    assert "policy `flag`" not in card.text
    assert card.data.license == "mit"
    assert card.data.tags == ["mine", "hf_noisy", "label-noise", "noisy-labels"]
    assert {info["config_name"] for info in card.data.dataset_info} == {"default", "unchanged"}
    assert list(load_dataset("tester/merged")) == ["train", "dropped"]


def what_others_write_meanwhile_stays(hub: LocalHub, tmp: Path) -> None:
    splits = purified()
    push(splits, "busy")
    wrote = "---\nlicense: mit\n---\nWritten meanwhile.\n"
    # Only the purified rows and the card have changed since, and are committed in this order.
    hub.meanwhile += [lambda: None, lambda: hub.edit("datasets", "tester/busy", "README.md", wrote)]
    push(purified("weight"), "busy")
    assert "Written meanwhile." in readme(hub, "busy")
    assert "policy `weight`" in readme(hub, "busy")


def a_broken_upload_can_be_run_again(hub: LocalHub, tmp: Path) -> None:
    splits = purified("drop", count=66)
    splits.save_to_disk(tmp / "local")
    before = digests(tmp / "local")
    stored = datasets.load_from_disk(str(tmp / "local"))
    hub.break_upload(after=500, times=20)
    with pytest.raises(ConnectionError, match=r"the connection broke during the push to 'cut'.*run it again"):
        push(stored, "cut")
    assert list(hub.files("datasets", "tester/cut")) == [".gitattributes"]
    assert digests(tmp / "local") == before
    hub.faults.clear()
    push(stored, "cut")
    assert all(same(part, splits[name]) for name, part in load_dataset("tester/cut").items())


def one_cut_is_mended_by_the_client(hub: LocalHub, tmp: Path) -> None:
    splits = purified(count=63)  # rows that no other scenario has uploaded
    hub.break_upload(after=500)
    push(splits, "once")
    assert hub.faults == []
    assert same(load_dataset("tester/once", split="train"), splits["train"])


def what_is_there_is_not_uploaded_again(hub: LocalHub, tmp: Path) -> None:
    splits = purified("weight", count=69)
    hub.break_commit()
    with pytest.raises(ConnectionError, match="run it again"):
        push(splits, "again")
    assert list(hub.files("datasets", "tester/again")) == [".gitattributes"]
    done = len(hub.requests)
    push(splits, "again")
    uploads = [request for request in hub.requests[done:] if request.startswith("PUT")]
    assert uploads == [], "the train split was uploaded before the commit broke, the test split by other scenarios"
    assert same(load_dataset("tester/again", split="train"), splits["train"])


def rows_without_their_card_get_it_later(hub: LocalHub, tmp: Path) -> None:
    hub.break_commit(skip=2)
    with pytest.raises(ConnectionError):
        push(purified(), "bare")
    assert BEGIN not in readme(hub, "bare")
    titles = list(hub.repos["datasets", "tester/bare"].titles)
    push(purified(), "bare")
    assert BEGIN in readme(hub, "bare")
    assert hub.repos["datasets", "tester/bare"].titles == [*titles, "Describe the noise of the labels"]


def a_lost_answer_does_no_harm(hub: LocalHub, tmp: Path) -> None:
    splits = purified()
    hub.break_commit(done=True)
    with pytest.raises(ConnectionError):
        push(splits, "unheard")
    push(splits, "unheard")
    assert hub.repos["datasets", "tester/unheard"].titles.count("Upload rows of 'default'") == 1
    assert same(load_dataset("tester/unheard", split="train"), splits["train"])


def a_second_push_changes_nothing(hub: LocalHub, tmp: Path) -> None:
    push(purified(), "still")
    before = hub.repos["datasets", "tester/still"].branches["main"]
    push(purified(), "still")
    assert hub.repos["datasets", "tester/still"].branches["main"] == before


def a_branch_is_pushed_to(hub: LocalHub, tmp: Path) -> None:
    push(purified(), "branches")
    main = readme(hub, "branches")
    push(purified("weight"), "branches", revision="weighted/first")
    assert readme(hub, "branches") == main
    assert 'load_dataset("tester/branches", revision="weighted/first")' in readme(hub, "branches", "weighted/first")
    loaded = load_dataset("tester/branches", revision="weighted/first", split="train")
    assert "label_weight" in loaded.column_names


def errors_are_one_sentence(hub: LocalHub, tmp: Path) -> None:
    splits = purified()
    push(splits, "public")
    wrong = [
        (PermissionError, r"the Hub knows no token for 'x'; log in with `hf auth login`", "x", {"token": "hf_wrong"}),
        (PermissionError, r"the token may not write to 'x'; use one that may", "x", {"token": READER}),
        (PermissionError, r"the token may not write to 'somebody/rows'", "somebody/rows", {}),
        (ValueError, r"'tester/public' is public, but private=True; make it private", "public", {"private": True}),
        (ValueError, r"repo_id must be 'name' or 'owner/name'", "a/b/c", {}),
    ]
    for kind, sentence, name, options in wrong:
        with pytest.raises(kind, match=sentence) as caught:
            push(splits, name, **options)
        assert "\n" not in str(caught.value)
    with (
        pytest.raises(FileNotFoundError, match=r"'tester/none' or its branch is not on the Hub"),
        clear_hub_errors("tester/none"),
    ):
        HfApi().repo_info("tester/none", repo_type="dataset")


def a_card_that_cannot_be_read_is_left_alone(hub: LocalHub, tmp: Path) -> None:
    HfApi().create_repo("tester/damaged", repo_type="dataset")
    hub.edit("datasets", "tester/damaged", "README.md", "---\na: [1\n---\nText.\n")
    before = hub.files("datasets", "tester/damaged")
    with pytest.raises(ValueError, match="metadata that cannot be read"):
        push(purified(), "damaged")
    assert hub.files("datasets", "tester/damaged") == before


def a_command_keeps_its_folder_when_the_push_breaks(hub: LocalHub, tmp: Path) -> None:
    rows().to_parquet(tmp / "rows.parquet")
    words = ["purify", str(tmp / "rows.parquet"), "--purifier", "knn", "--output", str(tmp / "out")]
    hub.break_upload(after=500, times=20)
    broken = CliRunner().invoke(app, [*words, "--push-to-hub", "commanded"])
    assert broken.exit_code == 2
    assert "run it again" in broken.stderr
    assert sorted(path.name for path in (tmp / "out").iterdir()) == [
        ".hf_noisy.json",
        "README.md",
        "data",
        "report.html",
        "summary.json",
    ]
    hub.faults.clear()
    assert f"this pushes it: hf-noisy push {tmp / 'out'} commanded\n" in broken.stderr
    again = CliRunner().invoke(app, ["push", str(tmp / "out"), "commanded"])
    assert again.exit_code == 0, again.stderr
    assert f"pushed to {hub.url}/datasets/tester/commanded/commit/" in again.stdout
    assert same(restore_labels(load_dataset("tester/commanded", split="train")), rows())


def tags_are_published_and_undone(hub: LocalHub, tmp: Path) -> None:
    features = Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=["O", "B-|x", "B-PER"]))})
    given = Dataset.from_dict({"tokens": [["Anna", "ran"], ["|", "a"]], "label": [[0, 0], [1, 0]]}, features)
    new = purify_lists(given, np.array([2, 0, 1, 0]), np.full(4, 0.9))
    figures = [["changed", "1"]]
    card = list_card({"train": new}, "train", name="tags", lead="Corrected.", numbers=figures, purified=True)
    push_dataset_to_hub(DatasetDict(train=new), "tags", card)
    loaded = load_dataset("tester/tags", split="train")
    assert same(loaded, new)
    assert same(restore_labels(loaded), given)
    assert "label_given" in readme(hub, "tags")


def a_command_publishes_sets_of_classes(hub: LocalHub, tmp: Path) -> None:
    features = Features(
        {
            "text": Value("string"),
            "features": List(Value("float32"), length=3),
            "label": List(ClassLabel(names=["a", "b"])),
        }
    )
    true = [[[0], [1], [0, 1]][row % 3] for row in range(60)]
    given = [own[1:] if row % 10 == 0 else own for row, own in enumerate(true)]
    vectors = 5 * np.eye(3)[np.arange(60) % 3] + np.random.default_rng(0).normal(size=(60, 3))
    made = Dataset.from_dict({"text": list(map(str, range(60))), "features": vectors, "label": given}, features)
    made.to_parquet(tmp / "sets.parquet")
    words = ["purify", str(tmp / "sets.parquet"), "--output", str(tmp / "out"), "--push-to-hub", "sets"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    assert same(restore_labels(load_dataset("tester/sets", split="train")), made)
