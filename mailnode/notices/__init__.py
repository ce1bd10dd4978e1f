"""Mails that tell accounts what happened to their sign-in."""
