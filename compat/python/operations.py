"""OPERATIONS maps the name of each thread operation to a call of Microsoft's clients: (chat, thread, **options)."""
from azure.communication.chat import ChatParticipant, CommunicationUserIdentifier

NO_SUCH_THREAD = "19:" + "0" * 32 + "@thread.v2"
NO_SUCH_MESSAGE = "1600000000000"
SOMEBODY = CommunicationUserIdentifier(
    "8:acs:11111111-1111-4111-8111-111111111111_00000000-0000-4000-8000-000000000000"
)

OPERATIONS = {
    "get_properties": lambda chat, thread, **options: thread.get_properties(**options),
    "update_topic": lambda chat, thread, **options: thread.update_topic("dinner", **options),
    "delete_chat_thread": lambda chat, thread, **options: chat.delete_chat_thread(thread.thread_id, **options),
    "send_message": lambda chat, thread, **options: thread.send_message("hello", **options),
    "get_message": lambda chat, thread, **options: thread.get_message(NO_SUCH_MESSAGE, **options),
    "list_messages": lambda chat, thread, **options: list(thread.list_messages(**options)),
    "update_message": lambda chat, thread, **options: thread.update_message(NO_SUCH_MESSAGE, "hi", **options),
    "delete_message": lambda chat, thread, **options: thread.delete_message(NO_SUCH_MESSAGE, **options),
    "list_participants": lambda chat, thread, **options: list(thread.list_participants(**options)),
    "add_participants": lambda chat, thread, **options: thread.add_participants(
        [ChatParticipant(identifier=SOMEBODY)], **options
    ),
    "remove_participant": lambda chat, thread, **options: thread.remove_participant(SOMEBODY, **options),
    "send_typing_notification": lambda chat, thread, **options: thread.send_typing_notification(**options),
    "send_read_receipt": lambda chat, thread, **options: thread.send_read_receipt(NO_SUCH_MESSAGE, **options),
    "list_read_receipts": lambda chat, thread, **options: list(thread.list_read_receipts(**options)),
}
