"""A credential checker of one's own: who signs in says a token from a file.

The file has a line for each token: a name, a space, the token. Names are those of accounts
in users.db (`mailnode user add`); a name that isn't there is refused, and the log names the
mend, unless `[accounts] create_on_sign_in = true`.

With the plug-in file beside this one (twisted/plugins/mailnode_examples.py), and this folder
on PYTHONPATH:

    twistd -n mailnode --smtp 2525 --pop3 1100 --auth tokens:/path/to/tokens

Without a plug-in, from the settings; the path then stands in the environment, as TOKENS:

    [plugins]
    checkers = ["token_checker:TokenChecker"]
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory
from twisted.internet.threads import deferToThread
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(ICredentialsChecker)
class TokenChecker:
    """Lets in whoever has a token; the file is read anew each time."""

    # What SMTP AUTH and POP3 give: `username` and `password`, both bytes.
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, path=None):
        self.path = Path(path or os.environ["TOKENS"])

    def requestAvatarId(self, credentials):
        """The name of who signs in, or a Deferred of it; UnauthorizedLogin is a refusal.

        Reading a file may block, so it is done in a thread.
        """
        return deferToThread(self._check, credentials.username, credentials.password)

    def _check(self, name, token):
        fits = False
        for line in self.path.read_bytes().splitlines():
            its_name, _, its_token = line.partition(b" ")
            # No early return, and a comparison that takes the same time for all tokens.
            fits |= its_name == name and hmac.compare_digest(its_token, token)
        if not fits:
            raise UnauthorizedLogin()
        return name


@implementer(ICheckerFactory, IPlugin)
class TokenCheckerFactory:
    """What `--auth tokens:PATH` names; `twistd mailnode --help-auth` lists it."""

    authType = "tokens"
    authHelp = "Whoever says a token from a file: each line a name, a space, a token."
    argStringFormat = "path of the file"
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argument):
        return TokenChecker(argument)
