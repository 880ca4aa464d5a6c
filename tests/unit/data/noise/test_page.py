"""The code of docs/noise.md runs, and says what the page says."""

from pathlib import Path

from hf_noisy.data import noise

PAGE = (Path(__file__).parents[4] / "docs" / "noise.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = [part.split("```")[0] for part in PAGE.split("```python\n")[1:]]
    assert len(blocks) == 2
    assert all(len([line for line in block.splitlines() if line.strip()]) <= 10 for block in blocks)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "['image', 'clean_label', 'label']"
    assert abs(float(printed[1]) - 0.4) <= 0.5 / len(names["clean"])
    assert (tmp_path / "digits_sym40").is_dir()


def test_every_noise_is_on_the_page():
    kinds = [name for name in noise.__all__ if name.islower() and name not in ("flip_probabilities", "inject_noise")]
    assert len(kinds) == 12
    assert [name for name in kinds if f"`noise.{name}(" not in PAGE] == []
