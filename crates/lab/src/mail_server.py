# A mail server on the loopback, for tests: takes mails, writes them down as lines of JSON, refuses what it is told to.
import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

options = json.loads(sys.argv[2])
folder = os.path.dirname(sys.argv[0])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in options["refused"]:
            return "550 5.1.1 there is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or options["tls"] == "tls",
            "authenticated": session.authenticated,
            "data": envelope.content.decode("utf-8", "replace"),
        }
        with open(os.path.join(folder, "mails"), "a") as out:
            out.write(json.dumps(mail) + "\n")
            out.flush()
            os.fsync(out.fileno())
        return "250 OK"


def authenticator(server, session, envelope, mechanism, data):
    known = options["user"] and isinstance(data, LoginPassword)
    if known and [data.login.decode(), data.password.decode()] == options["user"]:
        return AuthResult(success=True)
    return AuthResult(success=False, handled=False)


async def main():
    context = None
    if options["tls"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, "tls", "server.pem"))
    starttls = options["tls"] == "starttls"

    def session():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticator,
            auth_required=bool(options["user"]),
            auth_require_tls=starttls,
        )

    at_once = context if options["tls"] == "tls" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", options["port"], ssl=at_once)
    with open(os.path.join(folder, "listens"), "w") as out:
        out.write("yes")
    await server.serve_forever()


asyncio.run(main())
