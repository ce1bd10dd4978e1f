"""What docs/extending.rst promises stays: names, how they are called, what they have.

A test that fails here says that somebody's code may break. Change it with the major version,
and say so in CHANGES.rst.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.mail import pop3, smtp
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy
from zope.interface.interface import Method
from zope.interface.interfaces import IInterface
from zope.interface.verify import verifyClass

import mailnode
from mailnode.pop3.server import Pop3Server
from mailnode.smtp.server import SmtpServer
from tests.documents import DOCS

EXTENDING = DOCS / "extending.rst"

CALLED = {
    "addresses.Address": "(local, domain)",
    "addresses.parse_address": "(text)",
    "admission.Sessions": "(clock, most=, most_per_address=)",
    "config.Config": (
        "(node=, listen=, tls=, limits=, quota=, store=, accounts=, journal=, log=, plugins=,"
        " sources=, path=, outbound=, web=, arrival=, judging=, harmful=, "
        "clamd=, rspamd=, spamd=, milter=, learning=, passwords=, second_factor=, guessing=, "
        "audit=)"
    ),
    "config.ConfigError": "(*args)",
    "config.load_config": "(path=, environment=, options=)",
    "cred.checkers.AccountChecker": "(directory, passwords, ageing=, renewing=)",
    "cred.checkers.SignInDenied": "(text=, *, detail=, code=, enhanced=)",
    "cred.credentials.LoginCredentials": "(username=, password=, client=, service=, channel=)",
    "cred.credentials.PlainCredentials": "(username=, password=, client=, service=, channel=)",
    "cred.portal.SignInPortal": (
        "(realm, checkers=, *, clock, tell=, sign_in_key=, account_of=, guesses=)"
    ),
    "cred.realm.Realm": "(directory, factories, create_account=)",
    "errors.LookupFailed": "(text=, *, detail=, code=, enhanced=)",
    "errors.MailError": "(text=, *, detail=, code=, enhanced=)",
    "errors.MailboxFull": "(text=, *, detail=, code=, enhanced=)",
    "errors.NoSuchMailbox": "(text=, *, detail=, code=, enhanced=)",
    "errors.NoSuchName": "(text=, *, detail=, code=, enhanced=)",
    "errors.Refused": "(text=, *, detail=, code=, enhanced=)",
    "errors.SignInRefused": "(text=, *, detail=, code=, enhanced=)",
    "errors.StoreBusy": "(text=, *, detail=, code=, enhanced=)",
    "intake.Intake": "(messages, filters=, success_report=, seconds=, clock=, sealer=)",
    "interfaces.IBlobs": "create() delete(keys) keys() open(key)",
    "interfaces.IChunkedMessage": "bodyEnded(facts) chunkReceived(chunk) commits mend_bare_lf",
    "interfaces.IContentFilter": "judge(envelope, message) name",
    "interfaces.ILateFilter": "",
    "interfaces.ISomeMailFilter": "wants(envelope)",
    "interfaces.IMaildrop": "client fetch(indices) mark_read(index) octets tls",
    "interfaces.IResolver": "look_up(name, kind)",
    "model.Blob": "(key, open=)",
    "model.Client": "(host=, port=, helo=, protocol=, tls=, account=, loopback=)",
    "model.Envelope": "(mail_id, sender, recipients, client=, parameters=, received_at=, remotes=, "
    "account_id=, priority=, kept=, once=)",
    "model.Event": ("(*, at=, mail_id=, sender=, recipient=, folder_id=, uid=, client=, detail=)"),
    "model.MailParameters": "(size_octets=, body=, smtputf8=, auth=, ret=, envid=)",
    "model.Message": (
        "(prefix, body, size_octets, digest, dot_lines=, subject=, dialog=, mended_lf=, "
        "judgements=, sealable=, taggable=)"
    ),
    "model.Recipient": (
        "(address, account_id, mailbox, notify=, orcpt=, folder=, junk=, judgements=,"
        " tagged=, flags=)"
    ),
    "model.Verdict": (
        "(action=, reason=, headers=, unwanted=, reasons=, facts=, of_copies=, wanted=, sealable=)"
    ),
    "pop3.mailbox.Maildrop": (
        "(address, snapshot, client=, tls=, loginDelay=, messageExpiration=, *, messages, blobs,"
        " tags=)"
    ),
    "pop3.factory.Pop3Factory": (
        "(portal, *, hostname, challengers=, tls=, rules=, sessions=, tell=, clock=, turn_away=)"
    ),
    "pop3.factory.Pop3Rules": "(*, errors=, sign_in_failures=, idle_s=)",
    "pop3.server.Pop3Server": "()",
    "records.Records": "(values=, authenticated=, expires_in_s=, name=)",
    "service.Node": "(config, reactor, *, checkers=, reload_config=, on_started=)",
    "service.StartFailed": "(code, why)",
    "smtp.factory.SmtpFactory": (
        "(portal, *, hostname, challengers=, tls=, rules=, sessions=, submission=, tell=, clock=,"
        " turn_away=)"
    ),
    "smtp.factory.SmtpRules": (
        "(*, message_octets=, recipients=, mails=, errors=, sign_in_failures=, idle_s=,"
        " body_octets_a_second=, body_s=, keep_dialog=)"
    ),
    "smtp.functions.FunctionMailboxes": "(most_octets=, subaddress=)",
    "smtp.server.SmtpServer": "(chal=, contextFactory=)",
    "smtp.transaction.Postbox": "(counter, account=)",
    "smtp.transaction.Transaction": "(counter, account=)",
}

METHODS = {
    "smtp.functions.FunctionMailboxes": "__call__(postbox) at(*addresses) find(address)",
    "smtp.transaction.Postbox": "account_name getMessageDelivery()",
    "smtp.transaction.Transaction": (
        "receivedHeader(helo, origin, recipients) validateFrom(helo, origin) validateTo(user)"
    ),
    "intake.Intake": "accept(envelope, message)",
    "cred.realm.Realm": "requestAvatar(avatarId, mind, *interfaces)",
    "cred.portal.SignInPortal": "login(credentials, mind, *interfaces)",
    "records.Records": "(values=, authenticated=, expires_in_s=, name=)",
    "service.Node": "privilegedStartService() startService() stopService() reload() readiness()",
    "admission.Sessions": "start() stop() sweep() drain()",
    "smtp.server.SmtpServer": (
        "extensions() greeting() lookupMethod(command) receivedHeader(helo, origin, recipients)"
        " sendCode(code, message=) validateFrom(helo, origin) validateTo(user)"
    ),
    "pop3.server.Pop3Server": (
        "authenticateUserPASS(user, password) failResponse(message=) greeting()"
        " listCapabilities() lookupVerb(verb) successResponse(message=)"
    ),
}

VERBS = {
    SmtpServer: (
        "ext_AUTH do_BDAT do_DATA do_EHLO do_EXPN do_HELO do_HELP do_MAIL do_NOOP do_QUIT do_RCPT"
        " do_RSET ext_STARTTLS do_VRFY"
    ),
    Pop3Server: (
        "do_AUTH do_CAPA do_DELE do_LIST do_NOOP do_PASS do_QUIT do_RETR do_RSET do_STAT do_STLS"
        " do_TOP do_UIDL do_USER do_UTF8"
    ),
}


def find(name: str) -> Any:
    module, _, attribute = f"mailnode.{name}".rpartition(".")
    return getattr(import_module(module), attribute)


def shape(function: Any, method: bool = False) -> str:
    """How it is called, without types: `(text=, *, code=)`."""
    if isinstance(function, type) and function.__init__ is Exception.__init__:
        return "(*args)"  # as any exception of Python's
    parameters = list(inspect.signature(function).parameters.values())[method:]
    words: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not any(w.startswith("*") for w in words):
            words.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        default = "" if parameter.default is parameter.empty else "="
        words.append(stars.get(parameter.kind, "") + parameter.name + default)
    return f"({', '.join(words)})"


def how_called(value: Any) -> str:
    if IInterface.providedBy(value):
        own = (value.direct(name) for name in value.names())
        words = (
            each.getName() + (each.getSignatureString() if isinstance(each, Method) else "")
            for each in own
        )
        return " ".join(sorted(words))
    return shape(value)


class SnapshotTests(SynchronousTestCase):
    maxDiff = None

    def test_each_name_that_is_promised_is_held_here(self) -> None:
        told = re.findall(r"^``mailnode\.([\w.]+)`` ", EXTENDING.read_text(), re.M)
        self.assertEqual(sorted(CALLED), sorted(told))

    def test_they_are_called_as_ever(self) -> None:
        self.assertEqual(CALLED, {name: how_called(find(name)) for name in CALLED})

    def test_their_methods_are_called_as_ever(self) -> None:
        for name, methods in METHODS.items():
            whole, value = methods, find(name)
            for method in re.findall(r"(\w+)\(", methods):
                said = method + shape(getattr(value, method), method=True)
                self.assertIn(f" {said} ", f" {whole} ", name)
            for attribute in re.findall(
                r"(?:^| )(\w+)(?= |$)", re.sub(r"\([^)]*\)", "()", methods)
            ):
                self.assertTrue(hasattr(value, attribute), f"{name}.{attribute}")

    def test_every_verb_is_a_method_with_its_name(self) -> None:
        for server, verbs in VERBS.items():
            there = {name for name in dir(server) if re.fullmatch(r"(do|ext)_[A-Z0-9]+", name)}
            left_out = {f"do_{verb.decode()}" for verb in getattr(server, "LEFT_OUT", ())}
            self.assertEqual(set(verbs.split()), there - left_out - {"do_UNKNOWN"})

    def test_the_servers_are_twisteds(self) -> None:
        self.assertTrue(issubclass(SmtpServer, smtp.ESMTP))
        self.assertTrue(issubclass(Pop3Server, pop3.POP3))
        self.assertTrue(issubclass(find("smtp.factory.SmtpFactory"), smtp.SMTPFactory))

    def test_values_are_frozen(self) -> None:
        for name in CALLED:
            value = find(name)
            if name.startswith("model.") or name.endswith(("Rules", "Config", "Address")):
                self.assertTrue(attrs.has(value), name)
                self.assertIs(value.__setattr__, find("model.Blob").__setattr__, name)

    def test_factories_make_what_their_protocol_says(self) -> None:
        for name, server in (
            ("smtp.factory.SmtpFactory", SmtpServer),
            ("pop3.factory.Pop3Factory", Pop3Server),
        ):
            own = type("Own", (server,), {})
            factory = find(name)(None, hostname="mx.example.test", clock=Clock())
            self.assertIs(server, type(factory.buildProtocol(None)))
            factory.protocol = own
            self.assertIs(own, type(factory.buildProtocol(None)))


class ImplementerTests(SynchronousTestCase):
    def test_every_class_keeps_what_the_interfaces_that_it_names_ask_for(self) -> None:
        checked = []
        for found in pkgutil.walk_packages(mailnode.__path__, "mailnode."):
            if found.name.endswith("__main__"):
                continue
            module = import_module(found.name)
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == module.__name__:
                    for interface in implementedBy(value).declared:
                        verifyClass(interface, value)
                        checked.append(value.__name__)
        for name in ("Postbox", "Transaction", "Incoming", "Maildrop", "Realm", "AccountChecker",
                     "FileBlobs", "FunctionMail", "CheckersInTurn", "Pop3Factory"):  # fmt: skip
            self.assertIn(name, checked)
