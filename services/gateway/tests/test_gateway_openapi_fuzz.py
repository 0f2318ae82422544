"""Requests made from OpenAPI documents, sound and unsound ones: an answer of the right form or a typed refusal.

Two documents: the gateway's own, and what it serves of OpenAI's API, written down in `openai_subset.yaml`.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.control import SkipTest
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = int(os.environ.get("JEEVES_FUZZ_EXAMPLES", "2"))
"""Per operation of the gateway's own document; the bench asks for more than 10,000 requests in all."""
CHAT_WEIGHT = 8
"""Times as many for each of the three operations of OpenAI's."""
TYPED = {502, 503, 504}
"""What the engine, the index or an operator's switch is to blame for; each has a code and a remedy."""
CONFORMS = [response_schema_conformance, status_code_conformance, content_type_conformance]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


class Correspondence:
    """What was sent to a gateway, and what came back."""

    def __init__(self, gateway, document: dict, mode: GenerationMode) -> None:
        generation = GenerationConfig(modes=[mode])
        config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
        self.gateway, self.mode = gateway, mode
        self.schema = schemathesis.openapi.from_dict(document, config=config)
        self.operations = [found.ok() for found in self.schema.get_all_operations()]
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []

    def exchange(self, examples: int, conforms: bool) -> None:
        for operation in self.operations:

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=EXAMPLES < 10,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=self.mode))
            def send(case: Case) -> None:
                self.send(case, conforms)

            try:
                send()
            except SkipTest:
                continue  # nothing of it can be made unsound: it takes nothing
        assert self.gateway.get("/healthz").status_code == 200
        sys.stdout.write(
            f"\n{self.mode.value}: {self.answers.total()} requests, {dict(sorted(self.answers.items()))}\n"
        )

    def send(self, case: Case, conforms: bool) -> None:
        response = case.call(base_url=str(self.gateway.base_url), timeout=30)
        self.answers[response.status_code] += 1
        typed = response.status_code in TYPED and b'"code"' in response.content
        if response.status_code >= 500 and not typed:
            self.broken.append(f"{case.method} {case.formatted_path}: {response.status_code} {response.text[:200]}")
        # Values of a header come as a list here.
        streamed = any("event-stream" in value for value in response.headers.get("content-type", ()))
        if conforms and not streamed:
            case.validate_response(response, checks=CONFORMS)
        if streamed:
            assert response.text.rstrip().endswith("data: [DONE]"), response.text[-300:]


@pytest.fixture
def patient(start_gateway):
    with start_gateway(gateway_rate_limit="10000000/minute") as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_no_request_breaks_the_gateway(patient, mode: GenerationMode) -> None:
    found = Correspondence(patient, patient.get("/openapi.json").json(), mode)
    assert len(found.operations) > 30
    found.exchange(EXAMPLES, conforms=False)
    assert found.broken == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_openai_is_conformed_to(patient, mode: GenerationMode) -> None:
    document = yaml.safe_load((Path(__file__).parent / "openai_subset.yaml").read_text(encoding="utf-8"))
    found = Correspondence(patient, document, mode)
    found.exchange(EXAMPLES * CHAT_WEIGHT, conforms=mode is GenerationMode.POSITIVE)
    assert found.broken == []
    if mode is GenerationMode.POSITIVE:
        # What a schema cannot say is refused with reason: a last message that is not the user's, blanks for a question.
        assert set(found.answers) <= {200, 400} and found.answers[200] > found.answers.total() * 0.5, found.answers
    else:
        assert found.answers[400] > 0, found.answers
