"""A stand-in for the package on which devtools_testutils stood until 2022, written from what the live tests import."""
import unittest


class RecordingProcessor:
    """Would change requests and responses before they are recorded."""


class ReplayableTest(unittest.TestCase):
    FILTER_HEADERS = []

    is_live = True

    def __init__(self, method_name):
        super().__init__(method_name)
        self.recording_processors = []
