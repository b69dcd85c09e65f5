"""Values of options that several commands read from text."""

from __future__ import annotations

from edgead.errors import UsageError


def numbers_from_text(option: str, text: str | None, *, separator: str = ",") -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(separator))
    except ValueError:
        raise UsageError(
            f"{option}: expected whole numbers joined by '{separator}', found '{text}'."
        ) from None


def input_size_from_text(text: str | None) -> tuple[int, int] | None:
    """(height, width) of "256" or "256x512"."""
    sides = numbers_from_text("--input-size", text, separator="x")
    if sides is None:
        return None
    if len(sides) > 2:
        raise UsageError(f"--input-size: expected one number, or height x width, found '{text}'.")
    return sides[0], sides[-1]
