"""A plugin for pytest: with the first test that fails it prints an exchange from the server's record.

It is the last exchange of that test that the server refused, or else the last one. COMPAT_FAILING names the folder of the record.
"""

import json
import os
import time
from pathlib import Path

import pytest

_started = 0.0
_shown = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    global _started
    _started = time.time()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    global _shown
    report = (yield).get_result()
    if _shown or not report.failed:
        return
    _shown = True
    time.sleep(1)  # the server writes its record a moment after it answers
    report.sections.append(("the exchange (of %s)" % item.name, last_refusal(os.environ["COMPAT_FAILING"], _started)))


def last_refusal(folder, since):
    """Returns the text of the last exchange since a time that was refused, or else of the last one."""
    files = sorted((f for f in Path(folder).glob("**/*.json") if f.stat().st_mtime >= since), key=lambda f: f.stat().st_mtime)
    exchanges = [e for f in files for e in json.loads(f.read_text())["exchanges"]]
    if not exchanges:
        return "The server got no request during this test."
    refused = [e for e in exchanges if e["response"]["status"] >= 400]
    chosen = (refused or exchanges)[-1]
    request, response = chosen["request"], chosen["response"]
    query = "&".join("%s=%s" % q for q in (request["query"] or {}).items())
    text = lambda body: "" if body is None else "\n" + json.dumps(body, ensure_ascii=False)[:4000]
    return "%s %s?%s%s\n--\n%s%s" % (request["method"], request["path"], query, text(request["body"]), response["status"], text(response["body"]))
