"""The settings that there are, by section: default, how each is read, one line of help.

`mailnode config show`, docs/configuration.rst and its test all read this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from attrs import field, frozen

from mailnode.values import (
    read_action,
    read_clock,
    read_count,
    read_dmarc,
    read_dmarc_reports,
    read_dns_lists,
    read_duration,
    read_failure,
    read_few,
    read_flag,
    read_format,
    read_harm,
    read_hostname,
    read_list,
    read_names,
    read_networks,
    read_points,
    read_probability,
    read_reporter,
    read_resolvers,
    read_score,
    read_size,
    read_tag,
    read_text,
    read_workers,
)


def setting(
    default: Any, read: Callable[[object], Any], about: str, *, is_secret: bool = False
) -> Any:
    told = {"read": read, "about": about, "is_secret": is_secret}
    return field(default=default, repr=not is_secret, metadata=told)


KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@frozen
class NodeSettings:
    """[node]"""

    hostname: str = setting(
        "", read_hostname, "name in greetings and Received; empty: this machine's"
    )
    users: str = setting("users.db", read_text, "file of domains, accounts and aliases")
    data: str = setting("var", read_text, "folder of mail, keys and locks")
    workers: int = setting(1, read_workers, "processes that serve; with 1 there is no other")
    clock: str = setting(
        "wall", read_clock, "manual: `mailnode clock` moves the queue's, for tests"
    )


@frozen
class ListenSettings:
    """[listen]"""

    smtp: tuple[str, ...] = setting((), read_list, "ports or endpoints for SMTP with STARTTLS")
    submission: tuple[str, ...] = setting((), read_list, "ports or endpoints for submission")
    smtps: tuple[str, ...] = setting((), read_list, "ports or endpoints for SMTP inside TLS")
    pop3: tuple[str, ...] = setting((), read_list, "ports or endpoints for POP3 with STLS")
    pop3s: tuple[str, ...] = setting((), read_list, "ports or endpoints for POP3 inside TLS")
    http: tuple[str, ...] = setting((), read_list, "ports or endpoints for the web and health")
    https: tuple[str, ...] = setting((), read_list, "ports or endpoints for these inside TLS")
    backlog: int = setting(1024, read_count, "connections that may wait to be accepted")
    proxy_from: tuple[str, ...] = setting(
        (), read_networks, "networks of proxies, whose connections begin with a PROXY header"
    )


@frozen
class TlsSettings:
    """[tls]"""

    cert: str = setting("", read_text, "certificate chain, PEM; empty: one is made in var/tls")
    key: str = setting("", read_text, "its private key, PEM")


@frozen
class LimitSettings:
    """[limits]"""

    message_size: int = setting(75 * MIB, read_size, "largest message taken, in octets")
    recipients: int = setting(100, read_count, "recipients of one mail")
    mailboxes: int = setting(1000, read_count, "mailboxes one mail may reach through aliases")
    connections: int = setting(20000, read_count, "connections in all, each server")
    connections_per_address: int = setting(50, read_count, "from one address; loopback is exempt")
    http_connections: int = setting(2000, read_count, "HTTP connections in all")
    http_connections_per_address: int = setting(
        200, read_count, "of these, from one address; loopback and proxies are exempt"
    )
    errors: int = setting(10, read_count, "errors before a session is closed")
    mails_per_connection: int = setting(0, read_count, "mails in one session; 0: no limit")
    received_headers: int = setting(50, read_count, "Received fields that make a loop")
    smtp_idle: float = setting(300.0, read_duration, "SMTP session without a command")
    pop3_idle: float = setting(600.0, read_duration, "POP3 session without a command")
    body_rate: int = setting(KIB, read_size, "least octets a second of a body, after a minute")
    body_time: float = setting(3600.0, read_duration, "longest time for one body")
    sign_in_failures: int = setting(3, read_count, "failed sign-ins before a session is closed")
    sign_in_queue: int = setting(64, read_count, "password checks that may wait")
    stop: float = setting(30.0, read_duration, "time that transactions get at a stop")


@frozen
class WebSettings:
    """[web]"""

    names: tuple[str, ...] = setting(
        (), read_names, "names that browsers may reach it by, beside node.hostname"
    )
    show_accounts: bool = setting(
        True, read_flag, "who writes a mail is offered the other accounts of the own domain"
    )


@frozen
class QuotaSettings:
    """[quota]"""

    octets: int = setting(0, read_size, "of a mailbox without its own; 0: no limit")
    mails: int = setting(0, read_count, "of a mailbox without its own; 0: no limit")


@frozen
class StoreSettings:
    """[store]"""

    blob_over: int = setting(256 * KIB, read_size, "larger bodies lie in files of their own")
    free_space: int = setting(256 * MIB, read_size, "below this MAIL is answered 452")
    reserve: int = setting(32 * MIB, read_size, "kept for deletions on a full disk; 0: none")


@frozen
class AccountSettings:
    """[accounts]"""

    create_on_sign_in: bool = setting(
        False, read_flag, "make an account for an id that only --auth knows"
    )
    subaddress: str = setting("+", read_text, "parts alice from alice+detail; empty: off")
    channel_binding: bool = setting(
        True, read_flag, "offer SCRAM-SHA-256-PLUS; not where programs choose it and then fail"
    )


@frozen
class PasswordSettings:
    """[passwords]"""

    least_characters: int = setting(10, read_count, "of a new password, but a demo account's")
    least_score: int = setting(
        3, read_score, "how hard it is to guess, 0 to 4 by zxcvbn; 0: it is not asked"
    )
    remembered: int = setting(5, read_few, "no new one is one of so many before, 5 at most; 0: any")
    max_age: float = setting(0.0, read_duration, "it is to be changed after this; 0: never")
    notice: float = setting(
        14 * 86400.0, read_duration, "its owner is told so long before, at a sign-in on the web"
    )
    grace: float = setting(
        14 * 86400.0,
        read_duration,
        "mail programs go on with one that is too old for so long",
    )


@frozen
class SecondFactorSettings:
    """[second_factor]"""

    sms_command: tuple[str, ...] = setting(
        (), read_list, "program that texts a code; the number is its last argument; empty: off"
    )


@frozen
class GuessingSettings:
    """[guessing]"""

    delay: float = setting(
        10.0, read_duration, "longest time that a failed sign-in waits for its answer; 0: none"
    )
    failures: int = setting(
        20, read_count, "wrong passwords in the window, then an address is blocked; 0: never"
    )
    window: float = setting(3600.0, read_duration, "time in which these are counted")
    block: float = setting(900.0, read_duration, "how long a block is; twice that for each before")
    longest: float = setting(86400.0, read_duration, "longest block")
    never: tuple[str, ...] = setting(
        (), read_networks, "networks that are never blocked; this machine never is"
    )
    known: float = setting(
        90 * 86400.0, read_duration, "how long a network where an account signed in is its owner's"
    )


@frozen
class JournalSettings:
    """[journal]"""

    keep: float = setting(30 * 86400.0, read_duration, "how long rows are kept")
    size: int = setting(2 * GIB, read_size, "above this the oldest rows go")
    dialog: bool = setting(False, read_flag, "keep each mail's dialog, secrets masked")


@frozen
class AuditSettings:
    """[audit]"""

    keep: float = setting(400 * 86400.0, read_duration, "a month over so long ago is deleted")
    size: int = setting(2 * GIB, read_size, "above this the oldest months go, but the present one")
    notices: bool = setting(
        True, read_flag, "accounts get a mail when somebody signs in from elsewhere, and of changes"
    )
    notices_a_day: int = setting(5, read_count, "most that an account gets; the rest is one more")


@frozen
class OutboundSettings:
    """[outbound]"""

    keep: float = setting(5 * 86400.0, read_duration, "how long a mail is tried before it bounces")
    retry_first: float = setting(60.0, read_duration, "wait behind the first failed attempt")
    retry_most: float = setting(4 * 3600.0, read_duration, "longest wait between two attempts")
    notice: float = setting(4 * 3600.0, read_duration, "a sender is told of a delay after this")
    connections: int = setting(20, read_count, "connections to one next hop")
    resolvers: tuple[str, ...] = setting(
        (), read_resolvers, "DNS servers, address or address:port; empty: this machine's"
    )
    port: int = setting(25, read_count, "where the hosts of other domains listen")
    trust: str = setting(
        "", read_text, "PEM file of authorities for next hops; empty: this machine's"
    )
    rate: int = setting(200, read_count, "recipients an account may send to in an hour; 0: any")
    burst: int = setting(50, read_count, "of these, how many at once")
    any_sender: bool = setting(False, read_flag, "accounts may send under addresses of others")
    arc_seal: bool = setting(True, read_flag, "what is forwarded for strangers gets an ARC seal")
    tls_reports: bool = setting(False, read_flag, "domains that ask for it are told daily of TLS")


@frozen
class ArrivalSettings:
    """[arrival]"""

    known: tuple[str, ...] = setting((), read_networks, "networks whose hosts are no strangers")
    contact: str = setting("", read_text, "stands behind each refusal: where somebody helps")
    address_lists: tuple[str, ...] = setting(
        (), read_dns_lists, "lists in the DNS that are asked for the client's address"
    )
    domain_lists: tuple[str, ...] = setting(
        (), read_dns_lists, "lists that are asked for the domain of the sender and of HELO"
    )
    refuse_weight: int = setting(0, read_count, "listings so weighty are refused; 0: never")
    reverse: str = setting("mark", read_action, "an address without a name that leads back to it")
    helo: str = setting("mark", read_action, "a HELO that can't be the client's name")
    early: str = setting("mark", read_action, "a client that speaks before it was answered")
    banner_delay: float = setting(0.0, read_duration, "how long a stranger waits for the greeting")
    greylist: bool = setting(False, read_flag, "who was never heard of is to come again")
    greylist_wait: float = setting(300.0, read_duration, "how long he is put off")
    greylist_until: float = setting(4 * 3600.0, read_duration, "later he begins anew")
    greylist_keep: float = setting(
        36 * 86400.0, read_duration, "who is not seen so long is unknown"
    )
    mails_per_address: int = setting(0, read_count, "an hour; 0: any number, here and below")
    mails_per_network: int = setting(0, read_count, "an hour, of a /24 or a /64")
    mails_per_sender: int = setting(0, read_count, "an hour, of one reverse-path")
    mails_per_recipient: int = setting(0, read_count, "an hour, to one address")
    recipients_per_address: int = setting(0, read_count, "recipients an hour")
    recipients_per_network: int = setting(0, read_count, "recipients an hour, of a /24 or a /64")
    recipients_per_sender: int = setting(0, read_count, "recipients an hour, of one reverse-path")


@frozen
class JudgingSettings:
    """[judging]"""

    authenticate: bool = setting(
        True, read_flag, "who sent it is found out of mail from strangers: SPF, DKIM, DMARC, ARC"
    )
    dmarc: str = setting(
        "obey", read_dmarc, "what a domain asks for mail that isn't its own: obey, junk, or note"
    )
    trusted_sealers: tuple[str, ...] = setting(
        (), read_names, "domains whose ARC seals are believed in the place of DMARC"
    )
    dmarc_reports: str = setting(
        "off", read_dmarc_reports, "domains that ask for it are told daily: off, collect, or send"
    )
    dmarc_reporter: str = setting(
        "", read_reporter, "address that reports come from; empty: postmaster of the first domain"
    )
    dmarc_organization: str = setting("", read_text, "whose reports; empty: node.hostname's")
    harmful: bool = setting(True, read_flag, "what strangers attach is looked at; see [harmful]")
    loopback: bool = setting(
        False, read_flag, "clients of this machine that don't sign in are judged, too"
    )
    subject_tag: str = setting(
        "[SPAM]", read_tag, "begins the Subject of unwanted mail for who wants that by POP3"
    )


@frozen
class LearningSettings:
    """[learning]"""

    enabled: bool = setting(
        True, read_flag, "moves into Junk and out of it teach, and mail of strangers is judged"
    )
    unwanted_from: float = setting(
        0.9, read_probability, "a mail that is so likely unwanted goes to Junk"
    )


@frozen
class HarmfulSettings:
    """[harmful]"""

    program: str = setting("refuse", read_harm, "a program")
    disguised_program: str = setting("refuse", read_harm, "one that looks like something else")
    archive_of_programs: str = setting("refuse", read_harm, "a zip with nothing else in it")
    program_in_archive: str = setting("unwanted", read_harm, "a zip with other files, too")
    macros: str = setting("unwanted", read_harm, "an Office document with macros")
    disk_image: str = setting("unwanted", read_harm, "an image of a disk")
    opens_programs: str = setting("unwanted", read_harm, "shortcuts, notebooks and such")
    broken_archive: str = setting("unwanted", read_harm, "a zip that can't be looked into")
    too_many_parts: str = setting("unwanted", read_harm, "more than is looked at")
    encrypted: str = setting("note", read_harm, "nobody can look into it")
    archive_in_archive: str = setting("note", read_harm, "it is not unpacked")


@frozen
class ClamdSettings:
    """[clamd]"""

    endpoint: str = setting("", read_text, "where clamd listens; empty: it is not asked")
    timeout: float = setting(30.0, read_duration, "for all of a mail")
    max_size: int = setting(25 * MIB, read_size, "larger mails are not given to it")
    on_failure: str = setting("defer", read_failure, "when it can't judge: pass or defer")
    on_too_large: str = setting("pass", read_failure, "what is too large for it: pass or defer")


@frozen
class RspamdSettings:
    """[rspamd]"""

    endpoint: str = setting("", read_text, "where Rspamd listens; empty: it is not asked")
    password: str = setting("", read_text, "of its worker, where that wants one", is_secret=True)
    timeout: float = setting(30.0, read_duration, "for all of a mail")
    max_size: int = setting(25 * MIB, read_size, "larger mails are not given to it")
    on_failure: str = setting("pass", read_failure, "when it can't judge: pass or defer")
    on_too_large: str = setting("pass", read_failure, "what is too large for it: pass or defer")


@frozen
class SpamdSettings:
    """[spamd]"""

    endpoint: str = setting("", read_text, "where spamd listens; empty: it is not asked")
    user: str = setting("", read_text, "whose preferences it takes")
    unwanted_at: float = setting(0.0, read_points, "points of what is unwanted; 0: as it says")
    refuse_at: float = setting(0.0, read_points, "points of what is refused; 0: never")
    timeout: float = setting(30.0, read_duration, "for all of a mail")
    max_size: int = setting(500 * 1000, read_size, "larger mails are not given to it")
    on_failure: str = setting("pass", read_failure, "when it can't judge: pass or defer")
    on_too_large: str = setting("pass", read_failure, "what is too large for it: pass or defer")


@frozen
class MilterSettings:
    """[milter]"""

    endpoints: tuple[str, ...] = setting((), read_list, "where milters listen")
    timeout: float = setting(30.0, read_duration, "of each, for all of a mail")
    max_size: int = setting(25 * MIB, read_size, "larger mails are not given to them")
    on_failure: str = setting("pass", read_failure, "when one can't judge: pass or defer")
    on_too_large: str = setting("pass", read_failure, "what is too large for it: pass or defer")


@frozen
class LogSettings:
    """[log]"""

    format: str = setting("auto", read_format, "json, text, or auto: text on a terminal")


@frozen
class PluginSettings:
    """[plugins]"""

    filters: tuple[str, ...] = setting(
        (), read_list, "content filters: twisted.plugin names or module:attribute"
    )
    checkers: tuple[str, ...] = setting((), read_list, "credential checkers: module:attribute")
    smtp_server: str = setting("", read_text, "subclass of SmtpServer: module:attribute")
    pop3_server: str = setting("", read_text, "subclass of Pop3Server: module:attribute")
    delivery: str = setting("", read_text, "wraps each delivery factory: module:attribute")


SECTIONS: Mapping[str, type] = {
    "node": NodeSettings,
    "listen": ListenSettings,
    "tls": TlsSettings,
    "limits": LimitSettings,
    "quota": QuotaSettings,
    "store": StoreSettings,
    "accounts": AccountSettings,
    "passwords": PasswordSettings,
    "second_factor": SecondFactorSettings,
    "guessing": GuessingSettings,
    "journal": JournalSettings,
    "audit": AuditSettings,
    "outbound": OutboundSettings,
    "web": WebSettings,
    "arrival": ArrivalSettings,
    "judging": JudgingSettings,
    "learning": LearningSettings,
    "harmful": HarmfulSettings,
    "clamd": ClamdSettings,
    "rspamd": RspamdSettings,
    "spamd": SpamdSettings,
    "milter": MilterSettings,
    "log": LogSettings,
    "plugins": PluginSettings,
}


def all_settings() -> Iterator[tuple[str, str, Any, str]]:
    """(section, key, default, about) of every setting there is."""
    for section, settings in SECTIONS.items():
        for attribute in attrs.fields(settings):
            yield section, attribute.name, attribute.default, attribute.metadata["about"]


def is_secret(section: str, key: str) -> bool:
    """Whether its value is shown to nobody."""
    return bool(attrs.fields_dict(SECTIONS[section])[key].metadata["is_secret"])
