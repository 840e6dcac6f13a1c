"""Checks what SDKs of api-version 2021-01-27-preview4 require beyond the document's blocks."""
import json
from datetime import datetime, timedelta, timezone

import pytest
from azure.communication.chat import ChatMessageType, ChatThreadParticipant, CommunicationError
from azure.communication.identity import CommunicationUserIdentifier
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

NOT_A_PARTICIPANT = "The initiator doesn't have the permission to perform the requested operation."
NO_SUCH_THREAD = "19:" + "0" * 32 + "@thread.v2"
FOREIGN = CommunicationUserIdentifier("8:acs:11111111-1111-4111-8111-111111111111_00000000-0000-4000-8000-000000000000")


def guest(user, **more):
    return ChatThreadParticipant(user=user, **more)


def names(participants):
    return [(one.user.identifier, one.display_name) for one in participants]


def recent(moment):
    return abs((datetime.now(timezone.utc) - moment).total_seconds()) < 60


def said(wire):
    """Returns the JSON of the only response, with its members in order."""
    (answer,) = wire.answers
    return json.loads(answer.text())


def assert_refused(raised, kind, status, code, message=None):
    error = raised.value
    assert type(error) is kind
    assert error.status_code == status
    # The error envelope of this version, as recorded.
    recorded = json.loads(error.response.text())["Error"]
    assert recorded["Code"] == code
    assert recorded["Details"] == []
    if message is not None:
        assert recorded["Message"] == message


# Users and tokens


def test_expires_on_is_a_time(identity_client, alice):
    access = identity_client.get_token(alice.user, ["chat"])
    assert abs(access.expires_on - datetime.now(timezone.utc) - timedelta(days=1)) < timedelta(minutes=1)


def test_revoke_ends_the_tokens(identity_client, alice):
    identity_client.revoke_tokens(alice.user)
    with pytest.raises(ClientAuthenticationError) as raised:
        alice.chat.create_chat_thread("lunch")
    assert (raised.value.status_code, raised.value.response.text()) == (401, "")


def test_the_recorded_clean_up_order(identity_client, alice, thread, wire):
    """Like the suites of 2021, deletes the user first, and then its threads with its token, which still works."""
    identity_client.delete_user(alice.user)
    alice.chat.delete_chat_thread(thread.thread_id, **wire.hooks)
    assert [answer.status_code for answer in wire.answers] == [204]
    with pytest.raises(ClientAuthenticationError):
        alice.chat.create_chat_thread("lunch")


# Creating


def test_these_sdks_speak_preview4(alice, wire):
    alice.chat.create_chat_thread("lunch", **wire.hooks)
    assert wire.requests[0].url.endswith("/chat/threads?api-version=2021-01-27-preview4")
    assert "2021-01-27-preview4" in wire.answers[0].headers["api-supported-versions"].split(", ")


def test_create_answers_in_the_words_of_preview4(alice, wire):
    created = alice.chat.create_chat_thread("lunch", **wire.hooks).chat_thread
    answer = said(wire)
    assert list(answer) == ["chatThread"]
    assert list(answer["chatThread"]) == ["id", "topic", "createdOn", "createdByCommunicationIdentifier"]
    assert answer["chatThread"]["createdByCommunicationIdentifier"] == {
        "rawId": alice.id,
        "communicationUser": {"id": alice.id},
    }
    assert wire.answers[0].headers["Location"] == "{}/chat/threads/{}".format(
        wire.requests[0].url.split("/chat/threads")[0], created.id.replace(":", "%3A")
    )


@pytest.mark.parametrize(
    "body",
    [{"topic": "lunch", "participants": []}, {"topic": "lunch"}, {"topic": "lunch", "participants": None}],
    ids=json.dumps,
)
def test_a_thread_without_participants_is_its_creators(alice, saying, body):
    created = alice.chat.create_chat_thread("lunch", **saying(body)).chat_thread
    assert names(alice.thread(created.id).list_participants()) == [(alice.id, None)]


def test_participants_and_their_names_are_kept(alice, bob):
    people = [alice.participant(display_name="Alice"), bob.participant(display_name="Bob")]
    created = alice.chat.create_chat_thread("lunch", thread_participants=people)
    assert created.errors is None
    assert names(bob.thread(created.chat_thread.id).list_participants()) == [(alice.id, "Alice"), (bob.id, "Bob")]


def test_the_same_repeatability_request_id_gives_the_same_thread(alice, wire):
    for _ in range(2):
        alice.chat.create_chat_thread("lunch", repeatability_request_id="any opaque words", **wire.hooks)
    first, again = wire.answers
    assert (again.status_code, again.text()) == (first.status_code, first.text()) == (201, first.text())


def test_without_a_repeatability_request_id_each_call_makes_a_thread(alice):
    assert len({alice.chat.create_chat_thread("lunch").chat_thread.id for _ in range(3)}) == 3


