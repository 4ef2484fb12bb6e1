"""What a reader sees of a text while it is told: nothing that a later token could change, and no stop string."""

from collections.abc import Sequence

from frailt.inference.detokenizer import Detokenizer


class StopStrings:
    """Passes text on until one of `stops` is in it, and never a part of one that may become whole."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.met = False

    def add(self, text: str) -> str:
        """What may be shown of it."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        self.met = bool(places)
        end = min(places) if places else len(self._held) - self._begun()
        passed, self._held = self._held[:end], "" if places else self._held[end:]
        return passed

    def end(self) -> str:
        """What was kept back."""
        passed, self._held = self._held, ""
        return passed

    def _begun(self) -> int:
        """How many of the last characters a stop may begin with."""
        longest = min(max(map(len, self._stops), default=1) - 1, len(self._held))
        ends = (self._held[len(self._held) - length :] for length in range(longest, 0, -1))
        return next((len(end) for end in ends if any(stop.startswith(end) for stop in self._stops)), 0)


class Told:
    """One text while it is told, as its reader sees it."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str]) -> None:
        self._detokenizer, self._stops = detokenizer, StopStrings(stops)
        self.tokens = 0
        self.finish_reason: str | None = None

    def add(self, token: int) -> str:
        """What can be shown with this token; nothing any more once a stop string came."""
        if self.finish_reason:
            return ""
        self.tokens += 1
        text = self._stops.add(self._detokenizer.add(token))
        if self._stops.met:
            self.finish_reason = "stop"
        return text

    def end(self, finish_reason: str) -> str:
        """What is left to be shown when no more tokens come."""
        if self.finish_reason:
            return ""
        self.finish_reason = finish_reason
        text = self._stops.add(self._detokenizer.end())
        if self._stops.met:
            self.finish_reason = "stop"
            return text
        return text + self._stops.end()
