"""Schemathesis against every endpoint: no answer but those described, whatever is sent."""

import hypothesis
import pytest

from openapi import OPENAPI

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 100  # of each endpoint
# Not whether a right request is accepted: the description cannot say which tensors fit the model.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
described = schemathesis.openapi.from_dict(OPENAPI)


@described.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
def test_only_described_answers(case, server):
    """The status is one of the endpoint's, the body fits it, and the server goes on."""
    case.call_and_validate(base_url=server.url, checks=CHECKS)
    assert server.process.poll() is None
