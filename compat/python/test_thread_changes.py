"""Listing, updating and deleting threads, through azure-communication-chat."""
import os
from datetime import datetime, timedelta, timezone

import pytest
from azure.communication.chat import ChatMessageType, ChatParticipant
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from refusal import assert_chat_refused
from wire import Wire


def create(person, *topics):
    return [person.chat.create_chat_thread(topic).chat_thread.id for topic in topics]


def ids(items):
    return [item.id for item in items]


def recent(moment):
    return abs(moment - datetime.now(timezone.utc)) < timedelta(minutes=1)


# Listing


def test_nobody_starts_with_threads(alice):
    assert list(alice.chat.list_chat_threads()) == []


def test_an_item_says_what_the_thread_is(alice):
    created = alice.chat.create_chat_thread("lunch").chat_thread
    (item,) = alice.chat.list_chat_threads()
    assert (item.id, item.topic, item.deleted_on) == (created.id, "lunch", None)
    assert recent(item.last_message_received_on)
    assert item.last_message_received_on >= created.created_on
    assert item.last_message_received_on.microsecond == 0


def test_the_list_is_the_callers_own(alice, bob, thread):
    assert list(bob.chat.list_chat_threads()) == []
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    assert ids(bob.chat.list_chat_threads()) == [thread.thread_id]


def test_the_thread_with_the_newest_message_comes_first(alice):
    one, two, three = create(alice, "one", "two", "three")
    assert ids(alice.chat.list_chat_threads()) == [three, two, one]
    alice.thread(one).send_message("hello")
    assert ids(alice.chat.list_chat_threads()) == [one, three, two]


def test_a_topic_counts_as_a_message(alice):
    one, two = create(alice, "one", "two")
    alice.thread(one).update_topic("won")
    assert [(item.id, item.topic) for item in alice.chat.list_chat_threads()] == [(one, "won"), (two, "two")]


def test_pages_hold_no_more_than_asked_for_and_each_thread_once(alice, wire):
    made = create(alice, *"abcdefg")
    pages = [ids(page) for page in alice.chat.list_chat_threads(results_per_page=3, **wire.hooks).by_page()]
    assert [id for page in pages for id in page] == made[::-1]
    # A page may have fewer elements than asked for and not be the last.
    assert all(len(page) <= 3 for page in pages)
    assert len(wire.requests) == len(pages) > 2


def test_one_page_is_enough_for_a_list_that_fits(alice, wire):
    create(alice, "one", "two")
    assert len(list(alice.chat.list_chat_threads(**wire.hooks))) == 2
    assert len(wire.requests) == 1


def test_a_listing_goes_on_from_its_continuation_token(alice, wire):
    made = create(alice, *"abcde")
    pages = alice.chat.list_chat_threads(results_per_page=2, **wire.hooks).by_page()
    first = ids(next(pages))
    link = pages.continuation_token
    assert link.startswith(os.environ["CONFAB_ENDPOINT"] + "/chat/threads?")
    assert "maxPageSize=2" in link and "api-version=" + wire.api_version in link
    resumed = alice.chat.list_chat_threads(results_per_page=2).by_page(continuation_token=link)
    assert first + [id for page in resumed for id in ids(page)] == made[::-1]


def test_start_time_in_the_past_hides_nothing(alice, thread):
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    assert ids(alice.chat.list_chat_threads(start_time=an_hour_ago)) == [thread.thread_id]


def test_start_time_in_the_future_hides_everything(alice, thread):
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    assert list(alice.chat.list_chat_threads(start_time=in_an_hour)) == []


def test_start_time_holds_on_every_page(alice):
    made = create(alice, *"abcde")
    since = datetime.now(timezone.utc) - timedelta(days=2)
    pages = alice.chat.list_chat_threads(results_per_page=2, start_time=since).by_page()
    assert [id for page in pages for id in ids(page)] == made[::-1]