def test_the_repeatability_request_ids_of_two_users_do_not_meet(alice, bob):
    ids = {one.chat.create_chat_thread("lunch", repeatability_request_id="ours").chat_thread.id for one in (alice, bob)}
    assert len(ids) == 2


def test_a_refused_participant_is_told_under_errors_and_breaks_the_sdk(alice, bob, unknown, wire):
    """A bug of the SDK (see the README): the thread is created, but the call raises an exception."""
    people = [bob.participant(), guest(unknown)]
    with pytest.raises(AttributeError, match="'list' object has no attribute 'user'"):
        alice.chat.create_chat_thread("lunch", thread_participants=people, **wire.hooks)
    answer = said(wire)
    assert wire.answers[0].status_code == 201
    assert list(answer) == ["chatThread", "errors"]
    (refused,) = answer["errors"]["invalidParticipants"]
    assert (refused["target"], refused["code"]) == (unknown.identifier, "404")
    assert refused["message"]
    there = alice.thread(answer["chatThread"]["id"])
    assert [id for id, _ in names(there.list_participants())] == [alice.id, bob.id]


# Listing and deleting threads


def test_chat_thread_infos_come_by_the_page_the_newest_first(alice, wire):
    made = [alice.chat.create_chat_thread(str(n)).chat_thread.id for n in range(5)]
    pages = [[info.id for info in page] for page in alice.chat.list_chat_threads(results_per_page=2, **wire.hooks).by_page()]
    assert [id for page in pages for id in page] == made[::-1]
    assert all(len(page) <= 2 for page in pages)
    assert len(wire.requests) == len(pages)
    for info in json.loads(wire.answers[0].text())["value"]:
        assert list(info) == ["id", "topic", "lastMessageReceivedOn"]


def test_start_time_leaves_out_what_was_before_it(alice, thread):
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    assert list(alice.chat.list_chat_threads(start_time=in_an_hour)) == []


def test_a_deleted_thread_stays_in_the_list_and_answers_nothing(alice, thread):
    alice.chat.delete_chat_thread(thread.thread_id)
    (info,) = alice.chat.list_chat_threads()
    assert info.id == thread.thread_id
    assert recent(info.deleted_on)
    for call in (
        lambda: alice.chat.get_chat_thread(thread.thread_id),
        lambda: thread.send_message("hello"),
        lambda: list(thread.list_messages()),
        lambda: list(thread.list_participants()),
    ):
        with pytest.raises(ResourceNotFoundError) as raised:
            call()
        assert_refused(raised, ResourceNotFoundError, 404, "NotFound", "The specified thread id was not found.")


def test_deleting_a_thread_twice_succeeds_both_times(alice, thread):
    alice.chat.delete_chat_thread(thread.thread_id)
    alice.chat.delete_chat_thread(thread.thread_id)


def test_get_chat_thread_answers_in_the_words_of_preview4(alice, thread, wire):
    alice.chat.get_chat_thread(thread.thread_id, **wire.hooks)
    assert list(said(wire)) == ["id", "topic", "createdOn", "createdByCommunicationIdentifier"]


# Messages


def test_a_message_answers_in_the_words_of_preview4(alice, thread, wire):
    id = thread.send_message("hello", sender_display_name="Alice")
    thread.get_message(id, **wire.hooks)
    answer = said(wire)
    assert list(answer) == [
        "id",
        "type",
        "sequenceId",
        "version",
        "content",
        "senderDisplayName",
        "createdOn",
        "senderCommunicationIdentifier",
    ]
    assert answer["content"] == {"message": "hello"}
    assert answer["senderCommunicationIdentifier"] == {"rawId": alice.id, "communicationUser": {"id": alice.id}}
    assert (answer["id"], answer["version"], answer["sequenceId"]) == (id, id, "3")


@pytest.mark.parametrize("kind", [ChatMessageType.HTML, "html", "HTML"], ids=["enum", "text", "capitals"])
def test_an_html_message_is_one(thread, kind):
    id = thread.send_message("<div>test</div>", chat_message_type=kind)
    message = thread.get_message(id)
    assert (message.type, message.content.message) == (ChatMessageType.HTML, "<div>test</div>")


def test_polling_brings_what_was_sent_meanwhile(alice, bob):
    """Polls as the document does: calls list_messages repeatedly with the time of the last call."""
    created = alice.chat.create_chat_thread("lunch", thread_participants=[bob.participant()]).chat_thread
    hers, his = alice.thread(created.id), bob.thread(created.id)
    heard = []
    for words in ("hungry?", "always", "let's go"):
        start_time = datetime.now(timezone.utc) - timedelta(seconds=2)
        hers.send_message(words)
        for page in his.list_messages(results_per_page=1, start_time=start_time).by_page():
            for message in page:
                if message.type == ChatMessageType.TEXT and message.id not in [id for id, _ in heard]:
                    heard.append((message.id, message.content.message))
    assert [words for _, words in heard] == ["hungry?", "always", "let's go"]


