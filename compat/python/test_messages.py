"""Sending, reading and listing messages, through azure-communication-chat."""
import asyncio
import os
from datetime import datetime, timedelta, timezone

import pytest
from azure.communication.chat import ChatMessageType, ChatParticipant
from azure.communication.chat.aio import ChatClient as AioChatClient
from azure.communication.chat.aio import CommunicationTokenCredential as AioCommunicationTokenCredential
from azure.communication.identity.aio import CommunicationIdentityClient as AioCommunicationIdentityClient

from clock import pass_millisecond


def texts(messages):
    return [message.content.message for message in messages]


def send(thread, *contents):
    return [thread.send_message(content).id for content in contents]


# Sending


def test_send_gives_a_numeric_id(thread):
    assert thread.send_message("hello").id.isdigit()


def test_ids_grow(thread):
    ids = [int(id) for id in send(thread, "one", "two", "three", "four")]
    assert ids == sorted(set(ids))


def test_send_answers_201_and_says_where(thread, wire):
    sent = thread.send_message("hello", **wire.hooks)
    (answer,) = wire.answers
    assert answer.status_code == 201
    endpoint = wire.requests[0].url.split("/chat/threads")[0]
    assert answer.headers["Location"] == "{}/chat/threads/{}/messages/{}".format(
        endpoint, thread.thread_id.replace(":", "%3A"), sent.id
    )


def test_a_plain_message_comes_back_whole(alice, thread):
    sent = thread.send_message("hello")
    message = thread.get_message(sent.id)
    assert message.id == sent.id
    assert message.type == ChatMessageType.TEXT
    assert message.sequence_id == "3"
    assert message.version == sent.id
    assert message.content.message == "hello"
    assert message.content.topic is None
    assert message.content.participants == []
    assert message.content.initiator is None
    assert message.content.attachments == []
    assert message.sender.raw_id == alice.id
    assert message.sender.kind == "communication_user"
    assert message.sender_display_name == ""
    assert message.metadata is None
    assert message.edited_on is None
    assert message.deleted_on is None


