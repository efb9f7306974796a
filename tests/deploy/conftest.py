"""Bundles with random weights, and one server process, that tests of deployment share."""

import pytest

from tests.bundles import SmallBundle, make_bundle, make_bundles
from tests.serving import serving

from ..e2e.test_bundle import NO_TRAINING


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """One tiny bundle of each kind of task, by name."""
    return make_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def server(bundles, tmp_path_factory):
    """A server of all of them, in an environment without training packages and with short limits of time."""
    limits = ["--body-seconds", "1", "--max-texts", "64", "--max-characters", "1000", "--queue-rows", "200"]
    named = [f"{name}={folder}" for name, folder in bundles.items()]
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, *named, *limits, blocked=NO_TRAINING) as running:
        yield running
        assert running.process.poll() is None, "the server died"
        assert running.stop() == 0


@pytest.fixture(scope="session")
def one_model(bundles, tmp_path_factory):
    """A server of one classifier, as most are."""
    with serving(tmp_path_factory.mktemp("one"), bundles["classification"]) as running:
        yield running


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> SmallBundle:
    """Three labels, one text a row."""
    return make_bundle(tmp_path_factory.mktemp("classifier"), "classification")


@pytest.fixture(scope="session")
def pair_regressor(tmp_path_factory) -> SmallBundle:
    """A score for two texts."""
    return make_bundle(tmp_path_factory.mktemp("regressor"), "regression", pairs=True)


@pytest.fixture(scope="session")
def tagger(tmp_path_factory) -> SmallBundle:
    """A tag for each character."""
    return make_bundle(tmp_path_factory.mktemp("tagger"), "token_classification")
