"""What was once written to a disk by a script of the schema is what that script says for ever."""

from __future__ import annotations

import hashlib
from importlib import resources

from twisted.trial.unittest import SynchronousTestCase

from mailnode.store.sqlite import schema_scripts

# The begin of each script's SHA-256. A script that has landed stays; what changes is a new one's.
DIGESTS = {
    "accounts/0001": "3b64d5468b38",
    "accounts/0002": "c0d215c9a9e2",
    "accounts/0003": "d93e629daaac",
    "accounts/0004": "d143857e32d4",
    "accounts/0005": "21292e09d23a",
    "accounts/0006": "6616f99c0bf5",
    "accounts/0007": "cf5f3c854f9d",
    "dmarc/0001": "6cf64b4660a5",
    "greylist/0001": "4c26f25ea3da",
    "guard/0001": "70507fc2c762",
    "index/0002": "2dccb0c72dc7",
    "seen/0001": "1aeb87ba9bd6",
    "sqlite/0001": "159135cb5645",
    "sqlite/0002": "c39741bbae94",
    "sqlite/0003": "81767c44cb0a",
    "sqlite/0004": "4b3036e8cc63",
    "sqlite/0005": "9fd843454bb1",
    "sqlite/0006": "4a57cef93955",
    "sqlite/0007": "6b372b46e6c3",
}


class SchemaScriptTests(SynchronousTestCase):
    def test_no_script_that_has_landed_was_changed(self) -> None:
        found = {
            f"{folder.name}/{version:04}": hashlib.sha256(text.encode()).hexdigest()[:12]
            for folder in (resources.files("mailnode.store") / "schema").iterdir()
            if folder.is_dir() and not folder.name.startswith("__")
            for version, text in schema_scripts(folder.name).items()
        }
        self.assertEqual(DIGESTS, found)
