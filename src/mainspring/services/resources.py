"""Look at resources and steer them: limits edited while runs use them, breakers opened by hand, what they learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mainspring.clock import Clock
from mainspring.domain.resource_limits import ResourceLimits, resource_name
from mainspring.domain.resources import Look, ResourceState, Standing, look, trip
from mainspring.errors import Conflict, InvalidInput, UnknownName
from mainspring.store import resources as stored
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.resources import COUNT_AT_MOST, FROM_FILE, StoredResource, Use

__all__ = ["AppliedResources", "ResourceLimits", "ResourceView", "Resources", "Standing", "in_words"]

_WORDS: Final = {
    Standing.FREE: "free",
    Standing.IN_USE: "in use",
    Standing.PACED: "paced",
    Standing.BLOCKED: "blocked",
    Standing.OPEN: "open",
    Standing.RECOVERING: "recovering",
}


@dataclass(frozen=True, slots=True)
class ResourceView:
    """A resource as people see it."""

    name: str
    limits: ResourceLimits
    source: str
    """``file``, who edited it by hand, or empty: nobody declared it."""
    version: int
    updated_at: datetime
    standing: Standing
    words: str
    """How it stands, and why."""
    until: datetime | None
    """Before when it lets nobody in, where time decides that."""
    in_use: int
    held: int
    """Runs that it holds back, counted up to 1,000."""
    held_more: bool
    """Whether it holds back more than that."""
    learnt_rate: float | None
    """The rate per second that its refusals taught, where none is declared."""
    edited_by: str | None


@dataclass(frozen=True, slots=True)
class AppliedResources:
    """What applying the resources of a file changed, by name; `kept` says in a sentence each what it left alone."""

    added: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.added or self.edited or self.removed)

    def in_words(self) -> str:
        """Return what changed, in one line; empty where nothing did."""
        counts = (("added", self.added), ("edited", self.edited), ("removed", self.removed), ("kept", self.kept))
        return ", ".join(f"{len(names)} {word}" for word, names in counts if names)


class Resources:
    """Looks at resources and acts on them, each action audited."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def all(self) -> list[ResourceView]:
        """Return all resources by name: those that are declared, and those that runs have used."""

        def work(tx: Tx) -> tuple[list[StoredResource], dict[str, Use]]:
            found = stored.list_resources(tx)
            return found, stored.use_of(tx, [one.name for one in found])

        found, use = self._database.read(work)
        now = self._clock.now()
        return [_view(one, use[one.name], now) for one in found]

    def require(self, name: str) -> ResourceView:
        """Return the resource of this name, or raise `UnknownName` with the nearest one."""
        found = self._database.read(lambda tx: self._required(tx, name))
        use = self._database.read(lambda tx: stored.use_of(tx, [name]))
        return _view(found, use[name], self._clock.now())

    def find_limits(self, name: str) -> tuple[ResourceLimits, int]:
        """Return the limits of a resource and their version, for an edit; of an unknown one nothing and 0.

        Raises:
            LimitsInvalid: it is no name of a resource.
        """
        resource_name(name)
        found = self._database.read(lambda tx: stored.find_resource(tx, name))
        return (ResourceLimits(), 0) if found is None else (found.limits, found.version)

    def set_limits(self, name: str, limits: ResourceLimits, version: int, actor: str) -> ResourceView:
        """Declare the limits of a resource by hand: they hold at once, and applying the file leaves them alone.

        *version* is that of the limits which the edit is based on (see `find_limits`).

        Raises:
            Conflict: somebody has edited them since.
            LimitsInvalid: it is no name of a resource.
        """
        resource_name(name)
        now = self._clock.now()

        def work(tx: Tx) -> bool:
            stored.lock(tx, [name])
            return stored.put_limits(tx, name, limits, actor, now, actor, version)

        if not self._database.write(work):
            raise Conflict(f"the limits of resource {name!r} were edited meanwhile; look at them and try again")
        self._hint()
        return self.require(name)

    def trip(self, name: str, actor: str, until: datetime | None = None, reason: str = "") -> ResourceView:
        """Open the breaker of a resource: nobody uses it until an instant, or until it is reset.

        What uses it already goes on; the runs that need it are held.

        Raises:
            InvalidInput: the instant has passed.
        """
        now = self._clock.now()
        if until is not None and until <= now:
            raise InvalidInput(f"{until.isoformat(timespec='seconds')} has passed; name a time ahead")

        def work(tx: Tx) -> None:
            stored.lock(tx, [name])
            why = f"{reason} (by {actor})" if reason else f"by {actor}"
            state = trip(self._required(tx, name).state, now, until, why)
            stored.put_state(tx, name, state, now, actor, "resource.trip", {"until": until, "reason": reason})

        self._database.write(work)
        return self.require(name)

    def reset(self, name: str, actor: str) -> ResourceView:
        """Forget what happened to a resource: an open breaker, a pause that it asked for, the rate that was learnt."""
        now = self._clock.now()

        def work(tx: Tx) -> None:
            stored.lock(tx, [name])
            self._required(tx, name)
            stored.put_state(tx, name, ResourceState.fresh(), now, actor, "resource.reset", {})

        self._database.write(work)
        self._hint()
        return self.require(name)

    def apply(self, declared: Mapping[str, ResourceLimits], actor: str, *, reset: bool = False) -> AppliedResources:
        """Make the limits of resources equal to those that the file declares; those it does not declare any more end.

        What somebody edited by hand is left as it is and told, unless *reset* takes the file's limits there too.
        """
        now = self._clock.now()

        def work(tx: Tx) -> AppliedResources:
            known = {one.name: one for one in stored.list_resources(tx)}
            stored.lock(tx, {*declared, *known})
            return _applied(tx, declared, now, actor, reset)

        done = self._database.write(work)
        if done.changed:
            self._hint()
        return done

    def _required(self, tx: Tx, name: str) -> StoredResource:
        found = stored.find_resource(tx, name)
        if found is None:
            raise UnknownName("resource", name, [one.name for one in stored.list_resources(tx)])
        return found

    def _hint(self) -> None:
        # Workers claim, and whoever lets held runs go looks again.
        self._database.sender.send(READY)
        self._database.sender.send(SCHEDULES)


