"""`user`, with all that is done to somebody's account."""

from __future__ import annotations

from mailnode.cli.accounts import user
from mailnode.cli.domain_admins import user_admin
from mailnode.cli.factors import factor
from mailnode.cli.user_import import user_import

for each in (user_admin, user_import, factor):
    user.add_command(each)

__all__ = ["user"]
