"""The scenario: one function a case, with the names of compat/matrix/README.md."""
import re
import uuid
import xml.etree.ElementTree as xml
from datetime import datetime, timezone
from types import SimpleNamespace

import requests
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

from sdk import Lacks, first, id_of, takes

NO_SUCH_MESSAGE = "1600000000000"

CASES = []


def case(operation, name, chat=True):
    """Adds the function to the cases. Those with chat=False run without a chat release too."""
    def add(function):
        CASES.append((operation, name, chat, function))
        return function
    return add


class Stage:
    """What the cases of one release share: the SDK, and two users."""

    def __init__(self, sdk, endpoint):
        self.sdk = sdk
        self.endpoint = endpoint
        self._people = {}

    def person(self, name=None):
        """Returns the user of that name, made when first asked for; without a name, a new user."""
        if name in self._people:
            return self._people[name]
        user = self.sdk.create_user()
        token = self.sdk.issue_token(user)
        person = SimpleNamespace(user=user, id=id_of(user), token=token, chat=self.sdk.chat_client(token))
        if name:
            self._people[name] = person
        return person

    def thread(self, owner, *others, topic="lunch"):
        """Returns the owner's client of a new thread."""
        listed = [self.sdk.participant(one.user) for one in (owner,) + others]
        thread_id, _ = self.sdk.create_thread(owner.chat, topic, listed)
        return self.sdk.thread_client(owner.chat, thread_id)

    def their(self, person, thread):
        return self.sdk.thread_client(person.chat, thread.thread_id)

    def unknown_user(self):
        """Returns a well-formed user of this resource that does not exist."""
        known = self.sdk.create_user()
        resource = re.match(r"8:acs:[0-9a-f-]{36}_", id_of(known)).group()
        return type(known)(resource + str(uuid.uuid4()))

    def chat_accepts(self, token):
        """Asks for the list of threads: with the release's chat client, or by hand where there is none. Fails as that fails."""
        if self.sdk.has_chat:
            self.sdk.items(self.sdk.chat_client(token).list_chat_threads())
            return
        answer = requests.get(
            self.endpoint + "/chat/threads", params={"api-version": "2021-03-07"}, headers={"Authorization": "Bearer " + token}
        )
        if answer.status_code == 401:
            raise ClientAuthenticationError("the chat API answered 401")
        assert answer.status_code == 200, answer.text

    def fault(self, **rule):
        answer = requests.post(self.endpoint + "/dev/faults", json=rule)
        assert answer.ok, answer.text


def same(got, want):
    assert got == want, "got {!r}, want {!r}".format(got, want)


def refused(call, status, words, kind=HttpResponseError):
    """Calls, and checks the exception that a program catches: its class, its status, and words in its text."""
    try:
        call()
    except HttpResponseError as error:
        assert isinstance(error, kind), "{!r} is no {}".format(error, kind.__name__)
        same(error.status_code, status)
        assert re.search(words, str(error), re.I), "no {!r} in the error's text: {}".format(words, error)
        return error
    raise AssertionError("the call was not refused")


def recent(moment):
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 600, "{} is not now".format(moment)


def text_of(message):
    """Returns the text of a message, which the first releases have as a string."""
    return message.content if isinstance(message.content, str) else message.content.message


def kind_of(message):
    """Returns the type of a message as the wire has it."""
    return getattr(message.type, "value", message.type)


# Users and tokens


@case("create user", "alone", chat=False)
def create_user(on):
    assert re.fullmatch(r"8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}", id_of(on.sdk.create_user()))


@case("create user", "with token", chat=False)
def create_user_with_token(on):
    user, access = on.sdk.create_user_with_token()
    assert id_of(user).startswith("8:acs:")
    on.chat_accepts(access.token)


@case("issue token", "chat scope", chat=False)
def issue_token(on):
    on.chat_accepts(on.sdk.issue_token(on.sdk.create_user()))


@case("revoke tokens", "old token is refused", chat=False)
def revoke_tokens(on):
    user = on.sdk.create_user()
    token = on.sdk.issue_token(user)
    on.chat_accepts(token)
    on.sdk.revoke_tokens(user)
    try:
        on.chat_accepts(token)
    except AzureError as error:
        assert isinstance(error, ClientAuthenticationError) or error.status_code == 401, repr(error)
    else:
        raise AssertionError("the chat API accepts the token")
    on.chat_accepts(on.sdk.issue_token(user))


