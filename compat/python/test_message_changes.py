"""Editing and deleting messages, through azure-communication-chat."""
from datetime import datetime, timedelta, timezone

import pytest
from azure.communication.chat import ChatMessageType, ChatParticipant
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from clock import pass_millisecond
from operations import NO_SUCH_MESSAGE
from refusal import NOT_A_PARTICIPANT, assert_chat_refused
from wire import Wire

METADATA = {"hasAttachment": "true", "tags": "sometag"}


@pytest.fixture
def sent(thread):
    """Sends a message, the third one in the thread, and returns its id."""
    return thread.send_message("one", sender_display_name="Alice", metadata=METADATA).id


def recent(moment):
    return abs(moment - datetime.now(timezone.utc)) < timedelta(minutes=1)


# Editing


def test_update_answers_204(thread, sent, wire):
    thread.update_message(sent, "won", **wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(204, "")]


def test_an_edit_changes_the_content_and_says_when(thread, sent):
    before = thread.get_message(sent)
    thread.update_message(sent, content="won")
    after = thread.get_message(sent)
    assert after.content.message == "won"
    assert before.edited_on is None and recent(after.edited_on)
    assert after.deleted_on is None
    for field in ("id", "type", "created_on", "sender_display_name", "metadata"):
        assert getattr(after, field) == getattr(before, field), field
    assert after.sender.raw_id == before.sender.raw_id


def test_an_edit_gives_a_new_version_and_the_next_sequence_number(thread, sent):
    before = thread.get_message(sent)
    thread.send_message("two")
    thread.update_message(sent, content="won")
    after = thread.get_message(sent)
    assert (before.sequence_id, after.sequence_id) == ("3", "5")
    assert int(after.version) > int(before.version)


def test_an_edited_message_jumps_to_the_front_of_the_list(thread, sent):
    two = thread.send_message("two").id
    thread.update_message(sent, content="won")
    messages = list(thread.list_messages())
    assert [message.id for message in messages][:2] == [sent, two]
    assert [message.sequence_id for message in messages] == ["5", "4", "2", "1"]


def test_an_html_message_stays_html(thread):
    sent = thread.send_message("<b>one</b>", chat_message_type="html").id
    thread.update_message(sent, content="<div>won</div>")
    message = thread.get_message(sent)
    assert (message.type, message.content.message) == (ChatMessageType.HTML, "<div>won</div>")


def test_metadata_alone_keeps_the_content(thread, sent):
    thread.update_message(sent, metadata={"tags": "other"})
    message = thread.get_message(sent)
    assert message.content.message == "one"
    assert message.metadata["tags"] == "other"


def test_metadata_merges_key_by_key(thread, sent):
    # Unverified for messages: recorded for threads only.
    thread.update_message(sent, metadata={"tags": "other", "more": "yes"})
    assert thread.get_message(sent).metadata == {"hasAttachment": "true", "tags": "other", "more": "yes"}


def test_a_metadata_key_sent_empty_goes(thread, sent):
    thread.update_message(sent, content="won", metadata={"tags": ""})
    message = thread.get_message(sent)
    assert (message.content.message, message.metadata) == ("won", {"hasAttachment": "true"})


def test_an_update_of_nothing_empties_the_message(thread, sent):
    """The README says of the content: "if not specified, it is assigned to be empty"."""
    thread.update_message(sent)
    message = thread.get_message(sent)
    assert message.content.message == ""
    assert message.metadata == METADATA
    assert recent(message.edited_on)


def test_a_message_can_be_edited_again_and_again(thread, sent):
    for words in ("two", "three", "four"):
        thread.update_message(sent, content=words)
    message = thread.get_message(sent)
    assert (message.content.message, message.sequence_id) == ("four", "6")