def test_an_edited_message_says_when_and_moves_to_the_front(thread):
    first, second = thread.send_message("one"), thread.send_message("two")
    before = thread.get_message(first)
    thread.update_message(message_id=first, content="won")
    edited = thread.get_message(first)
    assert recent(edited.edited_on)
    assert (edited.id, edited.created_on, edited.content.message) == (first, before.created_on, "won")
    assert (edited.sequence_id, int(edited.version) > int(before.version)) == ("5", True)
    assert [message.id for message in thread.list_messages()][:2] == [first, second]


def test_an_update_without_content_empties_the_message(thread):
    id = thread.send_message("one")
    thread.update_message(message_id=id)
    assert thread.get_message(id).content.message == ""


def test_a_deleted_message_says_when_and_stays_as_a_stone(alice, thread, wire):
    id = thread.send_message("one", sender_display_name="Alice")
    thread.update_message(message_id=id, content="won")
    thread.delete_message(message_id=id)
    (stone, *_) = thread.list_messages(**wire.hooks)
    assert (stone.id, stone.content.message, stone.edited_on) == (id, "", None)
    assert recent(stone.deleted_on)
    assert (stone.sender_communication_identifier.identifier, stone.sender_display_name) == (alice.id, "Alice")
    assert list(said(wire)["value"][0])[-1] == "deletedOn"


def test_every_type_of_message(identity_client, alice, thread):
    fred = identity_client.create_user()
    thread.send_message("hello")
    thread.send_message("<b>hello</b>", chat_message_type="html")
    thread.update_topic(topic="dinner")
    thread.add_participant(guest(fred, display_name="Fred", share_history_time=datetime(2021, 3, 10, 1, 2, 3, 456)))
    thread.remove_participant(user=fred)
    removed, added, topic, html, text, first_topic, creation = thread.list_messages()
    assert [one.type for one in (text, html, topic, added, removed)] == list(ChatMessageType)
    assert (creation.type, first_topic.content.topic) == (ChatMessageType.PARTICIPANT_ADDED, "lunch")
    assert topic.content.topic == "dinner"
    for message in (added, removed):
        assert names(message.content.participants) == [(fred.identifier, "Fred")]
        (one,) = message.content.participants
        assert one.share_history_time == datetime(2021, 3, 10, 1, 2, 3, tzinfo=timezone.utc)
    for message in (creation, first_topic, topic, added, removed):
        assert message.content.initiator.identifier == alice.id
        assert (message.sender_communication_identifier, message.sender_display_name) == (None, None)
    assert [one.sequence_id for one in (removed, added, topic, html, text)] == ["7", "6", "5", "4", "3"]


def test_system_messages_answer_in_the_words_of_preview4(alice, thread, wire):
    list(thread.list_messages(**wire.hooks))
    answer = said(wire)
    assert list(answer) == ["value"]
    topic, added = answer["value"]
    me = {"rawId": alice.id, "communicationUser": {"id": alice.id}}
    for message in (topic, added):
        assert list(message) == ["id", "type", "sequenceId", "version", "content", "createdOn"]
    assert topic["content"] == {"topic": "lunch", "initiatorCommunicationIdentifier": me}
    assert added["content"] == {
        "participants": [{"communicationIdentifier": me, "shareHistoryTime": "1970-01-01T00:00:00Z"}],
        "initiatorCommunicationIdentifier": me,
    }


# Receipts and typing


def test_each_reader_has_one_receipt(alice, bob, wire):
    created = alice.chat.create_chat_thread("lunch", thread_participants=[bob.participant()]).chat_thread
    hers, his = alice.thread(created.id), bob.thread(created.id)
    first, second = hers.send_message("one"), hers.send_message("two")
    his.send_read_receipt(message_id=first)
    his.send_read_receipt(message_id=second)
    hers.send_read_receipt(message_id=first)
    receipts = list(hers.list_read_receipts(**wire.hooks))
    assert {one.sender.identifier: one.chat_message_id for one in receipts} == {bob.id: second, alice.id: first}
    assert len(receipts) == 2 and all(recent(one.read_on) for one in receipts)
    for one in said(wire)["value"]:
        assert list(one) == ["senderCommunicationIdentifier", "chatMessageId", "readOn"]


def test_receipts_and_typing_are_answered_200_with_nothing(thread, wire):
    id = thread.send_message("hello")
    thread.send_read_receipt(message_id=id, **wire.hooks)
    thread.send_typing_notification(**wire.hooks)
    assert [(answer.status_code, answer.text()) for answer in wire.answers] == [(200, "")] * 2


# Participants


