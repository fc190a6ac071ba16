"""Read what runs need of each other: results to be filled in, what a run waits for, and the graph around it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from mainspring.domain.states import FINAL, RunState
from mainspring.encoding import decode, encode
from mainspring.errors import NotFound
from mainspring.ids import RunId
from mainspring.store.database import Row, Tx
from mainspring.store.queueing import parameters_key
from mainspring.store.runs import parameters_of, result_of
from mainspring.store.schema import dependencies, runs

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A run that another one needs, or that needs it."""

    id: RunId
    task: str | None
    state: RunState | None
    """None: it does not exist any more."""
    policy: str
    gives: dict[str, Any]
    """Which parameters the result fills: null, or the places in a list."""


def filled_parameters(tx: Tx, run_id: RunId) -> str | None:
    """Return the parameters of a run with the results of those that it needs filled in; None when it does not exist.

    A needed run that did not succeed gives None.

    Raises:
        NotFound: the result of a run that succeeded is not kept any more.
    """
    text, given = _kept_apart(tx, [run_id])[run_id]
    if text is None:
        text = parameters_of(tx, run_id)
    return text if text is None else _filled(tx, text, given)


def fill_all(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, str]:
    """Return `filled_parameters` of those of these runs where they are kept beside the row, and nothing is missing."""
    found = {}
    for run_id, (text, given) in _kept_apart(tx, ids).items():
        if text is not None:
            with suppress(NotFound):
                found[run_id] = _filled(tx, text, given)
    return found


def _kept_apart(tx: Tx, ids: Sequence[RunId]) -> dict[RunId, tuple[str | None, list[Row]]]:
    """Return what is kept of these runs beside their rows: parameters, and the results that they are given."""
    keys = {parameters_key(run_id): run_id for run_id in ids}
    texts = {keys[key]: bytes(body).decode("utf-8") for key, body in tx.rows("read_blobs", {"keys": tx.ids(keys)})}
    given: dict[RunId, list[Row]] = defaultdict(list)
    for run_id, *row in tx.rows("given_results", {"ids": tx.ids(ids)}):
        given[run_id].append(tuple(row))
    return {run_id: (texts.get(run_id), given[run_id]) for run_id in ids}


def _filled(tx: Tx, text: str, given: Sequence[Row]) -> str:
    if not given:
        return text
    parameters = decode(text)
    listed: dict[str, dict[int, Any]] = {}
    for needed, where, state, result in given:
        value = decode(_result(tx, needed, state, result))
        for name, places in json.loads(where).items():
            if places is None:
                parameters[name] = value
            else:
                listed.setdefault(name, {}).update(dict.fromkeys(places, value))
    for name, values in listed.items():
        parameters[name] = [values[place] for place in sorted(values)]
    return encode(parameters)


def _result(tx: Tx, run_id: RunId, state: str | None, inline: str | None) -> str | None:
    if state != RunState.SUCCEEDED:
        return None
    text = inline if inline is not None else result_of(tx, run_id)
    if text is None:
        raise NotFound("result of run", run_id)
    return text


def needs_of_run(tx: Tx, run_id: RunId, most: int) -> list[Neighbour]:
    """Return what a run needs, at most *most*: what has not ended first, then by id."""
    ended = runs.c.state.in_([state.value for state in FINAL])
    query = _neighbours(dependencies.c.needs_run_id, dependencies.c.run_id, [run_id])
    return [found for _, found in _found(tx, query.order_by(ended, dependencies.c.needs_run_id).limit(most))]


def count_needs(tx: Tx, run_id: RunId) -> tuple[int, int]:
    """Return how many runs a run needs, and how many of them have not ended."""
    unfinished = runs.c.state.not_in([state.value for state in FINAL])
    query = (
        select(func.count().label("n"), func.count().filter(unfinished).label("left"))
        .select_from(dependencies.outerjoin(runs, runs.c.id == dependencies.c.needs_run_id))
        .where(dependencies.c.run_id == run_id)
    )
    row = tx.core(query).one()
    return row.n, row.left


def neighbours(tx: Tx, ids: Sequence[RunId], *, up: bool, most: int) -> list[tuple[RunId, Neighbour]]:
    """Return pairs of one of these runs and a run that it needs (*up*) or that needs it, by ids, at most *most*."""
    other, own = dependencies.c.needs_run_id, dependencies.c.run_id
    if not up:
        other, own = own, other
    found: list[tuple[RunId, Neighbour]] = []
    for start in range(0, len(ids), _AT_ONCE):
        query = _neighbours(other, own, ids[start : start + _AT_ONCE]).order_by(own, other).limit(most - len(found))
        found += _found(tx, query)
    return found


def _neighbours(other: Any, own: Any, ids: Sequence[RunId]) -> Select[Any]:
    return (
        select(own.label("own"), other.label("other"), runs.c.task, runs.c.state, dependencies.c.policy,
               dependencies.c.parameter)
        .select_from(dependencies.outerjoin(runs, runs.c.id == other))
        .where(own.in_(ids))
    )  # fmt: skip


def _found(tx: Tx, query: Select[Any]) -> list[tuple[RunId, Neighbour]]:
    return [
        (RunId(row.own), Neighbour(RunId(row.other), row.task, None if row.state is None else RunState(row.state),
                                   row.policy, decode(row.parameter) or {}))
        for row in tx.core(query)
    ]  # fmt: skip


def unfinished_of_graph(tx: Tx, graph: str, most: int) -> list[RunId]:
    """Return unfinished runs of a graph, at most *most*, those that were made last first."""
    query = select(runs.c.id).where(runs.c.root_id == graph, runs.c.state.not_in([state.value for state in FINAL]))
    return [RunId(row.id) for row in tx.core(query.order_by(runs.c.id.desc()).limit(most))]
