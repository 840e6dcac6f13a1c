"""Runs each block of the document, unchanged, in a test of its own, and then checks what the document says about it.

Placeholders are read from the environment; variables of earlier blocks are fixtures.
"""
import os
import re
from datetime import datetime, timezone

import pytest

THREAD_ID = r"19:[A-Za-z0-9_-]+@thread\.v2"


def recent(moment):
    return abs((datetime.now(timezone.utc) - moment).total_seconds()) < 60


def test_create_a_chat_client(alice):
    from azure.communication.chat import ChatClient
    from azure.communication.identity._shared.user_credential import CommunicationTokenCredential
    from azure.communication.chat._shared.user_token_refresh_options import CommunicationTokenRefreshOptions

    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    refresh_options = CommunicationTokenRefreshOptions(alice.token)
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(refresh_options))

    with chat_client:
        assert chat_client.create_chat_thread("test topic").chat_thread.created_by.identifier == alice.id


def test_create_an_user(endpoint):
    # The part that is commented out in the blocks that start a thread.
    from azure.communication.identity import CommunicationIdentityClient

    # create an user
    identity_client = CommunicationIdentityClient.from_connection_string(
        os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]
    )
    user = identity_client.create_user()

    ## OR pass existing user
    from azure.communication.identity import CommunicationUserIdentifier

    user_id = user.identifier
    assert CommunicationUserIdentifier(user_id).identifier == user_id
    assert re.fullmatch("8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}", user_id)


def test_start_a_chat_thread_without_repeatability_request_id(chat_client, user):
    from datetime import datetime
    from azure.communication.chat import ChatThreadParticipant

    topic = "test topic"
    participants = [ChatThreadParticipant(
        user=user,
        display_name='name',
        share_history_time=datetime.utcnow()
    )]

    create_chat_thread_result = chat_client.create_chat_thread(topic)
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    with chat_thread_client:
        assert re.fullmatch(THREAD_ID, chat_thread_client.thread_id)
        # The block creates a list of participants but does not use it: the only participant is the creator, without a name.
        assert [(one.user.identifier, one.display_name) for one in chat_thread_client.list_participants()] == [
            (user.identifier, None)
        ]


def test_start_a_chat_thread_with_repeatability_request_id(chat_client, user):
    from datetime import datetime
    from azure.communication.chat import ChatThreadParticipant

    topic = "test topic"
    participants = [ChatThreadParticipant(
        user=user,
        display_name='name',
        share_history_time=datetime.utcnow()
    )]

    repeatability_request_id = 'b66d6031-fdcc-41df-8306-e524c9f226b8' # some unique identifier
    chat_thread_client = chat_client.create_chat_thread(topic,
                                                        thread_participants=participants,
                                                        repeatability_request_id=repeatability_request_id)

    # The document treats the result as a thread client, which it was in 1.0.0b4: see the README.
    created = chat_thread_client.chat_thread
    assert chat_thread_client.errors is None
    assert (created.topic, created.created_by.identifier) == (topic, user.identifier)
    assert recent(created.created_on)
    again = chat_client.create_chat_thread(
        topic, thread_participants=participants, repeatability_request_id=repeatability_request_id
    )
    assert again.chat_thread.id == created.id


def test_get_a_chat_thread_client(chat_client, create_chat_thread_result):
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(thread_id)

    assert chat_thread_client.thread_id == thread_id
    chat_thread_client.close()


def test_get_a_chat_thread(chat_client, user, create_chat_thread_result):
    thread_id = create_chat_thread_result.chat_thread.id

    chat_thread = chat_client.get_chat_thread(thread_id=thread_id)

    assert (chat_thread.id, chat_thread.topic) == (thread_id, "test topic")
    assert chat_thread.created_by.identifier == user.identifier
    assert chat_thread.created_on == create_chat_thread_result.chat_thread.created_on


