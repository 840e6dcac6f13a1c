"""Runs every example of the package's README, unchanged, in a test of its own.

The same text runs with the synchronous and the asynchronous clients: ChatClient and CommunicationTokenCredential come from the
`microsoft` fixture, placeholders are read from the environment, and variables of earlier examples are fixtures.
What the README says about an example is checked after it.
"""
import os
from datetime import datetime
from types import SimpleNamespace

import pytest

# The README uses datetime.utcnow(), which returns naive times in UTC, and so does this file.


@pytest.fixture
def microsoft(sdk):
    """The names of azure.communication.chat that differ between the synchronous and the asynchronous clients."""
    return SimpleNamespace(
        CommunicationTokenCredential=lambda token: token,
        ChatClient=lambda endpoint, token: sdk.chat_client(token),
    )


@pytest.fixture
def identity_client(identity):
    return identity


@pytest.fixture
def chat_client(alice):
    return alice.chat


@pytest.fixture
def user(alice):
    return alice.user


@pytest.fixture
def token(alice):
    return alice.token


@pytest.fixture
def chat_thread_client(thread):
    return thread


@pytest.fixture
def thread_id(thread):
    return thread.thread_id


@pytest.fixture
def send_message_result_id(chat_thread_client):
    return chat_thread_client.send_message("hello world").id


@pytest.fixture
def new_user(identity, chat_thread_client):
    """A user that is in the thread, as after the example that adds it."""
    from azure.communication.chat import ChatParticipant

    user = identity.create_user()
    chat_thread_client.add_participants([ChatParticipant(identifier=user)])
    return user


def ids(participants):
    return [one.identifier.raw_id for one in participants]


def test_user_access_tokens(identity_client):
    user = identity_client.create_user()
    tokenresponse = identity_client.get_token(user, scopes=["chat"])
    token = tokenresponse.token

    assert user.raw_id and token.count(".") == 2


def test_create_a_chat_client(microsoft, alice, token):
    ChatClient, CommunicationTokenCredential = microsoft.ChatClient, microsoft.CommunicationTokenCredential

    # Your unique Azure Communication service endpoint
    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(token))

    assert chat_client.create_chat_thread("test topic").chat_thread.created_by.raw_id == alice.id


def test_create_a_chat_thread_client(chat_client):
    topic = "test topic"

    create_chat_thread_result = chat_client.create_chat_thread(topic)
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    assert chat_thread_client.get_properties().topic == topic


def test_create_a_chat_thread_client_for_a_known_thread(chat_client, thread_id):
    chat_thread_client = chat_client.get_chat_thread_client(thread_id) # thread_id is the id of an existing chat thread

    assert chat_thread_client.thread_id == thread_id
    assert chat_thread_client.get_properties().id == thread_id


def test_create_a_thread_with_idempotency_token_and_thread_participants(microsoft, identity_client):
    ChatClient, CommunicationTokenCredential = microsoft.ChatClient, microsoft.CommunicationTokenCredential
    # With idempotency_token and thread_participants
    from azure.communication.chat import ChatParticipant
    import uuid
    from datetime import datetime

    # create an user
    user = identity_client.create_user()

    # user access tokens
    tokenresponse = identity_client.get_token(user, scopes=["chat"])
    token = tokenresponse.token

    # create the chat_client
    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(token))

    # modify function to implement customer logic
    def get_unique_identifier_for_request(**kwargs):
        res = uuid.uuid4()
        return res

    topic = "test topic"
    thread_participants = [ChatParticipant(
        identifier=user,
        display_name='name',
        share_history_time=datetime.utcnow()
    )]

    # obtains idempotency_token using some customer logic
    idempotency_token = get_unique_identifier_for_request()

    create_chat_thread_result = chat_client.create_chat_thread(
        topic,
        thread_participants=thread_participants,
        idempotency_token=idempotency_token)
    thread_id = create_chat_thread_result.chat_thread.id

    # fetch ChatThreadClient
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    # Additionally, you can also check if all participants were successfully added or not
    # and subsequently retry adding the failed participants again
    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    retry = [thread_participant for thread_participant, error in create_chat_thread_result.errors if decide_to_retry(error)]
    if retry:
        chat_thread_client.add_participants(retry)

    assert retry == []
    again = chat_client.create_chat_thread(
        topic, thread_participants=thread_participants, idempotency_token=idempotency_token
    )
    assert again.chat_thread.id == thread_id
    assert [(one.identifier.raw_id, one.display_name) for one in chat_thread_client.list_participants()] == [
        (user.raw_id, "name")
    ]


