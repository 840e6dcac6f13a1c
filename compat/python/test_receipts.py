"""Read receipts and typing notifications, through azure-communication-chat."""
import os
from datetime import datetime, timedelta, timezone

import pytest
from azure.communication.chat import ChatParticipant
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from clock import pass_millisecond
from operations import NO_SUCH_MESSAGE
from refusal import assert_chat_refused
from wire import Wire


@pytest.fixture
def his(bob, thread):
    """Alice's thread, to which Bob was added, as Bob's client."""
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    return bob.thread(thread.thread_id)


def pairs(receipts):
    return [(receipt.sender.raw_id, receipt.chat_message_id) for receipt in receipts]


# Receipts


def test_nobody_has_read_anything_at_first(thread):
    assert list(thread.list_read_receipts()) == []


def test_a_receipt_is_answered_200_with_nothing(thread, wire):
    sent = thread.send_message("hello").id
    thread.send_read_receipt(sent, **wire.hooks)
    (answer,) = wire.answers
    assert (answer.status_code, answer.text(), answer.headers["Content-Length"]) == (200, "", "0")


def test_a_receipt_says_who_has_read_what_and_when(bob, thread, his):
    sent = thread.send_message("hello").id
    his.send_read_receipt(message_id=sent)
    (receipt,) = thread.list_read_receipts()
    assert (receipt.sender.raw_id, receipt.sender.kind) == (bob.id, "communication_user")
    assert receipt.chat_message_id == sent
    assert abs(receipt.read_on - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert receipt.read_on.microsecond == 0


def test_ones_own_receipt_is_listed_too(alice, thread):
    sent = thread.send_message("hello").id
    thread.send_read_receipt(sent)
    assert pairs(thread.list_read_receipts()) == [(alice.id, sent)]


def test_each_reader_has_one_receipt_the_newest(alice, bob, thread, his):
    one, two = thread.send_message("one").id, thread.send_message("two").id
    his.send_read_receipt(one)
    his.send_read_receipt(two)
    assert pairs(thread.list_read_receipts()) == [(bob.id, two)]
    thread.send_read_receipt(one)
    assert pairs(his.list_read_receipts()) == [(bob.id, two), (alice.id, one)], "ascending by the time of reading"


def test_a_receipt_never_moves_back(bob, thread, his):
    one, two = thread.send_message("one").id, thread.send_message("two").id
    his.send_read_receipt(two)
    his.send_read_receipt(one)
    assert pairs(thread.list_read_receipts()) == [(bob.id, two)]


def test_a_receipt_writes_no_message(thread):
    sent = thread.send_message("hello").id
    thread.send_read_receipt(sent)
    assert len(list(thread.list_messages())) == 3


def test_pages_and_skip(identity, new_person, thread, wire):
    sent = thread.send_message("hello").id
    readers = [new_person() for _ in range(4)]
    thread.add_participants([ChatParticipant(identifier=one.user) for one in readers])
    for one in readers:
        one.thread(thread.thread_id).send_read_receipt(sent)
    everybody = sorted(one.id for one in readers)
    pages = [pairs(page) for page in thread.list_read_receipts(results_per_page=2, **wire.hooks).by_page()]
    assert [len(page) for page in pages if page] == [2, 2]
    assert sorted(id for page in pages for id, _ in page) == everybody
    assert len(list(thread.list_read_receipts(results_per_page=2, skip=1))) == 3
    assert list(thread.list_read_receipts(results_per_page=5, skip=5)) == []


def test_the_next_link_is_on_the_host_that_was_asked(bob, thread, his, wire):
    sent = thread.send_message("hello").id
    thread.send_read_receipt(sent)
    his.send_read_receipt(sent)
    pages = thread.list_read_receipts(results_per_page=1, **wire.hooks).by_page()
    next(pages)
    link = pages.continuation_token
    assert link.startswith("{}/chat/threads/{}/readReceipts?".format(os.environ["CONFAB_ENDPOINT"], thread.thread_id))
    assert "skip=1" in link and "maxPageSize=1" in link and "api-version=" + wire.api_version in link
    resumed = thread.list_read_receipts(results_per_page=1).by_page(continuation_token=link)
    assert [pairs(page) for page in resumed if page][0] == [(bob.id, sent)]


def test_a_receipt_for_no_message_is_not_found_and_says_no_more(thread):
    with pytest.raises(ResourceNotFoundError) as raised:
        thread.send_read_receipt(NO_SUCH_MESSAGE)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound")
    assert raised.value.error.message in (None, "")
    assert list(thread.list_read_receipts()) == []


def test_a_receipt_for_a_hidden_message_is_not_found(bob, thread):
    # Unverified.
    sent = thread.send_message("hello").id
    pass_millisecond(sent)
    thread.add_participants([ChatParticipant(identifier=bob.user, share_history_time=datetime.now(timezone.utc))])
    with pytest.raises(ResourceNotFoundError):
        bob.thread(thread.thread_id).send_read_receipt(sent)


@pytest.mark.parametrize("body", [{}, {"chatMessageId": None}, {"chatMessageId": 7}, [], "7"], ids=str)
def test_a_receipt_is_not_taken_from_a_bad_body(thread, body):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        thread.send_read_receipt(NO_SUCH_MESSAGE, **Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


@pytest.mark.parametrize("options", [{"results_per_page": 0}, {"results_per_page": -1}, {"skip": -1}], ids=str)
def test_a_page_of_nothing_is_a_bad_request(thread, options):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        list(thread.list_read_receipts(**options))
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


# Typing


def test_typing_is_answered_200_with_nothing(thread, wire):
    thread.send_typing_notification(**wire.hooks)
    thread.send_typing_notification(sender_display_name="Alice", **wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(200, ""), (200, "")]
    assert [answer.headers["Content-Length"] for answer in wire.answers] == ["0", "0"]


def test_typing_leaves_nothing_behind(alice, thread, his):
    before = [item.last_message_received_on for item in alice.chat.list_chat_threads()]
    his.send_typing_notification()
    assert len(list(thread.list_messages())) == 3
    assert [item.last_message_received_on for item in alice.chat.list_chat_threads()] == before


@pytest.mark.parametrize("body", [{"senderDisplayName": 7}, [], "Alice"], ids=str)
def test_typing_is_not_taken_from_a_bad_body(thread, body):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        thread.send_typing_notification(**Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")
