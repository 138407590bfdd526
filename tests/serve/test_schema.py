"""Whatever a client sends, the server does not break: schemathesis over the OpenAPI document."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="needs the extra serve-tests")
pytest.importorskip("fastapi", reason="needs the extra serve")

from hypothesis import HealthCheck, settings  # noqa: E402
from tests.serve.conftest import KEY  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
N_EXAMPLES = 15


def test_no_request_is_answered_with_a_500(service):
    from schemathesis.checks import not_a_server_error
    from starlette.testclient import TestClient

    from shoestring.serve import create_app

    app, statuses = create_app(service, keys=[KEY]), set()
    with TestClient(app, raise_server_exceptions=False):  # started, as it is for users
        api = schemathesis.openapi.from_asgi("/openapi.json", app)
        for found in api.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=N_EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck],
                database=None, derandomize=True,
            )  # fmt: skip
            @__import__("hypothesis").given(case=operation.as_strategy())
            def any_case(case):
                answer = case.call(headers={"Authorization": f"Bearer {KEY}"})
                statuses.add(answer.status_code)
                case.validate_response(answer, checks=[not_a_server_error])

            any_case()
    assert 200 in statuses and not [status for status in statuses if status >= 500]
