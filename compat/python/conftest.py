import os
import re

import pytest

from sdk import AioSDK, SyncSDK
from wire import Wire

NEEDED = ("CONFAB_ENDPOINT", "CONFAB_CONNECTION_STRING")


def pytest_sessionstart(session):
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise pytest.UsageError(
            "{} not set: start this suite with `confab run -- pytest`, "
            'or after `eval "$(confab env)"` beside a running `confab serve --dev`.'.format(" and ".join(missing))
        )


@pytest.fixture(scope="session", params=[SyncSDK, AioSDK], ids=lambda flavour: flavour.name)
def flavour(request):
    flavour = request.param()
    yield flavour
    flavour.close()


@pytest.fixture
def sdk(flavour):
    yield flavour
    flavour.close_chats()


@pytest.fixture(scope="session")
def identity(flavour):
    return flavour.identity_client()


class Person:
    """A new user with a token and a chat client."""

    def __init__(self, sdk, identity, scopes):
        self._sdk = sdk
        self.user, access = identity.create_user_and_token(scopes)
        self.id = self.user.raw_id
        self.token = access.token
        self.chat = sdk.chat_client(self.token)

    def thread(self, thread_id, **options):
        return self._sdk.thread_client(self.chat, thread_id, **options)


@pytest.fixture
def new_person(sdk, identity):
    return lambda scopes=("chat",): Person(sdk, identity, list(scopes))


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
def unknown_id(identity):
    """A well-formed user id of this resource that was never issued."""
    resource = re.match(r"8:acs:[0-9a-f-]{36}_", identity.create_user().raw_id).group()
    return resource + "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def foreign_id():
    """A well-formed user id of another resource."""
    return "8:acs:11111111-1111-4111-8111-111111111111_00000000-0000-4000-8000-000000000000"


@pytest.fixture
def wire():
    return Wire()