def test_list_all_chat_threads(chat_client, create_chat_thread_result):
    from datetime import datetime, timedelta

    start_time = datetime.utcnow() - timedelta(days=2)

    chat_thread_infos = chat_client.list_chat_threads(results_per_page=5, start_time=start_time)
    listed = []
    for chat_thread_info_page in chat_thread_infos.by_page():
        for chat_thread_info in chat_thread_info_page:
            print(chat_thread_info)
            listed.append(chat_thread_info)

    (one,) = listed
    assert type(one).__name__ == "ChatThreadInfo"
    assert (one.id, one.topic, one.deleted_on) == (create_chat_thread_result.chat_thread.id, "test topic", None)
    assert recent(one.last_message_received_on)


def test_delete_a_chat_thread(chat_client, create_chat_thread_result):
    from azure.core.exceptions import ResourceNotFoundError

    thread_id = create_chat_thread_result.chat_thread.id
    chat_client.delete_chat_thread(thread_id=thread_id)

    with pytest.raises(ResourceNotFoundError):
        chat_client.get_chat_thread(thread_id=thread_id)


def test_send_a_message_message_type_not_specified(chat_client):
    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    content='hello world'

    send_message_result_id = chat_thread_client.send_message(content)

    with chat_thread_client:
        assert isinstance(send_message_result_id, str) and send_message_result_id.isdigit()
        assert chat_thread_client.get_message(send_message_result_id).type == "text"


def test_send_a_message_message_type_specified(chat_client):
    from azure.communication.chat import ChatMessageType

    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)


    content='hello world'
    sender_display_name='sender name'

    # specify chat message type with pre-built enumerations
    send_message_result_id_w_enum = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name, chat_message_type=ChatMessageType.TEXT)
    print("Message sent: id: ", send_message_result_id_w_enum)

    # specify chat message type as string
    send_message_result_id_w_str = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name, chat_message_type='text')
    print("Message sent: id: ", send_message_result_id_w_str)

    with chat_thread_client:
        for id in (send_message_result_id_w_enum, send_message_result_id_w_str):
            message = chat_thread_client.get_message(id)
            assert message.type is ChatMessageType.TEXT
            assert message.sender_display_name == sender_display_name


def test_get_a_specific_chat_message(chat_thread_client, user, send_message_result_id):
    message_id = send_message_result_id
    chat_message = chat_thread_client.get_message(message_id)

    assert (chat_message.id, chat_message.content.message) == (message_id, "hello world")
    assert chat_message.sender_communication_identifier.identifier == user.identifier
    assert (chat_message.sender_display_name, chat_message.edited_on, chat_message.deleted_on) == ("", None, None)
    assert recent(chat_message.created_on)


def test_receive_chat_messages(chat_thread_client, send_message_result_id):
    from datetime import datetime, timedelta

    start_time = datetime.utcnow() - timedelta(days=1)

    chat_messages = chat_thread_client.list_messages(results_per_page=1, start_time=start_time)
    seen = []
    for chat_message_page in chat_messages.by_page():
        for chat_message in chat_message_page:
            print("ChatMessage: Id=", chat_message.id, "; Content=", chat_message.content.message)
            seen.append(chat_message)

    assert [message.type for message in seen] == ["text", "topicUpdated", "participantAdded"]
    assert (seen[0].id, seen[0].content.message) == (send_message_result_id, "hello world")


def test_update_the_topic(chat_client, chat_thread_client):
    topic = "updated thread topic"
    chat_thread_client.update_topic(topic=topic)

    chat_thread = chat_client.get_chat_thread(chat_thread_client.thread_id)
    updated_topic = chat_thread.topic

    print('Updated topic: ', updated_topic)

    assert updated_topic == topic


def test_update_a_message(chat_thread_client, sender_display_name):
    content = 'Hello world!'
    send_message_result_id = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name)

    content = 'Hello! I am updated content'
    chat_thread_client.update_message(message_id=send_message_result_id, content=content)

    chat_message = chat_thread_client.get_message(send_message_result_id)
    print('Updated message content: ', chat_message.content.message)

    assert chat_message.content.message == content
    assert recent(chat_message.edited_on)


