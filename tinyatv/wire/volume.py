"""The volume, as AirPlay and RAOP have it: ``volume: -20.1``."""


def decibels(percent: float) -> float:
    """A volume as AirPlay has it: -30 to 0, and -144 for nothing."""
    return -144.0 if percent <= 0 else -30.0 + 0.3 * percent


def percent(db: float) -> float:
    """A volume that AirPlay has, in percent."""
    return 0.0 if db < -30.0 else min(100.0, (db + 30.0) / 0.3)