def test_participants_come_in_join_order_with_skip_and_pages(identity_client, alice, thread, wire):
    users = [identity_client.create_user() for _ in range(4)]
    assert thread.add_participants([guest(user) for user in users]) == []
    everybody = [alice.id] + [user.identifier for user in users]
    pages = thread.list_participants(results_per_page=2, skip=1, **wire.hooks).by_page()
    assert [[one.user.identifier for one in page] for page in pages] == [everybody[1:3], everybody[3:]]
    assert list(json.loads(wire.answers[0].text())["value"][0]) == ["communicationIdentifier", "shareHistoryTime"]


def test_add_participant_raises_a_runtime_error_for_who_cannot_be_added(thread, unknown):
    participant = guest(unknown, display_name="Nobody")
    with pytest.raises(RuntimeError) as raised:
        thread.add_participant(thread_participant=participant)
    assert participant in raised.value.args
    assert raised.value.args[-1]  # the server's message


def test_the_documents_try_and_retry_ends_in_the_same_runtime_error(thread, unknown):
    participant = guest(unknown)

    def decide_to_retry(error, **kwargs):
        return True

    with pytest.raises(RuntimeError):
        try:
            thread.add_participant(thread_participant=participant)
        except RuntimeError as e:
            if e is not None and decide_to_retry(error=e):
                thread.add_participant(thread_participant=participant)


def test_add_participants_pairs_each_refused_one_with_its_error_and_adds_the_others(
    identity_client, alice, thread, unknown, wire
):
    fred, nobody, stranger = guest(identity_client.create_user()), guest(unknown), guest(FOREIGN)
    response = thread.add_participants(thread_participants=[nobody, fred, stranger], **wire.hooks)
    assert [participant for participant, _ in response] == [nobody, stranger]
    assert all(isinstance(error, CommunicationError) for _, error in response)
    assert {error.target: error.code for _, error in response} == {unknown.identifier: "404", FOREIGN.identifier: "403"}
    assert list(said(wire)) == ["errors"] and list(said(wire)["errors"]) == ["invalidParticipants"]

    # The document's retry: the same participants are refused again, and nothing else changes.
    retry = [p for p, e in response]
    assert [p for p, _ in thread.add_participants(retry)] == retry
    assert [id for id, _ in names(thread.list_participants())] == [alice.id, fred.user.identifier]
    assert [message.type for message in thread.list_messages()].count(ChatMessageType.PARTICIPANT_ADDED) == 2


def test_adding_somebody_again_changes_nothing(alice, bob, thread):
    assert thread.add_participants([bob.participant(display_name="Bob")]) == []
    assert thread.add_participants([bob.participant(display_name="Robert")]) == []
    assert names(thread.list_participants()) == [(alice.id, None), (bob.id, "Bob")]
    assert len(list(thread.list_messages())) == 3


def test_who_was_removed_is_kept_out(alice, bob, thread):
    thread.add_participant(bob.participant())
    thread.remove_participant(user=bob.user)
    his = bob.thread(thread.thread_id)
    with pytest.raises(HttpResponseError) as raised:
        his.send_message("hello?")
    assert_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


def test_one_may_remove_oneself(bob, thread):
    thread.add_participant(bob.participant())
    bob.thread(thread.thread_id).remove_participant(user=bob.user)
    assert bob.id not in [id for id, _ in names(thread.list_participants())]


# Error responses, in the envelope of this version


def test_a_stranger_is_kept_out(bob, thread):
    with pytest.raises(HttpResponseError) as raised:
        bob.chat.get_chat_thread(thread.thread_id)
    assert_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


def test_an_unknown_thread_is_not_found(alice):
    with pytest.raises(ResourceNotFoundError) as raised:
        alice.chat.get_chat_thread(NO_SUCH_THREAD)
    assert_refused(raised, ResourceNotFoundError, 404, "NotFound", "The specified thread id was not found.")


def test_a_malformed_message_id_is_a_bad_request(thread):
    with pytest.raises(HttpResponseError) as raised:
        thread.get_message("invalid_chat_message_id")
    message = "Value for MessageId (invalid_chat_message_id) is not valid."
    assert_refused(raised, HttpResponseError, 400, "BadRequest", message)


@pytest.mark.parametrize("call", ["create", "add", "remove"])
def test_a_malformed_user_id_is_a_bad_request(alice, thread, call):
    nonsense = CommunicationUserIdentifier("8:acs:invalidUserId")
    with pytest.raises(HttpResponseError) as raised:
        if call == "create":
            alice.chat.create_chat_thread("lunch", thread_participants=[guest(nonsense)])
        elif call == "add":
            thread.add_participants([guest(nonsense)])
        else:
            thread.remove_participant(user=nonsense)
    message = "Identifier format is invalid (8:acs:invalidUserId)."
    assert_refused(raised, HttpResponseError, 400, "BadRequest", message)
