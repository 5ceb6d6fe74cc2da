"""Hydra's own suites for launchers, once for each apparatus."""

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

from hydra_plugins.mini_launcher.launcher import ApparatusLauncher

# The suites ask for the behaviour of Hydra 1.1, of which Hydra warns.
pytestmark = [
    pytest.mark.filterwarnings("ignore::hydra.errors.Hydra14MigrationWarning"),
    pytest.mark.filterwarnings("ignore:\\s*Future Hydra versions will no longer change working directory"),
]

Plugins.instance()  # Hydra 1.4 imports a plugin once, and the suites forget what is registered after they began

KINDS = [("apparatus", ["hydra.launcher.apparatus=local"]), ("apparatus", ["hydra.launcher.apparatus=debug"])]


def test_hydra_discovers_the_launcher():
    # By name: Hydra imports a plugin's module anew.
    assert ApparatusLauncher.__name__ in [found.__name__ for found in Plugins.instance().discover(Launcher)]


# The suites append to the list they are given.
@pytest.mark.parametrize(("launcher_name", "overrides"), [(name, list(o)) for name, o in KINDS])
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [(name, ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2", *o]) for name, o in KINDS],
)
class TestBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=apparatus", "hydra.launcher.if_exists=set_aside", *o]) for _, o in KINDS],
)
class TestIntegration(IntegrationTestSuite):
    pass
