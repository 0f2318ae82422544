"""How an answer is decoded: what the client asked for, within what the gateway allows now."""

from jeeves_gateway.ladder import Step
from jeeves_gateway.openai_form import ChatRequest
from jeeves_gateway.upstream import Sampling
from jeeves_shared.contracts.prompts import STOP_STRINGS


def sampling_of(request: ChatRequest, tokens_max: int, step: Step) -> Sampling:
    """The engine's options for a request.

    Args:
        request: of the client.
        tokens_max: longest answer.
        step: on `reduced` answers are half as long at most.
    """
    allowed = tokens_max if step == "full" else max(1, tokens_max // 2)
    return Sampling(
        max_tokens=min(request.max_completion_tokens or request.max_tokens or allowed, allowed),
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=(*request.stop, *STOP_STRINGS),
    )
