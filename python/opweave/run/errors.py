"""What can go wrong when a plan is run."""


class ProgramError(ValueError):
    """The plan cannot be run as asked: names the operator, segment or device, and the expectation."""


class PeerError(RuntimeError):
    """A message to or from another rank failed, most likely because that process ended."""


class LaunchError(RuntimeError):
    """A process started by `launch` failed, was killed or did not end in time."""


class VerificationError(RuntimeError):
    """Processes computed something else than the model itself: names loss, parameter or buffer, and the difference."""