@case("delete user", "gone", chat=False)
def delete_user(on):
    user = on.sdk.create_user()
    token = on.sdk.issue_token(user)
    on.sdk.delete_user(user)
    refused(lambda: on.sdk.issue_token(user), 401, "doesn't belong to the resource|Unauthorized")
    try:
        on.chat_accepts(token)
    except AzureError as error:
        assert isinstance(error, ClientAuthenticationError) or error.status_code == 401, repr(error)
    else:
        raise AssertionError("the chat API accepts the token")


@case("exchange token", "refused", chat=False)
def exchange_token(on):
    refused(lambda: on.sdk.exchange_token("no.real.token"), 401, "Provided access token is not valid", ClientAuthenticationError)


# Threads


@case("create thread", "with participants")
def create_thread(on):
    alice, bob = on.person("alice"), on.person("bob")
    listed = [on.sdk.participant(alice.user, "Alice"), on.sdk.participant(bob.user, "Bob")]
    thread_id, _ = on.sdk.create_thread(alice.chat, "lunch", listed)
    thread = on.sdk.thread_client(bob.chat, thread_id)
    names = {on.sdk.user_of(one): one.display_name for one in on.sdk.items(on.sdk.list_participants(thread)())}
    same(names, {alice.id: "Alice", bob.id: "Bob"})


@case("create thread", "idempotent")
def create_thread_twice(on):
    alice, token = on.person(), str(uuid.uuid4())
    made = [on.sdk.create_thread(alice.chat, "lunch", [on.sdk.participant(alice.user)], token)[0] for _ in range(2)]
    same(made[0], made[1])
    same([item.id for item in on.sdk.items(alice.chat.list_chat_threads())], made[:1])


@case("create thread", "refused participant")
def create_thread_refused(on):
    alice, nobody = on.person(), on.unknown_user()
    listed = [on.sdk.participant(alice.user), on.sdk.participant(nobody)]
    try:
        thread_id, made = on.sdk.create_thread(alice.chat, "lunch", listed)
    except RuntimeError as error:  # shown as an exception, though the thread was made
        assert id_of(nobody) in str(error) and "not found" in str(error).lower(), str(error)
        (item,) = on.sdk.items(alice.chat.list_chat_threads())
        thread_id = item.id
    except AttributeError as error:
        raise Lacks("the SDK fails on a refused participant, after the thread was made: {}".format(error))
    else:
        errors = getattr(made, "errors", None)  # None in the releases that drop them
        if errors is not None:
            same([(on.sdk.user_of(one), error.code, error.target) for one, error in errors], [(id_of(nobody), "404", id_of(nobody))])
    thread = on.sdk.thread_client(alice.chat, thread_id)
    same([on.sdk.user_of(one) for one in on.sdk.items(on.sdk.list_participants(thread)())], [alice.id])


