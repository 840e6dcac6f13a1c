"""Tests of the plugin live_tests.py, with a suite of small tests and a table of its own."""
import os

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))

TABLE = """
from collections import namedtuple

CannotPass = namedtuple("CannotPass", "error reason")
CANNOT_PASS = {{
    "small": {{
        "test_small.py::test_fails_as_listed": CannotPass("^ValueError: as listed$", "reason"),
        "test_small.py::test_fails_in_another_way": CannotPass("^ValueError: as listed$", "reason"),
        "test_small.py::test_is_listed_and_passes": CannotPass("^ValueError: as listed$", "reason"),
        "test_small.py::test_is_listed_and_its_setup_fails": CannotPass("^ValueError: as listed$", "reason"),
        {unknown}
    }}
}}
ASKS_NOTHING = {{
    "small": {{
        "test_small.py::test_asks_nothing_as_listed": "reason",
        "test_small.py::test_is_listed_and_asks": "reason",
    }}
}}
"""

TESTS = """
import os
import pytest
from azure.core.pipeline.transport import HttpRequest, RequestsTransport

def ask():
    with RequestsTransport() as transport:
        url = os.environ["COMMUNICATION_LIVETEST_DYNAMIC_CONNECTION_STRING"].split(";")[0].split("=", 1)[1] + "chat/threads?api-version=2023-11-07"
        assert transport.send(HttpRequest("GET", url)).status_code == 401

def test_passes():
    ask()

def test_passes_and_asks_nothing():
    pass

def test_asks_nothing_as_listed():
    pass

def test_is_listed_and_asks():
    ask()

def test_fails():
    ask()
    raise ValueError("as listed")

def test_fails_as_listed():
    raise ValueError("as listed")

def test_fails_in_another_way():
    raise ValueError("another")

def test_is_listed_and_passes():
    ask()

@pytest.fixture
def broken():
    raise ValueError("as listed")

def test_is_listed_and_its_setup_fails(broken):
    ask()
"""


@pytest.fixture
def run(pytester, monkeypatch):
    def run(*arguments, unknown=""):
        pytester.makepyfile(expected=TABLE.format(unknown=unknown))
        pytester.mkdir("tests").joinpath("test_small.py").write_text(TESTS)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), HERE, os.path.join(HERE, "stand_in")]))
        return pytester.runpytest_subprocess("-p", "live_tests", "--live-suite", "small", "-v", *arguments, timeout=120)

    return run


def test_results_are_held_against_the_table(run):
    result = run()
    result.stdout.fnmatch_lines_random(
        [
            "*::test_passes PASSED*",
            "*::test_passes_and_asks_nothing FAILED*",
            "*::test_asks_nothing_as_listed PASSED*",
            "*::test_is_listed_and_asks FAILED*",
            "*::test_fails FAILED*",
            "*::test_fails_as_listed XFAIL*",
            "*::test_fails_in_another_way FAILED*",
            "*::test_is_listed_and_passes FAILED*",
            "*::test_is_listed_and_its_setup_fails ERROR*",
            "The expected failure is '^ValueError: as listed$' in the test itself, not 'ValueError: another' in its call.",
            "The expected failure is '^ValueError: as listed$' in the test itself, not 'ValueError: as listed' in its setup.",
        ]
    )
    result.assert_outcomes(passed=2, failed=5, errors=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_listed_test_that_does_not_exist_is_an_error(run):
    result = run(unknown='"test_small.py::test_no_more": CannotPass("", "reason"),')
    result.stderr.fnmatch_lines(["*small does not have: *test_small.py::test_no_more*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_selection_may_leave_out_listed_tests(run):
    result = run("-k", "test_passes and not nothing")
    result.assert_outcomes(passed=1, deselected=8)
    assert result.ret == pytest.ExitCode.OK