def test_send_a_read_receipt(chat_thread_client, send_message_result_id):
    message_id=send_message_result_id
    chat_thread_client.send_read_receipt(message_id=message_id)

    assert [receipt.chat_message_id for receipt in chat_thread_client.list_read_receipts()] == [message_id]


def test_list_read_receipts(chat_thread_client, user, send_message_result_id):
    chat_thread_client.send_read_receipt(message_id=send_message_result_id)

    read_receipts = chat_thread_client.list_read_receipts(results_per_page=5, skip=0)
    listed = []
    for read_receipt_page in read_receipts.by_page():
        for read_receipt in read_receipt_page:
            print('ChatMessageReadReceipt: ', read_receipt)
            print('Sender', read_receipt.sender)
            print('Message Id', read_receipt.chat_message_id)
            print('Read On Timestamp', read_receipt.read_on)
            listed.append(read_receipt)

    (one,) = listed
    assert (one.sender.identifier, one.chat_message_id) == (user.identifier, send_message_result_id)
    assert recent(one.read_on)


def test_send_a_typing_notification(chat_thread_client):
    chat_thread_client.send_typing_notification()


def test_delete_a_message(chat_thread_client, send_message_result_id):
    message_id=send_message_result_id
    chat_thread_client.delete_message(message_id=message_id)

    deleted = chat_thread_client.get_message(message_id)
    assert deleted.content.message == ""
    assert recent(deleted.deleted_on)


def test_add_a_user_as_participant(chat_thread_client):
    from azure.communication.identity import CommunicationIdentityClient
    from azure.communication.chat import ChatThreadParticipant
    from datetime import datetime

    # create an user
    identity_client = CommunicationIdentityClient.from_connection_string(
        os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]
    )
    new_user = identity_client.create_user()

    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    participant = ChatThreadParticipant(
        user=new_user,
        display_name='Fred Flinstone',
        share_history_time=datetime.utcnow())

    try:
        chat_thread_client.add_participant(thread_participant=participant)
    except RuntimeError as e:
        if e is not None and decide_to_retry(error=e):
            chat_thread_client.add_participant(thread_participant=participant)

    *_, last = chat_thread_client.list_participants()
    assert (last.user.identifier, last.display_name) == (new_user.identifier, "Fred Flinstone")
    assert recent(last.share_history_time)


def test_add_users_as_participants(chat_thread_client):
    from azure.communication.identity import CommunicationIdentityClient
    from azure.communication.chat import ChatThreadParticipant
    from datetime import datetime

    # create 2 users
    identity_client = CommunicationIdentityClient.from_connection_string(
        os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]
    )
    new_users = [identity_client.create_user() for i in range(2)]

    participants = []
    for _user in new_users:
      chat_thread_participant = ChatThreadParticipant(
        user=_user,
        display_name='Fred Flinstone',
        share_history_time=datetime.utcnow()
      )
      participants.append(chat_thread_participant)

    response = chat_thread_client.add_participants(thread_participants=participants)

    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    # verify if all users has been successfully added or not
    # in case of partial failures, you can retry to add all the failed participants
    retry = [p for p, e in response if decide_to_retry(e)]
    if len(retry) > 0:
        chat_thread_client.add_participants(retry)

    assert response == []
    assert [one.user.identifier for one in chat_thread_client.list_participants()][1:] == [
        new_user.identifier for new_user in new_users
    ]


def test_remove_a_user(chat_thread_client, user, new_user):
    chat_thread_client.remove_participant(user=new_user)

    assert [one.user.identifier for one in chat_thread_client.list_participants()] == [user.identifier]


def test_remove_a_user_whose_id_is_known(chat_thread_client, user, new_user):
    # The part of the block that is commented out there, with the class name and the argument corrected: see the README.
    from azure.communication.identity import CommunicationUserIdentifier

    user_id = new_user.identifier
    chat_thread_client.remove_participant(user=CommunicationUserIdentifier(user_id))

    assert [one.user.identifier for one in chat_thread_client.list_participants()] == [user.identifier]