def test_created_on_is_the_id_in_whole_seconds(thread):
    message = thread.get_message(thread.send_message("hello").id)
    assert message.created_on == datetime.fromtimestamp(int(message.id) // 1000, timezone.utc)
    assert abs(message.created_on - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_the_display_name_is_kept(thread):
    sent = thread.send_message("hello", sender_display_name="Alice 앨리스")
    assert thread.get_message(sent.id).sender_display_name == "Alice 앨리스"


@pytest.mark.parametrize("kind", [ChatMessageType.HTML, "html", "HTML"], ids=["enum", "text", "capitals"])
def test_an_html_message_stays_html(thread, kind):
    sent = thread.send_message("<div>test</div>", chat_message_type=kind)
    message = thread.get_message(sent.id)
    assert message.type == ChatMessageType.HTML
    assert message.content.message == "<div>test</div>"


def test_text_that_looks_like_html_is_not_touched(thread):
    sent = thread.send_message("1 < 2 && <script>3</script>", chat_message_type="text")
    message = thread.get_message(sent.id)
    assert message.type == ChatMessageType.TEXT
    assert message.content.message == "1 < 2 && <script>3</script>"


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", '<img src="x" onerror="alert(1)">', '<a href="javascript:alert(1)">'],
)
def test_html_is_cleaned_before_anybody_reads_it(thread, hostile):
    # The documentation says that HTML is sanitized, but not how.
    sent = thread.send_message("<b>bold</b>" + hostile, chat_message_type="html")
    thread.update_message(thread.send_message("x", chat_message_type="html").id, "<b>bold</b>" + hostile)
    for message in list(thread.list_messages())[:2] + [thread.get_message(sent.id)]:
        assert message.content.message.startswith("<b>bold</b>")
        assert "alert" not in message.content.message


def test_metadata_is_kept(thread):
    metadata = {"hasAttachment": "true", "attachmentUrl": "https://example.com/a?b=c", "빈": ""}
    sent = thread.send_message("hello", metadata=metadata)
    assert thread.get_message(sent.id).metadata == metadata


def test_everything_at_once(thread):
    sent = thread.send_message(
        "<b>hello</b>",
        chat_message_type=ChatMessageType.HTML,
        sender_display_name="Alice",
        metadata={"tags": "sometag"},
    )
    message = thread.get_message(sent.id)
    assert (message.type, message.content.message) == (ChatMessageType.HTML, "<b>hello</b>")
    assert (message.sender_display_name, message.metadata) == ("Alice", {"tags": "sometag"})


@pytest.mark.parametrize(
    "content",
    ["안녕하세요 👩‍👩‍👧‍👦", "two\nlines\tand a tab", 'quotes " and back\\slashes', "x" * 20_000],
    ids=["unicode", "white space", "escapes", "long"],
)
def test_content_comes_back_as_it_was(thread, content):
    assert thread.get_message(thread.send_message(content).id).content.message == content


def test_one_participant_reads_what_another_sent(alice, bob):
    created = alice.chat.create_chat_thread("lunch", thread_participants=[ChatParticipant(identifier=bob.user)])
    hers, his = alice.thread(created.chat_thread.id), bob.thread(created.chat_thread.id)
    sent = hers.send_message("hungry?")
    assert his.get_message(sent.id).sender.raw_id == alice.id
    his.send_message("always")
    assert texts(hers.list_messages())[:2] == texts(his.list_messages())[:2] == ["always", "hungry?"]


def test_twenty_sends_at_once_are_numbered_without_gaps():
    """Only the asynchronous clients can send several requests at once."""

    async def twenty_sends():
        async with AioCommunicationIdentityClient.from_connection_string(
            os.environ["CONFAB_CONNECTION_STRING"]
        ) as identity:
            _, access = await identity.create_user_and_token(["chat"])
        credential = AioCommunicationTokenCredential(access.token)
        async with AioChatClient(os.environ["CONFAB_ENDPOINT"], credential) as chat:
            created = await chat.create_chat_thread("lunch")
            async with chat.get_chat_thread_client(created.chat_thread.id) as thread:
                sent = await asyncio.gather(*[thread.send_message(str(n)) for n in range(20)])
                return [one.id for one in sent], [message async for message in thread.list_messages()]

    ids, messages = asyncio.run(twenty_sends())
    assert len(set(ids)) == 20
    assert [message.sequence_id for message in messages] == [str(n) for n in range(22, 0, -1)]
    assert [message.id for message in messages[:20]] == sorted(ids, key=int, reverse=True)


# System messages


def test_a_new_thread_begins_with_two_system_messages(alice, bob):
    created = alice.chat.create_chat_thread(
        "lunch",
        thread_participants=[
            ChatParticipant(identifier=alice.user, display_name="Alice"),
            ChatParticipant(identifier=bob.user),
        ],
    )
    topic_updated, participant_added = alice.thread(created.chat_thread.id).list_messages()

    assert participant_added.type == ChatMessageType.PARTICIPANT_ADDED
    assert participant_added.sequence_id == "1"
    assert {(one.identifier.raw_id, one.display_name) for one in participant_added.content.participants} == {
        (alice.id, "Alice"),
        (bob.id, None),
    }
    assert {one.share_history_time for one in participant_added.content.participants} == {
        datetime(1970, 1, 1, tzinfo=timezone.utc)
    }

    assert topic_updated.type == ChatMessageType.TOPIC_UPDATED
    assert topic_updated.sequence_id == "2"
    assert topic_updated.content.topic == "lunch"
    assert topic_updated.content.participants == []

    for message in (participant_added, topic_updated):
        assert message.content.initiator.raw_id == alice.id
        assert message.content.message is None
        assert message.version == message.id
        assert (message.sender, message.sender_display_name, message.metadata) == (None, None, None)


def test_share_history_time_is_kept_to_the_second(alice, bob):
    since = datetime(2021, 9, 7, 21, 44, 1, 987654, tzinfo=timezone.utc)
    guest = ChatParticipant(identifier=bob.user, share_history_time=since)
    created = alice.chat.create_chat_thread("lunch", thread_participants=[guest])
    *_, participant_added = alice.thread(created.chat_thread.id).list_messages()
    times = {one.identifier.raw_id: one.share_history_time for one in participant_added.content.participants}
    assert times[bob.id] == since.replace(microsecond=0)


def test_a_share_history_time_of_now_hides_nothing_of_a_new_thread(alice, bob):
    guest = ChatParticipant(identifier=bob.user, share_history_time=datetime.now(timezone.utc))
    created = alice.chat.create_chat_thread("lunch", thread_participants=[guest])
    send(alice.thread(created.chat_thread.id), "hello")
    seen = bob.thread(created.chat_thread.id).list_messages()
    assert [message.sequence_id for message in seen] == ["3", "2", "1"]


def test_a_system_message_can_be_read_by_its_id(alice, thread):
    topic_updated, participant_added = thread.list_messages()
    assert thread.get_message(topic_updated.id).content.topic == "lunch"
    assert thread.get_message(participant_added.id).content.participants[0].identifier.raw_id == alice.id


# Listing


def test_list_is_newest_first_down_to_the_system_messages(thread):
    send(thread, "one", "two", "three")
    messages = list(thread.list_messages())
    assert texts(messages) == ["three", "two", "one", None, None]
    assert [message.sequence_id for message in messages] == ["5", "4", "3", "2", "1"]


def test_a_listed_message_is_the_message_that_get_gives(thread):
    sent = thread.send_message("hello", sender_display_name="Alice", metadata={"tags": "sometag"})
    listed = next(iter(thread.list_messages()))
    got = thread.get_message(sent.id)
    for field in ("id", "type", "sequence_id", "version", "sender_display_name", "created_on", "metadata"):
        assert getattr(listed, field) == getattr(got, field), field
    assert listed.content.message == got.content.message
    assert listed.sender.raw_id == got.sender.raw_id


def pages_of(pager):
    return [[message.sequence_id for message in page] for page in pager.by_page()]


def test_a_page_holds_ten_unless_told_otherwise(thread):
    send(thread, *[str(n) for n in range(9)])
    assert pages_of(thread.list_messages()) == [["11", "10", "9", "8", "7", "6", "5", "4", "3", "2"], ["1"]]


def test_results_per_page_is_the_size_of_a_page(thread):
    send(thread, "one", "two", "three")
    assert pages_of(thread.list_messages(results_per_page=2)) == [["5", "4"], ["3", "2"], ["1"]]


def test_a_full_last_page_is_followed_by_an_empty_one_or_none(thread):
    send(thread, "one", "two")
    assert pages_of(thread.list_messages(results_per_page=2)) in (
        [["4", "3"], ["2", "1"], []],
        [["4", "3"], ["2", "1"]],
    )


def test_one_page_is_enough_for_a_thread_that_fits(thread, wire):
    send(thread, "one", "two")
    assert len(list(thread.list_messages(results_per_page=200, **wire.hooks))) == 4
    assert len(wire.requests) == 1


def test_messages_sent_while_paging_shift_nothing(thread):
    send(thread, "one", "two", "three")
    pages = thread.list_messages(results_per_page=2).by_page()
    first = [message.sequence_id for message in next(pages)]
    send(thread, "four", "five")
    rest = [message.sequence_id for page in pages for message in page]
    assert first + rest == ["5", "4", "3", "2", "1"]


def test_a_listing_goes_on_from_its_continuation_token(thread):
    send(thread, "one", "two", "three")
    pages = thread.list_messages(results_per_page=2).by_page()
    next(pages)
    resumed = thread.list_messages(results_per_page=2).by_page(continuation_token=pages.continuation_token)
    assert [message.sequence_id for page in resumed for message in page] == ["3", "2", "1"]


def test_the_next_link_is_on_the_host_that_was_asked(thread, wire):
    pages = thread.list_messages(results_per_page=1, **wire.hooks).by_page()
    next(pages)
    link = pages.continuation_token
    assert link.startswith("{}/chat/threads/{}/messages?".format(os.environ["CONFAB_ENDPOINT"], thread.thread_id))
    assert "maxPageSize=1" in link
    assert "api-version=" + wire.api_version in link


def test_start_time_in_the_past_hides_nothing(thread):
    send(thread, "hello")
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    assert len(list(thread.list_messages(start_time=an_hour_ago))) == 3


def test_start_time_in_the_future_hides_everything(thread):
    send(thread, "hello")
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    assert list(thread.list_messages(start_time=in_an_hour)) == []


def test_start_time_is_where_the_list_ends_on_every_page(thread):
    (one,) = send(thread, "one")
    pass_millisecond(one)
    two, *_ = send(thread, "two", "three", "four")
    since = datetime.fromtimestamp(int(two) / 1000, timezone.utc)
    pages = thread.list_messages(start_time=since, results_per_page=2).by_page()
    assert [text for page in pages for text in texts(page)] == ["four", "three", "two"]
