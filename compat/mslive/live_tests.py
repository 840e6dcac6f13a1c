"""The pytest plugin for Microsoft's live tests: it gives them the server, and holds their results against expected.py."""
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import typing
import urllib.request

import certifi
import pytest
import unsigned
from devtools_testutils import test_proxy  # noqa: F401, a fixture that the archives' conftest.py asks for

from expected import ASKS_NOTHING, CANNOT_PASS

NEEDED = ("CONFAB_ENDPOINT", "CONFAB_CONNECTION_STRING", "CONFAB_CA_FILE")
TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

if sys.version_info >= (3, 13):
    # The packages 1.0.0 to 1.1.0 declare dictionaries with keyword arguments, which Python no longer takes: they could not be
    # imported.
    _TypedDict = typing.TypedDict

    def _typed_dict(name, fields=None, /, *, total=True, **members):
        return _TypedDict(name, members if fields is None else fields, total=total)

    _typed_dict.__mro_entries__ = _TypedDict.__mro_entries__
    typing.TypedDict = _typed_dict


def pytest_addoption(parser):
    parser.addoption("--live-suite", required=True, help="the name of the suite in expected.py, such as chat-1.2.0")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    """Sets the variables from which the tests take the server."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise pytest.UsageError("{} not set: start these suites with compat/mslive/run.".format(" and ".join(missing)))
    for name in (
        "AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING",  # 1.0.0b5 and 1.0.0
        "COMMUNICATION_LIVETEST_DYNAMIC_CONNECTION_STRING",
        "COMMUNICATION_LIVETEST_STATIC_CONNECTION_STRING",
    ):
        os.environ[name] = os.environ["CONFAB_CONNECTION_STRING"]
    os.environ["COMMUNICATION_M365_APP_ID"] = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9"
    os.environ["COMMUNICATION_EXPIRED_TEAMS_TOKEN"] = unsigned.token(exp=1)


def pytest_configure(config):
    config.addinivalue_line("markers", "live_test_only: Microsoft's mark of tests that need a server.")


def pytest_sessionstart(session):
    """Ends the run if the SDKs do not verify certificates: the probe must be refused without our CA."""
    probe = os.path.join(os.path.dirname(__file__), "tls_probe.py")
    environment = {name: value for name, value in os.environ.items() if name not in TRUST}
    with tempfile.TemporaryDirectory() as no_certificates:  # not the system's: it may have our CA
        environment.update(REQUESTS_CA_BUNDLE=certifi.where(), SSL_CERT_FILE=certifi.where(), SSL_CERT_DIR=no_certificates)
        done = subprocess.run([sys.executable, probe], env=environment, stdout=subprocess.PIPE, timeout=60, check=True)
    for transport, outcome in json.loads(done.stdout).items():
        if "CERTIFICATE_VERIFY_FAILED" not in outcome:
            pytest.exit(f"{transport} does not verify certificates: without our CA it says {outcome!r}", returncode=1)


def pytest_collection_modifyitems(config, items):
    suite = config.getoption("--live-suite")
    cannot_pass, asks_nothing = CANNOT_PASS.get(suite, {}), ASKS_NOTHING.get(suite, {})
    for item in items:
        item.name_in_table = item.path.name + "::" + item.nodeid.split("::", 1)[1]
        if item.name_in_table in cannot_pass:
            item.add_marker(pytest.mark.xfail(strict=True, reason=cannot_pass[item.name_in_table].reason))
    if not config.option.keyword:
        unknown = {*cannot_pass, *asks_nothing} - {item.name_in_table for item in items}
        if unknown:
            raise pytest.UsageError(f"expected.py names tests that {suite} does not have: {sorted(unknown)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a test that passed without a request to the server, unless expected.py says so of it."""
    asks_nothing = item.name_in_table in ASKS_NOTHING.get(item.config.getoption("--live-suite"), {})
    before = requests_so_far()
    result = yield
    asked = requests_so_far() - before
    if not asked and not asks_nothing:
        pytest.fail("the test passed without a request to the server", pytrace=False)
    if asked and asks_nothing:
        pytest.fail("expected.py says of this test that it asks nothing, but it sent requests", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    """Fails a test that expected.py lists if it failed in another way than the table says."""
    report = yield
    entry = CANNOT_PASS.get(item.config.getoption("--live-suite"), {}).get(item.name_in_table)
    if entry and call.excinfo and hasattr(report, "wasxfail"):
        error = f"{call.excinfo.typename}: {call.excinfo.value}"
        if call.when != "call" or not re.search(entry.error, error):
            del report.wasxfail
            report.outcome = "failed"
            told = f"The expected failure is {entry.error!r} in the test itself, not {error!r} in its {call.when}."
            report.sections.append(("expected.py", told))
    return report


def requests_so_far():
    """Returns the number of chat and identity requests that the server has received."""
    context = ssl.create_default_context(cafile=os.environ["CONFAB_CA_FILE"])
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with direct.open(os.environ["CONFAB_ENDPOINT"] + "/dev/faults", timeout=60) as answer:
        return sum(json.load(answer)["requests"].values())
