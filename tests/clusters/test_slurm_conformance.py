"""What every apparatus does, on a real Slurm."""

import pytest

from mini.apparatus.conformance import ApparatusConformance
from mini.apparatus.slurm.apparatus import SlurmApparatus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


class TestSlurm(ApparatusConformance):
    @pytest.fixture
    def apparatus(self):
        with SlurmApparatus("test") as made:
            yield made

    def one_at_a_time(self, apparatus):
        return apparatus.w(array_parallelism=1, group=1)
