"""One release of Microsoft's packages, with its synchronous or its asynchronous clients, behind one set of names.

Each method asks what the release has: a method, a parameter, a class. It never asks for the release's number. What the release
does not have raises Lacks. Arguments, results and exceptions are the release's own.
"""
import asyncio
import importlib
import inspect
import re
from urllib.parse import parse_qs, urlsplit

from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport


class Lacks(Exception):
    """The release does not have what a case asks for."""


class Wire:
    """Records the requests of all clients of one kind, as they leave the SDK."""

    def __init__(self):
        self.exchanges = []  # of the running case: (request, response or None)
        self.api_versions = {"chat": set(), "identity": set()}
        self.lose = None  # the status that replaces the next answer, as a proxy does that has lost it

    def sent(self, request):
        url = urlsplit(request.url)
        asked = parse_qs(url.query).get("api-version", ["none"])
        self.api_versions["chat" if url.path.startswith("/chat/") else "identity"].update(asked)
        self.exchanges.append([request, None])

    def answered(self, response):
        if self.lose:
            response.status_code, self.lose = self.lose, None
        self.exchanges[-1][1] = response
        return response

    def report(self):
        """Returns the last exchange of the case as text, without tokens and signatures. Empty if there was none."""
        if not self.exchanges:
            return ""
        request, response = self.exchanges[-1]
        lines = ["{} {}".format(request.method, request.url)]
        lines += ["{}: {}".format(k, v) for k, v in request.headers.items() if k.lower() != "authorization"]
        lines += ["", "{}".format(request.body or "")]
        if response is None:
            lines.append("(no answer)")
        else:
            lines += ["", str(response.status_code)] + ["{}: {}".format(k, v) for k, v in response.headers.items()]
            lines += ["", response.body().decode("utf-8", "replace")]
        return re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", "(a token)", "\n".join(lines))


class SyncTransport(RequestsTransport):
    def __init__(self, wire):
        super().__init__()
        self._wire = wire

    def send(self, request, **options):
        self._wire.sent(request)
        return self._wire.answered(super().send(request, **options))


class AioTransport(AioHttpTransport):
    def __init__(self, wire):
        super().__init__()
        self._wire = wire

    async def send(self, request, **options):
        self._wire.sent(request)
        return self._wire.answered(await super().send(request, **options))


def first(holder, *names):
    """Returns the first of the attributes that the release has."""
    for name in names:
        if hasattr(holder, name):
            return getattr(holder, name)
    raise Lacks("{} has no {}".format(getattr(holder, "__name__", type(holder).__name__), " and no ".join(names)))


def takes(method, name):
    """Reports whether a method has a parameter, or takes it from its keyword arguments."""
    method = inspect.unwrap(method)
    return name in inspect.signature(method).parameters or bool(
        re.search(r"kwargs\.pop\(\s*['\"]{}['\"]".format(name), inspect.getsource(method))
    )


def need(method, *names):
    """Returns the first of the parameters that a method takes."""
    for name in names:
        if takes(method, name):
            return name
    raise Lacks("{} does not take {}".format(method.__name__, " or ".join(names)))


def id_of(identifier):
    """Returns the raw id in any of the forms that the releases give it."""
    if isinstance(identifier, str):
        return identifier
    raw = getattr(identifier, "raw_id", None)
    if raw is not None:
        return raw
    if hasattr(identifier, "identifier"):
        return identifier.identifier
    return identifier.properties["id"]


