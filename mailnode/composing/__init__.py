"""Makes mails of what a person has written; pure but for the files that go with them."""
