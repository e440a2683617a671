"""Values in plain data, of which files are made that every version can read."""

import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np


def packed(value):
    """Tell a value in strings, numbers, lists and tuples; others stay as they are.

    What is not one of the first two becomes a tuple of the name of its type and of what
    `unpacked` needs to make it again.
    """
    if isinstance(value, list):
        return [packed(part) for part in value]
    if isinstance(value, dict):
        return {key: packed(part) for key, part in value.items()}
    if isinstance(value, np.generic) and value.dtype.kind != "O":
        plain = value.astype(np.int64) if value.dtype.kind in "mM" else value
        return ("numpy", value.dtype.str, plain.item())
    pack, _ = _TYPES.get(type(value).__name__, (None, None))
    return (type(value).__name__, *pack(value)) if pack else value


def unpacked(value):
    """Make the value again that `packed` told."""
    if isinstance(value, list):
        return [unpacked(part) for part in value]
    if isinstance(value, dict):
        return {key: unpacked(part) for key, part in value.items()}
    if not isinstance(value, tuple):
        return value
    name, *parts = value
    return _TYPES[name][1](*parts)


def _pandas(name, *args, **kwargs):
    return getattr(__import__("pandas"), name)(*args, **kwargs)


def _zone(value):
    """Name of the time zone, if it can be made again, else UTC; None without one."""
    if value.tzinfo is None:
        return None
    name = str(value.tzinfo)
    try:
        return name if name.startswith("UTC") else ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        return "UTC"  # it is the same moment


def _time(text, zone):
    value = datetime.datetime.fromisoformat(text)
    known = zone is not None and not zone.startswith("UTC")
    return value.astimezone(ZoneInfo(zone)) if known else value


def _stamp(count, unit, zone):
    value = _pandas("Timestamp", np.datetime64(count, unit))
    return value if zone is None else value.tz_localize("UTC").tz_convert(zone)


def _count(value):
    """A moment or a span as a number of units."""
    moment = value.to_numpy()
    return moment.astype(np.int64).item(), np.datetime_data(moment.dtype)[0]


#: How values are told, and made again, by the names of their types.
_TYPES = {
    "numpy": (None, lambda dtype, value: np.array(value).astype(dtype)[()]),
    "tuple": (lambda v: map(packed, v), lambda *parts: tuple(map(unpacked, parts))),
    "Decimal": (lambda v: [str(v)], Decimal),
    "datetime": (lambda v: [v.isoformat(), _zone(v)], _time),
    "date": (lambda v: [v.isoformat()], datetime.date.fromisoformat),
    "time": (lambda v: [v.isoformat()], datetime.time.fromisoformat),
    "timedelta": (lambda v: [v.days, v.seconds, v.microseconds], datetime.timedelta),
    "Timestamp": (lambda v: [*_count(v), _zone(v)], _stamp),
    "Timedelta": (
        lambda v: _count(v),
        lambda count, unit: _pandas("Timedelta", np.timedelta64(count, unit)),
    ),
    "Period": (
        lambda v: [v.ordinal, v.freqstr],
        lambda ordinal, freq: _pandas("Period", ordinal=ordinal, freq=freq),
    ),
    "Interval": (
        lambda v: [packed(v.left), packed(v.right), v.closed],
        lambda left, right, closed: _pandas(
            "Interval", unpacked(left), unpacked(right), closed
        ),
    ),
}
