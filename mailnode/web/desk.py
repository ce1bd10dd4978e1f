"""What pages and the API work on: the mail of accounts, and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from mailnode.smtp.posting import PostOffice
    from mailnode.store.answers import Answers
    from mailnode.store.blobs import FileBlobs
    from mailnode.store.captured import CapturedMails
    from mailnode.store.database import Database
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.drafts import Drafts
    from mailnode.store.folders import Folders
    from mailnode.store.index import Indexes
    from mailnode.store.journal import Journal
    from mailnode.web.changes import Changes


@define(eq=False, kw_only=True)
class Desk:
    """The collaborators of whoever shows, moves or sends mail.

    Attributes:
        directory: accounts, aliases and domains, in memory.
        folders: what lies where.
        captured: what the gear keeps from leaving, for administrators.
        indexes: what lists show of mails, search, threads.
        changes: tells who listens that a folder changed.
        blobs: large bodies.
        drafts: what is being written, and the files that wait to go with it.
        answers: what programs were answered under a key.
        journal: what happened to mails; its rows are read by `database`.
        post_office: takes what accounts send.
    """

    directory: LiveDirectory
    database: Database
    folders: Folders
    captured: CapturedMails
    indexes: Indexes
    changes: Changes
    blobs: FileBlobs
    drafts: Drafts
    answers: Answers
    journal: Journal
    post_office: PostOffice
