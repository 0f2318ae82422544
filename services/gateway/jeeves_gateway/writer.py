"""Turns the engine's tokens into an answer: markers after supported sentences, code only as the sources have it.

Works piece by piece, so that a stream and a whole answer come out equal. Only what may still change its meaning is
held back: the beginning of a marker or of a fence, and code blocks, which are released whole.
"""

import re

from jeeves_gateway.citations import CitedText
from jeeves_gateway.hygiene import held_link, without_foreign_links
from jeeves_gateway.passages import SourceSet
from jeeves_gateway.quoting import best_code_block, source_line

_FENCE = "```"
_HELD_BACK = re.compile(r"(?:`{1,2}|\s?\[(?:\d{1,2}\]?)?|\s)$")
_OWN_MARKER = re.compile(r"\s?\[\d{1,2}\](?!\()")
_SENTENCE_END = re.compile(r"[.!?:](?=\s)|[。！？；]|(?=\n)")
_CLOSING_FENCE = re.compile(r"\n[ \t]*```[ \t]*(?:\n|$)")


class AnswerWriter:
    """Writes one answer.

    Args:
        sources: what the answer rests on; with no passages nothing is marked and code is left as it is.
    """

    def __init__(self, sources: SourceSet) -> None:
        self.cited = CitedText(sources.wholes)
        self.raw = ""
        self.has_code = False
        self.code_replaced = False
        self.repeating = False
        self._quoted: set[str] = set()
        self._sources = sources
        self._pending = ""
        self._sentence = ""
        self._in_code = False
        self._last_marked: int | None = None

    def feed(self, text: str) -> str:
        """Take a piece of the engine's text.

        Returns:
            What is now certain, to be sent on.
        """
        self.raw += text
        self._pending += text
        return self._advance(final=False)

    def finish(self) -> str:
        """The engine is done.

        Returns:
            The rest of the answer.
        """
        out = self._advance(final=True)
        out += self._mark_sentence()
        if self.cited.markers or not self._sources.passages or not self.cited.text.strip():
            return out
        # No sentence alone reaches the threshold; the answer as a whole has one source that is closest to it.
        return out + self.cited.mark(self._sources.closest(self.cited.text))

    def _advance(self, final: bool) -> str:
        out = ""
        while self._pending:
            if self._in_code:
                end = _CLOSING_FENCE.search(self._pending, 3)
                # The newline after the closing fence tells it from a longer fence.
                if not final and (end is None or (end.end() == len(self._pending) and not end.group().endswith("\n"))):
                    return out
                cut = end.end() if end else len(self._pending)
                block, self._pending = self._pending[:cut], self._pending[cut:]
                self._in_code = False
                out += self._code(block)
                continue
            fence = self._pending.find(_FENCE)
            if fence >= 0:
                before, self._pending = self._pending[:fence], self._pending[fence:]
                out += self._prose(before)
                self._in_code = True
                continue
            held = None if final else held_link(self._pending) or _HELD_BACK.search(self._pending)
            cut = held.start() if held else len(self._pending)
            ready, self._pending = self._pending[:cut], self._pending[cut:]
            out += self._prose(ready)
            if not final:
                return out
        return out

    def _prose(self, text: str) -> str:
        if self._sources.passages:
            text = _OWN_MARKER.sub("", text)
        text = without_foreign_links(text, self._sources.has_address)
        out = ""
        # The end of a sentence shows in the character after it, which may come with the next piece.
        joined_from = len(self._sentence)
        joined = self._sentence + text
        start = 0
        for match in _SENTENCE_END.finditer(joined):
            end = match.end()
            if end < joined_from or joined[start:end].count("`") % 2 == 1:
                continue
            out += self.cited.add(joined[max(start, joined_from) : end])
            self._sentence = joined[start:end]
            out += self._mark_sentence()
            start = end
        self._sentence = joined[start:]
        return out + self.cited.add(joined[max(start, joined_from) :])

    def _mark_sentence(self) -> str:
        sentence, self._sentence = self._sentence, ""
        supporter = self._sources.supporter(sentence)
        if supporter is None or supporter == self._last_marked or sentence.rstrip().endswith(":"):
            return ""
        self._last_marked = supporter
        return self.cited.mark(supporter)

    def _code(self, block: str) -> str:
        out = self._mark_sentence()
        first_line, _, rest = block.partition("\n")
        code = rest.rsplit(_FENCE, 1)[0] if _CLOSING_FENCE.search(block, 3) else rest
        if not self._sources.passages:
            self.has_code = True
            return out + self.cited.add(block)
        origin = self._sources.quoted_from(code)
        if origin is not None:
            # The same quotation twice: the engine is going in circles.
            self.repeating = self.repeating or code.strip() in self._quoted
            if self.repeating:
                return out
            self._quoted.add(code.strip())
            self.has_code = True
            out += self.cited.add(f"{first_line}\n{code.rstrip()}\n{_FENCE}\n")
            return out + (self._mark_line(origin) if origin != self._last_marked else "")
        # The engine made this code up: the sources' own takes its place.
        self.code_replaced = True
        quoted = best_code_block(f"{self._sources.question}\n{code}", self._sources.passages)
        if quoted is None or self.has_code:
            return out
        self.has_code = True
        self._last_marked = quoted.passage
        return out + self.cited.add(f"{quoted.block.text}\n") + self._mark_line(quoted.passage)

    def _mark_line(self, passage: int) -> str:
        self._last_marked = passage
        return self.cited.add(source_line(self._sources.question)) + self.cited.mark(passage, "") + self.cited.add("\n")
