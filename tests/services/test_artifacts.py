"""Artifacts lie where we say under names of ours, within caps, for as long as was said, and come back unharmed."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring.clock import ManualClock
from mainspring.errors import ArtifactRefused, InvalidInput, MainspringError, NotFound
from mainspring.ids import RunId, new_run_id, uuid7
from mainspring.services import adoption
from mainspring.services.artifacts import ArtifactRules, ArtifactStore
from mainspring.services.clock_guard import ClockGuard
from mainspring.services.maintenance import Retention
from mainspring.store import artifacts as stored
from mainspring.store.database import Database
from mainspring.store.files.local import Folder
from mainspring.store.files.place import open_place
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import NOON, count, put_some

DAY = timedelta(days=1)
PLACES = ["folder", "memory"]


class Shelf:
    """A store of artifacts with one run."""

    def __init__(self, database: Database, clock: ManualClock, folder: Path, **rules: Any) -> None:
        self.database, self.clock, self.folder = database, clock, folder
        self.run_id = put_some(database, 1)[0]
        self.store = self.with_rules(**rules)

    def with_rules(self, **rules: Any) -> ArtifactStore:
        return ArtifactStore(self.database, self.clock, self.folder, ArtifactRules(**rules))

    def save(self, name: str = "a.txt", data: Any = b"hello", run_id: RunId | None = None) -> dict[str, Any]:
        return self.store.find(self.store.save(run_id or self.run_id, 1, name, data))

    def content(self, artifact: dict[str, Any]) -> bytes:
        return b"".join(self.store.read(artifact))

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def shelf(database: Database, clock: ManualClock, tmp_path: Path) -> Shelf:
    return Shelf(database, clock, tmp_path / "artifacts")


@pytest.fixture(params=PLACES)
def anywhere(request: pytest.FixtureRequest, sqlite: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Shelf]:
    """A store in a folder, and one behind fsspec."""
    if request.param == "folder":
        yield Shelf(sqlite, clock, tmp_path / "artifacts")
        return
    fsspec = pytest.importorskip("fsspec")
    yield Shelf(sqlite, clock, tmp_path / "artifacts", location=f"memory://{tmp_path.name}/kept")
    fsspec.filesystem("memory").store.clear()


def test_what_is_saved_comes_back_whole_in_pieces(anywhere: Shelf) -> None:
    large = os.urandom(2_500_000)
    for data in (b"", b"x", large, io.BytesIO(large), "é☂"):
        kept = anywhere.save(data=data)
        whole = large if isinstance(data, io.BytesIO) else data.encode() if isinstance(data, str) else data
        assert (anywhere.content(kept), kept["size"]) == (whole, len(whole))
        assert kept["location"].rpartition("/")[2] == kept["id"]


def test_a_damaged_file_is_found_out_before_its_last_piece(anywhere: Shelf) -> None:
    kept = anywhere.save(data=b"hello")
    other = anywhere.save(data=b"jello")
    with pytest.raises(MainspringError, match=r"is damaged: its file .* is not what was saved"):
        anywhere.content({**kept, "location": other["location"]})


def test_a_file_that_is_gone_is_said_to_be(anywhere: Shelf) -> None:
    kept = anywhere.save()
    anywhere.store.delete(kept, "ann")
    with pytest.raises(NotFound, match=r"there is no file"):
        anywhere.content(kept)
    with pytest.raises(NotFound, match=r"there is no artifact"):
        anywhere.store.find(kept["id"])


def test_the_same_name_again_is_a_new_version_and_the_newest_is_found(anywhere: Shelf) -> None:
    first, second = anywhere.save(data=b"1"), anywhere.save(data=b"2")
    assert anywhere.store.find("a.txt", anywhere.run_id)["id"] == second["id"]
    assert (anywhere.content(first), anywhere.content(second)) == (b"1", b"2")
    with pytest.raises(NotFound, match=r"there is no artifact 'b.txt' of run"):
        anywhere.store.find("b.txt", anywhere.run_id)


def test_a_name_has_one_form(shelf: Shelf) -> None:
    kept = shelf.save("Ma\u0308rz.csv")
    assert kept["name"] == "M\u00e4rz.csv"
    assert shelf.store.find("Ma\u0308rz.csv", shelf.run_id)["id"] == kept["id"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "a\nb", "a\u202eb", "x" * 201, 5, None])
def test_a_name_that_is_not_usable_is_refused_and_nothing_is_left(shelf: Shelf, name: Any) -> None:
    with pytest.raises(ArtifactRefused, match=r"write 1 to 200 printable characters, no '/' and no"):
        shelf.save(name)
    assert shelf.files() == []


@pytest.mark.parametrize("data", [5, None, ["x"], io.StringIO, Path("/does/not/exist")])
def test_content_that_is_not_usable_is_refused_and_nothing_is_left(anywhere: Shelf, data: Any) -> None:
    with pytest.raises(ArtifactRefused, match=r"artifact 'a.txt'"):
        anywhere.save(data=data("x") if data is io.StringIO else data)
    assert (anywhere.files(), count(anywhere.database, "artifacts")) == ([], 0)
    assert list(anywhere.store.orphans(NOON + 9_999 * DAY)) == []


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"largest": 10}, "is larger than 10 bytes: that is what one artifact may have"),
        ({"per_run": 10}, "is larger than 10 bytes: a run may save 10 bytes"),
        ({"total": 10}, "is larger than 10 bytes: `artifacts.total` of 10 bytes is used up but for that"),
    ],
)
def test_what_is_too_large_is_refused_while_it_is_written(anywhere: Shelf, rules: Any, said: str) -> None:
    anywhere.store = ArtifactStore(
        anywhere.database, anywhere.clock, anywhere.folder, ArtifactRules(anywhere.store.rules.location, **rules)
    )
    anywhere.save(data=b"x" * 10)
    anywhere.store.delete(anywhere.store.find("a.txt", anywhere.run_id), "ann")
    with pytest.raises(ArtifactRefused, match=said):
        anywhere.save(data=iter_file(b"x" * 11))
    assert (anywhere.files(), count(anywhere.database, "artifacts")) == ([], 0)


def iter_file(content: bytes) -> Any:
    """Return a file that gives one byte at a time."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(1)

    return Slow(content)


