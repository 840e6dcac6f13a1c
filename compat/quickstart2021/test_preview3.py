"""Checks every operation of api-version 2020-11-01-preview3 with azure-communication-chat 1.0.0b4."""
import json
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(scope="module")
def said():
    done = subprocess.run(
        [str(HERE / ".venv-preview3" / "bin" / "python"), str(HERE / "preview3.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def body(said):
    """Returns a function from the name of a call to the JSON of its last response."""
    return lambda name: json.loads(said["answers"][name][-1]["body"])


STATUSES = {
    "create": ("POST", 201),
    "create, refused": ("POST", 201),
    "get thread": ("GET", 200),
    "get thread, stranger": ("GET", 403),
    "update topic": ("PATCH", 204),
    "list threads": ("GET", 200),
    "send message": ("POST", 201),
    "get message": ("GET", 200),
    "update message": ("PATCH", 204),
    "send receipt": ("POST", 200),
    "list receipts": ("GET", 200),
    "typing": ("POST", 200),
    "delete message": ("DELETE", 204),
    "add participant": ("POST", 201),
    "add participants, refused": ("POST", 201),
    "list participants": ("GET", 200),
    "remove participant": ("DELETE", 204),
    "list messages": ("GET", 200),
    "delete thread": ("DELETE", 204),
    "get thread, deleted": ("GET", 404),
}


@pytest.mark.parametrize("name", STATUSES)
def test_every_operation_answers_as_its_version_does(said, name):
    answer = said["answers"][name][0]
    assert (answer["method"], answer["status"]) == STATUSES[name], answer["body"]
    assert "api-version=2020-11-01-preview3" in answer["url"]


def test_the_sdk_is_content(said):
    assert sorted(said["raised"]) == ["create, refused", "get thread, deleted", "get thread, stranger"], said["raised"]


def test_create(said, body):
    answer = body("create")
    assert list(answer) == ["chatThread"]
    thread = answer["chatThread"]
    assert list(thread) == ["id", "topic", "createdOn", "createdBy"]
    assert (thread["id"], thread["topic"], thread["createdBy"]) == (said["thread"], "lunch", said["alice"])
    assert re.fullmatch(TIME, thread["createdOn"])


def test_the_same_repeatability_request_id_gives_the_same_thread(said):
    assert said["again"] == said["thread"]


def test_a_refused_participant_is_told_under_errors(said, body):
    answer = body("create, refused")
    assert list(answer) == ["chatThread", "errors"]
    (refused,) = answer["errors"]["invalidParticipants"]
    assert (refused["target"], refused["code"]) == (said["nobody"], "404")
    assert said["raised"]["create, refused"].startswith("RuntimeError: ['participant {} failed".format(said["nobody"]))
    (refused,) = body("add participants, refused")["errors"]["invalidParticipants"]
    assert (refused["target"], refused["code"]) == (said["nobody"], "404")
    assert body("add participant") == {}


def test_get_thread(said, body):
    thread = body("get thread")
    # Only early versions of preview3 had "participants".
    assert list(thread) == ["id", "topic", "createdOn", "createdBy"]
    assert (thread["id"], thread["createdBy"]) == (said["thread"], said["alice"])


def test_list_threads(said, body):
    items = body("list threads")["value"]
    assert items[0]["id"] == said["thread"] and items[0]["topic"] == "dinner"
    assert [list(item) for item in items] == [["id", "topic", "lastMessageReceivedOn"]] * 2


def test_get_message(said, body):
    message = body("get message")
    assert list(message) == [
        "id",
        "type",
        "sequenceId",
        "version",
        "content",
        "senderDisplayName",
        "createdOn",
        "senderId",
    ]
    assert (message["type"], message["content"], message["senderId"]) == ("text", {"message": "hello"}, said["alice"])


def test_list_messages(said, body):
    pages = [json.loads(page["body"])["value"] for page in said["answers"]["list messages"]]
    messages = [message for page in pages for message in page]
    assert [(message["type"], message["sequenceId"]) for message in messages] == [
        ("participantRemoved", "8"),
        ("participantAdded", "7"),
        ("text", "6"),
        ("topicUpdated", "3"),
        ("topicUpdated", "2"),
        ("participantAdded", "1"),
    ]
    removed, added, stone, topic, _, creation = messages
    his = {"id": said["bob"], "displayName": "Bob", "shareHistoryTime": "1970-01-01T00:00:00Z"}
    for message in (removed, added):
        assert message["content"] == {"participants": [his], "initiator": said["alice"]}
        assert "senderId" not in message
    assert topic["content"] == {"topic": "dinner", "initiator": said["alice"]}
    hers = {"id": said["alice"], "displayName": "Alice", "shareHistoryTime": "2021-03-10T01:02:03Z"}
    assert creation["content"] == {"participants": [hers], "initiator": said["alice"]}
    assert (stone["content"], stone["senderId"]) == ({"message": ""}, said["alice"])
    assert re.fullmatch(TIME, stone["deletedOn"])


def test_list_receipts(said, body):
    (receipt,) = body("list receipts")["value"]
    assert list(receipt) == ["senderId", "chatMessageId", "readOn"]
    assert receipt["senderId"] == said["alice"]


def test_list_participants(said):
    pages = [json.loads(page["body"])["value"] for page in said["answers"]["list participants"]]
    assert pages == [
        [{"id": said["alice"], "displayName": "Alice", "shareHistoryTime": "2021-03-10T01:02:03Z"}],
        [{"id": said["bob"], "displayName": "Bob", "shareHistoryTime": "1970-01-01T00:00:00Z"}],
    ]


@pytest.mark.parametrize(
    "name, code, message",
    [
        (
            "get thread, stranger",
            "Forbidden",
            "The initiator doesn't have the permission to perform the requested operation.",
        ),
        ("get thread, deleted", "NotFound", "The specified thread id was not found."),
    ],
)
def test_a_refusal_comes_in_the_envelope_of_its_version(body, name, code, message):
    assert body(name)["Error"] == {"Code": code, "Message": message, "Details": []}