def test_create_a_thread_with_a_participant_who_fails(chat_client, user, bob, unknown_id):
    """The same retry, with a participant that was refused."""
    from azure.communication.chat import ChatParticipant, CommunicationUserIdentifier

    thread_participants = [
        ChatParticipant(identifier=CommunicationUserIdentifier(unknown_id), display_name="nobody"),
        ChatParticipant(identifier=bob.user, display_name="name"),
    ]
    create_chat_thread_result = chat_client.create_chat_thread("test topic", thread_participants=thread_participants)
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)
    tried = []

    def decide_to_retry(error, **kwargs):
        tried.append(error.target)
        return True

    retry = [thread_participant for thread_participant, error in create_chat_thread_result.errors if decide_to_retry(error)]
    if retry:
        chat_thread_client.add_participants(retry)

    assert (tried, retry) == ([unknown_id], thread_participants[:1])
    assert ids(chat_thread_client.list_participants()) == [user.raw_id, bob.id]


def test_get_a_thread(chat_thread_client, thread_id, user):
    chat_thread_properties = chat_thread_client.get_properties()

    assert (chat_thread_properties.id, chat_thread_properties.topic) == (thread_id, "lunch")
    assert chat_thread_properties.created_by.raw_id == user.raw_id


def test_list_threads(microsoft, token, thread_id):
    ChatClient, CommunicationTokenCredential = microsoft.ChatClient, microsoft.CommunicationTokenCredential
    from datetime import datetime, timedelta

    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(token))
    start_time = datetime.utcnow() - timedelta(days=2)

    listed = []
    chat_threads = chat_client.list_chat_threads(results_per_page=5, start_time=start_time)
    for chat_thread_item_page in chat_threads.by_page():
        for chat_thread_item in chat_thread_item_page:
            print("thread id:", chat_thread_item.id)
            listed.append(chat_thread_item.id)

    assert listed == [thread_id]


def test_update_the_topic_of_a_thread(chat_thread_client):
    topic = "new topic"
    chat_thread_client.update_topic(topic=topic)

    chat_thread = chat_thread_client.get_properties()  # KNOWN: the document says get_properties(thread_id)

    assert chat_thread.topic == topic


def test_the_documents_get_properties_of_a_thread_id_is_a_type_error(chat_thread_client, thread_id):
    """KNOWN mistake of the README: the SDK raises TypeError before any request."""
    with pytest.raises(TypeError):
        chat_thread_client.get_properties(thread_id)


def test_delete_a_thread(chat_client, chat_thread_client, thread_id):
    from azure.core.exceptions import ResourceNotFoundError

    chat_client.delete_chat_thread(thread_id=thread_id)

    with pytest.raises(ResourceNotFoundError):
        chat_thread_client.get_properties()


def test_send_a_message(chat_client):
    from azure.communication.chat import ChatMessageType

    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    content='hello world'
    sender_display_name='sender name'
    chat_message_type = ChatMessageType.TEXT

    # without specifying sender_display_name and chat_message_type
    send_message_result = chat_thread_client.send_message(content)
    send_message_result_id = send_message_result.id
    print("Message sent: id: ", send_message_result_id)

    # specifying sender_display_name and chat_message_type
    send_message_result_w_type = chat_thread_client.send_message(
                content,
                sender_display_name=sender_display_name,
                chat_message_type=chat_message_type # equivalent to chat_message_type = 'text'
    )
    send_message_result_w_type_id = send_message_result_w_type.id
    print("Message sent: id: ", send_message_result_w_type_id)

    plain, named = [
        chat_thread_client.get_message(id) for id in (send_message_result_id, send_message_result_w_type_id)
    ]
    assert (plain.type, plain.sender_display_name) == (ChatMessageType.TEXT, "")
    assert (named.type, named.sender_display_name) == (ChatMessageType.TEXT, "sender name")


def test_get_a_message(chat_thread_client, send_message_result_id):
    chat_message = chat_thread_client.get_message(message_id=send_message_result_id)
    print("get_chat_message succeeded, message id:", chat_message.id, "content: ", chat_message.content)

    assert (chat_message.id, chat_message.content.message) == (send_message_result_id, "hello world")


def test_list_messages(chat_thread_client, send_message_result_id):
    from datetime import datetime, timedelta

    start_time = datetime.utcnow() - timedelta(days=1)

    listed = []
    chat_messages = chat_thread_client.list_messages(results_per_page=1, start_time=start_time)
    for chat_message_page in chat_messages.by_page():
        for chat_message in chat_message_page:
            print("ChatMessage: Id=", chat_message.id, "; Content=", chat_message.content.message)
            listed.append((chat_message.id, chat_message.content.message))

    assert listed[0] == (send_message_result_id, "hello world")
    assert [content for _, content in listed[1:]] == [None, None]


