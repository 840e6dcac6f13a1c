"""The examples of the package's own README, as printed there, as far as this milestone goes."""
import os
import uuid
from datetime import datetime, timedelta

# The README takes naive times for UTC with datetime.utcnow(), and so does this file.


def test_the_readme():
    from azure.communication.identity import CommunicationIdentityClient
    from azure.communication.chat import ChatClient, ChatMessageType, ChatParticipant, CommunicationTokenCredential

    # User access tokens
    identity_client = CommunicationIdentityClient.from_connection_string(
        os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]
    )
    user = identity_client.create_user()
    tokenresponse = identity_client.get_token(user, scopes=["chat"])
    token = tokenresponse.token

    # Create the chat client
    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(token))

    # Create a thread, without and with an idempotency token and participants
    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    def get_unique_identifier_for_request(**kwargs):
        res = uuid.uuid4()
        return res

    thread_participants = [ChatParticipant(identifier=user, display_name="name", share_history_time=datetime.utcnow())]
    idempotency_token = get_unique_identifier_for_request()
    create_chat_thread_result = chat_client.create_chat_thread(
        topic, thread_participants=thread_participants, idempotency_token=idempotency_token
    )
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(thread_id)

    def decide_to_retry(error, **kwargs):
        return True

    retry = [
        thread_participant
        for thread_participant, error in create_chat_thread_result.errors
        if decide_to_retry(error)
    ]
    assert retry == []

    # Get the thread
    chat_thread_properties = chat_thread_client.get_properties()
    assert chat_thread_properties.topic == topic

    # Send messages
    content = "hello world"
    sender_display_name = "sender name"
    chat_message_type = ChatMessageType.TEXT
    send_message_result = chat_thread_client.send_message(content)
    send_message_result_id = send_message_result.id
    send_message_result_w_type = chat_thread_client.send_message(
        content, sender_display_name=sender_display_name, chat_message_type=chat_message_type
    )
    send_message_result_w_type_id = send_message_result_w_type.id

    # Get a message
    chat_message = chat_thread_client.get_message(message_id=send_message_result_id)
    assert (chat_message.id, chat_message.content.message) == (send_message_result_id, content)

    # List messages
    start_time = datetime.utcnow() - timedelta(days=1)
    chat_messages = chat_thread_client.list_messages(results_per_page=1, start_time=start_time)
    listed = []
    for chat_message_page in chat_messages.by_page():
        for chat_message in chat_message_page:
            listed.append((chat_message.id, chat_message.content.message))
    assert listed[:2] == [(send_message_result_w_type_id, content), (send_message_result_id, content)]

    chat_client.close()
    chat_thread_client.close()
