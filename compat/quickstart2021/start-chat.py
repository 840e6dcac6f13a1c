import os
# Add required client library components from quickstart here

try:
    print('Azure Communication Services - Chat Quickstart')
    # Quickstart code goes here

    # create a chat client
    from azure.communication.chat import ChatClient
    from azure.communication.identity._shared.user_credential import CommunicationTokenCredential
    from azure.communication.chat._shared.user_token_refresh_options import CommunicationTokenRefreshOptions

    endpoint = os.environ["AZURE_COMMUNICATION_SERVICE_ENDPOINT"]
    refresh_options = CommunicationTokenRefreshOptions(os.environ["ACCESS_TOKEN"])
    chat_client = ChatClient(endpoint, CommunicationTokenCredential(refresh_options))

    # without repeatability request id
    from datetime import datetime
    from azure.communication.chat import ChatThreadParticipant

    # from azure.communication.identity import CommunicationIdentityClient
    #
    # # create an user
    # identity_client = CommunicationIdentityClient.from_connection_string('<connection_string>')
    # user = identity_client.create_user()
    #
    # ## OR pass existing user
    from azure.communication.identity import CommunicationUserIdentifier
    user_id = os.environ["USER_ID"]
    user = CommunicationUserIdentifier(user_id)

    topic="test topic"
    participants = [ChatThreadParticipant(
        user=user,
        display_name='name',
        share_history_time=datetime.utcnow()
    )]

    create_chat_thread_result = chat_client.create_chat_thread(topic)
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    # with repeatability request id
    from datetime import datetime
    from azure.communication.chat import ChatThreadParticipant

    # from azure.communication.identity import CommunicationIdentityClient
    #
    # # create an user
    # identity_client = CommunicationIdentityClient.from_connection_string('<connection_string>')
    # user = identity_client.create_user()
    #
    # ## OR pass existing user
    from azure.communication.identity import CommunicationUserIdentifier
    user_id = os.environ["USER_ID"]
    user = CommunicationUserIdentifier(user_id)

    topic="test topic"
    participants = [ChatThreadParticipant(
        user=user,
        display_name='name',
        share_history_time=datetime.utcnow()
    )]

    repeatability_request_id = 'b66d6031-fdcc-41df-8306-e524c9f226b8' # some unique identifier
    chat_thread_client = chat_client.create_chat_thread(topic,
                                                        thread_participants=participants,
                                                        repeatability_request_id=repeatability_request_id)

    # get a chat thread client
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(thread_id)

    # get a chat thread
    chat_thread = chat_client.get_chat_thread(thread_id=thread_id)

    # list all chat threads
    from datetime import datetime, timedelta

    start_time = datetime.utcnow() - timedelta(days=2)

    chat_thread_infos = chat_client.list_chat_threads(results_per_page=5, start_time=start_time)
    for chat_thread_info_page in chat_thread_infos.by_page():
        for chat_thread_info in chat_thread_info_page:
            print(chat_thread_info)

    # delete a chat thread
    thread_id = create_chat_thread_result.chat_thread.id
    chat_client.delete_chat_thread(thread_id=thread_id)

    # message type specified
    from azure.communication.chat import ChatMessageType

    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)


    content='hello world'
    sender_display_name='sender name'

    # specify chat message type with pre-built enumerations
    send_message_result_id_w_enum = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name, chat_message_type=ChatMessageType.TEXT)
    print("Message sent: id: ", send_message_result_id_w_enum)

    # specify chat message type as string
    send_message_result_id_w_str = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name, chat_message_type='text')
    print("Message sent: id: ", send_message_result_id_w_str)

    # message type not specified
    topic = "test topic"
    create_chat_thread_result = chat_client.create_chat_thread(topic)
    thread_id = create_chat_thread_result.chat_thread.id
    chat_thread_client = chat_client.get_chat_thread_client(create_chat_thread_result.chat_thread.id)

    content='hello world'

    send_message_result_id = chat_thread_client.send_message(content)

    # get a specific chat message from a chat thread
    message_id = send_message_result_id
    chat_message = chat_thread_client.get_message(message_id)

    # receive chat messages from a chat thread
    from datetime import datetime, timedelta

    start_time = datetime.utcnow() - timedelta(days=1)

    chat_messages = chat_thread_client.list_messages(results_per_page=1, start_time=start_time)
    for chat_message_page in chat_messages.by_page():
        for chat_message in chat_message_page:
            print("ChatMessage: Id=", chat_message.id, "; Content=", chat_message.content.message)

    # update topic of a chat thread
    topic = "updated thread topic"
    chat_thread_client.update_topic(topic=topic)

    chat_thread = chat_client.get_chat_thread(chat_thread_client.thread_id)
    updated_topic = chat_thread.topic

    print('Updated topic: ', updated_topic)

    # update a message
    content = 'Hello world!'
    send_message_result_id = chat_thread_client.send_message(content=content, sender_display_name=sender_display_name)

    content = 'Hello! I am updated content'
    chat_thread_client.update_message(message_id=send_message_result_id, content=content)

    chat_message = chat_thread_client.get_message(send_message_result_id)
    print('Updated message content: ', chat_message.content.message)

    # send read receipt for a message
    message_id=send_message_result_id
    chat_thread_client.send_read_receipt(message_id=message_id)

    # list read receipts for a chat thread
    read_receipts = chat_thread_client.list_read_receipts(results_per_page=5, skip=0)

    for read_receipt_page in read_receipts.by_page():
        for read_receipt in read_receipt_page:
            print('ChatMessageReadReceipt: ', read_receipt)
            print('Sender', read_receipt.sender)
            print('Message Id', read_receipt.chat_message_id)
            print('Read On Timestamp', read_receipt.read_on)

    # send typing notification
    chat_thread_client.send_typing_notification()

    # delete message
    message_id=send_message_result_id
    chat_thread_client.delete_message(message_id=message_id)

    # add a user as participant to the chat thread
    from azure.communication.identity import CommunicationIdentityClient
    from azure.communication.chat import ChatThreadParticipant
    from datetime import datetime

    # create an user
    identity_client = CommunicationIdentityClient.from_connection_string(os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"])
    new_user = identity_client.create_user()

    # # conversely, you can also add an existing user to a chat thread; provided the user_id is known
    # from azure.communication.identity import CommunicationUserIdentifier
    #
    # user_id = 'some user id'
    # user_display_name = "Wilma Flinstone"
    # new_user = CommunicationUserIdentifier(user_id)
    # participant = ChatThreadParticipant(
    #     user=new_user,
    #     display_name=user_display_name,
    #     share_history_time=datetime.utcnow())

    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    participant = ChatThreadParticipant(
        user=new_user,
        display_name='Fred Flinstone',
        share_history_time=datetime.utcnow())

    try:
        chat_thread_client.add_participant(thread_participant=participant)
    except RuntimeError as e:
        if e is not None and decide_to_retry(error=e):
            chat_thread_client.add_participant(thread_participant=participant)

    # add a user as participant to the chat thread
    from azure.communication.identity import CommunicationIdentityClient
    from azure.communication.chat import ChatThreadParticipant
    from datetime import datetime

    # create 2 users
    identity_client = CommunicationIdentityClient.from_connection_string(os.environ["COMMUNICATION_SAMPLES_CONNECTION_STRING"])
    new_users = [identity_client.create_user() for i in range(2)]

    # # conversely, you can also add an existing user to a chat thread; provided the user_id is known
    # from azure.communication.identity import CommunicationUserIdentifier
    #
    # user_id = 'some user id'
    # user_display_name = "Wilma Flinstone"
    # new_user = CommunicationUserIdentifier(user_id)
    # participant = ChatThreadParticipant(
    #     user=new_user,
    #     display_name=user_display_name,
    #     share_history_time=datetime.utcnow())

    participants = []
    for _user in new_users:
      chat_thread_participant = ChatThreadParticipant(
        user=_user,
        display_name='Fred Flinstone',
        share_history_time=datetime.utcnow()
      )
      participants.append(chat_thread_participant)

    response = chat_thread_client.add_participants(thread_participants=participants)

    def decide_to_retry(error, **kwargs):
        """
        Insert some custom logic to decide if retry is applicable based on error
        """
        return True

    # verify if all users has been successfully added or not
    # in case of partial failures, you can retry to add all the failed participants
    retry = [p for p, e in response if decide_to_retry(e)]
    if len(retry) > 0:
        chat_thread_client.add_participants(retry)

    # remove user from a chat thread
    chat_thread_client.remove_participant(user=new_user)

    # # converesely you can also do the following; provided the user_id is known
    # from azure.communication.identity import CommunicationUserIdentifier
    #
    # user_id = 'some user id'
    # chat_thread_client.remove_participant(user=CommunincationUserIdentfier(new_user))

except Exception as ex:
    print('Exception:')
    print(ex)
