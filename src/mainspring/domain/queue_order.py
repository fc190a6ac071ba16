"""Order the queues of a worker: strictly, or in turns by weight."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

from mainspring.errors import InvalidInput

MAX_WEIGHT = 100
QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_WAY_OUT = "write names in strict order ('high,default,low') or each name with a weight ('scraping:3,analysis:1')"


class QueueOrderInvalid(InvalidInput):
    """A text does not name queues in an order or with weights."""


@dataclass(frozen=True)
class QueueOrder:
    """The queues that a worker serves; without weights the first that has work always comes first."""

    names: tuple[str, ...]
    weights: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> QueueOrder:
        """Return the order that *text* gives, such as "high,default,low" or "scraping:3,analysis:1".

        Raises:
            QueueOrderInvalid: for no name, a name twice, weights on some names only, or a weight outside 1 to 100.
        """
        parts = [part.strip() for part in text.split(",")]
        if not any(parts):
            raise QueueOrderInvalid(f"no queue is named; {_WAY_OUT}")
        if not all(parts):
            raise QueueOrderInvalid(f"{text!r} has an empty name between its commas; {_WAY_OUT}")
        weighted = [part for part in parts if ":" in part]
        if weighted and len(weighted) < len(parts):
            bare = next(part for part in parts if ":" not in part)
            raise QueueOrderInvalid(f"{weighted[0]!r} has a weight and {bare!r} has none; {_WAY_OUT}")
        names = tuple(_name(part.partition(":")[0].strip()) for part in parts)
        for position, name in enumerate(names):
            if name in names[:position]:
                raise QueueOrderInvalid(f"queue {name!r} is named twice; name it once")
        return cls(names, tuple(_weight(part) for part in weighted))

    @property
    def strict(self) -> bool:
        """Whether an earlier queue always goes before a later one."""
        return not self.weights

    def pick_order(self, turn: int) -> tuple[str, ...]:
        """Return every queue in the order in which the claim number *turn* (0, 1, 2, …) tries them.

        With weights, each queue comes first as often as its weight says in every full cycle of turns, spread evenly
        (smooth weighted round robin); the others follow in the order in which their own next turns come.
        """
        if self.strict:
            return self.names
        return self._orders[turn % len(self._orders)]

    def in_words(self) -> str:
        """Return the order as a sentence part for people."""
        if self.strict:
            return ", then ".join(self.names)
        shares = ", ".join(f"{name} {weight}" for name, weight in zip(self.names, self.weights, strict=True))
        return f"{shares} (weights)"

    def __str__(self) -> str:
        if self.strict:
            return ",".join(self.names)
        return ",".join(f"{name}:{weight}" for name, weight in zip(self.names, self.weights, strict=True))

    @cached_property
    def _orders(self) -> tuple[tuple[str, ...], ...]:
        cycle = _smooth_cycle(self.names, self.weights)
        return tuple(tuple(dict.fromkeys(cycle[turn:] + cycle[:turn])) for turn in range(len(cycle)))


def _smooth_cycle(names: tuple[str, ...], weights: tuple[int, ...]) -> tuple[str, ...]:
    divisor = math.gcd(*weights)
    gain = [weight // divisor for weight in weights]
    total = sum(gain)
    credit = [0] * len(names)
    cycle = []
    for _ in range(total):
        credit = [have + more for have, more in zip(credit, gain, strict=True)]
        first = credit.index(max(credit))
        credit[first] -= total
        cycle.append(names[first])
    return tuple(cycle)


def _name(text: str) -> str:
    if QUEUE_NAME.fullmatch(text) is None:
        raise QueueOrderInvalid(
            f"{text!r} is no queue name; use 1 to 100 letters, digits, '_', '.' and '-', no sign first"
        )
    return text


def _weight(part: str) -> int:
    name, number = (text.strip() for text in part.split(":", 1))
    if not (number.isascii() and number.isdigit() and len(number) < 4 and 1 <= int(number) <= MAX_WEIGHT):
        raise QueueOrderInvalid(f"weight {number!r} of queue {name!r} is not a whole number from 1 to {MAX_WEIGHT}")
    return int(number)


def serves(written: str, name: str) -> bool:
    """Return whether a worker whose order of queues was *written* so takes runs from the queue *name*."""
    return not written or written == "*" or name in QueueOrder.parse(written).names
