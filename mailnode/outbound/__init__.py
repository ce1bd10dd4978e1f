"""Mail for elsewhere: which host takes it, how it is told, and what becomes of it."""
