"""What the gateway counts. Labels are bounded: rung, model version, reason; never a user, a question or a path."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FIRST_TOKEN_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_TOKEN_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_RETRIEVAL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class GatewayMetrics:
    """The metrics, below `jeeves_gateway_`.

    Args:
        registry: shown by `/metrics`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "jeeves_gateway_answers", "Answers by rung and model version.", ("rung", "model"), registry=registry
        )
        self.refusals = Counter(
            "jeeves_gateway_refusals", "Refused questions and requests by reason.", ("reason",), registry=registry
        )
        self.degradations = Counter(
            "jeeves_gateway_degradations",
            "Moves down the ladder and repairs by reason.",
            ("reason",),
            registry=registry,
        )
        self.first_token_seconds = Histogram(
            "jeeves_gateway_time_to_first_token_seconds",
            "From the request to the engine's first token.",
            buckets=_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self.output_token_seconds = Histogram(
            "jeeves_gateway_time_per_output_token_seconds",
            "Mean time between tokens of one answer.",
            buckets=_TOKEN_BUCKETS,
            registry=registry,
        )
        self.queue_wait_seconds = Histogram(
            "jeeves_gateway_queue_wait_seconds", "Wait for a slot.", buckets=_WAIT_BUCKETS, registry=registry
        )
        self.retrieval_seconds = Histogram(
            "jeeves_gateway_retrieval_seconds", "One search.", buckets=_RETRIEVAL_BUCKETS, registry=registry
        )
        self.engine_up = Gauge("jeeves_gateway_engine_up", "1 while the engine answers.", registry=registry)
        self.engine_restarts = Counter(
            "jeeves_gateway_engine_restarts",
            "Engine processes started again, by reason.",
            ("reason",),
            registry=registry,
        )
        self.slot_copies = Counter(
            "jeeves_gateway_slot_copies",
            "Prompts that were copied from one slot of the engine into another, by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.model_info = Gauge(
            "jeeves_gateway_model_info",
            "1 for what is served.",
            ("model", "version", "quantization"),
            registry=registry,
        )
        self.index_sections = Gauge("jeeves_gateway_index_sections", "Sections in the served index.", registry=registry)
        self.queue_waiting = Gauge("jeeves_gateway_queue_waiting", "Requests that wait for a slot.", registry=registry)
        self.ladder_step = Gauge(
            "jeeves_gateway_ladder_step",
            "Where answers begin under pressure: 0 full, 1 reduced, 2 extractive.",
            registry=registry,
        )
        self.record_failures = Counter(
            "jeeves_gateway_record_failures", "Lineage rows that could not be written.", registry=registry
        )
        self.feedback = Counter(
            "jeeves_gateway_feedback", "Feedback on answers, by rating.", ("rating",), registry=registry
        )
