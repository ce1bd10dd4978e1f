"""What a mail says to a person: its parts, its text, what to beware of; pure."""
