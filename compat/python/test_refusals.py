"""Requests that the server refuses, and the exceptions that the SDK raises for them."""
import base64
import json
import time

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from refusal import NOT_A_PARTICIPANT, assert_chat_refused, assert_token_refused
from wire import Wire

NO_SUCH_THREAD = "19:" + "0" * 32 + "@thread.v2"
NO_SUCH_MESSAGE = "1600000000000"

IN_A_THREAD = {
    "get_properties": lambda thread, **options: thread.get_properties(**options),
    "send_message": lambda thread, **options: thread.send_message("hello", **options),
    "get_message": lambda thread, **options: thread.get_message(NO_SUCH_MESSAGE, **options),
    "list_messages": lambda thread, **options: list(thread.list_messages(**options)),
}


@pytest.fixture(params=IN_A_THREAD.values(), ids=IN_A_THREAD)
def operation(request):
    return request.param


def forged(token, **changes):
    """Returns the token with changed claims and its old signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims.update(changes)
    payload = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")
    return ".".join([header, payload, signature])


# 401


def test_a_token_of_somebody_elses_making_is_refused(sdk, thread, operation):
    part = lambda claims: base64.b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    token = ".".join([part({"alg": "HS256", "typ": "JWT"}), part({"exp": int(time.time()) + 3600}), "c2lnbmF0dXJl"])
    stranger = sdk.chat_client(token)
    with pytest.raises(HttpResponseError) as raised:
        operation(sdk.thread_client(stranger, thread.thread_id))
    assert_token_refused(raised)


def test_a_token_that_was_tampered_with_is_refused(sdk, alice, bob, thread):
    pretender = sdk.chat_client(forged(bob.token, skypeid=alice.id[len("8:") :]))
    with pytest.raises(HttpResponseError) as raised:
        sdk.thread_client(pretender, thread.thread_id).get_properties()
    assert_token_refused(raised)


def test_a_token_without_a_signature_is_refused(sdk, alice, thread):
    header = base64.b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    unsigned = sdk.chat_client(".".join([header, alice.token.split(".")[1], ""]))
    with pytest.raises(HttpResponseError) as raised:
        sdk.thread_client(unsigned, thread.thread_id).get_properties()
    assert_token_refused(raised)


def test_a_revoked_token_is_refused(identity, alice, thread, operation):
    identity.revoke_tokens(alice.user)
    with pytest.raises(HttpResponseError) as raised:
        operation(thread)
    assert_token_refused(raised)


def test_the_token_of_a_deleted_user_is_refused(identity, alice, thread, operation):
    identity.delete_user(alice.user)
    with pytest.raises(HttpResponseError) as raised:
        operation(thread)
    assert_token_refused(raised)


def test_the_token_comes_before_every_other_complaint(sdk, identity, alice):
    identity.revoke_tokens(alice.user)
    with pytest.raises(HttpResponseError) as raised:
        alice.thread("invalid_chat_thread_id").get_properties()
    assert_token_refused(raised)


# 403


def test_a_stranger_is_kept_out(bob, thread, operation):
    with pytest.raises(HttpResponseError) as raised:
        operation(bob.thread(thread.thread_id))
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


def test_a_stranger_cannot_read_a_message_whose_id_it_knows(bob, thread):
    sent = thread.send_message("between us")
    with pytest.raises(HttpResponseError) as raised:
        bob.thread(thread.thread_id).get_message(sent.id)
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden", NOT_A_PARTICIPANT)


# Unverified: the status for a wrong scope. The permissions of each scope are documented.


def test_a_token_for_calls_alone_opens_no_chat(sdk, identity, alice, thread, operation):
    caller = sdk.chat_client(identity.get_token(alice.user, ["voip"]).token)
    with pytest.raises(HttpResponseError) as raised:
        operation(sdk.thread_client(caller, thread.thread_id))
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden")


@pytest.mark.parametrize("scope", ["voip", "chat.join", "chat.join.limited"])
def test_a_thread_is_created_with_the_scope_chat_alone(new_person, scope):
    with pytest.raises(HttpResponseError) as raised:
        new_person(scopes=[scope]).chat.create_chat_thread("lunch")
    assert_chat_refused(raised, HttpResponseError, 403, "Forbidden")


@pytest.mark.parametrize("scope", ["chat.join", "chat.join.limited"])
def test_the_lesser_chat_scopes_read_and_send(sdk, identity, alice, thread, scope):
    guest = sdk.chat_client(identity.get_token(alice.user, [scope]).token)
    seen = sdk.thread_client(guest, thread.thread_id)
    sent = seen.send_message("hello")
    assert seen.get_properties().topic == "lunch"
    assert seen.get_message(sent.id).content.message == "hello"
    assert len(list(seen.list_messages())) == 3


# 404. Unverified for messages; for threads it was recorded.


def test_a_thread_that_never_existed_is_not_found(alice, operation):
    with pytest.raises(ResourceNotFoundError) as raised:
        operation(alice.thread(NO_SUCH_THREAD))
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound", "The specified thread id was not found.")


def test_a_message_that_never_existed_is_not_found(thread):
    with pytest.raises(ResourceNotFoundError) as raised:
        thread.get_message(NO_SUCH_MESSAGE)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound")


def test_a_message_of_another_thread_is_not_found(alice, thread):
    sent = alice.thread(alice.chat.create_chat_thread("dinner").chat_thread.id).send_message("hello")
    with pytest.raises(ResourceNotFoundError) as raised:
        thread.get_message(sent.id)
    assert_chat_refused(raised, ResourceNotFoundError, 404, "NotFound")


# 400. Unverified for bodies and page sizes; for ids it was recorded.


@pytest.mark.parametrize(
    "thread_id", ["invalid_chat_thread_id", "19:@thread.v2", "19:no-suffix", "8:acs:a_b", "19:a b@thread.v2"]
)
def test_a_malformed_thread_id_is_a_bad_request(alice, operation, thread_id):
    with pytest.raises(HttpResponseError) as raised:
        operation(alice.thread(thread_id))
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


@pytest.mark.parametrize("message_id", ["invalid_chat_message_id", "-1", "1.5", "1e3", "0x10"])
def test_a_malformed_message_id_is_a_bad_request(thread, message_id):
    with pytest.raises(HttpResponseError) as raised:
        thread.get_message(message_id)
    assert_chat_refused(
        raised, HttpResponseError, 400, "BadRequest", "Value for MessageId ({}) is not valid.".format(message_id)
    )


@pytest.mark.parametrize(
    "body",
    [{}, {"topic": None}, {"topic": ""}, {"topic": 7}, {"topic": "lunch", "participants": "everybody"}, [], "lunch"],
    ids=json.dumps,
)
def test_a_thread_is_not_created_from_a_bad_body(alice, body):
    with pytest.raises(HttpResponseError) as raised:
        alice.chat.create_chat_thread("lunch", **Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": None},
        {"content": ""},
        {"content": 7},
        {"content": "hello", "type": "topicUpdated"},
        {"content": "hello", "type": "participantAdded"},
        {"content": "hello", "type": "participantRemoved"},
        {"content": "hello", "type": "carrier pigeon"},
        {"content": "hello", "metadata": {"number": 7}},
        [],
        "hello",
    ],
    ids=json.dumps,
)
def test_a_message_is_not_sent_from_a_bad_body(thread, body):
    with pytest.raises(HttpResponseError) as raised:
        thread.send_message("hello", **Wire(body=body).hooks)
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")
    assert [message.sequence_id for message in thread.list_messages()] == ["2", "1"], "a refused send wrote something"


def test_a_message_body_of_nulls_and_unknown_members_is_a_text(thread):
    body = {"content": "hello", "type": None, "senderDisplayName": None, "metadata": None, "mood": "curious"}
    sent = thread.send_message("hello", **Wire(body=body).hooks)
    message = thread.get_message(sent.id)
    assert (message.type, message.sender_display_name, message.metadata) == ("text", "", None)


@pytest.mark.parametrize("results_per_page", [0, -1])
def test_a_page_of_nothing_is_a_bad_request(thread, results_per_page):
    with pytest.raises(HttpResponseError) as raised:
        list(thread.list_messages(results_per_page=results_per_page))
    assert_chat_refused(raised, HttpResponseError, 400, "BadRequest")


# Error responses on the wire


@pytest.mark.parametrize(
    "thread_id", [NO_SUCH_THREAD, "invalid_chat_thread_id"], ids=["not found", "bad request"]
)
def test_a_refusal_is_final_and_not_retried(alice, wire, operation, thread_id):
    with pytest.raises(HttpResponseError):
        operation(alice.thread(thread_id), **wire.hooks)
    assert len(wire.requests) == 1


def test_a_refused_token_is_not_tried_again(identity, alice, wire):
    identity.revoke_tokens(alice.user)
    with pytest.raises(HttpResponseError):
        alice.chat.create_chat_thread("lunch", **wire.hooks)
    assert len(wire.requests) == 1


# Arguments that the SDK refuses before it sends a request. They say nothing about the server, but explain Wire(body=...) above.


def test_the_sdk_itself_refuses_what_is_empty_or_a_system_type(alice, thread, wire):
    with pytest.raises(ValueError):
        alice.chat.create_chat_thread("", **wire.hooks)
    with pytest.raises(ValueError):
        thread.send_message("", **wire.hooks)
    with pytest.raises(ValueError):
        thread.send_message("hello", chat_message_type="topicUpdated", **wire.hooks)
    with pytest.raises(ValueError):
        alice.chat.get_chat_thread_client("")
    assert wire.requests == []
