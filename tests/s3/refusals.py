"""Says how a request must be refused."""

import contextlib

import pytest
from botocore.exceptions import ClientError


@contextlib.contextmanager
def refused(status, code, **fields):
    """The request inside must be refused with this status, code and error fields.

    An answer to HEAD has no body: there the code is the bare status.
    """
    with pytest.raises(ClientError) as caught:
        yield
    response = caught.value.response
    error = response["Error"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    assert error["Code"] == code or error["Code"] == str(status), response
    for name, value in fields.items():
        assert error.get(name) == value, response
