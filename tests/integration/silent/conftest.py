"""What the cases stand on."""

from tests.integration.following.conftest import bench

__all__ = ["bench"]
