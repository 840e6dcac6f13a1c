"""Permissions: every operation on a thread, requested by users that may not do it."""
import pytest
from azure.communication.chat import ChatParticipant
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from operations import NO_SUCH_THREAD, OPERATIONS
from refusal import NOT_A_PARTICIPANT, assert_chat_refused, assert_token_refused

NO_THREAD = "The specified thread id was not found."


@pytest.fixture(params=OPERATIONS, ids=str)
def name(request):
    return request.param


@pytest.fixture
def operation(name):
    return OPERATIONS[name]


# 401


def test_a_revoked_token_is_refused(identity, alice, thread, operation):
    identity.revoke_tokens(alice.user)
    with pytest.raises(HttpResponseError) as raised:
        operation(alice.chat, thread)
    assert_token_refused(raised)


# 403


def test_a_stranger_is_kept_out(bob, thread, operation):
    with pytest.raises(HttpResponseError) as raised:
        operation(bob.chat, bob.thread(thread.thread_id))
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


def test_a_token_for_calls_alone_opens_no_chat(sdk, identity, alice, thread, operation):
    # Unverified: the status.
    caller = sdk.chat_client(identity.get_token(alice.user, ["voip"]).token)
    with pytest.raises(HttpResponseError) as raised:
        operation(caller, sdk.thread_client(caller, thread.thread_id))
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden")


def test_one_who_was_removed_may_read_and_nothing_else(bob, thread, name, operation):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    thread.remove_participant(bob.user)
    his = bob.thread(thread.thread_id)
    if name == "list_messages":
        assert [message.type for message in operation(bob.chat, his)][0] == "participantRemoved"
    elif name == "get_message":
        (*_, first) = thread.list_messages()
        assert his.get_message(first.id).sequence_id == "1"
    else:
        with pytest.raises(HttpResponseError) as raised:
            operation(bob.chat, his)
        assert_chat_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


def forbidden_with(scope):
    refused = {"update_topic", "delete_chat_thread"}
    return refused | {"add_participants", "remove_participant"} if scope == "chat.join.limited" else refused


@pytest.mark.parametrize("scope", ["chat.join", "chat.join.limited"])
def test_the_lesser_scopes_join_in_but_do_not_manage(sdk, identity, alice, thread, name, scope):
    # Unverified: the status. The permissions of each scope are documented.
    guest = sdk.chat_client(identity.get_token(alice.user, [scope]).token)
    hers = sdk.thread_client(guest, thread.thread_id)
    sent = thread.send_message("hello").id
    calls = dict(
        OPERATIONS,
        get_message=lambda chat, thread: thread.get_message(sent),
        update_message=lambda chat, thread: thread.update_message(sent, "hi"),
        delete_message=lambda chat, thread: thread.delete_message(sent),
        send_read_receipt=lambda chat, thread: thread.send_read_receipt(sent),
        remove_participant=lambda chat, thread: thread.remove_participant(alice.user),
    )
    if name in forbidden_with(scope):
        with pytest.raises(HttpResponseError) as raised:
            calls[name](guest, hers)
        assert_chat_refused(raised, HttpResponseError, 403, "Forbidden")
    else:
        calls[name](guest, hers)


@pytest.mark.parametrize("scope", ["chat.join", "chat.join.limited"])
def test_the_lesser_scopes_list_threads(sdk, identity, alice, thread, scope):
    guest = sdk.chat_client(identity.get_token(alice.user, [scope]).token)
    assert [item.id for item in guest.list_chat_threads()] == [thread.thread_id]


# 404


def test_a_thread_that_never_was_is_not_found(alice, operation, wire):
    with pytest.raises(ResourceNotFoundError) as raised:
        operation(alice.chat, alice.thread(NO_SUCH_THREAD), **wire.hooks)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound", NO_THREAD)
    assert len(wire.requests) == 1


def test_a_deleted_thread_is_not_found(alice, thread, name, operation):
    # Unverified: no request after a deletion was recorded. Microsoft's own suites delete a thread twice.
    alice.chat.delete_chat_thread(thread.thread_id)
    if name == "delete_chat_thread":
        operation(alice.chat, thread)
        return
    with pytest.raises(ResourceNotFoundError) as raised:
        operation(alice.chat, thread)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound", NO_THREAD)


# 400


def test_a_malformed_thread_id_is_a_bad_request(alice, operation):
    with pytest.raises(HttpResponseError) as raised:
        operation(alice.chat, alice.thread("invalid_chat_thread_id"))
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


@pytest.mark.parametrize("call", ["update_message", "delete_message"])
@pytest.mark.parametrize("message_id", ["invalid_chat_message_id", "-1", "1.5"])
def test_a_malformed_message_id_is_a_bad_request(thread, call, message_id):
    with pytest.raises(HttpResponseError) as raised:
        getattr(thread, call)(message_id)
    assert_chat_refused(
        raised, HttpResponseError, 400, "BadRequest", "Value for MessageId ({}) is not valid.".format(message_id)
    )


# The suites of 2021 clean up like this (recorded): delete the user, then its threads with its token, which still works.


def test_the_token_of_a_deleted_user_still_deletes_its_threads(identity, alice, thread, wire):
    identity.delete_user(alice.user)
    alice.chat.delete_chat_thread(thread.thread_id, **wire.hooks)
    assert [answer.status_code for answer in wire.answers] == [204]


def test_the_token_of_a_deleted_user_still_takes_it_out_of_a_thread(identity, alice, bob, thread):
    thread.add_participants([ChatParticipant(identifier=bob.user)])
    identity.delete_user(bob.user)
    bob.thread(thread.thread_id).remove_participant(bob.user)
    assert [one.identifier.raw_id for one in thread.list_participants()] == [alice.id]


def test_the_token_of_a_deleted_user_does_nothing_else(identity, alice, thread, name, operation):
    identity.delete_user(alice.user)
    if name == "delete_chat_thread":
        operation(alice.chat, thread)
        return
    with pytest.raises(HttpResponseError) as raised:
        operation(alice.chat, thread)
    assert_token_refused(raised)


def test_the_token_of_a_deleted_user_lists_no_threads(identity, alice, thread):
    identity.delete_user(alice.user)
    with pytest.raises(HttpResponseError) as raised:
        list(alice.chat.list_chat_threads())
    assert_token_refused(raised)
