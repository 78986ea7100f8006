"""Pairing for RAOP: there is none of its own, it is AirPlay's on RAOP's port."""

from __future__ import annotations

from .airplay_pairing import check, pair

__all__ = ["check", "pair"]
