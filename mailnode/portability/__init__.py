"""The forms that mail has elsewhere: readers and writers, which know no store."""
