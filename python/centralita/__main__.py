"""``python -m centralita``: links one session, the QR code in the terminal, and prints its messages."""

from __future__ import annotations

import argparse
import asyncio
import sys

from . import CentralitaError, KeyFile, LinkKind, Message, Service, ServiceOptions, Session


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m centralita", description=__doc__)
    parser.add_argument("session", nargs="?", default="default", help="the session's id (default: %(default)s)")
    parser.add_argument(
        "--store", default="centralita.db", help="a file, or a mongodb:// URI (default: %(default)s)"
    )
    parser.add_argument("--key-file", help="the key file (default: beside the store)")
    parser.add_argument("--pair-code", metavar="PHONE", help="link by a code typed on the phone with this number")
    return parser.parse_args()


async def link(session: Session, phone: str | None) -> None:
    """Shows codes until the session is linked."""
    if phone is not None:
        print("type this on the phone:", await session.request_pair_code(phone), flush=True)
    async for step in session.link():
        if step.qr is not None and phone is None:
            print(step.qr.to_terminal(), "scan this with the phone", sep="\n", flush=True)
        elif step.kind is LinkKind.PASSKEY_CONFIRMATION:
            print("compare with the phone:", step.code, flush=True)
        elif step.kind is LinkKind.LINKED:
            print("linked", flush=True)
        elif step.is_last:
            raise step.error or CentralitaError("nobody used the code in time; start again for a new one")


async def run(args: argparse.Namespace) -> None:
    """Links, then prints messages until it is stopped."""
    options = ServiceOptions(store=args.store)
    if args.key_file:
        options["keys"] = KeyFile(args.key_file)
    async with Service(**options) as wa:

        @wa.on(Message)
        def show(message: Message) -> None:
            who = "me" if message.from_me else message.sender_name or message.sender
            what = message.text if message.text is not None else f"[{message.content.type}]"
            print(f"{message.timestamp:%H:%M:%S} {who}: {what}", flush=True)

        session = await wa.create_session(args.session)
        await link(session, args.pair_code)
        await wa.run_until_stopped()


def main() -> int:
    """The program; its exit code."""
    try:
        asyncio.run(run(arguments()))
    except CentralitaError as error:
        print(f"centralita: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