def test_a_full_quota_refuses_the_next_artifact_of_any_run_and_a_full_run_only_its_own(shelf: Shelf) -> None:
    shelf.store = shelf.with_rules(per_run=5, total=12)
    shelf.save()
    with pytest.raises(ArtifactRefused, match=r"'a.txt' is refused: a run may save 5 bytes \(`artifacts.per_run`\)"):
        shelf.save(data=b"")
    shelf.save(run_id=new_run_id())
    shelf.save(data=b"12", run_id=new_run_id())
    with pytest.raises(
        ArtifactRefused, match=r"`artifacts.total` of 12 bytes is used up; `mainspring artifacts prune`"
    ):
        shelf.save(run_id=new_run_id())


def test_a_location_from_the_database_never_leads_out_of_the_place(anywhere: Shelf, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    kept = anywhere.save()
    folder = kept["location"].rpartition("/")[0]
    for place in (str(tmp_path / "secret"), f"{folder}/../../../../secret", "/etc/passwd", "memory://other/x", ""):
        with pytest.raises(InvalidInput, match=r"lies outside of"):
            anywhere.content({**kept, "location": place})
        with pytest.raises(InvalidInput, match=r"lies outside of"):
            anywhere.store.delete({**kept, "location": place}, "ann")
    assert (tmp_path / "secret").exists()


def test_a_link_in_the_folder_leads_nowhere(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    kept = shelf.save()
    Path(kept["location"]).unlink()
    Path(kept["location"]).symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match=r"lies outside of the folder of artifacts"):
        shelf.content(kept)


def test_what_is_over_is_deleted_with_its_file_and_the_rest_stays(shelf: Shelf) -> None:
    shelf.store = shelf.with_rules(keep=DAY)
    old = [shelf.save() for _ in range(3)]
    shelf.clock.advance(DAY / 2)
    young = shelf.save()
    shelf.store = shelf.with_rules(keep=None)
    ever = shelf.save()
    assert (young["expires_at"], ever["expires_at"]) == (NOON + DAY + DAY / 2, None)
    now = NOON + DAY
    assert [one["id"] for one in shelf.store.expired(now)] == [one["id"] for one in old]
    done = shelf.store.delete_expired(now)
    assert (done.expired, done.size, done.failed) == (3, 15, 0)
    assert {path.name for path in shelf.files()} == {young["id"], ever["id"]}
    assert shelf.store.delete_expired(now).expired == 0


def test_after_a_crash_between_file_and_row_the_row_goes_the_next_time(shelf: Shelf) -> None:
    kept = shelf.save()
    Path(kept["location"]).unlink()
    assert shelf.store.delete_expired(NOON + 31 * DAY).expired == 1


def test_a_file_that_cannot_be_deleted_does_not_hold_up_the_others(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, good = shelf.save(), shelf.save()
    delete = Folder.delete

    def refuse(place: Folder, location: str) -> bool:
        if location == stuck["location"]:
            raise PermissionError("no")
        return delete(place, location)

    monkeypatch.setattr(Folder, "delete", refuse)
    done = shelf.store.delete_expired(NOON + 31 * DAY)
    assert (done.expired, done.failed) == (1, 1)
    assert shelf.store.find(stuck["id"])
    with pytest.raises(NotFound):
        shelf.store.find(good["id"])


def test_the_rest_of_a_save_that_was_killed_is_swept_when_it_is_a_day_old(shelf: Shelf) -> None:
    kept = shelf.save()
    rest = Path(kept["location"]).with_name(uuid7())
    rest.write_bytes(b"half")
    foreign = shelf.folder / "notes.txt"
    foreign.write_text("mine")
    elsewhere = shelf.folder / uuid7() / "ab" / uuid7()
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("of another installation")
    for path in (rest, foreign, elsewhere, Path(kept["location"])):
        os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    assert list(shelf.store.orphans(NOON + DAY)) == []
    assert list(shelf.store.orphans(NOON + DAY + timedelta(seconds=1))) == [str(rest)]
    assert shelf.store.delete_orphans(NOON + 2 * DAY) == 1
    assert set(shelf.files()) == {foreign, elsewhere, Path(kept["location"])}


def test_a_copy_sweeps_nothing_before_it_is_adopted_and_then_only_its_own(shelf: Shelf, tmp_path: Path) -> None:
    if shelf.database.dialect != "sqlite":
        pytest.skip("only a file is copied")
    adoption.settle(shelf.database)
    kept = shelf.save()
    shelf.database.tidy()
    path = Path(shutil.copyfile(tmp_path / "mainspring.db", tmp_path / "copy.db"))
    copy = SqliteDatabase(path)
    young = shelf.save()
    store = ArtifactStore(copy, shelf.clock, shelf.folder)
    much_later = NOON + 9_999 * DAY
    assert list(store.orphans(much_later)) == []
    adoption.adopt(copy, shelf.clock, "ann", skip=True)
    assert list(store.orphans(much_later)) == []
    assert b"".join(store.read(store.find(kept["id"]))) == b"hello"
    assert shelf.content(young) == b"hello"
    copy.close()


def test_the_duty_clears_away_what_is_over_by_every_clock_and_sweeps_once_a_day(shelf: Shelf) -> None:
    shelf.save()
    guard = ClockGuard(shelf.database, shelf.clock, "test")
    duty = Retention(shelf.store, guard)
    assert duty.run_once().expired == 0
    rest = shelf.files()[0].with_name(uuid7())
    rest.write_bytes(b"half")
    os.utime(rest, (0, 0))
    assert duty.run_once().orphans == 0
    later = Retention(shelf.store, guard)
    assert later.run_once().orphans == 1
    later.stop()
    assert shelf.store.delete_expired(NOON + 31 * DAY, lambda: True).expired == 0
    guard.close()


def test_two_that_clear_away_at_once_do_not_hurt_each_other(shelf: Shelf) -> None:
    kept = shelf.save()
    assert shelf.database.write(lambda tx: stored.forget_artifacts(tx, [kept["id"]])) == 1
    assert shelf.database.write(lambda tx: stored.forget_artifacts(tx, [kept["id"]])) == 0


def test_a_place_that_nobody_knows_is_refused_with_its_address() -> None:
    with pytest.raises(InvalidInput, match=r"artifacts cannot be kept at nosuch://bucket/x: "):
        open_place("nosuch://bucket/x")


def test_a_store_that_does_not_take_it_refuses_the_artifact(
    sqlite: Database, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "artifacts").write_text("no folder")
    with pytest.raises(ArtifactRefused, match=r"artifact 'a.txt' cannot be written: "):
        Shelf(sqlite, clock, tmp_path / "artifacts").save()
