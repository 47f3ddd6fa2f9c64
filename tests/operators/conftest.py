"""What the tests of the operators share with those of the hooks."""

from __future__ import annotations

from tests.hooks.conftest import stranger

__all__ = ["stranger"]