def in_words(look: Look) -> str:
    """Return how a resource stands, in a sentence part."""
    word = _WORDS[look.standing]
    return f"{word}: {look.words}" if look.words else word


def _view(one: StoredResource, use: Use, now: datetime) -> ResourceView:
    seen = look(one.limits, one.state, use.in_use, now)
    return ResourceView(
        name=one.name,
        limits=one.limits,
        source=one.source,
        version=one.version,
        updated_at=one.updated_at,
        standing=seen.standing,
        words=in_words(seen),
        until=seen.until,
        in_use=use.in_use,
        held=min(use.held, COUNT_AT_MOST),
        held_more=use.held > COUNT_AT_MOST,
        learnt_rate=one.state.pace if one.limits.rate is None else None,
        edited_by=one.edited_by,
    )


def _applied(
    tx: Tx, declared: Mapping[str, ResourceLimits], now: datetime, actor: str, reset: bool
) -> AppliedResources:
    # Read again: what was listed before the lock may have changed since.
    known = {one.name: one for one in stored.list_resources(tx)}
    added: list[str] = []
    edited: list[str] = []
    removed: list[str] = []
    kept: list[str] = []
    for name, limits in sorted(declared.items()):
        before = known.get(name)
        if before is not None and before.limits == limits:
            if before.source != FROM_FILE:
                stored.claim_for_file(tx, name)
        elif before is not None and before.edited_by is not None and not reset:
            kept.append(_difference(before, limits))
        else:
            stored.put_limits(tx, name, limits, FROM_FILE, now, actor)
            (added if before is None or before.source == "" else edited).append(name)
    for name, before in known.items():
        if name not in declared and (before.source == FROM_FILE or (reset and before.edited_by is not None)):
            stored.put_limits(tx, name, ResourceLimits(), "", now, actor)
            removed.append(name)
    return AppliedResources(tuple(added), tuple(edited), tuple(removed), tuple(kept))


def _difference(before: StoredResource, limits: ResourceLimits) -> str:
    on = before.updated_at.date().isoformat()
    return (
        f"resource {before.name!r} was edited by {before.edited_by} on {on} and differs from the file: it has "
        f"'{before.limits}', the file '{limits}'; `mainspring apply --reset-resources` takes the file's"
    )
