"""The mail client: for any SMTP and POP3 server, by blocking sockets."""
