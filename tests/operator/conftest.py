"""What the operator's tests share: deployments as `strongroom init` and `strongroom serve` make them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from deployment import Deployment, certificate  # noqa: E402


@pytest.fixture
def deploy(tmp_path):
    """Makes deployments that are provisioned, and not initialised yet."""
    made = []

    def make(**options):
        deployment = Deployment(tmp_path / f"deployment-{len(made)}", **options)
        made.append(deployment)
        return deployment

    yield make
    for deployment in made:
        deployment.kill()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate for this machine, and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))
