"""Calls every operation of the SDK of 2020-11-01-preview3 and prints the responses and exceptions as JSON.

Run by test_preview3.py with the Python of .venv-preview3.
"""
import json
import os
from datetime import datetime

from azure.communication.chat import (
    ChatClient,
    ChatThreadParticipant,
    CommunicationTokenCredential,
    CommunicationTokenRefreshOptions,
    CommunicationUserIdentifier,
)
from azure.communication.identity import CommunicationIdentityClient

identity_client = CommunicationIdentityClient.from_connection_string(
    os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]
)
said = {"answers": {}, "raised": {}}


def person():
    user, access = identity_client.create_user_with_token(["chat"])
    credential = CommunicationTokenCredential(CommunicationTokenRefreshOptions(access.token))
    return user, ChatClient(os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"], credential)


def call(name, method, *args, pages=False, **kwargs):
    """Calls the function, stores the responses under the name, and returns the result."""
    answers = []
    result = None
    try:
        result = method(*args, raw_response_hook=lambda answer: answers.append(answer.http_response), **kwargs)
        result = list(result) if pages else result
    except Exception as error:
        said["raised"][name] = "{}: {}".format(type(error).__name__, error)
    said["answers"][name] = [
        {"method": one.request.method, "url": one.request.url, "status": one.status_code, "body": one.text()}
        for one in answers
    ]
    return result


alice, chat = person()
bob, bobs_chat = person()
said["alice"], said["bob"] = alice.identifier, bob.identifier
resource = alice.identifier.split("_")[0]
nobody = CommunicationUserIdentifier(resource + "_00000000-0000-4000-8000-000000000000")
said["nobody"] = nobody.identifier

me = ChatThreadParticipant(user=alice, display_name="Alice", share_history_time=datetime(2021, 3, 10, 1, 2, 3, 456))
create = {"topic": "lunch", "thread_participants": [me], "repeatability_request_id": "any opaque words"}
# This SDK passes its options, including the hook, to the thread client, so the response comes from the next creation.
thread = chat.create_chat_thread(**create)
said["thread"] = thread.thread_id
again = call("create", chat.create_chat_thread, **create)
said["again"] = again.thread_id
call("create, refused", chat.create_chat_thread, "lunch", [me, ChatThreadParticipant(user=nobody)])

call("get thread", chat.get_chat_thread, thread.thread_id)
call("get thread, stranger", bobs_chat.get_chat_thread, thread.thread_id)
call("update topic", thread.update_topic, topic="dinner")
call("list threads", chat.list_chat_threads, pages=True)

message = call("send message", thread.send_message, "hello", sender_display_name="Alice")
call("get message", thread.get_message, message)
call("update message", thread.update_message, message, content="hi")
call("send receipt", thread.send_read_receipt, message)
call("list receipts", thread.list_read_receipts, pages=True)
call("typing", thread.send_typing_notification)
call("delete message", thread.delete_message, message)

call("add participant", thread.add_participant, ChatThreadParticipant(user=bob, display_name="Bob"))
call("add participants, refused", thread.add_participants, [ChatThreadParticipant(user=nobody)])
call("list participants", thread.list_participants, pages=True, results_per_page=1)
call("remove participant", thread.remove_participant, bob)
call("list messages", thread.list_messages, pages=True, results_per_page=3)

call("delete thread", chat.delete_chat_thread, thread.thread_id)
call("get thread, deleted", chat.get_chat_thread, thread.thread_id)

print(json.dumps(said))
