"""/openapi.json held to its word: schemathesis' checks, all of them, against a real server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig

from service import Settings, create_app

from .conftest import EnergyDetector, pattern, running, wav

KEY = "a-key-of-ours"
CONFIG: dict[str, Any] = {
    "headers": {"Authorization": f"Bearer {KEY}"},
    "generation": {"deterministic": True, "database": "none"},
    # The names of models are those of the server that is asked: no schema can list them.
    "parameters": {"model": "energy"},
}
AUDIO = [wav(pattern((0.3, 0.9), (0.2, 0))), wav(np.zeros((800, 2), np.float32), 8000)]

# Nobody listens there: the answer comes before anybody is asked.
HOST = "localhost:9"
schemathesis.openapi.format("binary", st.sampled_from(AUDIO))
schemathesis.openapi.format("uri", st.just(f"http://{HOST}/call.wav"))
for media_type in ("audio/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.sampled_from(AUDIO))
document = create_app(Settings(api_keys=KEY), EnergyDetector()).openapi()  # type: ignore[arg-type]
api = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(CONFIG))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    jobs = {
        "jobs_dir": tmp_path_factory.mktemp("jobs"),
        "job_private_hosts": HOST,
        "job_secret": "whsec_" + "A" * 32,
    }
    with running(api_keys=KEY, **jobs) as (_, port):
        yield f"http://127.0.0.1:{port}"


# Fields of the query that a body of JSON, whose audio is a list of numbers, leaves no choice in.
OF_FILES = {"encoding", "sample_rate", "response_format", "channels", "include", "model"}


@api.hook
def filter_case(context: Any, case: Any) -> bool:
    """What fields ask of each other, which no schema of one of them can tell."""
    query = case.query if isinstance(case.query, Mapping) else {}
    form = case.body if isinstance(case.body, Mapping) else {}
    fields = {**query, **form}
    try:
        threshold = float(fields.get("threshold", 0.5))
        ordered = float(fields.get("neg_threshold") or 0) <= threshold
        channel = fields.get("channels", "mix")
        present = channel in ("mix", "separate") or int(channel) == 0
    except (TypeError, ValueError):
        return True  # wrong by itself, as it should be now and then
    given_once = not query.keys() & form.keys()
    if "audio" in form and query.keys() & OF_FILES:
        return False
    if form.get("model", "energy") not in ("energy", None):
        return False
    encoding, rate = fields.get("encoding"), fields.get("sample_rate")
    whole = "audio" in form or (encoding is None) == (rate is None)
    return given_once and whole and ordered and present


@api.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: Any, url: str) -> None:
    if filter_case(None, case):  # the hook is not asked about schemathesis' own examples
        case.call_and_validate(base_url=url)
