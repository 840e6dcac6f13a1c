import os
import re
from datetime import datetime

import pytest
from azure.communication.chat import ChatClient, ChatThreadParticipant
from azure.communication.chat._shared.user_token_refresh_options import CommunicationTokenRefreshOptions
from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.communication.identity._shared.user_credential import CommunicationTokenCredential

NEEDED = ("AZURE_COMMUNICATION_SERVICE_ENDPOINT", "COMMUNICATION_SAMPLES_CONNECTION_STRING")


def pytest_sessionstart(session):
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise pytest.UsageError("{} not set: start this suite with `confab run -- pytest`.".format(" and ".join(missing)))


@pytest.fixture(scope="session")
def endpoint():
    return os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]


@pytest.fixture(scope="session")
def connection_string():
    return os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"]


@pytest.fixture(scope="session")
def identity_client(connection_string):
    return CommunicationIdentityClient.from_connection_string(connection_string)


class Person:
    """A new user with a token and a chat client, created as in the document."""

    def __init__(self, identity_client, endpoint):
        self.user, access = identity_client.create_user_and_token(["chat"])
        self.id = self.user.identifier
        self.token = access.token
        self.chat = ChatClient(endpoint, CommunicationTokenCredential(CommunicationTokenRefreshOptions(self.token)))
        self.threads = []

    def thread(self, thread_id):
        self.threads.append(self.chat.get_chat_thread_client(thread_id))
        return self.threads[-1]

    def participant(self, **more):
        return ChatThreadParticipant(user=self.user, **more)

    def close(self):
        for client in [self.chat, *self.threads]:
            client.close()


@pytest.fixture
def new_person(identity_client, endpoint):
    people = []

    def make():
        people.append(Person(identity_client, endpoint))
        return people[-1]

    yield make
    for person in people:
        person.close()


@pytest.fixture
def alice(new_person):
    return new_person()


@pytest.fixture
def bob(new_person):
    return new_person()


@pytest.fixture
def thread(alice):
    """A new thread whose only participant is Alice, as her client."""
    return alice.thread(alice.chat.create_chat_thread("lunch").chat_thread.id)


@pytest.fixture
def unknown(identity_client):
    """A well-formed user of this resource that was never created."""
    resource = re.match(r"8:acs:[0-9a-f-]{36}_", identity_client.create_user().identifier).group()
    return CommunicationUserIdentifier(resource + "00000000-0000-4000-8000-000000000000")


# Fixtures for the variables that blocks of the document take from earlier blocks.


@pytest.fixture
def chat_client(alice):
    return alice.chat


@pytest.fixture
def user(alice):
    return alice.user


@pytest.fixture
def create_chat_thread_result(chat_client):
    return chat_client.create_chat_thread("test topic")


@pytest.fixture
def chat_thread_client(alice, create_chat_thread_result):
    return alice.thread(create_chat_thread_result.chat_thread.id)


@pytest.fixture
def sender_display_name():
    return "sender name"


@pytest.fixture
def send_message_result_id(chat_thread_client):
    return chat_thread_client.send_message("hello world")


@pytest.fixture
def new_user(identity_client, chat_thread_client):
    """A user that is in the thread, as after the example that adds it."""
    user = identity_client.create_user()
    chat_thread_client.add_participant(
        ChatThreadParticipant(user=user, display_name="Fred Flinstone", share_history_time=datetime.utcnow())
    )
    return user


class Wire:
    """Records the requests and responses of the calls that get its hooks: `client.call(..., **wire.hooks)`.

    With `body`, the call sends that JSON in place of the SDK's own.
    """

    def __init__(self, body=None):
        self.requests = []
        self.answers = []
        self._body = body
        self.hooks = {"raw_request_hook": self._request, "raw_response_hook": self._answer}

    def _request(self, request):
        if self._body is not None:
            request.http_request.set_json_body(self._body)
        self.requests.append(request.http_request)

    def _answer(self, answer):
        self.answers.append(answer.http_response)


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def saying():
    """Returns hooks that replace the body of a request with `body`."""
    return lambda body: Wire(body).hooks
