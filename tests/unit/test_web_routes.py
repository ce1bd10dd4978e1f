"""What the web of a whole node has to ask for stands in its pages."""

from __future__ import annotations

import re

from tests.documents import DOCS, read
from tests.unit.node_case import NodeCase

WHO = ("nobody", "user", "domain administrator", "administrator")
HEALTH = ("/livez", "/readyz", "/metrics")


class RoutesTests(NodeCase):
    def test_every_route_stands_in_its_page_with_who_may_ask_and_no_other(self) -> None:
        self.add_accounts()
        node = self.started(listen__http=("0",))
        row = rf"^``(/[^`]*)``\s{{2,}}([A-Z, ]+?)\s{{2,}}({'|'.join(WHO)})\s{{2,}}(\S.*)$"
        told = {
            (path, verb.strip(), who, about)
            for path, verbs, who, about in re.findall(row, read(DOCS / "web.rst"), re.M)
            for verb in verbs.split(",")
            if path not in HEALTH
        }
        assert node.web is not None
        there = {
            (route.path, verb, WHO[route.need], route.about)
            for route in node.web.web.routes
            for verb in route.methods
            if not route.path.startswith("/api/")
        }
        self.assertEqual(told, there)
