"""Let keys take turns: one key's hundred thousand runs do not delay the ten of another.

The runs of a key stand in one turn after the other; a turn holds one run of each key, and runs without a key as they
come. Who comes new joins the turn after the one that is being served, so that every turn comes to its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import and_, delete, func, select, tuple_

from mainspring.ids import RunId
from mainspring.store.database import Tx
from mainspring.store.schema import holds, key_turns, ready

_FORGOTTEN_AT_ONCE: Final = 1_000
Line = tuple[str, int, str]
"""Queue, rank and key."""


def take_turns(tx: Tx, wanted: Sequence[Line]) -> list[int]:
    """Return the next turn for each of *wanted*, in the order given.

    Two who take turns for one key at the same moment may get the same ones; their places keep them in order.
    """
    if not wanted:
        return []
    lines = set(wanted)
    queues, keys = sorted({queue for queue, _, _ in lines}), sorted({"", *(key for _, _, key in lines)})
    rows = tx.rows("last_turns", {"queues": tx.ids(queues), "keys": tx.ids(keys)})
    last = {(queue, rank, key): turn for queue, rank, key, turn in rows}
    served = {(queue, rank): last.get((queue, rank, ""), 0) for queue, rank, _ in lines}
    taken: Counter[Line] = Counter()
    given = []
    for line in wanted:
        first = max(served[line[:2]], last.get(line, -1) + 1)
        given.append(first + taken[line])
        taken[line] += 1
    ends = dict(zip(wanted, given, strict=True))
    begun = {(queue, rank, ""): turn for (queue, rank), turn in served.items() if (queue, rank, "") not in last}
    tx.many("save_turns", sorted((key, queue, rank, turn) for (queue, rank, key), turn in (begun | ends).items()))
    return given


def turns_of(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, int]:
    """Return new turns for those of these runs that have a key; the others join the one that is being served."""
    keyed = {row[0]: row[1:] for row in tx.rows("keyed_runs", {"ids": tx.ids(ids)})} if ids else {}
    ordered = [run_id for run_id in ids if run_id in keyed]
    return dict(zip(ordered, take_turns(tx, [keyed[run_id] for run_id in ordered]), strict=True))


def join_anew(tx: Tx, ids: Sequence[RunId]) -> None:
    """Give these ready runs, whose rows the caller holds, turns where they stand now; they are in no queue yet."""
    turns = turns_of(tx, ids)
    tx.many("join_turn", [(turns.get(run_id), run_id) for run_id in ids])


def served_turns(tx: Tx) -> list[tuple[str, str, int, int]]:
    """Return where a turn has begun to be served that newcomers still join: rows for `save_turns`."""
    return [
        ("", queue, rank, head + 1)
        for queue, rank, turn, head in tx.rows("served_turns", {})
        if head is not None and head >= turn
    ]


def advance(tx: Tx) -> int:
    """Let newcomers join the turn after the one that is being served; return in how many lines that changed."""
    rows = served_turns(tx)
    tx.many("save_turns", rows)
    return len(rows)


def any_kept(tx: Tx) -> bool:
    """Return whether the turn of any key is remembered."""
    return tx.core(select(key_turns.c.turn).where(key_turns.c.key > "").limit(1)).first() is not None


def forget(tx: Tx) -> int:
    """Forget the turns of keys that say nothing any more; return how many.

    A turn that has passed says nothing; nor does any where nobody waits, once the next one is made to follow it.
    """
    now = key_turns.alias("now")
    waits = select(ready.c.run_id).where(ready.c.queue == now.c.queue, ready.c.rank == now.c.rank).exists()
    held = select(holds.c.run_id).where(holds.c.queue == now.c.queue, holds.c.rank == now.c.rank).exists()
    own = and_(key_turns.c.queue == now.c.queue, key_turns.c.rank == now.c.rank, key_turns.c.key != "")
    idle = select(now.c.queue, now.c.rank, func.max(key_turns.c.turn).label("last")).join(key_turns, own)
    idle = idle.where(now.c.key == "", ~waits, ~held).group_by(now.c.queue, now.c.rank)
    tx.many("save_turns", sorted(("", row.queue, row.rank, row.last + 1) for row in tx.core(idle)))
    passed = select(now.c.turn).where(
        now.c.key == "", now.c.queue == key_turns.c.queue, now.c.rank == key_turns.c.rank, now.c.turn > key_turns.c.turn
    )
    line = (key_turns.c.key, key_turns.c.queue, key_turns.c.rank)
    # Whoever takes turns waits for these rows in one order; what somebody holds says something still.
    gone = select(*line).where(key_turns.c.key > "", passed.exists()).order_by(*line).limit(_FORGOTTEN_AT_ONCE)
    found = [tuple(row) for row in tx.core(gone.with_for_update(skip_locked=True, of=key_turns))]
    return tx.core(delete(key_turns).where(tuple_(*line).in_(found))).rowcount if found else 0
