"""Sends one request with each of the four clients and prints the results as JSON.

A response of any status means that the TLS handshake succeeded. An argument names a CA file for the clients.
Run by test_tls.py.
"""
import asyncio
import json
import os
import sys

from azure.communication.chat import ChatClient, CommunicationTokenCredential
from azure.communication.chat.aio import ChatClient as AioChatClient
from azure.communication.chat.aio import CommunicationTokenCredential as AioCommunicationTokenCredential
from azure.communication.identity import CommunicationIdentityClient
from azure.communication.identity.aio import CommunicationIdentityClient as AioCommunicationIdentityClient
from azure.core.exceptions import HttpResponseError, ServiceRequestError

# A well-formed token that no server issued: {"alg":"none"}.{"exp":9999999999}.
STRANGERS_TOKEN = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9.c2lnbmF0dXJl"
ENDPOINT = os.environ["CONFAB_ENDPOINT"]
CONNECTION_STRING = os.environ["CONFAB_CONNECTION_STRING"]
OPTIONS = {"retry_total": 0}
if len(sys.argv) > 1:
    OPTIONS["connection_verify"] = sys.argv[1]


def outcome(error):
    return "answered" if error is None or isinstance(error, HttpResponseError) else str(error)


def ask(call):
    try:
        call()
    except (HttpResponseError, ServiceRequestError) as error:
        return outcome(error)
    return outcome(None)


async def ask_async(call):
    try:
        await call()
    except (HttpResponseError, ServiceRequestError) as error:
        return outcome(error)
    return outcome(None)


async def main():
    said = {}
    identity = CommunicationIdentityClient.from_connection_string(CONNECTION_STRING, **OPTIONS)
    said["identity-sync"] = ask(identity.create_user)
    with ChatClient(ENDPOINT, CommunicationTokenCredential(STRANGERS_TOKEN), **OPTIONS) as chat:
        said["chat-sync"] = ask(lambda: chat.create_chat_thread("topic"))
    async with AioCommunicationIdentityClient.from_connection_string(CONNECTION_STRING, **OPTIONS) as identity:
        said["identity-aio"] = await ask_async(identity.create_user)
    async with AioChatClient(ENDPOINT, AioCommunicationTokenCredential(STRANGERS_TOKEN), **OPTIONS) as chat:
        said["chat-aio"] = await ask_async(lambda: chat.create_chat_thread("topic"))
    print(json.dumps(said))


asyncio.run(main())
