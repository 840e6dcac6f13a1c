"""One interface for Microsoft's synchronous and asynchronous clients.

SyncSDK returns the synchronous clients unchanged. AioSDK returns the asynchronous ones wrapped in Waiting, which
waits for each response, so that the same test runs with both. Nothing else is changed: arguments, results
and exceptions are the SDK's own.
"""
import asyncio
import inspect
import os

from azure.communication.chat import ChatClient, CommunicationTokenCredential
from azure.communication.chat.aio import ChatClient as AioChatClient
from azure.communication.chat.aio import CommunicationTokenCredential as AioCommunicationTokenCredential
from azure.communication.identity import CommunicationIdentityClient
from azure.communication.identity.aio import CommunicationIdentityClient as AioCommunicationIdentityClient


class SyncSDK:
    name = "sync"

    def __init__(self):
        self._chats = []

    def identity_client(self, connection_string=None, **options):
        # Only this one of the four clients has no close().
        return CommunicationIdentityClient.from_connection_string(
            connection_string or os.environ["CONFAB_CONNECTION_STRING"], **options
        )

    def identity_client_from_key(self, endpoint, credential):
        return CommunicationIdentityClient(endpoint, credential)

    def chat_client(self, token, endpoint=None, **options):
        client = ChatClient(
            endpoint or os.environ["CONFAB_ENDPOINT"], CommunicationTokenCredential(token), **options
        )
        self._chats.append(client)
        return client

    def thread_client(self, chat, thread_id, **options):
        client = chat.get_chat_thread_client(thread_id, **options)
        self._chats.append(client)
        return client

    def close_chats(self):
        """Closes the clients that chat_client and thread_client returned."""
        while self._chats:
            self._chats.pop().close()

    def close(self):
        self.close_chats()


class AioSDK:
    name = "aio"

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._identities = []
        self._chats = []

    def identity_client(self, connection_string=None, **options):
        return self._made(
            self._identities,
            lambda: AioCommunicationIdentityClient.from_connection_string(
                connection_string or os.environ["CONFAB_CONNECTION_STRING"], **options
            ),
        )

    def identity_client_from_key(self, endpoint, credential):
        return self._made(self._identities, lambda: AioCommunicationIdentityClient(endpoint, credential))

    def chat_client(self, token, endpoint=None, **options):
        chat = self._made(
            self._chats,
            lambda: AioChatClient(
                endpoint or os.environ["CONFAB_ENDPOINT"], AioCommunicationTokenCredential(token), **options
            ),
        )
        # Replaced because it returns a client, not a response.
        chat.get_chat_thread_client = lambda thread_id, **options: self.thread_client(chat, thread_id, **options)
        return chat

    def thread_client(self, chat, thread_id, **options):
        return self._made(self._chats, lambda: chat.client.get_chat_thread_client(thread_id, **options))

    def close_chats(self):
        """Closes the clients that chat_client and thread_client returned."""
        while self._chats:
            self._wait(self._chats.pop().close())

    def close(self):
        self.close_chats()
        while self._identities:
            self._wait(self._identities.pop().close())
        self._loop.close()

    def _made(self, made, make):
        async def inside_the_loop():
            return make()

        client = self._wait(inside_the_loop())
        made.append(client)
        return Waiting(client, self._wait)

    def _wait(self, awaitable):
        return self._loop.run_until_complete(awaitable)


class Waiting:
    """Wraps an asynchronous client: its methods wait for the response and return it."""

    def __init__(self, client, wait):
        self.client = client
        self._wait = wait

    def __getattr__(self, name):
        member = getattr(self.client, name)
        if not inspect.ismethod(member):
            return member

        def call(*args, **kwargs):
            answer = member(*args, **kwargs)
            if hasattr(answer, "__aiter__"):
                return WaitingPager(answer, self._wait)
            if inspect.isawaitable(answer):
                return self._wait(answer)
            return answer

        return call


class WaitingPager:
    """Wraps an AsyncItemPaged so that a plain `for` can iterate over it."""

    def __init__(self, pager, wait):
        self._pager = pager
        self._wait = wait

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._wait(self._pager.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def by_page(self, continuation_token=None):
        return WaitingPages(self._pager.by_page(continuation_token), self._wait)


class WaitingPages(WaitingPager):
    def __next__(self):
        return WaitingPager(super().__next__(), self._wait)

    @property
    def continuation_token(self):
        return self._pager.continuation_token
