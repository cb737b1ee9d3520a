"""Saves and restores objects exactly, as values that JSON can carry."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

T = TypeVar("T")


class Stateful:
    """An object whose whole state is in its slots.

    `state()` gives plain values (dict, list, str, int, float, bool, None; NaN and infinities are floats), and
    `restore(state())` on a freshly constructed object gives an equal one: floats survive JSON bit by bit because Python
    writes their shortest exact form. Slots named in `constants` come from the constructor and are not saved.
    A slot holds plain values, deques, lists, tuples, dicts with string keys, or other `Stateful` objects; the freshly
    constructed value tells which container to restore.
    """

    __slots__ = ()
    constants: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        return {name: _plain(getattr(self, name)) for name in self._names()}

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not of this class and version."""
        names = self._names()
        if set(state) != set(names):
            raise ValueError(f"{type(self).__name__}: state has {sorted(state)}, expected {sorted(names)}")
        for name in names:
            setattr(self, name, _like(getattr(self, name), state[name]))

    def _names(self) -> list[str]:
        slots = [name for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ())]
        return [name for name in slots if name not in self.constants]


def _plain(value: Any) -> Any:
    if isinstance(value, Stateful):
        return value.state()
    if isinstance(value, deque | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _like(fresh: Any, saved: Any) -> Any:
    """`saved` in the shape of the freshly constructed value `fresh`."""
    if isinstance(fresh, Stateful):
        fresh.restore(saved)
        return fresh
    if isinstance(fresh, deque):
        return deque(saved, maxlen=fresh.maxlen)
    if isinstance(fresh, list):
        return [_like(f, s) for f, s in zip(fresh, saved, strict=True)] if _holds_objects(fresh) else list(saved)
    if isinstance(fresh, tuple):
        return tuple(saved)
    if isinstance(fresh, dict):
        return {k: _like(fresh[k], v) if k in fresh else v for k, v in saved.items()}
    return saved


def _holds_objects(values: list[Any]) -> bool:
    return any(isinstance(v, Stateful) for v in values)
