"""Give fire times: cron text, cron fields, intervals, calendar intervals, dates and exchange sessions, all pure."""

from mainspring.domain.triggers.any_text import trigger_from_text
from mainspring.domain.triggers.calendar_interval import CalendarIntervalTrigger
from mainspring.domain.triggers.cron import CronTrigger, parse_cron
from mainspring.domain.triggers.cron_fields import FieldsInvalid, FieldsTrigger, parse_fields
from mainspring.domain.triggers.cron_text import CronInvalid
from mainspring.domain.triggers.definition import TRIGGER_KEYS, trigger_from_definition
from mainspring.domain.triggers.dst import DstRule
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.domain.triggers.once import DateTrigger
from mainspring.domain.triggers.session import SessionTrigger
from mainspring.domain.triggers.session_text import OwnCalendars, parse_session
from mainspring.domain.triggers.stored import trigger_from_json
from mainspring.domain.triggers.trigger import Trigger, TriggerInvalid

__all__ = [
    "TRIGGER_KEYS",
    "CalendarIntervalTrigger",
    "CronInvalid",
    "CronTrigger",
    "DateTrigger",
    "DstRule",
    "FieldsInvalid",
    "FieldsTrigger",
    "IntervalTrigger",
    "OwnCalendars",
    "SessionTrigger",
    "Trigger",
    "TriggerInvalid",
    "parse_cron",
    "parse_fields",
    "parse_session",
    "trigger_from_definition",
    "trigger_from_json",
    "trigger_from_text",
]
