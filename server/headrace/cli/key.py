"""`headrace key`: makes an API key, and the lines that let a server know it."""

import argparse
import hashlib
import secrets

PREFIX = "hr_"
SECRET_BYTES = 32

EPILOG = """\
The key is shown once and kept nowhere: give it to whoever calls, and the lines below it to the access
file (docs/security.md). A caller sends it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; headrace's own
commands take it from --api-key or HEADRACE_API_KEY.

examples:
  headrace key backend --role scorer
  headrace key nightly-report --role reader --expires 2027-01-31
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "headrace key NAME [--role ROLE ...] [--expires DATE]"
    parser.epilog = EPILOG
    parser.add_argument("name", metavar="NAME", help="whose key it is")
    parser.add_argument(
        "--role", action="append", default=[], metavar="ROLE", help="a role of the access file"
    )
    parser.add_argument("--expires", metavar="DATE", help="the first day on which it no longer holds")


def run(arguments: argparse.Namespace) -> int:
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    print(f"key: {key}\n")
    print("keys:")
    print(f"  - name: {arguments.name}")
    print(f"    sha256: {hashlib.sha256(key.encode()).hexdigest()}")
    print(f"    roles: [{', '.join(arguments.role)}]")
    if arguments.expires:
        print(f"    expires: {arguments.expires}")
    return 0
