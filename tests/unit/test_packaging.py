"""What is in the tree is in the wheel."""

from __future__ import annotations

import configparser

from twisted.trial.unittest import SynchronousTestCase

from tests.documents import ROOT


class WheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.package = ROOT / "mailnode"
        if not self.package.is_dir():
            self.skipTest("the tree is without the package, which is installed")
        self.setup = configparser.ConfigParser()
        self.setup.read(ROOT / "setup.cfg")

    def test_every_package_is_listed(self) -> None:
        there = {
            ".".join(each.parent.relative_to(ROOT).parts)
            for each in self.package.rglob("__init__.py")
        }
        listed = set(self.setup["options"]["packages"].split())
        self.assertEqual(there, listed - {"twisted.plugins"})

    def test_every_schema_is_listed(self) -> None:
        data = self.setup["options.package_data"]["mailnode.store"]
        listed = {each.strip() for each in data.split(",")}
        there = {
            f"{each.parent.relative_to(self.package / 'store')}/*.sql"
            for each in (self.package / "store" / "schema").rglob("*.sql")
        }
        self.assertEqual(there, listed)