@pytest.mark.parametrize("results_per_page", [0, -1])
def test_a_page_of_nothing_is_a_bad_request(alice, results_per_page):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        list(alice.chat.list_chat_threads(results_per_page=results_per_page))
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


def test_a_deleted_thread_stays_in_everybodys_list(alice, bob, thread):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    alice.chat.delete_chat_thread(thread.thread_id)
    for person in (alice, bob):
        (item,) = person.chat.list_chat_threads()
        assert (item.id, item.topic) == (thread.thread_id, "lunch")
        assert recent(item.deleted_on)


def test_a_thread_one_was_removed_from_stays_in_ones_list(bob, thread):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    thread.remove_participant(bob.user)
    (item,) = bob.chat.list_chat_threads()
    assert (item.id, item.deleted_on) == (thread.thread_id, None)


# The topic


def test_update_topic_is_seen_by_everybody(alice, bob, thread, wire):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    thread.update_topic("dinner", **wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(204, "")]
    for person in (alice, bob):
        assert person.thread(thread.thread_id).get_properties().topic == "dinner"
        assert [item.topic for item in person.chat.list_chat_threads()] == ["dinner"]


def test_update_topic_changes_nothing_else(thread):
    before = thread.get_properties()
    thread.update_topic("dinner")
    after = thread.get_properties()
    assert (after.id, after.created_on, after.created_by.raw_id) == (
        before.id,
        before.created_on,
        before.created_by.raw_id,
    )


def test_update_topic_writes_a_system_message(alice, bob, thread):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    bob.thread(thread.thread_id).update_topic("dinner")  # Unverified: that every participant may do this
    message = next(iter(thread.list_messages()))
    assert message.type == ChatMessageType.TOPIC_UPDATED
    assert (message.content.topic, message.content.message, message.content.participants) == ("dinner", None, [])
    assert message.content.initiator.raw_id == bob.id
    assert (message.sender, message.sender_display_name, message.metadata) == (None, None, None)
    assert (message.sequence_id, message.version) == ("4", message.id)


def test_update_topic_without_a_topic_does_nothing(thread, wire):
    thread.update_topic(**wire.hooks)
    assert [answer.status_code for answer in wire.answers] == [204]
    assert thread.get_properties().topic == "lunch"
    assert len(list(thread.list_messages())) == 2


@pytest.mark.parametrize("body", [{"topic": ""}, {"topic": 7}, [], "dinner"], ids=str)
def test_a_topic_is_not_updated_from_a_bad_body(thread, body):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        thread.update_topic("dinner", **Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")
    assert len(list(thread.list_messages())) == 2, "a refused update wrote something"


@pytest.mark.parametrize("topic", ["점심 🍜", "  spaces kept  ", 'quotes " and <b>brackets</b> & \\'])
def test_a_new_topic_comes_back_as_it_was(thread, topic):
    thread.update_topic(topic)
    assert thread.get_properties().topic == topic
    assert next(iter(thread.list_messages())).content.topic == topic


# Deleting


def test_delete_answers_204(alice, thread, wire):
    alice.chat.delete_chat_thread(thread.thread_id, **wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(204, "")]


def test_any_participant_may_delete(alice, bob, thread):
    # Unverified.
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    bob.chat.delete_chat_thread(thread.thread_id)
    with pytest.raises(ResourceNotFoundError):
        thread.get_properties()


def test_a_malformed_thread_id_is_refused_by_name(alice):
    # The real service's 400 was recorded without a message; Confab's message names the malformed id.
    with pytest.raises(HttpResponseError) as raised:
        alice.chat.delete_chat_thread("invalid_chat_thread_id")
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")
    assert "invalid_chat_thread_id" in raised.value.error.message


def test_deleting_one_thread_leaves_the_others(alice):
    one, two = create(alice, "one", "two")
    alice.chat.delete_chat_thread(one)
    assert alice.thread(two).get_properties().topic == "two"
