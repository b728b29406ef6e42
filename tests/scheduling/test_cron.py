from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mlops.scheduling.cron import parse

BERLIN = ZoneInfo("Europe/Berlin")


def firings(expression: str, start: datetime, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    cron, found, at = parse(expression), [], start.astimezone(UTC)
    for _ in range(count):
        following = cron.next_after(at, zone)
        assert following is not None
        assert following > at
        assert following.tzinfo is UTC
        at = following
        found.append(f"{at.astimezone(zone):%m-%d %H:%M%z}")
    return found


def test_numeric_weekdays_count_from_sunday() -> None:
    start = datetime(2026, 6, 1, tzinfo=BERLIN) - timedelta(seconds=1)  # before a Monday
    for expression, days in {
        "0 2 * * 0": ["06-07", "06-14"],
        "0 2 * * 7": ["06-07", "06-14"],
        "0 2 * * 1": ["06-01", "06-08"],
        "0 2 * * mon": ["06-01", "06-08"],
        "0 2 * * 1-5": ["06-01", "06-02", "06-03", "06-04", "06-05", "06-08"],
        "0 2 * * 5-7": ["06-05", "06-06", "06-07", "06-12"],
        "0 2 * * sat-sun": ["06-06", "06-07", "06-13"],
        "0 2 * * sun-tue": ["06-01", "06-02", "06-07", "06-08"],
        "0 2 * * 1-5/2,6": ["06-01", "06-03", "06-05", "06-06", "06-08"],
        "0 2 * * */2": ["06-02", "06-04", "06-06", "06-07", "06-09"],
    }.items():
        assert [each[:5] for each in firings(expression, start, len(days))] == days, expression


def test_either_day_is_enough_where_both_are_named() -> None:
    start = datetime(2026, 6, 1, tzinfo=BERLIN)
    found = firings("0 2 13 * fri", start, 5)
    assert [each[:5] for each in found] == ["06-05", "06-12", "06-13", "06-19", "06-26"]
    assert [each[:5] for each in firings("0 2 13 * *", start, 2)] == ["06-13", "07-13"]


def test_a_time_that_clocks_skip_is_taken_later_and_once() -> None:
    start = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert firings("30 2 * * *", start, 3) == ["03-29 03:30+0200", "03-30 02:30+0200", "03-31 02:30+0200"]
    assert firings("30 2,3 * * *", start, 3) == ["03-29 03:30+0200", "03-30 02:30+0200", "03-30 03:30+0200"]
    assert firings("0 3 * * *", start, 2) == ["03-29 03:00+0200", "03-30 03:00+0200"]


def test_a_time_that_clocks_repeat_is_taken_once() -> None:
    start = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    assert firings("30 2 * * *", start, 3) == ["10-25 02:30+0200", "10-26 02:30+0100", "10-27 02:30+0100"]
    assert firings("0,30 2 * * *", start, 3) == ["10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"]
    # Asked in the second of the two hours, too.
    within = datetime(2026, 10, 25, 2, 40, tzinfo=BERLIN, fold=1)
    assert firings("50 2 * * *", within, 1) == ["10-26 02:50+0100"]


def test_crons_for_every_hour_follow_the_time_that_passes() -> None:
    skipped = firings("30 * * * *", datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN), 4)
    assert skipped == ["03-29 00:30+0100", "03-29 01:30+0100", "03-29 03:30+0200", "03-29 04:30+0200"]
    repeated = firings("30 * * * *", datetime(2026, 10, 25, 1, 0, tzinfo=BERLIN), 4)
    assert repeated == ["10-25 01:30+0200", "10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"]
    half = firings(
        "*/30 * * * *", datetime(2026, 4, 5, 1, 20, tzinfo=ZoneInfo("Australia/Lord_Howe")), 4,
        ZoneInfo("Australia/Lord_Howe"),
    )  # fmt: skip
    assert half == ["04-05 01:30+1100", "04-05 01:30+1030", "04-05 02:00+1030", "04-05 02:30+1030"]


def test_every_minute_of_two_change_days_comes_once() -> None:
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        cron, at = parse("*/10 * * * *"), day - timedelta(minutes=10)
        for number in range(6 * 6):
            following = cron.next_after(at, BERLIN)
            assert following == day + timedelta(minutes=10 * number)
            at = following


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("* * * *", "4 fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("* * * * funday", "funday"),
        ("5/15 * * * *", "5-59/15"),
        ("*/0 * * * *", "step of 0"),
        ("30-10 * * * *", "ends before"),
        ("0 0 30 2 *", "no month"),
        ("0 0 last * *", "last"),
        ("", "0 fields"),
        ("@reboot", "fields"),
    ],
)
def test_what_is_no_cron_expression_is_refused(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(expression)


def test_nicknames_and_leap_days() -> None:
    start = datetime(2026, 6, 3, tzinfo=UTC)
    assert firings("@weekly", start, 1) == ["06-07 00:00+0200"]
    leap = parse("0 12 29 2 *").next_after(start, BERLIN)
    assert leap == datetime(2028, 2, 29, 11, tzinfo=UTC)
