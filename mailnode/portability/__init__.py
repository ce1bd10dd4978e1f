"""The forms that mail has elsewhere, backups too: readers and writers, which know no store."""
