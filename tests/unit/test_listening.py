"""`mailnode.listening`: what a port number and an endpoint string open, and for whom."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailnode.listening import BadEndpoint, CannotBind, Door, Listener, bind_all, show_address
from mailnode.settings import ListenSettings


class FakePort:
    def __init__(self, host: str, number: int) -> None:
        self.address = IPv4Address("TCP", host, number)
        self.closed = False

    def getHost(self) -> IPv4Address:
        return self.address

    def stopListening(self) -> Deferred[None]:
        self.closed = True
        return Deferred()


class FakeReactor:
    """Hands out ports from 40000 on; `errors` are raised for a host, one each time."""

    def __init__(self) -> None:
        self.ports: list[FakePort] = []
        self.asked: list[tuple[int, int, str]] = []
        self.errors: dict[str, list[int]] = {}
        self.next = 40000

    def listenTCP(self, number: int, factory: object, backlog: int, interface: str) -> FakePort:
        self.asked.append((number, backlog, interface))
        if self.errors.get(interface):
            code = self.errors[interface].pop(0)
            raise CannotListenError(interface, number, OSError(code, os.strerror(code)))
        if any(each.address == IPv4Address("TCP", interface, number) for each in self.open()):
            error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise CannotListenError(interface, number, error)
        if not number:
            self.next += 1
            number = self.next
        self.ports.append(FakePort(interface, number))
        return self.ports[-1]

    def open(self) -> list[FakePort]:
        return [port for port in self.ports if not port.closed]


class BarePortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()

    def bind(self, where: str) -> Listener:
        listener = Listener("smtp", where)
        listener.bind(self.reactor, 77)
        return listener

    def test_a_number_is_that_port_of_both_families_on_this_machine_alone(self) -> None:
        listener = self.bind("2525")
        self.assertEqual([(2525, 77, "127.0.0.1"), (2525, 77, "::1")], self.reactor.asked)
        self.assertEqual(["127.0.0.1:2525", "[::1]:2525"], list(listener.addresses()))
        self.assertFalse(listener.beyond_loopback)

    def test_port_0_is_one_number_for_both(self) -> None:
        listener = self.bind("0")
        self.assertEqual(["127.0.0.1:40001", "[::1]:40001"], list(listener.addresses()))

    def test_port_0_tries_another_number_when_one_family_has_it_taken(self) -> None:
        self.reactor.errors["::1"] = [errno.EADDRINUSE]
        listener = self.bind("0")
        self.assertEqual(["127.0.0.1:40002", "[::1]:40002"], list(listener.addresses()))
        self.assertEqual(2, len(self.reactor.open()))

    def test_port_0_gives_up_when_none_is_free_on_both(self) -> None:
        self.reactor.errors["::1"] = [errno.EADDRINUSE] * 1000
        error = self.assertRaises(CannotBind, self.bind, "0")
        self.assertIn("both 127.0.0.1 and ::1", str(error))
        self.assertEqual([], self.reactor.open())

    def test_a_machine_without_ipv6_listens_on_ipv4_alone(self) -> None:
        for code in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            self.reactor = FakeReactor()
            self.reactor.errors["::1"] = [code]
            self.assertEqual(["127.0.0.1:2525"], list(self.bind("2525").addresses()))

    def test_a_port_that_is_taken_in_one_family_is_taken(self) -> None:
        for host, shown in (("127.0.0.1", "127.0.0.1:2525"), ("::1", "[::1]:2525")):
            self.reactor.errors[host] = [errno.EADDRINUSE]
            error = self.assertRaises(CannotBind, self.bind, "2525")
            self.assertIn(f"can't listen on {shown}: ", str(error))
            self.assertIn("another program uses that port", str(error))
            self.assertEqual([], self.reactor.open())

    def test_a_port_for_root_alone_says_so(self) -> None:
        self.reactor.errors["127.0.0.1"] = [errno.EACCES]
        self.assertIn("need root", str(self.assertRaises(CannotBind, self.bind, "25")))

    def test_a_number_that_is_no_port_is_a_mistake(self) -> None:
        for where in ("65536", "99999", "9" * 5000):
            error = self.assertRaises(BadEndpoint, self.bind, where)
            self.assertIn("65535", str(error))
            self.assertLess(len(str(error)), 100)
        self.assertEqual([], self.reactor.asked)

    def test_a_closed_listener_has_no_address_and_closes_once(self) -> None:
        listener = self.bind("2525")
        self.assertEqual(2, len(listener.close()))
        self.assertEqual([], self.reactor.open())
        self.assertEqual([], listener.close())
        self.assertEqual([], list(listener.addresses()))


class EndpointTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def bind(self, where: str) -> Listener:
        listener = Listener("smtp", where)
        listener.bind(self.reactor, 77)
        return listener

    def test_an_endpoint_string_listens_where_it_says(self) -> None:
        listener = self.bind("tcp:25:interface=127.0.0.1")
        port, door, backlog, host = self.reactor.tcpServers[0]
        self.assertEqual((25, 77, "127.0.0.1"), (port, backlog, host))
        self.assertIs(listener.door, door)

    def test_its_own_backlog_counts(self) -> None:
        self.bind("tcp:25:backlog=5")
        self.assertEqual(5, self.reactor.tcpServers[0][2])

    def test_a_socket_of_the_file_system_is_an_endpoint_and_this_machine_s(self) -> None:
        listener = self.bind("unix:/run/mail.sock")
        self.assertEqual(["unix:/run/mail.sock"], list(listener.addresses()))
        self.assertFalse(listener.beyond_loopback)
        self.assertEqual(77, self.reactor.unixServers[0][2])

    def test_what_can_be_reached_from_elsewhere_is_beyond_loopback(self) -> None:
        self.assertTrue(self.bind("tcp:25").beyond_loopback)
        self.assertTrue(self.bind("tcp6:25").beyond_loopback)
        self.assertFalse(self.bind(r"tcp:25:interface=\:\:1").beyond_loopback)

    def test_what_is_no_endpoint_is_a_mistake_that_shows_what_was_said(self) -> None:
        for where in (
            "", "smtp", "\u00b2\u2075", "-1", "25 ", "tcp", "tcp:", "tcp:smtp", "tcp:25:bogus=1",
            "tcp:25:backlog=x", "nonsense:25", "::", "ssl:465:privateKey=/no/such.pem",
            "systemd:domain=INET:index=0", "systemd:domain=INET:name=x",
        ):  # fmt: skip
            error = self.assertRaises(BadEndpoint, self.bind, where)
            self.assertIn(f'"{where}" is no port and no endpoint: say 2525 or tcp:25', str(error))
            self.assertNotIn("\n", str(error))
            for insides in ("Unknown endpoint", "literal", "__init__", "argument", "Errno"):
                self.assertNotIn(insides, str(error))


class DoorTests(SynchronousTestCase):
    def test_nobody_comes_in_before_the_server_is_built(self) -> None:
        door = Door()
        self.assertIs(None, door.buildProtocol(None))

        class Server:
            def buildProtocol(self, address: object) -> object:
                return ("session", address)

        door.inner = Server()
        address = IPv4Address("TCP", "127.0.0.1", 40000)
        self.assertEqual(("session", address), door.buildProtocol(address))

    def test_a_socket_without_a_name_is_shown(self) -> None:
        self.assertEqual("unix:", show_address(UNIXAddress(None)))


class RealPortTests(TestCase):
    """The kernel's answers, on loopback."""

    def bind(self, where: str) -> Listener:
        listener = Listener("smtp", where)
        listener.bind(reactor, 5)
        self.addCleanup(lambda: DeferredList(listener.close()))
        return listener

    def test_a_taken_port_is_told_for_numbers_and_endpoints(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            for where in (str(number), f"tcp:{number}:interface=127.0.0.1"):
                error = self.assertRaises(CannotBind, Listener("smtp", where).bind, reactor, 5)
                self.assertIn(str(number), str(error))
                self.assertIn("another program uses that port", str(error))
                self.assertNotIn("backlog", str(error))

    def test_a_port_past_the_last_is_a_mistake_in_an_endpoint_too(self) -> None:
        listener = Listener("smtp", "tcp:70000:interface=127.0.0.1")
        self.assertIn("65535", str(self.assertRaises(BadEndpoint, listener.bind, reactor, 5)))

    def test_both_families_of_a_picked_port_are_bound(self) -> None:
        addresses = list(self.bind("0").addresses())
        for address in addresses:
            host, _, number = address.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(number)), timeout=10):
                pass
        self.assertEqual(1, len({address.rpartition(":")[2] for address in addresses}))

    def test_a_socket_of_the_file_system_is_bound_and_a_folder_that_is_not_there_told(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.bind(f"unix:{folder / 's'}")
        self.assertTrue((folder / "s").is_socket())
        nowhere = Listener("smtp", f"unix:{folder / 'no' / 's'}")
        error = self.assertRaises(CannotBind, nowhere.bind, reactor, 5)
        self.assertIn("No such file", str(error))


class AllTests(SynchronousTestCase):
    def bind(self, reactor: Any, **settings: Any) -> list[Listener]:
        return bind_all(reactor, ListenSettings(**settings), self.sources)

    sources: dict[str, str] = {}

    def test_a_fault_is_told_of_the_place_that_it_stands_in(self) -> None:
        for source, named in (
            ("--smtp", "--smtp: "),
            ("node.toml", "node.toml: listen.smtp: "),
            ("MAILNODE_LISTEN__SMTP", "MAILNODE_LISTEN__SMTP: "),
        ):
            self.sources = {"listen.smtp": source}
            error = self.assertRaises(BadEndpoint, self.bind, FakeReactor(), smtp=("x:y",))
            self.assertTrue(str(error).startswith(named), error)

    def test_the_same_port_given_twice_is_no_other_program_s(self) -> None:
        for settings, told in (
            ({"smtp": ("2525",), "pop3": ("2525",)}, "--smtp and --pop3 do"),
            ({"smtp": ("tcp:2525", "tcp:port=2525")}, "--smtp names it twice"),
        ):
            fake = FakeReactor()
            error = self.assertRaises(BadEndpoint, self.bind, fake, **settings)
            self.assertEqual(f"two can't listen on port 2525: {told}", str(error))
            self.assertEqual([], fake.open())

    def test_all_kinds_are_bound_each_as_often_as_it_is_named(self) -> None:
        fake = FakeReactor()
        listeners = self.bind(fake, smtp=("2525", "2526"), pop3s=("995",), http=("8080",))
        self.assertEqual(
            [("smtp", "2525"), ("smtp", "2526"), ("pop3s", "995"), ("http", "8080")],
            [(each.kind, each.where) for each in listeners],
        )
        self.assertEqual({1024}, {backlog for _port, backlog, _host in fake.asked})

    def test_when_one_can_not_be_had_none_is_kept(self) -> None:
        fake = FakeReactor()
        error = self.assertRaises(
            BadEndpoint, self.bind, fake, smtp=("2525",), pop3s=("tcp:x",), http=("1",)
        )
        self.assertTrue(str(error).startswith("--pop3s: "), error)
        self.assertEqual([], fake.open())
        fake.errors["::1"] = [errno.EADDRINUSE]
        self.assertRaises(CannotBind, self.bind, fake, smtp=("2525",))
        self.assertEqual([], fake.open())
