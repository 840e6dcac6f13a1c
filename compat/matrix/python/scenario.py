"""scenario.py ROW KIND: takes one release through the cases and prints a line of JSON for each.

ROW is a row of compat/releases.json, KIND is sync or async. The release is on the module path. After the cases comes one more
line with the api-versions that were spoken. A failed case has the member "exchange" too, with its last request and answer.
"""
import json
import os
import sys
import time
import typing

if sys.version_info >= (3, 13):
    # Some packages of 2021 declare dictionaries with keyword arguments, which Python no longer takes: they could not be imported.
    _TypedDict = typing.TypedDict

    def _typed_dict(name, fields=None, /, *, total=True, **members):
        return _TypedDict(name, members if fields is None else fields, total=total)

    _typed_dict.__mro_entries__ = _TypedDict.__mro_entries__
    typing.TypedDict = _typed_dict

from cases import CASES, Stage
from sdk import SDK, Lacks


def run(on, function):
    """Returns the result of a case and its error text."""
    on.sdk.wire.exchanges.clear()
    on.sdk.wire.lose = None
    try:
        function(on)
    except Lacks as reason:
        return "NA", str(reason)
    except Exception as error:
        return "FAIL", "{}: {}".format(type(error).__name__, error)
    return "PASS", ""


def main():
    row, kind = json.loads(sys.argv[1]), sys.argv[2]
    endpoint = os.environ["CONFAB_ENDPOINT"]
    sdk = SDK(kind, row["identity"]["package"], "chat" in row, endpoint, os.environ["CONFAB_CONNECTION_STRING"])
    on = Stage(sdk, endpoint)
    for operation, name, chat, function in CASES:
        if chat and not sdk.has_chat:
            continue
        began = time.monotonic()
        result, error = run(on, function)
        line = {
            "language": "python",
            "chat": row.get("chat", ""),
            "identity": "{package} {release}".format(**row["identity"]),
            "operation": operation,
            "case": name,
            "client": kind,
            "result": result,
            "ms": round((time.monotonic() - began) * 1000),
            "error": error,
        }
        if result == "FAIL":
            line["exchange"] = sdk.wire.report()
        print(json.dumps(line), flush=True)
    sdk.close()
    print(json.dumps({api: sorted(spoken) for api, spoken in sdk.wire.api_versions.items()}), flush=True)


main()
