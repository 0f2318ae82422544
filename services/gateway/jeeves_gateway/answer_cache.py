"""Answers that were given before, for the time when the engine is down: of one key, model, index and question."""

from collections import OrderedDict
from dataclasses import replace

from jeeves_gateway.outcome import Draft, Outcome
from jeeves_shared.contracts.requests import ServedModel

_ENTRIES_MAX = 512


class AnswerCache:
    """The latest good answers, in memory. Keys see only their own: neither words nor timing cross over."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, ...], Outcome] = OrderedDict()

    def find(self, draft: Draft, model: ServedModel | None) -> Outcome | None:
        """The answer that was given to the same question, as an answer to this one."""
        found = self._answers.get(_key(draft, model))
        if found is None:
            return None
        return replace(
            found,
            response_id=draft.response_id,
            rung="cached",
            reasons=tuple(draft.reasons),
            prompt_tokens=0,
            completion_tokens=0,
        )

    def keep(self, draft: Draft, model: ServedModel | None, outcome: Outcome) -> None:
        """Keep a good answer, if it depends on the question alone."""
        request = draft.request
        if len(request.messages) > 1 or request.temperature > 0 or request.limited or request.jeeves.passages:
            return
        self._answers[_key(draft, model)] = outcome
        while len(self._answers) > _ENTRIES_MAX:
            self._answers.popitem(last=False)

    def clear(self) -> int:
        """Forget all; how many there were."""
        count = len(self._answers)
        self._answers.clear()
        return count


def _key(draft: Draft, model: ServedModel | None) -> tuple[str, ...]:
    index_id = draft.retrieved.index_id if draft.retrieved else ""
    return (draft.owner, model.sha256 if model else "", index_id, draft.request.question, draft.question)
