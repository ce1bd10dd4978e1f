"""`mailnode.web.guard` and `web`: who may ask what, from where, and what strangers can't do."""

from __future__ import annotations

import re
from typing import Any

from attrs import define

from mailnode.web.guard import safe_next
from mailnode.web.requests import SECURITY_HEADERS
from mailnode.web.routes import Answer, Need, Route
from tests.unit.web_case import PASSWORD, WebCase


@define(eq=False)
class Trials:
    """Pages that only tests have."""

    def routes(self) -> list[Route]:
        return [
            Route("/trial/admin", ("GET", "POST"), self.show, "x", Need.ADMIN),
            Route("/trial/broken", ("GET",), self.broken, "x", Need.NOBODY),
            Route("/api/v1/trial", ("GET", "POST"), self.show, "x", scope="read"),
            Route("/api/v1/trial-admin", ("GET",), self.show, "x", Need.ADMIN, "admin"),
            Route("/trial/<path:rest>/end", ("GET",), self.show, "x", Need.NOBODY),
        ]

    async def show(self, visit: Any, rest: str = "") -> Answer:
        return Answer(f"for {visit.visitor.account.address if visit.visitor else 'nobody'} {rest}")

    async def broken(self, visit: Any) -> Answer:
        raise ZeroDivisionError("a secret")


