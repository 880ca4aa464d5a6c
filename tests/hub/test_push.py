"""Push to and load from a Hub on 127.0.0.1, by the real clients."""

import pytest

pytestmark = pytest.mark.slow


def test_push_datasets(outcomes, scenario):
    group, name = scenario
    assert outcomes(group)[name] == "passed", outcomes(group)[name]


def test_push_models(outcomes, scenario):
    group, name = scenario
    assert outcomes(group)[name] == "passed", outcomes(group)[name]


def test_push_documents(outcomes, scenario):
    group, name = scenario
    assert outcomes(group)[name] == "passed", outcomes(group)[name]
