"""Runs start-chat.py, the document's blocks in one program, as the document says: python start-chat.py"""
import os
import re
import subprocess
import sys
from pathlib import Path

import certifi

PROGRAM = Path(__file__).parent / "start-chat.py"
TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

THREAD = r"\{'additional_properties': \{\}, 'id': '(?P<%s>19:[\w-]+@thread\.v2)', 'topic': 'test topic', "
TIME = r"datetime\.datetime\(\d{4}, .*\)"
THREAD += "'deleted_on': None, 'last_message_received_on': " + TIME + r"\}"
AN_OBJECT = r"<azure\.communication\.chat\.{} object at 0x[0-9a-f]+>".format

PRINTED = [
    "Azure Communication Services - Chat Quickstart",
    THREAD % "second",
    THREAD % "first",
    r"Message sent: id:  (?P<enum>\d+)",
    r"Message sent: id:  (?!(?P=enum))\d+",
    r"ChatMessage: Id= \d+ ; Content= hello world",
    r"ChatMessage: Id= \d+ ; Content= None",
    r"ChatMessage: Id= \d+ ; Content= None",
    "Updated topic:  updated thread topic",
    r"Updated message content:  Hello! I am updated content",
    "ChatMessageReadReceipt:  " + AN_OBJECT(r"_models\.ChatMessageReadReceipt"),
    "Sender " + AN_OBJECT(r"_shared\.models\.CommunicationUserIdentifier"),
    r"Message Id \d+",
    r"Read On Timestamp \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00",
]


def run(alice, environment):
    # The prerequisites of the document: a user and its token.
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=dict(environment, ACCESS_TOKEN=alice.token, USER_ID=alice.id),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr  # a weak check: the program catches every Exception
    return done


def test_the_program_runs_to_its_end(alice):
    done = run(alice, os.environ)
    assert "Exception:" not in done.stdout
    assert re.fullmatch("\n".join(PRINTED) + "\n", done.stdout), done.stdout + done.stderr


def test_without_our_ca_the_certificate_is_refused(alice, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in TRUST}
    done = run(alice, dict(environment, REQUESTS_CA_BUNDLE=certifi.where(), SSL_CERT_DIR=str(tmp_path)))
    assert "Exception:" in done.stdout
    assert "CERTIFICATE_VERIFY_FAILED" in done.stdout


def test_only_the_last_participants_are_left(alice):
    """Checks the program's last thread: it has the two users that were added last, and not the removed one."""
    run(alice, os.environ)
    newest = next(iter(alice.chat.list_chat_threads()))
    people = [(one.user.identifier, one.display_name) for one in alice.thread(newest.id).list_participants()]
    assert people[0] == (alice.id, None)
    assert [name for _, name in people[1:]] == ["Fred Flinstone"] * 2