@case("get thread", "properties")
def get_thread(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    got = on.sdk.properties(alice.chat, thread)
    same((got.id, got.topic, id_of(got.created_by)), (thread.thread_id, "lunch", alice.id))
    recent(got.created_on)
    if getattr(got, "members", None) is not None:
        same({on.sdk.user_of(one) for one in got.members}, {alice.id, bob.id})


@case("list threads", "one page")
def list_threads(on):
    alice = on.person()
    threads = [on.thread(alice, topic=topic) for topic in ("lunch", "dinner")]
    listed = on.sdk.items(alice.chat.list_chat_threads())
    same({item.id: item.topic for item in listed}, {threads[0].thread_id: "lunch", threads[1].thread_id: "dinner"})
    assert not any(getattr(item, "deleted_on", None) or getattr(item, "is_deleted", None) for item in listed)


@case("list threads", "two pages")
def list_threads_pages(on):
    alice = on.person()
    made = {on.thread(alice).thread_id for _ in range(3)}
    pages = on.sdk.pages(on.sdk.paged(alice.chat.list_chat_threads, 2))
    same([len(page) for page in pages], [2, 1])
    same({item.id for page in pages for item in page}, made)


@case("update thread", "topic")
def update_topic(on):
    alice = on.person("alice")
    thread = on.thread(alice)
    on.sdk.update_thread(thread, topic="dinner")
    same(on.sdk.properties(alice.chat, thread).topic, "dinner")


@case("update thread", "metadata")
def update_metadata(on):
    alice = on.person("alice")
    thread = on.thread(alice)
    on.sdk.update_thread(thread, metadata={"room": "12"})
    same(on.sdk.properties(alice.chat, thread).metadata, {"room": "12"})


@case("delete thread", "once")
def delete_thread(on):
    alice = on.person()
    thread = on.thread(alice)
    on.sdk.delete_thread(alice.chat, thread.thread_id)
    (item,) = on.sdk.items(alice.chat.list_chat_threads())
    assert first(item, "deleted_on", "is_deleted"), "the list does not say that the thread is deleted"
    refused(lambda: on.sdk.send(thread, "hello"), 404, "not found|NotFound", ResourceNotFoundError)


@case("delete thread", "twice")
def delete_thread_twice(on):
    alice = on.person("alice")
    thread = on.thread(alice)
    for _ in range(2):
        on.sdk.delete_thread(alice.chat, thread.thread_id)


# Messages


def assert_message(on, message, message_id, kind, content, sender, name):
    same((message.id, kind_of(message).lower(), text_of(message)), (message_id, kind, content))
    same((on.sdk.sender_of(message), message.sender_display_name or ""), (sender, name))
    assert message.version.isdigit(), message.version
    recent(message.created_on)


@case("send message", "text")
def send_text(on):
    alice = on.person("alice")
    thread = on.thread(alice)
    sent = on.sdk.send(thread, "Where do we eat? <at \"noon\">", sender_display_name="Alice")
    assert sent.isdigit(), sent
    assert_message(on, on.sdk.items(thread.list_messages())[0], sent, "text", "Where do we eat? <at \"noon\">", alice.id, "Alice")


@case("send message", "html")
def send_html(on):
    alice = on.person("alice")
    thread = on.thread(alice)
    sent = on.sdk.send(thread, "<div>lunch</div>", html=True)
    assert_message(on, on.sdk.items(thread.list_messages())[0], sent, "html", "<div>lunch</div>", alice.id, "")


@case("send message", "metadata")
def send_metadata(on):
    thread = on.thread(on.person("alice"))
    sent = on.sdk.send(thread, "hello", metadata={"deliveryMode": "deliver", "tags": "food"})
    same(on.sdk.message(thread, sent).metadata, {"deliveryMode": "deliver", "tags": "food"})


@case("send message", "lost answer")
def send_lost(on):
    """Two equal sends in a row leave two messages, though the first answer was lost."""
    alice = on.person("alice")

    # The connection is cut. azure-core does not repeat such a POST: the program is told, and says it again.
    thread = on.thread(alice)
    on.fault(operation="send message", drop="after")
    try:
        on.sdk.send(thread, "Where do we eat?")
    except AzureError as error:
        assert not isinstance(error, HttpResponseError), repr(error)
    else:
        raise AssertionError("the first answer was not lost")
    on.sdk.send(thread, "Where do we eat?")
    same([text_of(one) for one in texts(on, thread)], ["Where do we eat?"] * 2)

    # A proxy answers 503 to a send that the server has carried out: azure-core repeats it.
    thread = on.thread(alice)
    on.sdk.wire.exchanges.clear()
    on.sdk.wire.lose = 503
    sent = [on.sdk.send(thread, "At noon?") for _ in range(2)]
    ids = [request.headers.get("x-ms-client-request-id") for request, _ in on.sdk.wire.exchanges]
    same(len(ids), 3)
    if not ids[0]:
        raise Lacks("sends no x-ms-client-request-id, so that nothing tells a repeat from a second message")
    assert ids[0] == ids[1] != ids[2], ids
    same(sorted(one.id for one in texts(on, thread)), sorted(sent))
    same(len(set(sent)), 2)


def texts(on, thread):
    """Returns the text messages of a thread, newest first."""
    return [one for one in on.sdk.items(thread.list_messages()) if kind_of(one).lower() == "text"]


@case("get message", "text")
def get_message(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    sent = on.sdk.send(thread, "Where do we eat?", sender_display_name="Alice")
    assert_message(on, on.sdk.message(on.their(bob, thread), sent), sent, "text", "Where do we eat?", alice.id, "Alice")


@case("list messages", "one page")
def list_messages(on):
    thread = on.thread(on.person("alice"))
    sent = [on.sdk.send(thread, text) for text in ("one", "two", "three")]
    same([(one.id, text_of(one)) for one in texts(on, thread)], list(zip(sent, ("one", "two", "three")))[::-1])


@case("list messages", "two pages")
def list_messages_pages(on):
    thread = on.thread(on.person("alice"))
    sent = [on.sdk.send(thread, text) for text in ("one", "two", "three")]
    # Two system messages come before them.
    pages = on.sdk.pages(on.sdk.paged(thread.list_messages, 3))
    same([len(page) for page in pages], [3, 2])
    same([one.id for one in pages[0]], sent[::-1])


def activity(message):
    """Returns a system message as (type, topic or ids of users): its content is an object, or XML in the first releases."""
    kind = kind_of(message)
    if isinstance(message.content, str):
        tree = xml.fromstring(message.content)
        kinds = {"addmember": "participantAdded", "deletemember": "participantRemoved", "topicupdate": "topicUpdated"}
        assert kind == {
            "addmember": "ThreadActivity/AddMember", "deletemember": "ThreadActivity/DeleteMember", "topicupdate": "ThreadActivity/TopicUpdate",
        }[tree.tag], kind
        what = tree.findtext("value") if tree.tag == "topicupdate" else {one.text for one in tree.findall("target")}
        return kinds[tree.tag], what, tree.findtext("initiator")
    content = message.content
    what = content.topic or {id_of(first(one, "identifier", "user")) for one in content.participants}
    return kind, what, id_of(content.initiator)


@case("list messages", "system messages")
def system_messages(on):
    alice, bob, carol = on.person("alice"), on.person("bob"), on.person("carol")
    thread = on.thread(alice, bob)
    on.sdk.update_thread(thread, topic="dinner")
    on.sdk.add(thread, [on.sdk.participant(carol.user)])
    on.sdk.remove(thread, bob.user)
    got = [activity(one) for one in on.sdk.items(thread.list_messages())]
    same(got, [
        ("participantRemoved", {bob.id}, alice.id),
        ("participantAdded", {carol.id}, alice.id),
        ("topicUpdated", "dinner", alice.id),
        ("topicUpdated", "lunch", alice.id),
        ("participantAdded", {alice.id, bob.id}, alice.id),
    ])


@case("update message", "content")
def update_content(on):
    thread = on.thread(on.person("alice"))
    sent = on.sdk.send(thread, "Where do we eat?")
    on.sdk.update_message(thread, sent, content="When do we eat?")
    got = on.sdk.message(thread, sent)
    same(text_of(got), "When do we eat?")
    recent(got.edited_on)


@case("update message", "metadata")
def update_message_metadata(on):
    thread = on.thread(on.person("alice"))
    sent = on.sdk.send(thread, "hello")
    on.sdk.update_message(thread, sent, content="hello", metadata={"tags": "drink", "room": "12"})
    same(on.sdk.message(thread, sent).metadata, {"tags": "drink", "room": "12"})


@case("delete message", "tombstone")
def delete_message(on):
    thread = on.thread(on.person("alice"))
    sent = on.sdk.send(thread, "Where do we eat?")
    on.sdk.delete_message(thread, sent)
    (got,) = [one for one in on.sdk.items(thread.list_messages()) if one.id == sent]
    same(text_of(got) or "", "")
    recent(got.deleted_on)


# Participants


@case("add participants", "several")
def add_several(on):
    alice, bob, carol = on.person("alice"), on.person("bob"), on.person("carol")
    thread = on.thread(alice)
    result = on.sdk.add(thread, [on.sdk.participant(bob.user, "Bob"), on.sdk.participant(carol.user, "Carol")])
    assert not refusals(on, result), refusals(on, result)
    names = {on.sdk.user_of(one): one.display_name for one in on.sdk.items(on.sdk.list_participants(on.their(bob, thread))())}
    same({user: names.get(user) for user in (bob.id, carol.id)}, {bob.id: "Bob", carol.id: "Carol"})


@case("add participants", "one")
def add_one(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice)
    on.sdk.add_one(thread, on.sdk.participant(bob.user))
    same({on.sdk.user_of(one) for one in on.sdk.items(on.sdk.list_participants(thread)())}, {alice.id, bob.id})


def refusals(on, result):
    """Returns {user: (code, message)} of what an add could not do, in each of the forms that the releases give it.

    None if the SDK returns nothing: the first releases drop the answer.
    """
    if result is None:
        return None
    if isinstance(result, list):
        return {on.sdk.user_of(one): (error.code, error.message) for one, error in result}
    return {one.target: (one.code, one.message) for one in (result.errors.invalid_participants if result.errors else ())}


@case("add participants", "refused participant")
def add_refused(on):
    alice, bob, nobody = on.person("alice"), on.person("bob"), on.unknown_user()
    thread = on.thread(alice)
    result = on.sdk.add(thread, [on.sdk.participant(bob.user), on.sdk.participant(nobody)])
    shown = refusals(on, result)
    if shown is not None:
        same({user: (code, message.lower()) for user, (code, message) in shown.items()}, {id_of(nobody): ("404", "not found")})
    same({on.sdk.user_of(one) for one in on.sdk.items(on.sdk.list_participants(thread)())}, {alice.id, bob.id})


@case("list participants", "one page")
def list_participants(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    listed = on.sdk.items(on.sdk.list_participants(thread)())
    same({on.sdk.user_of(one) for one in listed}, {alice.id, bob.id})
    assert all(one.share_history_time for one in listed), listed


@case("list participants", "two pages")
def list_participants_pages(on):
    alice, bob, carol = on.person("alice"), on.person("bob"), on.person("carol")
    thread = on.thread(alice, bob, carol)
    pages = on.sdk.pages(on.sdk.paged(on.sdk.list_participants(thread), 2))
    same([len(page) for page in pages], [2, 1])
    same({on.sdk.user_of(one) for page in pages for one in page}, {alice.id, bob.id, carol.id})


@case("remove participant", "gone")
def remove_participant(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    on.sdk.remove(thread, bob.user)
    same([on.sdk.user_of(one) for one in on.sdk.items(on.sdk.list_participants(thread)())], [alice.id])
    refused(lambda: on.sdk.send(on.their(bob, thread), "hello"), 403, "permission")


# Receipts and typing


@case("send read receipt", "sent")
def send_receipt(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    sent = on.sdk.send(thread, "hello")
    on.sdk.wait(on.their(bob, thread).send_read_receipt(sent))
    same([id_of(one.sender) for one in on.sdk.items(thread.list_read_receipts())], [bob.id])


@case("list read receipts", "one page")
def list_receipts(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.thread(alice, bob)
    sent = on.sdk.send(thread, "hello")
    on.sdk.wait(on.their(bob, thread).send_read_receipt(sent))
    (receipt,) = on.sdk.items(thread.list_read_receipts())
    same((id_of(receipt.sender), receipt.chat_message_id), (bob.id, sent))
    recent(receipt.read_on)


@case("list read receipts", "two pages")
def list_receipts_pages(on):
    people = [on.person(name) for name in ("alice", "bob", "carol")]
    thread = on.thread(*people)
    sent = on.sdk.send(thread, "hello")
    for one in people:
        on.sdk.wait(on.their(one, thread).send_read_receipt(sent))
    pages = on.sdk.pages(on.sdk.paged(thread.list_read_receipts, 2))
    same([len(page) for page in pages], [2, 1])
    same({id_of(one.sender) for page in pages for one in page}, {one.id for one in people})


@case("send typing notification", "sent")
def send_typing(on):
    on.sdk.wait(on.thread(on.person("alice")).send_typing_notification())


@case("send typing notification", "display name")
def send_typing_name(on):
    thread = on.thread(on.person("alice"))
    if not takes(thread.send_typing_notification, "sender_display_name"):
        raise Lacks("send_typing_notification does not take sender_display_name")
    on.sdk.wait(thread.send_typing_notification(sender_display_name="Alice"))


# Errors


@case("errors", "400")
def error_400(on):
    thread = on.thread(on.person("alice"))
    refused(lambda: on.sdk.message(thread, "invalid_chat_message_id"), 400, r"MessageId \(invalid_chat_message_id\) is not valid")


@case("errors", "401")
def error_401(on):
    alice = on.person()
    thread = on.thread(alice)
    on.sdk.revoke_tokens(alice.user)
    refused(lambda: on.sdk.send(thread, "hello"), 401, "Unauthorized")


@case("errors", "403")
def error_403(on):
    alice, bob = on.person("alice"), on.person("bob")
    thread = on.their(bob, on.thread(alice))
    refused(lambda: on.sdk.items(thread.list_messages()), 403, "doesn't have the permission")


@case("errors", "404")
def error_404(on):
    thread = on.thread(on.person("alice"))
    refused(lambda: on.sdk.message(thread, NO_SUCH_MESSAGE), 404, "not found|NotFound", ResourceNotFoundError)
