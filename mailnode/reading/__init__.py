"""What a mail says to who reads it: its parts, its text, what a list shows of it, how it is found.

Pure: octets in, values out. Whatever a stranger has written, nothing raises an error, and the time
and memory that a mail costs have bounds of their own.

Python's `email` is asked for words, not for structure: it goes as deep as a stranger has nested,
makes an object of each of a million empty parts, and its parsers of fields are quadratic.
"""
