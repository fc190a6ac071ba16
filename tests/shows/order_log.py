"""Judge from the database's own log whether any claim left a run of higher priority behind."""

from __future__ import annotations

from typing import Any

import psycopg
from pysqlite3 import dbapi2 as sqlite

_POSTGRES = """
CREATE TABLE public.ready_log (what text, run_id uuid, queue text, rank int, xid xid8, asked_at timestamptz);
CREATE FUNCTION public.log_ready() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO public.ready_log
    SELECT 'in', run_id, queue, rank, pg_current_xact_id(), statement_timestamp() FROM new_rows;
  ELSE
    INSERT INTO public.ready_log
    SELECT 'out', run_id, queue, rank, pg_current_xact_id(), statement_timestamp() FROM old_rows;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER log_in AFTER INSERT ON mainspring.ready REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION public.log_ready();
CREATE TRIGGER log_out AFTER DELETE ON mainspring.ready REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION public.log_ready();
"""

# A commit is stamped before it can be seen by others: the margin covers its fsync.
_POSTGRES_JUDGE = """
WITH log AS (SELECT l.*, pg_xact_commit_timestamp(xid::xid) AS committed_at FROM public.ready_log l),
     stays AS (SELECT i.run_id, i.queue, i.rank, i.committed_at AS in_at, min(o.asked_at) AS out_at
                 FROM log i LEFT JOIN log o ON o.what = 'out' AND o.run_id = i.run_id AND o.asked_at >= i.asked_at
                WHERE i.what = 'in' GROUP BY i.run_id, i.queue, i.rank, i.committed_at),
     claims AS (SELECT queue, xid, max(rank) AS worst, min(asked_at) AS asked_at, max(committed_at) AS committed_at
                  FROM log WHERE what = 'out' GROUP BY queue, xid)
SELECT c.xid::text, s.run_id::text, s.rank, c.worst, s.in_at, c.asked_at, s.out_at
  FROM claims c JOIN stays s ON s.queue = c.queue AND s.rank < c.worst
   AND s.in_at + interval '50 milliseconds' < c.asked_at
   AND (s.out_at IS NULL OR s.out_at > c.committed_at) LIMIT 20
"""

# Within one statement SQLite's 'now' stands still: it tells the claims apart.
_SQLITE = """
CREATE TABLE ready_log (id INTEGER PRIMARY KEY, what TEXT, run_id TEXT, queue TEXT, rank INT, at REAL);
CREATE TRIGGER log_in AFTER INSERT ON ready BEGIN
  INSERT INTO ready_log (what, run_id, queue, rank, at)
  VALUES ('in', new.run_id, new.queue, new.rank, julianday('now', 'subsec'));
END;
CREATE TRIGGER log_out AFTER DELETE ON ready BEGIN
  INSERT INTO ready_log (what, run_id, queue, rank, at)
  VALUES ('out', old.run_id, old.queue, old.rank, julianday('now', 'subsec'));
END;
CREATE INDEX ready_log_runs ON ready_log (run_id, what, id);
"""

_SQLITE_STAYS = """
SELECT i.queue, i.rank, i.id,
       (SELECT min(o.id) FROM ready_log o WHERE o.run_id = i.run_id AND o.what = 'out' AND o.id > i.id)
  FROM ready_log i WHERE i.what = 'in'
"""
_SQLITE_CLAIMS = """
SELECT queue, max(rank), min(id), max(id) FROM ready_log WHERE what = 'out' GROUP BY queue, at ORDER BY min(id)
"""


def begin_log(url: str) -> None:
    """Have the database log what enters and leaves its queues."""
    if url.startswith("sqlite"):
        with sqlite.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript(_SQLITE)
        connection.close()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_POSTGRES)


def left_behind(url: str) -> list[Any]:
    """Return the claims that took a run while a better one, ready and committed before they began, was left behind."""
    if url.startswith("sqlite"):
        return _sqlite_left_behind(url)
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(_POSTGRES_JUDGE).fetchall()


def _sqlite_left_behind(url: str) -> list[Any]:
    connection = sqlite.connect(url.removeprefix("sqlite:///"))
    stays = connection.execute(_SQLITE_STAYS).fetchall()
    claims = connection.execute(_SQLITE_CLAIMS).fetchall()
    connection.close()
    # Transactions of SQLite follow one another: the order of the log is the order in which they were committed.
    best: list[Any] = []
    for queue, worst, first, last in claims:
        best += [
            (queue, rank, worst, came, first, went)
            for stay_queue, rank, came, went in stays
            if stay_queue == queue and rank < worst and came < first and (went is None or went > last)
        ]
    return best[:20]
