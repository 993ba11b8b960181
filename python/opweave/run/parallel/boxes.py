"""Which rows and tokens of a tensor a rank holds, and what moves where two meshes differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from opweave.run.errors import ProgramError
from opweave.run.parallel.mesh import Mesh, Place

Interval = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Box:
    """A share of a tensor (rows, tokens, ...): intervals of its first two dimensions, as fractions of the whole."""

    rows: Interval
    tokens: Interval

    def intersection(self, other: Box) -> Box | None:
        """What both hold; None if nothing."""
        rows, tokens = _common(self.rows, other.rows), _common(self.tokens, other.tokens)
        return Box(rows, tokens) if rows and tokens else None

    @property
    def share(self) -> Fraction:
        """Of the whole tensor."""
        return (self.rows[1] - self.rows[0]) * (self.tokens[1] - self.tokens[0])

    def shape(self, whole: tuple[int, ...], name: str) -> tuple[int, ...]:
        """Sizes of this share of a tensor. Raises ProgramError, naming it, where a dimension cannot be cut so."""
        sizes = list(whole)
        for dim, (low, high), what in ((0, self.rows, "rows"), (1, self.tokens, "tokens")):
            if low == 0 and high == 1:
                continue
            if dim >= len(sizes):
                raise ProgramError(f'"{name}" has shape {whole}, expected a dimension {dim} of {what} to cut')
            length = (high - low) * sizes[dim]
            if length.denominator != 1 or (low * sizes[dim]).denominator != 1:
                raise ProgramError(
                    f'"{name}" has {sizes[dim]} {what} in a microbatch, expected a multiple of '
                    f"{(high - low).denominator}"
                )
            sizes[dim] = int(length)
        return tuple(sizes)

    def within(self, outer: Box, whole: tuple[int, ...]) -> tuple[slice, ...]:
        """Where this share lies in the share *outer* of a tensor of size *whole*."""
        slices = []
        pairs = ((self.rows, outer.rows), (self.tokens, outer.tokens))
        for size, (mine, its) in zip(whole, pairs, strict=False):
            slices.append(slice(int((mine[0] - its[0]) * size), int((mine[1] - its[0]) * size)))
        return tuple(slices)


WHOLE = Box((Fraction(0), Fraction(1)), (Fraction(0), Fraction(1)))


def box_of(place: Place, mesh: Mesh, tokens_over_tensor: bool = False) -> Box:
    """What a rank holds: rows by the data axis, tokens by the context axis and, in the layout of sequence parallelism,
    by the tensor axis within."""
    parts, part = mesh.context, place.context
    if tokens_over_tensor:
        parts, part = parts * mesh.tensor, part * mesh.tensor + place.tensor
    return Box(_part(place.data, mesh.data), _part(part, parts))


def sources(holders: Mapping[int, Box], wanted: Box, receiver: int) -> Iterable[tuple[int, Box]]:
    """Ranks, with the pieces that they give, so that *receiver* gets all of *wanted* once.

    Of ranks that hold the same box, receivers take turns, so that equal meshes talk rank to rank.
    """
    copies: dict[Box, list[int]] = {}
    for rank, box in holders.items():
        copies.setdefault(box, []).append(rank)
    for box, ranks in copies.items():
        piece = box.intersection(wanted)
        if piece:
            yield ranks[receiver % len(ranks)], piece


def _part(number: int, parts: int) -> Interval:
    return Fraction(number, parts), Fraction(number + 1, parts)


def _common(one: Interval, other: Interval) -> Interval | None:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low < high else None
