"""What the tests of traits stand on."""

from tests.integration.following.conftest import bench
from tests.integration.traits.comparing import cases

__all__ = ["bench", "cases"]
