"""Tests of the judge: what a run must not let pass."""
import unittest

from matrix import judge, oldest_of, rows_of

ROW = {
    "language": "java", "chat": "9.9.9", "identity": {"package": "azure-communication-identity", "release": "8.8.8"},
    "chat_versions": ["2031-01-01"], "identity_versions": ["2030-01-01"], "lane": "check", "postgres": False,
    "lacks": {"send message/html": "has no types"},
}
SPOKEN = {"chat": {"2031-01-01"}, "identity": {"2030-01-01"}}


def line(case, result, client="sync"):
    return {"operation": "send message", "case": case, "client": client, "result": result, "error": "why"}


class Judge(unittest.TestCase):
    def test_a_row_as_listed_is_right(self):
        self.assertEqual(judge(ROW, [line("text", "PASS"), line("html", "NA")], SPOKEN), [])

    def test_one_kind_of_client_may_lack_it(self):
        self.assertEqual(judge(ROW, [line("html", "PASS"), line("html", "NA", "async")], SPOKEN), [])

    def test_an_unlisted_NA_is_found(self):
        (wrong,) = judge(ROW, [line("text", "NA"), line("html", "NA")], SPOKEN)
        self.assertIn("send message/text", wrong)

    def test_a_listed_lack_that_passes_is_found(self):
        (wrong,) = judge(ROW, [line("html", "PASS"), line("html", "PASS", "async")], SPOKEN)
        self.assertIn("lacks send message/html", wrong)

    def test_other_api_versions_are_found(self):
        for spoken in ({"2031-01-01", "2021-03-07"}, {"2021-03-07"}, set()):
            (wrong,) = judge(ROW, [line("html", "NA")], dict(SPOKEN, chat=spoken))
            self.assertIn("spoke chat", wrong)


class Rows(unittest.TestCase):
    ALONE = {"language": "java", "identity": {"package": "p", "release": "1"}, "lane": "all", "postgres": True}

    def test_what_is_asked_for(self):
        rows = [ROW, self.ALONE, dict(ROW, language="python")]
        self.assertEqual(rows_of(rows, "check", None, False), [ROW])
        self.assertEqual(rows_of(rows, "all", None, False), [ROW, self.ALONE])
        self.assertEqual(rows_of(rows, "all", None, True), [self.ALONE])
        self.assertEqual(rows_of(rows, "all", "9.9.9", False), [ROW])
        self.assertEqual(rows_of(rows, "all", "1", False), [self.ALONE])
        self.assertEqual(rows_of(rows, "all", "8.8.8", False), [])

    def test_the_scenario_is_compiled_against_the_first_chat_release(self):
        self.assertEqual(oldest_of([dict(ROW, language="python"), self.ALONE, ROW, dict(ROW, chat="10")]), ROW)


if __name__ == "__main__":
    unittest.main()
