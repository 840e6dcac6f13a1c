import com.azure.communication.chat.ChatAsyncClient;
import com.azure.communication.chat.ChatClient;
import com.azure.communication.chat.ChatClientBuilder;
import com.azure.communication.chat.ChatThreadAsyncClient;
import com.azure.communication.chat.ChatThreadClient;
import com.azure.communication.chat.models.AddChatParticipantsResult;
import com.azure.communication.chat.models.ChatMessage;
import com.azure.communication.chat.models.ChatMessageReadReceipt;
import com.azure.communication.chat.models.ChatParticipant;
import com.azure.communication.chat.models.ChatThreadItem;
import com.azure.communication.chat.models.ChatThreadProperties;
import com.azure.communication.chat.models.CreateChatThreadOptions;
import com.azure.communication.chat.models.CreateChatThreadResult;
import com.azure.communication.chat.models.ListChatMessagesOptions;
import com.azure.communication.chat.models.ListChatThreadsOptions;
import com.azure.communication.chat.models.ListParticipantsOptions;
import com.azure.communication.chat.models.ListReadReceiptOptions;
import com.azure.communication.chat.models.SendChatMessageOptions;
import com.azure.communication.chat.models.UpdateChatMessageOptions;
import com.azure.communication.common.CommunicationTokenCredential;
import com.azure.communication.common.CommunicationUserIdentifier;
import com.azure.core.http.rest.PagedFlux;
import com.azure.core.util.Context;
import java.lang.reflect.Method;
import java.util.List;

/** The chat client of a user, synchronous or asynchronous. */
final class Chat {
	private final ChatClient sync;
	private final ChatAsyncClient async;

	Chat(boolean synchronous, String token, Exchanges exchanges) {
		ChatClientBuilder builder = new ChatClientBuilder()
			.endpoint(System.getenv("CONFAB_ENDPOINT"))
			.credential(new CommunicationTokenCredential(token))
			.addPolicy(exchanges.policy());
		sync = synchronous ? builder.buildClient() : null;
		async = synchronous ? null : builder.buildAsyncClient();
	}

	private ChatThreadClient of(String thread) {
		return sync.getChatThreadClient(thread);
	}

	private ChatThreadAsyncClient ofAsync(String thread) {
		return async.getChatThreadClient(thread);
	}

	CreateChatThreadResult create(CreateChatThreadOptions options) {
		return sync != null ? sync.createChatThread(options) : Clients.await(async.createChatThread(options));
	}

	void delete(String thread) {
		if (sync != null) {
			sync.deleteChatThread(thread);
		} else {
			Clients.await(async.deleteChatThread(thread));
		}
	}

	List<List<ChatThreadItem>> threads() {
		return sync != null ? Clients.pages(sync.listChatThreads()) : Clients.pages(async.listChatThreads());
	}

	List<List<ChatThreadItem>> threads(int pageSize) {
		ListChatThreadsOptions options = new ListChatThreadsOptions().setMaxPageSize(pageSize);
		return sync != null ? Clients.pages(sync.listChatThreads(options, Context.NONE)) : Clients.pages(async.listChatThreads(options));
	}

	ChatThreadProperties properties(String thread) {
		return sync != null ? of(thread).getProperties() : Clients.await(ofAsync(thread).getProperties());
	}

	void updateTopic(String thread, String topic) {
		if (sync != null) {
			of(thread).updateTopic(topic);
		} else {
			Clients.await(ofAsync(thread).updateTopic(topic));
		}
	}

	AddChatParticipantsResult add(String thread, List<ChatParticipant> people) {
		return sync != null ? of(thread).addParticipants(people) : Clients.await(ofAsync(thread).addParticipants(people));
	}

	void addOne(String thread, ChatParticipant one) {
		if (sync != null) {
			of(thread).addParticipant(one);
		} else {
			Clients.await(ofAsync(thread).addParticipant(one));
		}
	}