class SDK:
    """The clients of the installed release: kind is "sync" or "async"."""

    def __init__(self, kind, identity_package, has_chat, endpoint, connection_string):
        self.wire = Wire()
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        self._clients = []
        self._transport = self._open_transport()
        self._endpoint = endpoint
        self.has_chat = has_chat
        identities = self._clients_module(identity_package.replace("-", "."))
        self.identity = self._open(
            lambda: identities.CommunicationIdentityClient.from_connection_string(connection_string, transport=self._transport)
        )
        if has_chat:
            self.models = importlib.import_module("azure.communication.chat")
            self._chats = self._clients_module("azure.communication.chat")
            self._credential = self._credential_class(kind)

    def _clients_module(self, package):
        return importlib.import_module(package + (".aio" if self._loop else ""))

    def _credential_class(self, kind):
        for module in (self._chats, importlib.import_module(
            "azure.communication.chat._shared.user_credential" + ("_async" if kind == "async" else "")
        )):
            for name in ("CommunicationTokenCredential", "CommunicationUserCredential"):
                if hasattr(module, name):
                    return getattr(module, name)
        raise Lacks("no class for the credentials of a user")

    def _credentials(self, token):
        if "communication_token_refresh_options" in inspect.signature(self._credential.__init__).parameters:
            options = importlib.import_module("azure.communication.chat._shared.user_token_refresh_options")
            token = options.CommunicationTokenRefreshOptions(token)
        return self._credential(token)

    def _inside(self, make):
        """Returns what make returns, called inside the loop if there is one: asynchronous clients want to be made there."""
        if not self._loop:
            return make()

        async def inside():
            return make()
        return self._loop.run_until_complete(inside())

    def _open_transport(self):
        """Returns the transport that all clients share: a client of its own would open a connection for each thread."""
        return self._inside(lambda: (AioTransport if self._loop else SyncTransport)(self.wire))

    def _open(self, make):
        client = self._inside(make)
        self._clients.append(client)
        return client

    def wait(self, answer):
        """Returns what a call returned, after the wait if it is an asynchronous one."""
        return self._loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer

    def items(self, pager):
        """Returns all items of a list, read as a program reads them: one by one."""
        if not self._loop:
            return list(pager)

        async def collect():
            return [item async for item in pager]
        return self._loop.run_until_complete(collect())

    def pages(self, pager):
        """Returns the pages of a list, each a list of items."""
        if not self._loop:
            return [list(page) for page in pager.by_page()]

        async def collect():
            return [[item async for item in page] async for page in pager.by_page()]
        return self._loop.run_until_complete(collect())

    def close(self):
        for client in self._clients:
            if hasattr(client, "close"):
                self.wait(client.close())
        self.wait(self._transport.close())
        if self._loop:
            self._loop.close()

    # Identities

    def create_user(self):
        return self.wait(self.identity.create_user())

    def create_user_with_token(self):
        return self.wait(first(self.identity, "create_user_and_token", "create_user_with_token")(["chat"]))

    def issue_token(self, user):
        return self.wait(first(self.identity, "get_token", "issue_token")(user, ["chat"])).token

    def revoke_tokens(self, user):
        self.wait(self.identity.revoke_tokens(user))

    def delete_user(self, user):
        self.wait(self.identity.delete_user(user))

    def exchange_token(self, token):
        exchange = first(self.identity, "get_token_for_teams_user")
        rest = ["11111111-1111-4111-8111-111111111111"] if takes(exchange, "client_id") else []
        rest += ["22222222-2222-4222-8222-222222222222"] if takes(exchange, "user_object_id") else []
        return self.wait(exchange(token, *rest))

    # Threads

    def chat_client(self, token):
        return self._open(lambda: self._chats.ChatClient(self._endpoint, self._credentials(token), transport=self._transport))

    def thread_client(self, chat, thread_id):
        return self._open(lambda: chat.get_chat_thread_client(thread_id, transport=self._transport))

    def participant(self, user, name=None):
        """Returns a participant as the release calls it."""
        identifier = {"display_name": name} if name else {}
        if hasattr(self.models, "ChatParticipant"):
            return self.models.ChatParticipant(identifier=user, **identifier)
        return first(self.models, "ChatThreadParticipant", "ChatThreadMember")(user=user, **identifier)

    def create_thread(self, chat, topic, participants, token=None):
        """Creates a thread. Returns its id and what the SDK returned."""
        create = chat.create_chat_thread
        options = {need(create, "thread_participants", "thread_members"): participants}
        if token:
            options[need(create, "idempotency_token", "repeatability_request_id")] = token
        made = self.wait(create(topic=topic, **options))
        if hasattr(made, "chat_thread"):
            return made.chat_thread.id, made
        self._clients.append(made)  # a client of the thread, with a connection of its own
        return made.thread_id, made

    def properties(self, chat, thread):
        if hasattr(thread, "get_properties"):
            return self.wait(thread.get_properties())
        return self.wait(chat.get_chat_thread(thread.thread_id))

    def update_thread(self, thread, **changes):
        update = first(thread, "update_properties", "update_topic", "update_thread")
        for name in changes:
            need(update, name)
        self.wait(update(**changes))

    def delete_thread(self, chat, thread_id):
        self.wait(chat.delete_chat_thread(thread_id))

    # Messages

    def send(self, thread, content, html=False, **options):
        """Sends a message and returns its id."""
        for name in options:
            need(thread.send_message, name)
        if html:
            name = need(thread.send_message, "chat_message_type")
            options[name] = self.models.ChatMessageType.HTML
        sent = self.wait(thread.send_message(content, **options))
        return sent if isinstance(sent, str) else sent.id

    def message(self, thread, message_id):
        return self.wait(thread.get_message(message_id))

    def update_message(self, thread, message_id, **changes):
        for name in changes:
            need(thread.update_message, name)
        self.wait(thread.update_message(message_id, **changes))

    def delete_message(self, thread, message_id):
        self.wait(thread.delete_message(message_id))

    def paged(self, method, size):
        return method(**{need(method, "results_per_page"): size})

    # Participants

    def add(self, thread, participants):
        add = first(thread, "add_participants", "add_members")
        return self.wait(add(participants))

    def add_one(self, thread, participant):
        self.wait(first(thread, "add_participant")(participant))

    def list_participants(self, thread):
        return first(thread, "list_participants", "list_members")

    def remove(self, thread, user):
        self.wait(first(thread, "remove_participant", "remove_member")(user))

    @staticmethod
    def user_of(participant):
        return id_of(first(participant, "identifier", "user"))

    @staticmethod
    def sender_of(message):
        return id_of(first(message, "sender", "sender_id", "sender_communication_identifier"))
