"""`mailnode.machine`: this machine's name, and whose address it is."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode import machine
from mailnode.durable import write_durably
from mailnode.machine import (
    ConnectionRoom,
    address_key,
    connection_room,
    find_hostname,
    index_room,
    is_loopback,
    outward_addresses,
    plain_address,
    raise_descriptor_limit,
)


class HostnameTests(SynchronousTestCase):
    def hosts(self, open_hosts: object) -> None:
        vars(machine)["open"] = open_hosts
        self.addCleanup(vars(machine).pop, "open", None)

    def named(self, name: str, hosts: str = "") -> str:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(hosts)

        def open_hosts(_path: str, **how: str) -> object:
            return open(path, **how)  # type: ignore[call-overload]

        self.patch(socket, "gethostname", lambda: name)
        self.hosts(open_hosts)
        return find_hostname()

    def test_a_full_name_is_taken_as_it_is_in_lower_case(self) -> None:
        self.assertEqual("mx.example.org", self.named("MX.Example.org", "10.0.0.1 mx.other mx\n"))

    def test_a_short_name_is_made_full_by_the_hosts_file(self) -> None:
        hosts = "# mx mx.comment.example\n127.0.0.1 localhost\n10.0.0.1 mx mx.example.org # x\n"
        self.assertEqual("mx.example.org", self.named("mx", hosts))

    def test_a_short_name_that_nobody_knows_more_of_stays(self) -> None:
        self.assertEqual("mx", self.named("mx", "127.0.1.1 mx\n"))
        self.assertEqual("mx", self.named("mx", "10.0.0.1 mxx.example.org mxx\n"))

    def test_what_is_no_host_name_is_localhost(self) -> None:
        self.assertEqual("localhost", self.named("my_machine!"))
        self.assertEqual("localhost", self.named(""))

    def test_a_machine_without_a_hosts_file_has_its_short_name(self) -> None:
        self.named("mx")

        def none(_path: str, **how: str) -> object:
            raise FileNotFoundError

        self.hosts(none)
        self.assertEqual("mx", find_hostname())


class AddressTests(SynchronousTestCase):
    def test_loopback_is_all_of_127_and_1_and_a_socket_without_an_address(self) -> None:
        for host in ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::1%lo", ""):
            self.assertTrue(is_loopback(host), host)
        for host in ("192.0.2.1", "::", "0.0.0.0", "fe80::1%lo", "::ffff:192.0.2.1", "localhost"):
            self.assertFalse(is_loopback(host), host)

    def test_an_address_is_shown_without_zone_and_as_the_ipv4_that_it_is(self) -> None:
        for host, shown in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("a.socket", "a.socket"),
            ("", ""),
        ):
            self.assertEqual(shown, plain_address(host))

    def test_a_client_is_all_of_its_ipv4_address_or_its_64(self) -> None:
        for host, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("no:address", "no:address"),
        ):
            self.assertEqual(key, address_key(host))


class DescriptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limits = (100, 4096)
        self.patch(resource, "getrlimit", lambda which: self.limits)

    def test_the_soft_limit_becomes_the_hard_one(self) -> None:
        self.patch(resource, "setrlimit", lambda which, limits: setattr(self, "limits", limits))
        raise_descriptor_limit()
        self.assertEqual((4096, 4096), self.limits)

    def test_a_limit_that_can_not_be_raised_stays(self) -> None:
        def refuse(which: int, limits: tuple[int, int]) -> None:
            raise ValueError("not allowed")

        self.patch(resource, "setrlimit", refuse)
        raise_descriptor_limit()

    def test_a_limit_that_is_high_already_is_left_alone(self) -> None:
        asked: list[object] = []
        self.patch(resource, "setrlimit", lambda which, limits: asked.append(limits))
        self.limits = (4096, 4096)
        raise_descriptor_limit()
        self.assertEqual([], asked)


class ConnectionRoomTests(SynchronousTestCase):
    def room(self, descriptors: int, wanted: int, servers: int) -> ConnectionRoom:
        self.patch(resource, "getrlimit", lambda which: (descriptors, descriptors))
        return connection_room(wanted, servers)

    def test_what_fits_is_as_it_was_wanted(self) -> None:
        self.assertEqual(ConnectionRoom(20_000, None), self.room(65_536, 20_000, 2))
        self.assertEqual(ConnectionRoom(100, None), self.room(1024, 100, 2))
        self.assertEqual(ConnectionRoom(20_000, None), self.room(resource.RLIM_INFINITY, 20_000, 2))

    def test_what_does_not_is_less_and_leaves_descriptors_for_files(self) -> None:
        self.assertEqual(ConnectionRoom(832, 832), self.room(1024, 20_000, 1))
        self.assertEqual(ConnectionRoom(18_750, 18_750), self.room(20_000, 20_000, 1))

    def test_of_several_servers_one_leaves_a_quarter_to_the_others(self) -> None:
        self.assertEqual(ConnectionRoom(624, 832), self.room(1024, 20_000, 2))
        self.assertEqual(ConnectionRoom(500, 832), self.room(1024, 500, 2))

    def test_there_is_always_room_for_one(self) -> None:
        self.assertEqual(ConnectionRoom(1, 1), self.room(64, 20_000, 2))


class Probe:
    """A datagram socket of a machine with some ways to the outside; it sends nothing."""

    ways: dict[socket.AddressFamily, str] = {}

    def __init__(self, family: socket.AddressFamily, kind: socket.SocketKind) -> None:
        assert kind == socket.SOCK_DGRAM
        self.family = family

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def connect(self, _far_away: tuple[str, int]) -> None:
        if self.family not in self.ways:
            raise OSError("network is unreachable")

    def getsockname(self) -> tuple[str, int]:
        return self.ways[self.family], 40000


class OutwardTests(SynchronousTestCase):
    def found(self, **ways: str) -> tuple[str, ...]:
        self.patch(Probe, "ways", {getattr(socket, name): way for name, way in ways.items()})
        self.patch(socket, "socket", Probe)
        return outward_addresses()

    def test_it_is_the_one_that_the_kernel_would_take_in_each_family(self) -> None:
        both = self.found(AF_INET="192.0.2.7", AF_INET6="2001:db8::7")
        self.assertEqual(("192.0.2.7", "2001:db8::7"), both)

    def test_a_family_without_a_way_has_none(self) -> None:
        self.assertEqual(("192.0.2.7",), self.found(AF_INET="192.0.2.7"))
        self.assertEqual((), self.found())


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "kept.json"

    def test_a_file_is_replaced_whole_after_its_flush_and_then_its_folder_is_flushed(self) -> None:
        order: list[str] = []

        def fsync(descriptor: int) -> None:
            order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.partition(".")[0])
            order.append(self.path.read_text() if self.path.exists() else "")

        self.patch(os, "fsync", fsync)
        write_durably(self.path, b"one")
        self.assertEqual(["kept", "", self.folder.name, "one"], order)
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_when_it_can_not_be_flushed_the_one_before_stays_and_nothing_else(self) -> None:
        write_durably(self.path, b"one")

        def fsync(descriptor: int) -> None:
            raise OSError("no room")

        self.patch(os, "fsync", fsync)
        self.assertRaises(OSError, write_durably, self.path, b"two")
        self.assertEqual(b"one", self.path.read_bytes())
        self.assertEqual([self.path], list(self.folder.iterdir()))


class IndexRoomTests(SynchronousTestCase):
    def test_indexes_are_kept_open_as_there_are_descriptors_for(self) -> None:
        rooms = [index_room(40, each) for each in (256, 1024, 2000, 20_000)]
        self.assertEqual([12, 12, 20, 40], rooms)
        self.assertEqual(40, index_room(40, resource.RLIM_INFINITY))
