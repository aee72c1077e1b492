"""The stand-in for the bike rentals: hour.csv with the real file's columns and quirks.

Two years of hourly rentals in a city with commuters on working days and strollers on the others, with
seasons, weather that persists, growth, public holidays and, as in the real file, hours that are
missing: those in which nobody rented a bike, and a storm. No rental is real. The real file is by
Fanaee-T and Gama, 2013, doi 10.1007/s13748-013-0040-3.
"""

import datetime
from pathlib import Path

import numpy as np

HEADER = (
    "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,"
    "casual,registered,cnt"
)
START, DAYS = datetime.date(2011, 1, 1), 731
STORM = (datetime.datetime(2012, 10, 29, 1), datetime.datetime(2012, 10, 30, 12))
# Rentals of a fine summer's hour in 2012, by hour of the day: commuters, strollers at work and free.
COMMUTERS = [22, 12, 9, 7, 7, 22, 95, 265, 420, 205, 120, 145, 180, 178, 160, 178, 270, 490, 470, 320, 220]
COMMUTERS += [160, 115, 65]
AT_WORK = [6, 4, 2, 1, 1, 2, 6, 15, 30, 40, 55, 65, 75, 78, 78, 80, 90, 105, 95, 75, 55, 40, 28, 15]
FREE = [80, 62, 48, 22, 7, 7, 15, 32, 80, 150, 235, 310, 370, 385, 380, 370, 355, 330, 285, 225, 165, 130]
FREE += [105, 70]
TEMPERATURES = [4, 6, 11, 15, 20, 25, 28, 27, 23, 17, 12, 7]  # mean of each month, °C
# What clear sky, mist, light rain or snow, heavy rain or snow leave of the rentals.
WEATHER = [1.0, 0.88, 0.5, 0.25]


def _is_holiday(day: datetime.date) -> bool:
    if (day.month, day.day) in {(1, 1), (7, 4), (11, 11), (12, 25)}:
        return True
    if day.weekday() == 0 and (day.month == 5 and day.day > 24 or day.month == 9 and day.day <= 7):
        return True
    return day.month == 11 and day.weekday() == 3 and 22 <= day.day <= 28


def _season(day: datetime.date) -> int:
    """1 winter to 4 autumn, which begin on the 21st, as in the real file."""
    return ((day.month - 1) // 3 + (day.month % 3 == 0 and day.day >= 21)) % 4 + 1


def _weather(rng, hours):
    """(temperature °C, humidity, wind km/h, state 1 to 4), each (hours,), every one with a memory."""
    slow, wind = np.zeros((2, hours))
    state = np.ones(hours, int)
    draws, jumps = rng.standard_normal((2, hours)), rng.random(hours)
    for hour in range(1, hours):
        slow[hour] = 0.993 * slow[hour - 1] + 0.5 * draws[0, hour]
        wind[hour] = 0.8 * wind[hour - 1] + 4.5 * draws[1, hour]
        # From one hour to the next the weather mostly stays, and it turns through mist.
        now, chance = state[hour - 1], jumps[hour]
        up, down = {1: (0.075, 0), 2: (0.09, 0.2), 3: (0.001, 0.24), 4: (0, 0.7)}[now]
        state[hour] = now + 1 if chance < up else now - 1 if chance > 1 - down else now
    hour_of_day = np.arange(hours) % 24
    swing = -4 * np.cos(2 * np.pi * (hour_of_day - 3) / 24)
    middles = [datetime.date(2011, month, 15).timetuple().tm_yday for month in range(1, 13)]
    day_of_year = np.arange(hours) / 24 % 365.25
    seasonal = np.interp(day_of_year, middles, TEMPERATURES, period=365.25)
    temperature = np.clip(seasonal + swing + slow, -7, 40)
    humidity = np.clip(
        0.6 - 0.025 * (swing + slow) + 0.1 * (state - 1) + 0.05 * rng.standard_normal(hours), 0.1, 1
    )
    speed = np.abs(12 + wind)
    return temperature, humidity, np.where(speed < 6, 0, speed), state


def generate(folder: Path):
    """Write `hour.csv`: a row per hour with rentals, in order, without the hours that have none."""
    rng = np.random.default_rng([104, 2])
    temperature, humidity, wind, state = _weather(rng, 24 * DAYS)
    mood = 1.0
    rows = [HEADER]
    for number in range(DAYS):
        day = START + datetime.timedelta(number)
        weekday = (day.weekday() + 1) % 7  # 0 is Sunday
        holiday = _is_holiday(day)
        working = not holiday and 1 <= weekday <= 5
        growth = 0.78 + 0.75 * number / DAYS
        mood = 0.7 * mood + 0.3 * rng.normal(1, 0.2)
        for hr in range(24):
            place = 24 * number + hr
            degrees = temperature[place]
            comfort = np.clip(0.25 + 0.75 * np.sin(np.pi / 2 * np.clip((degrees + 5) / 30, 0, 1)), 0.2, 1)
            comfort *= 1 - max(0, degrees - 32) / 30
            pull = growth * max(mood, 0.3) * WEATHER[state[place] - 1] * (1 - wind[place] / 200)
            commuters = (COMMUTERS[hr] if working else 0.55 * FREE[hr]) * pull * comfort
            strollers = (AT_WORK[hr] if working else 0.55 * FREE[hr]) * pull * comfort**2.2
            storm = STORM[0] <= datetime.datetime.combine(day, datetime.time(hr)) <= STORM[1]
            registered, casual = rng.poisson(commuters * rng.gamma(18, 1 / 18)), rng.poisson(strollers)
            if storm or registered + casual == 0:
                continue
            # Scaled as in the real file: by 41 and 50 °C and 67 km/h.
            felt = degrees - 0.06 * wind[place] + 4 * (humidity[place] - 0.5)
            rows.append(
                f"{len(rows)},{day},{_season(day)},{day.year - 2011},{day.month},{hr},{holiday:d},{weekday},"
                f"{working:d},{state[place]},{np.clip(round((degrees + 8) / 47 * 50) / 50, 0.02, 1):.6g},"
                f"{np.clip((felt + 16) / 66, 0, 1):.4g},{round(humidity[place], 2):.6g},"
                f"{wind[place] / 67:.4g},"
                f"{casual},{registered},{casual + registered}"
            )
    (folder / "hour.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
