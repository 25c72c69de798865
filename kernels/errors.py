"""The errors that kernels raise."""

from __future__ import annotations


class _Formatted(Exception):
    """An error whose first argument is a template for the rest: compiled code cannot format."""

    def __str__(self) -> str:
        return str(self.args[0]).format(*self.args[1:])


class ShapeError(_Formatted, ValueError):
    """Two arrays that must agree in size do not."""


class IdError(_Formatted, IndexError):
    """An id points outside the rows it selects from."""
