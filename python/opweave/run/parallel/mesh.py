"""The ranks behind every device of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opweave.run.errors import ProgramError


@dataclass(frozen=True)
class Place:
    """Coordinates of a rank on the mesh of its device."""

    data: int
    context: int
    tensor: int


@dataclass(frozen=True)
class Mesh:
    """Degrees of one device of a plan, which is a group of data x context x tensor ranks, tensor innermost.

    `expert` groups that many neighbours on the data axis: each holds a share of the experts. Raises ProgramError for a
    degree below 1 and where `expert` does not divide `data`.
    """

    data: int = 1
    context: int = 1
    tensor: int = 1
    expert: int = 1

    def __post_init__(self) -> None:
        for name in ("data", "context", "tensor", "expert"):
            degree = getattr(self, name)
            if not isinstance(degree, int) or isinstance(degree, bool) or degree < 1:
                raise ProgramError(f"{name}: degree is {degree!r}, expected an integer from 1")
        if self.data % self.expert:
            raise ProgramError(f"expert: degree is {self.expert}, expected a divisor of data ({self.data})")

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.data * self.context * self.tensor

    def place(self, index: int) -> Place:
        """Coordinates of a rank, numbered within the device."""
        rest, tensor = divmod(index, self.tensor)
        data, context = divmod(rest, self.context)
        return Place(data, context, tensor)

    def index(self, place: Place) -> int:
        """Number within the device of the rank at these coordinates."""
        return (place.data * self.context + place.context) * self.tensor + place.tensor


class Ranks:
    """The ranks of all devices: those of the first device come first."""

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        self.meshes = tuple(meshes)
        self._places = [(device, mesh.place(i)) for device, mesh in enumerate(meshes) for i in range(mesh.size)]
        self._first = [sum(mesh.size for mesh in meshes[:device]) for device in range(len(meshes))]

    def __len__(self) -> int:
        return len(self._places)

    def device_of(self, rank: int) -> int:
        """Number of the device that the rank belongs to."""
        return self._places[rank][0]

    def place_of(self, rank: int) -> Place:
        """Coordinates of the rank on its device."""
        return self._places[rank][1]

    def of_device(self, device: int) -> range:
        """Ranks of a device."""
        return range(self._first[device], self._first[device] + self.meshes[device].size)

    def tensor_peers(self, rank: int) -> tuple[int, ...]:
        """Ranks that hold the other parts of the same products; the rank is one of them, as in all groups here."""
        here = self.place_of(rank)
        return self._where(rank, lambda p: (p.data, p.context) == (here.data, here.context))

    def context_peers(self, rank: int) -> tuple[int, ...]:
        """Ranks that hold the other tokens of the same rows."""
        here = self.place_of(rank)
        return self._where(rank, lambda p: (p.data, p.tensor) == (here.data, here.tensor))

    def expert_peers(self, rank: int) -> tuple[int, ...]:
        """Ranks that hold the other experts."""
        here, degree = self.place_of(rank), self.meshes[self.device_of(rank)].expert
        return self._where(
            rank,
            lambda p: (p.data // degree, p.context, p.tensor) == (here.data // degree, here.context, here.tensor),
        )

    def replicas(self, rank: int, devices: Iterable[int], *, experts: bool = False) -> tuple[int, ...]:
        """Ranks with the same part of the parameters that live on these devices; of experts, with the same ones."""
        here = self.place_of(rank)
        degree = self.meshes[self.device_of(rank)].expert if experts else 1
        return tuple(
            other
            for device in sorted(set(devices))
            for other in self.of_device(device)
            if self.place_of(other).tensor == here.tensor and (self.place_of(other).data - here.data) % degree == 0
        )

    def _where(self, rank: int, holds: object) -> tuple[int, ...]:
        assert callable(holds)
        return tuple(other for other in self.of_device(self.device_of(rank)) if holds(self.place_of(other)))
