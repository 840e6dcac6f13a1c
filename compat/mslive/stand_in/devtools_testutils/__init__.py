"""A stand-in for Microsoft's unpublished package of the same name, written from what the live tests import.

Microsoft's package starts a proxy that records requests, or plays recordings. This one has no proxy: is_live() is always true, the
decorators only call the test, and the functions that clean recordings do nothing.
"""
import functools

import pytest
from azure_devtools.scenario_tests import ReplayableTest


def is_live():
    return True


class AzureRecordedTestCase:
    """The base class of the test classes since chat 1.2.0."""

    @property
    def is_live(self):
        return is_live()

    def is_playback(self):
        return not is_live()


class _Scrubber:
    def register_name_pair(self, old, new):
        """Would replace a name in recordings."""


class AzureTestCase(ReplayableTest):
    """The base class of the test classes before chat 1.2.0, a unittest.TestCase."""

    def __init__(self, method_name):
        super().__init__(method_name)
        self.scrubber = _Scrubber()

    def is_playback(self):
        return not self.is_live


def recorded_by_proxy(test):
    """Returns a method that calls the test."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return test(*args, **kwargs)

    return run


@pytest.fixture(scope="session")
def test_proxy():
    """Would start the proxy."""


def _clean_recordings(*args, **kwargs):
    """Would tell the proxy what to replace in recordings."""


add_body_key_sanitizer = _clean_recordings
add_general_regex_sanitizer = _clean_recordings
add_general_string_sanitizer = _clean_recordings
add_header_regex_sanitizer = _clean_recordings
add_oauth_response_sanitizer = _clean_recordings
set_default_session_settings = _clean_recordings
