"""Tests the clock and the faults of a development server, as docs/testing.md describes them.

The clock cannot be moved back, and faults apply to the next requests of any client. So these tests use a separate server,
which ../run starts, and the rest of the suite does not include them.
"""
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError, ServiceResponseError

DEV = os.environ["CONFAB_ENDPOINT"] + "/dev/"


def order(what, **body):
    answer = requests.post(DEV + what, json=body, timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def faults_left():
    return requests.get(DEV + "faults", timeout=10).json()["faults"]


@pytest.fixture(autouse=True)
def no_faults_left():
    yield
    requests.delete(DEV + "faults", timeout=10).raise_for_status()


def test_a_token_expires_and_a_new_one_is_good(sdk, identity, alice, thread):
    order("clock", advance="25h")

    with pytest.raises(ClientAuthenticationError) as raised:
        thread.get_properties()
    assert raised.value.status_code == 401

    fresh = identity.get_token(alice.user, ["chat"])
    again = sdk.thread_client(sdk.chat_client(fresh.token), thread.thread_id)
    assert again.get_properties().topic == "lunch"


def test_a_send_that_is_refused_twice_is_repeated_by_the_sdk(thread):
    order("faults", operation="send message", status=429, retryAfter=1, times=2)

    sent = thread.send_message("Where do we eat?").id

    assert faults_left() == []
    assert [one.id for one in thread.list_messages() if one.type == "text"] == [sent]


def test_a_refusal_that_stays_is_raised(thread):
    order("faults", operation="send message", status=429, times="always")

    with pytest.raises(HttpResponseError) as raised:
        thread.send_message("Where do we eat?")

    assert (raised.value.status_code, raised.value.error.code) == (429, "TooManyRequests")


def test_a_create_whose_answer_is_lost_makes_one_thread(alice):
    order("faults", operation="create thread", drop="after")
    token = str(uuid.uuid4())

    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        alice.chat.create_chat_thread("lunch", idempotency_token=token)
    again = alice.chat.create_chat_thread("lunch", idempotency_token=token)

    assert [one.id for one in alice.chat.list_chat_threads()] == [again.chat_thread.id]


def test_a_create_that_never_arrived_makes_no_thread(alice):
    order("faults", operation="create thread", drop="before", times="always")

    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        alice.chat.create_chat_thread("lunch")

    assert list(alice.chat.list_chat_threads()) == []


@pytest.mark.parametrize(
    "what, body, words",
    [
        ("clock", {"advance": "-1h"}, "negative"),
        ("clock", {"advance": "tomorrow"}, "not a duration"),
        ("faults", {"operation": "send_message", "status": 500}, 'did you mean "send message"?'),
        ("faults", {"status": 500, "time": 2}, 'no member "time"'),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(what, body, words):
    answer = requests.post(DEV + what, json=body, timeout=10)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_the_example_of_the_document(tmp_path):
    """Runs the Python example of docs/testing.md, unchanged."""
    document = Path(__file__).resolve().parents[3] / "docs" / "testing.md"
    (example,) = re.findall(r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "test_lunch.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
