"""What a mail looks like, and what a node and each account have learned of such mails.

Pure: octets in, a judgement with its reasons out; the one thing it does with files is to read and
replace a model's. No Twisted: all of it belongs into threads.

A mail becomes a list of names (`features`), a name a number, and two ways of learning keep tables
by these numbers: counts that Fisher's test combines (`fisher`), and weights (`logistic`). A `model`
holds both with the list of its lessons, `judging` asks a node's and an account's model together,
`reasons` says it in words, `form` is the file.
"""