@pytest.mark.parametrize("body", [{"content": 7}, {"metadata": {"number": 7}}, {"metadata": "x"}, [], "won"], ids=str)
def test_a_message_is_not_updated_from_a_bad_body(thread, sent, body):
    # Unverified.
    with pytest.raises(HttpResponseError) as raised:
        thread.update_message(sent, content="won", **Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")
    assert thread.get_message(sent).sequence_id == "3", "a refused edit wrote something"


# Deleting


def test_delete_answers_204(thread, sent, wire):
    thread.delete_message(sent, **wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(204, "")]


def test_a_deleted_message_leaves_a_stone(alice, thread, sent):
    before = thread.get_message(sent)
    thread.update_message(sent, content="won")
    thread.delete_message(sent)
    stone = thread.get_message(sent)
    assert stone.content.message == ""
    assert recent(stone.deleted_on)
    assert (stone.edited_on, stone.metadata) == (None, None)
    assert (stone.id, stone.type, stone.created_on) == (sent, "text", before.created_on)
    assert (stone.sender.raw_id, stone.sender_display_name) == (alice.id, "Alice")
    assert stone.sequence_id == "5"
    assert int(stone.version) > int(before.version)


def test_a_stone_is_listed_where_the_deletion_was(thread, sent):
    two = thread.send_message("two").id
    thread.delete_message(sent)
    messages = list(thread.list_messages())
    assert [(message.id, message.content.message) for message in messages[:2]] == [(sent, ""), (two, "two")]
    assert [message.sequence_id for message in messages] == ["5", "4", "2", "1"]


def test_deleting_twice_is_fine_and_changes_nothing(thread, sent):
    # Unverified.
    thread.delete_message(sent)
    stone = thread.get_message(sent)
    thread.delete_message(sent)
    again = thread.get_message(sent)
    assert (again.version, again.sequence_id, again.deleted_on) == (stone.version, stone.sequence_id, stone.deleted_on)


def test_a_deleted_message_cannot_be_edited(thread, sent):
    # Unverified.
    thread.delete_message(sent)
    with pytest.raises(ResourceNotFoundError) as raised:
        thread.update_message(sent, content="back")
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound")


# Messages of other senders

CHANGES = {
    "update": lambda thread, id: thread.update_message(id, content="won"),
    "delete": lambda thread, id: thread.delete_message(id),
}


@pytest.fixture(params=CHANGES.values(), ids=CHANGES)
def change(request):
    return request.param


def test_nobody_changes_the_message_of_another(bob, thread, sent, change):
    # Unverified: the status.
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    with pytest.raises(HttpResponseError) as raised:
        change(bob.thread(thread.thread_id), sent)
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)
    assert thread.get_message(sent).content.message == "one"


def test_nobody_changes_a_system_message(thread, change):
    # Unverified: the status.
    topic_updated, _ = thread.list_messages()
    with pytest.raises(HttpResponseError) as raised:
        change(thread, topic_updated.id)
    assert raised.value.status_code in (400, 403)
    assert thread.get_message(topic_updated.id).content.topic == "lunch"


def test_a_message_that_never_was_is_not_found(thread, change):
    # Unverified: the status.
    with pytest.raises(ResourceNotFoundError) as raised:
        change(thread, NO_SUCH_MESSAGE)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound")


# Paging while messages move


def test_a_message_edited_while_paging_is_not_lost_and_shifts_nothing(thread):
    ids = [thread.send_message(str(n)).id for n in range(4)]
    pages = thread.list_messages(results_per_page=2).by_page()
    first = [message.id for message in next(pages)]
    thread.update_message(ids[3], content="again")  # a message of the page that was already read
    rest = [message.id for page in pages for message in page]
    assert first + rest[:2] == ids[::-1]
    assert len(first + rest) == 6


def test_a_start_time_looks_at_the_creation_and_so_an_edit_brings_nothing_older_in(thread):
    # Unverified for edited messages.
    one = thread.send_message("one").id
    pass_millisecond(one)
    two, three = [thread.send_message(words).id for words in ("two", "three")]
    since = datetime.fromtimestamp(int(two) / 1000, timezone.utc)
    thread.update_message(one, content="won")
    pages = thread.list_messages(start_time=since, results_per_page=2).by_page()
    assert [message.id for page in pages for message in page] == [three, two]
