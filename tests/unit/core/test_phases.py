"""Seconds and peak memory by phase, and the lines on the terminal."""

import time

import numpy as np
import pytest

from hf_noisy.core.phases import phase, phases_so_far, recorded_phases


def test_each_phase_has_its_seconds_and_its_own_peak(capsys):
    with recorded_phases(show=True):
        with phase("large"):
            held = np.ones(40_000_000)
            del held
        with phase("small"):
            time.sleep(0.05)
        found = phases_so_far()
    assert list(found) == ["large", "small"]
    assert found["small"]["seconds"] >= 0.05
    assert found["large"]["peak_memory_bytes"] > found["small"]["peak_memory_bytes"] + 1e8
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == ["large", "small"]
    assert shown[1].endswith(" s")


def test_a_peak_between_begin_and_end_is_seen():
    with recorded_phases(), phase("peak"):
        held = np.ones(40_000_000)
        time.sleep(0.3)
        del held
        found = phases_so_far()
    with recorded_phases(), phase("none"):
        nothing = phases_so_far()
    assert found["peak"]["peak_memory_bytes"] > nothing["none"]["peak_memory_bytes"] + 1e8


def test_inner_phases_are_recorded_and_added_up_but_not_shown(capsys):
    with recorded_phases(show=True) as found:
        with phase("training"):
            for _ in range(2):
                with phase("recording"):
                    time.sleep(0.02)
        assert list(found()) == ["training", "recording"]
        assert found()["training"]["seconds"] >= found()["recording"]["seconds"] >= 0.04
    assert capsys.readouterr().err.splitlines() == [f"training: {found()['training']['seconds']:.1f} s"]


def test_nothing_is_recorded_or_shown_without_a_record_or_after_an_error(capsys):
    with phase("alone"):
        assert phases_so_far() == {}
    with pytest.raises(ValueError, match="broken"), recorded_phases(show=True), phase("broken"):
        raise ValueError("broken")
    assert phases_so_far() == {}
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_what_runs_before_it_ends(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with recorded_phases(show=True), phase("embedding"):
        assert capsys.readouterr().err == "embedding ...\r"
    assert capsys.readouterr().err.startswith("embedding: ")
