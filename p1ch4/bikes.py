"""Hours of bike rentals as days (chapter 4, "Adding a time dimension")."""

import torch

from p1ch4.tables import Table, load_table
from util.errors import UserError

COLUMNS = (
    "season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum",
    "windspeed", "casual", "registered", "cnt",
)  # fmt: skip
COUNTS = ("casual", "registered", "cnt")


def load_hours(path) -> Table:
    """Read hour.csv; dates become days since 0001-01-01. Raises `UserError` as `load_table` does."""
    return load_table(path, required=COLUMNS, dates=("dteday",))


def fill_missing_hours(table: Table) -> tuple[Table, torch.Tensor]:
    """Put every hour in its place: 24 rows a day, from the first day to the last.

    The file leaves out hours without rentals. Here they have counts of 0, their own hour and date, and
    otherwise the values of the hour before. Returns the table, (days * 24, columns), and a bool
    tensor, (days * 24,), of the hours that were there. Raises `UserError` for an hour that comes twice or
    is no hour.
    """
    day = table["dteday"].long() - table["dteday"].min().long()  # (rows,)
    hour = table["hr"].long()
    if hour.min() < 0 or hour.max() > 23:
        raise UserError(f"column 'hr' runs from {hour.min()} to {hour.max()}; hours are 0 to 23")
    place = 24 * day + hour
    total = 24 * (int(day.max()) + 1)
    present = torch.zeros(total, dtype=torch.bool)
    present[place] = True
    if present.sum() < len(place):
        twice = place[place.bincount(minlength=total)[place] > 1][0]
        raise UserError(f"hour {twice % 24} of day {twice // 24 + 1} comes twice; remove one of the rows")

    row_of = torch.zeros(total, dtype=torch.long)
    row_of[place] = torch.arange(len(place))
    # For each hour the last one before it, or itself, that is there; hours before the first take the first.
    last_present = torch.where(present, torch.arange(total), place.min()).cummax(0).values
    data = table.data[row_of[last_present]]  # (days * 24, columns), a copy
    every_hour = torch.arange(total)
    data[:, table.names.index("hr")] = (every_hour % 24).float()
    data[:, table.names.index("dteday")] = (table["dteday"].min().long() + every_hour // 24).float()
    for name in COUNTS:
        data[~present, table.names.index(name)] = 0
    return Table(table.names, _same_for_the_day(table, data, present)), present


def _same_for_the_day(table, data, present):
    """What is the same all day (season, weekday, …) comes from that day's own rows, where it has any."""
    names = [
        name for name in ("season", "yr", "mnth", "holiday", "weekday", "workingday") if name in table.names
    ]
    columns = [table.names.index(name) for name in names]
    days = data.view(-1, 24, data.shape[1])  # (days, 24, columns)
    there = present.view(-1, 24)
    first = there.float().argmax(dim=1)  # the first hour that was there, 0 where none was
    known = days[torch.arange(len(days)), first][:, columns]  # (days, columns)
    filled = torch.where(there.any(dim=1)[:, None, None], known[:, None], days[:, :, columns])
    days[:, :, columns] = filled
    return data