class GuardTests(WebCase):
    more_pages = (Trials(),)

    def example(self, route: Route) -> str:
        path = re.sub(r"<int:\w+>", "1", route.path)
        path = path.replace("<path:name>", "app.css").replace("<path:rest>", "a/b")
        return re.sub(r"<\w+>", "00", path)

    def test_every_route_is_for_those_alone_whom_it_names(self) -> None:
        self.assertGreater(len(self.web.routes), 14)
        for who, level in (("", Need.NOBODY), ("bob", Need.USER), ("alice", Need.ADMIN)):
            for route in self.web.routes:
                for verb in route.methods:
                    self.jar.clear()
                    csrf = self.ask("/sign-in").csrf
                    if who:
                        self.sign_in(who)
                        csrf = self.csrf()
                    if route.need is Need.NOBODY:
                        csrf = self.ask("/sign-in").csrf
                    form = {"csrf": csrf} if verb == "POST" else None
                    reply = self.ask(self.example(route), form=form, verb=verb)
                    if level >= route.need:
                        let_in = reply.status not in (403, 405)
                        let_in = let_in and (reply.status != 401 or route.path == "/sign-in")
                        self.assertTrue(let_in, (who, verb, route.path, reply.status))
                        self.assertNotIn("/sign-in?next=", reply.header("Location"))
                    elif who:
                        self.assertEqual(403, reply.status, (who, verb, route.path))
                    elif verb == "GET" and not route.path.startswith("/api/"):
                        self.assertEqual(303, reply.status, route.path)
                        self.assertTrue(reply.header("Location").startswith("/sign-in"))
                    else:
                        self.assertEqual(401, reply.status, (verb, route.path))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_every_unsafe_route_refuses_who_says_not_what_its_page_was_given(self) -> None:
        self.sign_in()
        others, self.jar = self.jar, {}
        self.sign_in()
        theirs, self.jar = self.csrf(), others
        unsafe = [route for route in self.web.routes if route.is_unsafe]
        self.assertGreater(len(unsafe), 6)
        for route in unsafe:
            for csrf in ("", "x", theirs):
                reply = self.ask(self.example(route), form={"csrf": csrf})
                self.assertEqual(403, reply.status, route.path)
                reply = self.ask(
                    self.example(route), f"X-CSRF-Token: {csrf or '0'}", verb="POST", body=b""
                )
                self.assertEqual(403, reply.status, route.path)

    def test_a_request_from_another_origin_is_refused_whatever_it_says(self) -> None:
        self.sign_in()
        csrf = self.csrf()
        for header in (
            "Origin: http://evil.example",
            "Origin: null",
            "Origin: https://localhost:8080",
            "Origin: http://localhost:8081",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ):
            reply = self.ask("/settings/sessions/end", header, form={"csrf": csrf})
            self.assertEqual(403, reply.status, header)
        for header in ("Origin: http://localhost:8080", "Sec-Fetch-Site: same-origin"):
            reply = self.ask("/settings/sessions/end", header, form={"csrf": csrf})
            self.assertEqual(303, reply.status, header)

    def test_a_name_that_is_not_ours_is_answered_421(self) -> None:
        for host in ("evil.example", "localhost.evil.example", "mx.example.test.evil.example",
                     "", "a b", "mx.example.test@evil"):  # fmt: skip
            self.assertEqual(421, self.ask("/sign-in", host=host).status, host)
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8080", "192.0.2.7",
                     "mx.example.test", "MAIL.example.test.:443", "a.localhost"):  # fmt: skip
            self.assertEqual(200, self.ask("/sign-in", host=host).status, host)
        self.assertEqual(200, self.ask("/livez", host="anything").status)

    def test_two_names_are_none(self) -> None:
        reply = self.ask("/sign-in", "Host: localhost", host="evil.example")
        self.assertEqual(421, reply.status)

    def test_a_number_that_nothing_can_have_is_not_there(self) -> None:
        self.sign_in()
        csrf = self.csrf()
        for number in (1 << 63, 10**40):
            reply = self.ask(f"/settings/tokens/{number}/revoke", form={"csrf": csrf})
            self.assertEqual(404, reply.status)

    def test_nobody_signs_in_in_clear_but_programs_of_this_machine(self) -> None:
        there = "192.0.2.7"
        reply = self.ask("/sign-in", client=there)
        self.assertIn("needs TLS", reply.text)
        self.assertNotIn('name="password"', reply.text)
        form = {"csrf": reply.csrf, "name": "alice", "password": PASSWORD}
        self.assertEqual(403, self.ask("/sign-in", form=form, client=there).status)
        self.assertEqual([], self.portal.asked)
        self.assertEqual(303, self.sign_in(client=there, tls=True).status)
        self.assertEqual(200, self.ask("/settings", client=there, tls=True).status)

    def test_a_session_of_this_machine_does_not_count_elsewhere_in_clear(self) -> None:
        self.sign_in()
        self.assertEqual(200, self.ask("/settings").status)
        self.assertEqual(403, self.ask("/settings", client="192.0.2.7").status)
        self.assertEqual(403, self.ask("/settings", "X-Forwarded-For: 127.0.0.1").status)

    def test_a_proxy_is_believed_where_it_is_one_of_ours(self) -> None:
        brought = ("X-Forwarded-For: 198.51.100.1, 192.0.2.9", "X-Forwarded-Proto: https")
        self.assertIn("needs TLS", self.ask("/sign-in", *brought).text)
        self.proxies.add("127.0.0.1")
        reply = self.ask("/sign-in", *brought)
        self.assertIn('name="password"', reply.text)
        self.assertTrue(reply.header("Strict-Transport-Security"))
        form = {"csrf": reply.csrf, "name": "alice", "password": PASSWORD}
        self.assertEqual(303, self.ask("/sign-in", *brought, form=form).status)
        self.assertEqual("192.0.2.9", self.portal.asked[0].client)
        self.assertTrue(any(name.startswith("__Host-") for name in self.jar))
        for lone in ("X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: x", "Via: 1.1 x"):
            self.assertIn("needs TLS", self.ask("/sign-in", lone).text, lone)

    def test_cookies_are_out_of_reach_of_scripts_and_other_hosts(self) -> None:
        self.jar.clear()
        clear = self.sign_in().header("Set-Cookie")
        for part in ("mailnode-8080=", "; HttpOnly", "; SameSite=Lax", "; Path=/", "Max-Age="):
            self.assertIn(part, clear)
        self.assertNotIn("Secure", clear)
        secure = self.sign_in(tls=True).header("Set-Cookie")
        for part in ("__Host-mailnode=", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Secure"):
            self.assertIn(part, secure)
        self.assertNotIn("Domain", secure)

    def test_neither_are_those_of_who_is_not_signed_in_yet_and_of_the_browser(self) -> None:
        for tls, prefix in ((False, "mailnode-"), (True, "__Host-mailnode-")):
            self.jar.clear()
            page = self.ask("/sign-in", tls=tls)
            form = {"csrf": page.csrf, "name": "bob", "password": PASSWORD}
            reply = self.ask("/sign-in", form=form, tls=tls)
            visit, (device,) = page.header("Set-Cookie"), reply.headers("Set-Cookie")[1:]
            for cookie in (visit, device):
                self.assertTrue(cookie.startswith(prefix), cookie)
                for part in ("; HttpOnly", "; SameSite=Strict", "; Path=/"):
                    self.assertIn(part, cookie)
                self.assertEqual(tls, "; Secure" in cookie)
                self.assertNotIn("Domain", cookie)

    def test_each_sign_in_has_a_new_session(self) -> None:
        self.sign_in()
        first = dict(self.jar)
        self.sign_in()
        self.assertNotEqual(first["mailnode-8080"], self.jar["mailnode-8080"])

    def test_every_answer_has_the_headers_that_keep_it_safe(self) -> None:
        self.sign_in()
        replies = [
            self.ask(path, verb=verb)
            for verb in ("GET", "HEAD", "PUT")
            for path in ("/livez", "/metrics", "/settings", "/sign-in", "/nowhere", "/",
                         "/trial/broken", ASSET, "/api/v1/trial")
        ]  # fmt: skip
        icon = self.ask("/favicon.ico")  # mails ask for it on pages that have no origin
        self.assertEqual(["cross-origin"], icon.headers("Cross-Origin-Resource-Policy"))
        replies.append(self.ask("/sign-in", host="evil"))
        replies.append(self.ask("/sign-in", verb="POST", body=b"x" * 70_000))
        for reply in replies:
            for name, value in SECURITY_HEADERS:
                self.assertEqual([value], reply.headers(name), reply)
            self.assertEqual("mailnode", reply.header("Server"))
            self.assertEqual("", reply.header("Strict-Transport-Security"))
        self.assertTrue(self.ask("/sign-in", tls=True).header("Strict-Transport-Security"))
        policy = dict(SECURITY_HEADERS)["Content-Security-Policy"]
        self.assertNotIn("unsafe", policy)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_a_bug_shows_nothing_of_itself_and_the_log_has_it(self) -> None:
        reply = self.ask("/trial/broken")
        self.assertEqual(500, reply.status)
        self.assertNotIn("secret", reply.text)
        self.assertNotIn("Traceback", reply.text)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_what_is_not_there_is_404_and_what_can_not_be_done_is_405_with_what_can(self) -> None:
        for path in ("/nowhere", "//livez", "/static/x/../../setup.cfg",
                     "/static/x/%2e%2e/vendor", "/static/x/base.html"):  # fmt: skip
            self.assertEqual(404, self.ask(path).status, path)
        for path in ("/%ff", "nowhere", "*", "http://localhost/sign-in"):
            self.assertEqual(400, self.ask(path).status, path)
        reply = self.ask("/settings/password")
        self.assertEqual((405, "POST"), (reply.status, reply.header("Allow")))

    def test_pages_are_not_kept_by_browsers(self) -> None:
        self.sign_in()
        self.assertEqual(["no-store"], self.ask("/settings").headers("Cache-Control"))


ASSET = "/static/x/app.css"


class TokenTests(WebCase):
    more_pages = (Trials(),)

    def token(self, *scopes: str, account_id: int = 1) -> str:
        made = self.guests.make_token(account_id, "x", scopes, None)
        try:
            made.send(None)
        except StopIteration as done:
            return f"Authorization: Bearer {done.value[0]}"
        raise AssertionError

    def test_it_does_what_its_scopes_say_and_opens_no_page(self) -> None:
        reads, sends = self.token("read"), self.token("send", "manage")
        self.assertEqual(200, self.ask("/api/v1/trial", reads).status)
        self.assertEqual(403, self.ask("/api/v1/trial", sends).status)
        self.assertEqual(403, self.ask("/settings", self.token("read", "admin")).status)

    def test_it_needs_no_csrf_for_no_browser_sends_it_by_itself(self) -> None:
        reply = self.ask("/api/v1/trial", self.token("read"), verb="POST", body=b"{}")
        self.assertEqual(200, reply.status)
        self.sign_in()
        self.assertEqual(403, self.ask("/api/v1/trial", verb="POST", body=b"{}").status)
        csrf = f"X-CSRF-Token: {self.csrf()}"
        self.assertEqual(200, self.ask("/api/v1/trial", csrf, verb="POST", body=b"{}").status)

    def test_one_of_no_administrator_administers_nothing(self) -> None:
        self.assertEqual(200, self.ask("/api/v1/trial-admin", self.token("admin")).status)
        bobs = self.token("admin", account_id=2)
        self.assertEqual(403, self.ask("/api/v1/trial-admin", bobs).status)
        self.assertEqual(403, self.ask("/api/v1/trial-admin", self.token("read")).status)

    def test_one_that_is_none_is_401_with_a_problem_whatever_cookie_comes_along(self) -> None:
        self.sign_in()
        reply = self.ask("/api/v1/trial", "Authorization: Bearer mailnode_nothing")
        self.assertEqual(401, reply.status)
        self.assertEqual("application/problem+json", reply.header("Content-Type"))
        self.assertIn('"status": 401', reply.text)
        self.assertTrue(reply.header("WWW-Authenticate").startswith("Bearer"))

    def test_one_that_came_in_clear_from_elsewhere_is_refused(self) -> None:
        token = self.token("read")
        self.assertEqual(403, self.ask("/api/v1/trial", token, client="192.0.2.1").status)
        reply = self.ask("/api/v1/trial", token, client="192.0.2.1", tls=True)
        self.assertEqual(200, reply.status)


class NextTests(WebCase):
    def test_a_sign_in_leads_to_a_path_of_ours_alone(self) -> None:
        for path in ("//evil.example", "/\\evil.example", "https://evil.example", "evil", "",
                     "/a\r\nSet-Cookie: x", "/\u2028", "/ x", "/" + "x" * 2000):  # fmt: skip
            self.assertEqual("", safe_next(path), path)
        for path in ("/", "/settings", "/mail/1?q=%20&b#c"):
            self.assertEqual(path, safe_next(path))
        csrf = self.ask("/sign-in").csrf
        form = {"csrf": csrf, "name": "bob", "password": PASSWORD}
        for given, leads in (("//evil.example", "/"), ("/settings?a=b", "/settings?a=b")):
            reply = self.ask("/sign-in", form=form | {"next": given})
            self.assertEqual((303, leads), (reply.status, reply.header("Location")))

    def test_who_must_sign_in_first_gets_to_where_he_wanted(self) -> None:
        reply = self.ask("/settings?a=b")
        self.assertEqual("/sign-in?next=/settings%3Fa%3Db", reply.header("Location"))
        self.assertIn('value="/settings?a=b"', self.ask(reply.header("Location")).text)

    def test_a_part_of_a_page_says_that_the_browser_must_sign_in(self) -> None:
        reply = self.ask("/settings", "HX-Request: true")
        self.assertEqual((401, "/sign-in"), (reply.status, reply.header("HX-Redirect")))
