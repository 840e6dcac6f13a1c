"""Tests of matrix.py: what a run must not let pass, and the pins."""
import json
import unittest

from matrix import RELEASES, Installation, judge, packages_of, rows_of

ROW = {
    "language": "python", "chat": "9.9.9", "identity": {"package": "azure-communication-identity", "release": "8.8.8"},
    "chat_versions": ["2031-01-01"], "identity_versions": ["2030-01-01"], "lane": "check", "postgres": False,
    "lacks": {"send message/html": "has no types"},
}
SPOKEN = {"chat": {"2031-01-01"}, "identity": {"2030-01-01"}}


def line(case, result):
    return {"operation": "send message", "case": case, "client": "sync", "result": result, "error": "why"}


class Judge(unittest.TestCase):
    def test_a_row_as_listed_is_right(self):
        self.assertEqual(judge(ROW, [line("text", "PASS"), line("html", "NA")], SPOKEN), [])

    def test_an_operation_stands_for_all_its_cases(self):
        row = dict(ROW, lacks={"send message": "has none"})
        self.assertEqual(judge(row, [line("text", "NA"), line("html", "NA")], SPOKEN), [])

    def test_an_unlisted_NA_is_found(self):
        (wrong,) = judge(ROW, [line("text", "NA"), line("html", "NA")], SPOKEN)
        self.assertIn("send message/text", wrong)

    def test_a_listed_lack_that_passes_is_found(self):
        (wrong,) = judge(ROW, [line("html", "PASS")], SPOKEN)
        self.assertIn("lacks send message/html", wrong)

    def test_a_listed_lack_that_fails_is_only_a_failure(self):
        self.assertEqual(judge(ROW, [line("html", "FAIL")], SPOKEN), [])

    def test_other_api_versions_are_found(self):
        lines = [line("html", "NA")]
        for spoken in ({"2031-01-01", "2021-03-07"}, {"2021-03-07"}, set()):
            (wrong,) = judge(ROW, lines, dict(SPOKEN, chat=spoken))
            self.assertIn("spoke chat", wrong)

    def test_a_row_without_chat_may_use_any_chat_version(self):
        row = {key: value for key, value in ROW.items() if not key.startswith("chat")}
        self.assertEqual(judge(row, [line("html", "NA")], dict(SPOKEN, chat={"2021-03-07"})), [])


class Rows(unittest.TestCase):
    def test_what_is_asked_for(self):
        alone = {"language": "python", "identity": {"package": "p", "release": "1"}, "lane": "all", "postgres": True}
        rows = [ROW, alone, dict(ROW, language="java")]
        self.assertEqual(rows_of(rows, "check", None, False), [ROW])
        self.assertEqual(rows_of(rows, "all", None, False), [ROW, alone])
        self.assertEqual(rows_of(rows, "all", None, True), [alone])
        self.assertEqual(rows_of(rows, "all", "9.9.9", False), [ROW])
        self.assertEqual(rows_of(rows, "all", "1", False), [alone])
        self.assertEqual(rows_of(rows, "all", "8.8.8", False), [])


class Pins(unittest.TestCase):
    def test_every_release_of_the_list_is_pinned_and_every_pin_is_used(self):
        rows = rows_of(json.loads(RELEASES.read_text()), "all", None, False)
        used = [pin for row in rows for pin in packages_of(row)]
        self.assertEqual(sorted(used), sorted(Installation().pins), "each release stands in one row")


if __name__ == "__main__":
    unittest.main()