	void remove(String thread, CommunicationUserIdentifier user) {
		if (sync != null) {
			of(thread).removeParticipant(user);
		} else {
			Clients.await(ofAsync(thread).removeParticipant(user));
		}
	}

	List<List<ChatParticipant>> participants(String thread) {
		return sync != null ? Clients.pages(of(thread).listParticipants()) : Clients.pages(ofAsync(thread).listParticipants());
	}

	@SuppressWarnings("unchecked")
	List<List<ChatParticipant>> participants(String thread, int pageSize) throws Exception {
		ListParticipantsOptions options = new ListParticipantsOptions().setMaxPageSize(pageSize);
		if (sync != null) {
			return Clients.pages(of(thread).listParticipants(options, Context.NONE));
		}
		return Clients.pages((PagedFlux<ChatParticipant>) Reflect.call(ofAsync(thread), "listParticipants", ListParticipantsOptions.class, options));
	}

	String send(String thread, SendChatMessageOptions options) {
		return (sync != null ? of(thread).sendMessage(options) : Clients.await(ofAsync(thread).sendMessage(options))).getId();
	}

	ChatMessage message(String thread, String id) {
		return sync != null ? of(thread).getMessage(id) : Clients.await(ofAsync(thread).getMessage(id));
	}

	List<List<ChatMessage>> messages(String thread) {
		return sync != null ? Clients.pages(of(thread).listMessages()) : Clients.pages(ofAsync(thread).listMessages());
	}

	List<List<ChatMessage>> messages(String thread, int pageSize) {
		ListChatMessagesOptions options = new ListChatMessagesOptions().setMaxPageSize(pageSize);
		return sync != null ? Clients.pages(of(thread).listMessages(options, Context.NONE)) : Clients.pages(ofAsync(thread).listMessages(options));
	}

	void updateMessage(String thread, String id, UpdateChatMessageOptions options) {
		if (sync != null) {
			of(thread).updateMessage(id, options);
		} else {
			Clients.await(ofAsync(thread).updateMessage(id, options));
		}
	}

	void deleteMessage(String thread, String id) {
		if (sync != null) {
			of(thread).deleteMessage(id);
		} else {
			Clients.await(ofAsync(thread).deleteMessage(id));
		}
	}

	void sendReceipt(String thread, String message) {
		if (sync != null) {
			of(thread).sendReadReceipt(message);
		} else {
			Clients.await(ofAsync(thread).sendReadReceipt(message));
		}
	}

	List<List<ChatMessageReadReceipt>> receipts(String thread) {
		return sync != null ? Clients.pages(of(thread).listReadReceipts()) : Clients.pages(ofAsync(thread).listReadReceipts());
	}

	@SuppressWarnings("unchecked")
	List<List<ChatMessageReadReceipt>> receipts(String thread, int pageSize) throws Exception {
		ListReadReceiptOptions options = new ListReadReceiptOptions().setMaxPageSize(pageSize);
		if (sync != null) {
			return Clients.pages(of(thread).listReadReceipts(options, Context.NONE));
		}
		return Clients.pages((PagedFlux<ChatMessageReadReceipt>) Reflect.call(ofAsync(thread), "listReadReceipts", ListReadReceiptOptions.class, options));
	}

	void typing(String thread) {
		if (sync != null) {
			of(thread).sendTypingNotification();
		} else {
			Clients.await(ofAsync(thread).sendTypingNotification());
		}
	}

	void typing(String thread, String displayName) throws Exception {
		Class<?> type = Reflect.type("com.azure.communication.chat.models.TypingNotificationOptions");
		Object options = type.getConstructor().newInstance();
		Reflect.call(options, "setSenderDisplayName", String.class, displayName);
		if (sync != null) {
			Method method = Reflect.method(ChatThreadClient.class, "sendTypingNotificationWithResponse", type, Context.class);
			Reflect.call(of(thread), method, options, Context.NONE);
		} else {
			Reflect.call(ofAsync(thread), "sendTypingNotificationWithResponse", type, options);
		}
	}
}
