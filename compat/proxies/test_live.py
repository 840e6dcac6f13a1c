"""Checks that live events come through the proxy in front of the server: the event stream is not held back, and WebSockets open."""
import asyncio
import json
import os
import ssl
import uuid

import aiohttp
import pytest
from azure.communication.chat import ChatClient, CommunicationTokenCredential
from azure.communication.identity import CommunicationIdentityClient

ENDPOINT = os.environ["CONFAB_ENDPOINT"]
PATIENCE = 30  # seconds that an event may take on a busy machine


class Person:
    def __init__(self):
        identity = CommunicationIdentityClient.from_connection_string(os.environ["CONFAB_CONNECTION_STRING"])
        self.user, access = identity.create_user_and_token(["chat"])
        self.token = access.token
        self.chat = ChatClient(ENDPOINT, CommunicationTokenCredential(self.token))
        made = self.chat.create_chat_thread("lunch")
        self.thread = self.chat.get_chat_thread_client(made.chat_thread.id)

    def say(self, text):
        """Sends a message on another thread of the program, so that the loop goes on reading."""
        return asyncio.get_running_loop().run_in_executor(None, self.thread.send_message, text)


@pytest.fixture
def ann():
    return Person()


def session():
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=4 * PATIENCE))


async def until(lines, wanted):
    """Returns the first of the lines that contains the text."""
    async def look():
        async for line in lines:
            if wanted in line:
                return line
        raise AssertionError(f"the connection ended before {wanted!r} came")

    return await asyncio.wait_for(look(), PATIENCE)


async def decoded(stream):
    async for line in stream:
        yield line.decode()


async def texts(socket):
    async for frame in socket:
        assert frame.type == aiohttp.WSMsgType.TEXT, frame
        yield frame.data


def test_an_event_comes_while_the_stream_is_open(ann):
    async def run():
        headers = {"Authorization": "Bearer " + ann.token}
        async with session() as client, client.get(ENDPOINT + "/chat/events", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            lines = decoded(answer.content)
            await until(lines, "data:")  # the greeting, before anything has happened
            for text in ("first", "second", "third"):  # each comes before the next one is sent
                await ann.say(text)
                assert json.loads((await until(lines, text)).partition(":")[2])

    asyncio.run(run())


def test_a_websocket_opens_and_brings_events(ann):
    async def run():
        query = {"epid": str(uuid.uuid4()), "cor_id": str(uuid.uuid4()), "con_num": "1_1"}
        token = {"Authorization": "Bearer " + ann.token, "X-Skypetoken": ann.token}
        async with session() as client:
            async with client.get(ENDPOINT + "/chat/config/realTimeNotifications?api-version=2024-09-01", headers=token) as answer:
                assert answer.status == 200
                config = await answer.json()
            assert config["trouterServiceUrl"] == config["registrarServiceUrl"] == ENDPOINT
            async with client.post(config["trouterServiceUrl"] + "/v4/a", params=query, headers=token) as answer:
                assert answer.status == 200
                place = await answer.json()
            assert place["socketio"] == ENDPOINT + "/"
            assert place["surl"].startswith(ENDPOINT + "/v4/f/")
            query |= place["connectparams"] | {"v": "v4"}
            async with client.get(place["socketio"] + "socket.io/1/", params=query, headers=token) as answer:
                assert answer.status == 200
                sid = (await answer.text()).split(":")[0]
            async with client.ws_connect(place["socketio"] + "socket.io/1/websocket/" + sid, params=query) as socket:
                packets = texts(socket)
                await until(packets, "trouter.connected")
                for text in ("first", "second", "third"):
                    await ann.say(text)
                    event = json.loads((await until(packets, text)).removeprefix("3:::"))
                    assert event["method"] == "POST"
                    await socket.send_str("3:::" + json.dumps({"id": event["id"], "status": 200, "headers": {}, "body": ""}))

    asyncio.run(run())


def test_a_browser_may_ask_first(ann):
    """A preflight and its answer pass the proxy as they are."""
    async def run():
        headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        async with session() as client, client.options(ENDPOINT + "/chat/threads?api-version=2021-09-07", headers=headers) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"]

    asyncio.run(run())
