"""How much a call may take: memory and time."""

import contextlib
import resource
import signal
from pathlib import Path

PAGE = resource.getpagesize()


@contextlib.contextmanager
def bounded(mebibytes=1500, seconds=30):
    """What runs in it gets so much more memory, and `MemoryError` beyond; then `TimeoutError`."""

    def late(number, frame):
        raise TimeoutError(f"{seconds} seconds")

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (taken + mebibytes * 2**20, limits[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, handler)


def outcome(read):
    """What a reader returns, or the one line of its error."""
    from safeclip_jax.errors import BadRecord, UserError

    try:
        with bounded():
            return read()
    except (UserError, BadRecord) as error:
        assert str(error) and "\n" not in str(error)
        return str(error)
