"""Parts of others are found, or what is wrong with them is said in one line."""

from __future__ import annotations

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailnode.config import ConfigError
from mailnode.interfaces import IContentFilter
from mailnode.model import ACCEPT, Verdict
from mailnode.plugins import (
    find_checkers,
    find_delivery,
    find_filters,
    find_object,
    find_subclass,
    takes,
)
from mailnode.pop3.server import Pop3Server
from mailnode.smtp.server import SmtpServer


@implementer(IContentFilter)
class Lenient:
    name = "lenient"

    def judge(self, envelope: object, message: object) -> Verdict:
        return ACCEPT


class MyServer(SmtpServer):
    pass


class Broken(AllowAnonymousAccess):
    def __init__(self) -> None:
        raise OSError("no such file")


lenient = Lenient()


def wrap(postbox: object) -> list[object]:
    return [postbox]


def count_mail(mail: object, envelope: object) -> None:
    pass


HERE = __name__


class FindTests(SynchronousTestCase):
    def refusal(self, find: object, *args: object) -> str:
        return str(self.assertRaises(ConfigError, find, *args))

    def test_an_object_is_named_by_its_module_and_attributes(self) -> None:
        self.assertIs(find_object(f"{HERE}:Lenient.name"), "lenient")
        self.assertIn('"module:attribute"', self.refusal(find_object, "mailnode"))
        self.assertIn("no_such_module", self.refusal(find_object, "no_such_module:x"))
        self.assertIn("no_such_thing", self.refusal(find_object, f"{HERE}:no_such_thing"))

    def test_a_filter_is_an_object_or_a_class_that_is_called(self) -> None:
        found = find_filters([f"{HERE}:lenient", f"{HERE}:Lenient"])
        self.assertIs(lenient, found[0])
        self.assertIsInstance(found[1], Lenient)
        self.assertIn(
            "is no IContentFilter", self.refusal(find_filters, [f"{HERE}:MyServer.mails"])
        )
        self.assertIn("no filter spam", self.refusal(find_filters, ["spam"]))

    def test_a_checker_is_one(self) -> None:
        name = "twisted.cred.checkers:AllowAnonymousAccess"
        (checker,) = find_checkers([name])
        self.assertIsInstance(checker, AllowAnonymousAccess)
        self.assertIn("is no ICredentialsChecker", self.refusal(find_checkers, [f"{HERE}:lenient"]))
        self.assertIn("no such file", self.refusal(find_checkers, [f"{HERE}:Broken"]))

    def test_a_server_is_a_subclass_of_ours(self) -> None:
        self.assertIs(MyServer, find_subclass(f"{HERE}:MyServer", SmtpServer))
        self.assertIs(SmtpServer, find_subclass("", SmtpServer))
        for name in (f"{HERE}:MyServer", f"{HERE}:lenient"):
            self.assertIn("is no subclass of", self.refusal(find_subclass, name, Pop3Server))

    def test_a_delivery_wraps_the_postbox(self) -> None:
        self.assertEqual(["box"], find_delivery(f"{HERE}:wrap")("box"))
        self.assertEqual("box", find_delivery("")("box"))
        self.assertIn("can't be called", self.refusal(find_delivery, f"{HERE}:HERE"))

    def test_a_mailbox_s_function_is_no_delivery_and_the_mend_is_told(self) -> None:
        why = self.refusal(find_delivery, f"{HERE}:count_mail")
        self.assertIn(f"{HERE}:count_mail can't be called with a delivery factory alone", why)
        self.assertIn("FunctionMailboxes", why)

    def test_a_class_and_what_is_written_in_c_are_believed(self) -> None:
        self.assertEqual(["box"], find_delivery("builtins:list")(["box"]))
        self.assertTrue(takes(max, 7))