def test_update_a_message(chat_thread_client, send_message_result_id):
    content = "updated message content"
    chat_thread_client.update_message(send_message_result_id, content=content)

    chat_message = chat_thread_client.get_message(message_id=send_message_result_id)

    assert chat_message.content.message == content


def test_delete_a_message(chat_thread_client, send_message_result_id):
    chat_thread_client.delete_message(message_id=send_message_result_id)

    assert chat_thread_client.get_message(send_message_result_id).deleted_on


def test_list_the_participants_of_a_thread(identity_client, chat_thread_client):
    from azure.communication.chat import ChatParticipant

    new_users = [identity_client.create_user() for i in range(7)]
    chat_thread_client.add_participants([ChatParticipant(identifier=one) for one in new_users])

    listed = []
    chat_participants = chat_thread_client.list_participants(results_per_page=5, skip=5)
    for chat_participant_page in chat_participants.by_page():
        for chat_participant in chat_participant_page:
            print("ChatParticipant: ", chat_participant)
            listed.append(chat_participant)

    assert ids(listed) == [one.raw_id for one in new_users[4:]]


def test_add_thread_participants(identity_client, chat_thread_client, user):
    from azure.communication.chat import ChatParticipant
    from datetime import datetime

    # create 2 users
    new_users = [identity_client.create_user() for i in range(2)]

    participants = []
    for _user in new_users:
      chat_participant = ChatParticipant(
        identifier=_user,
        display_name='Fred Flinstone',
        share_history_time=datetime.utcnow()
      )
      participants.append(chat_participant)

    response = chat_thread_client.add_participants(thread_participants=participants)

    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    # verify if all users has been successfully added or not
    # in case of partial failures, you can retry to add all the failed participants
    retry = [p for p, e in response if decide_to_retry(e)]
    if retry:
        chat_thread_client.add_participants(retry)

    assert response == []
    assert ids(chat_thread_client.list_participants()) == [user.raw_id] + [one.raw_id for one in new_users]


def test_add_an_existing_user_to_a_thread(chat_thread_client, bob):
    # The part of the example that is commented out there.
    from azure.communication.chat import ChatParticipant, CommunicationUserIdentifier

    user_id = bob.id
    user_display_name = "Wilma Flinstone"
    new_user = CommunicationUserIdentifier(user_id)
    participant = ChatParticipant(
        identifier=new_user,
        display_name=user_display_name,
        share_history_time=datetime.utcnow())

    assert chat_thread_client.add_participants([participant]) == []
    *_, last = chat_thread_client.list_participants()
    assert (last.identifier.raw_id, last.display_name) == (bob.id, "Wilma Flinstone")


def test_remove_a_thread_participant(chat_thread_client, user, new_user):
    chat_thread_client.remove_participant(identifier=new_user)

    assert ids(chat_thread_client.list_participants()) == [user.raw_id]


def test_remove_a_thread_participant_whose_id_is_known(chat_thread_client, user, new_user):
    # The part of the example that is commented out there. KNOWN: the document says CommunicationUserIdentifier(new_user).
    from azure.communication.chat import CommunicationUserIdentifier

    user_id = new_user.raw_id
    chat_thread_client.remove_participant(identifier=CommunicationUserIdentifier(user_id))

    assert ids(chat_thread_client.list_participants()) == [user.raw_id]


def test_send_a_typing_notification(chat_thread_client):
    chat_thread_client.send_typing_notification()


def test_send_a_read_receipt(chat_thread_client):
    content='hello world'
    send_message_result = chat_thread_client.send_message(content)
    send_message_result_id = send_message_result.id
    chat_thread_client.send_read_receipt(message_id=send_message_result_id)

    assert [one.chat_message_id for one in chat_thread_client.list_read_receipts()] == [send_message_result_id]


def test_list_read_receipts(identity, chat_thread_client, new_person, send_message_result_id):
    from azure.communication.chat import ChatParticipant

    readers = [new_person() for i in range(7)]
    chat_thread_client.add_participants([ChatParticipant(identifier=one.user) for one in readers])
    for one in readers:
        one.thread(chat_thread_client.thread_id).send_read_receipt(send_message_result_id)

    listed = []
    read_receipts = chat_thread_client.list_read_receipts(results_per_page=5, skip=5)

    for read_receipt_page in read_receipts.by_page():
        for read_receipt in read_receipt_page:
            print(read_receipt)
            print(read_receipt.sender)
            print(read_receipt.chat_message_id)
            print(read_receipt.read_on)
            listed.append(read_receipt)

    assert len(listed) == 2
    assert {one.chat_message_id for one in listed} == {send_message_result_id}
    assert {one.sender.raw_id for one in listed} < {one.id for one in readers}
