"""What every apparatus does, on a real Ray cluster."""

import pytest

from mini.apparatus.conformance import ApparatusConformance
from mini.apparatus.ray.apparatus import RayApparatus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


class TestRay(ApparatusConformance):
    @pytest.fixture
    def apparatus(self, ray_cluster):
        with RayApparatus("test", address=ray_cluster.address) as made:
            yield made

    def one_at_a_time(self, apparatus):
        return apparatus.w(workers=1)
