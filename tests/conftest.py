"""What every theme shares: one daemon a module, and a bucket of its own for each test."""

import operator
import os
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from daemon import CustomerKey, Daemon  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes over a minute; left out by ci/test --quick")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """The tests in `operator` are collected under the name of a module of Python: it is put back."""
    report = yield
    sys.modules["operator"] = operator
    return report


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon on a simulated clock, shared by the tests of a module."""
    running = Daemon(tmp_path_factory.mktemp("daemon")).start()
    yield running
    status = running.stop()
    assert status == 0, f"the daemon ended with {status}:\n{running.tail()}"
    assert "panicked" not in running.log.read_text(errors="replace"), running.tail()


@pytest.fixture(scope="module")
def s3(daemon):
    return daemon.s3()


@pytest.fixture
def bucket(s3):
    """A fresh bucket."""
    name = f"b-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3, bucket):
    """A fresh bucket with versioning on."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def key():
    return CustomerKey()


@pytest.fixture
def other_key():
    return CustomerKey()


@pytest.fixture
def fresh_daemon(tmp_path):
    """Makes daemons that the test itself starts, kills and configures."""
    made = []

    def make(**options):
        running = Daemon(tmp_path / f"daemon-{len(made)}", **options)
        made.append(running)
        return running

    yield make
    for running in made:
        running.kill()


@pytest.fixture(scope="session")
def binary():
    from daemon import BINARY

    assert os.path.exists(BINARY), f"{BINARY} is not built: run ci/build"
    return BINARY
