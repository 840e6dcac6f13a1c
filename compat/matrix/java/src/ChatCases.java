import com.azure.communication.chat.models.AddChatParticipantsResult;
import com.azure.communication.chat.models.ChatError;
import com.azure.communication.chat.models.ChatErrorResponseException;
import com.azure.communication.chat.models.ChatMessage;
import com.azure.communication.chat.models.ChatMessageReadReceipt;
import com.azure.communication.chat.models.ChatMessageType;
import com.azure.communication.chat.models.ChatParticipant;
import com.azure.communication.chat.models.ChatThreadItem;
import com.azure.communication.chat.models.ChatThreadProperties;
import com.azure.communication.chat.models.CreateChatThreadOptions;
import com.azure.communication.chat.models.CreateChatThreadResult;
import com.azure.communication.chat.models.InvalidParticipantException;
import com.azure.communication.chat.models.SendChatMessageOptions;
import com.azure.communication.chat.models.UpdateChatMessageOptions;
import com.azure.communication.chat.models.UpdateChatThreadOptions;
import com.azure.communication.common.CommunicationIdentifier;
import com.azure.communication.common.CommunicationUserIdentifier;
import com.azure.communication.identity.models.CommunicationUserIdentifierAndToken;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;
import java.util.stream.Collectors;

/** The cases of the chat client. They share three users and a thread. */
final class ChatCases {
	private static final class User {
		final CommunicationUserIdentifier identifier;
		final String id;
		final Chat chat;

		User(CommunicationUserIdentifier identifier, Chat chat) {
			this.identifier = identifier;
			this.id = identifier.getId();
			this.chat = chat;
		}
	}

	private final boolean synchronous;
	private final Identity identity;
	private final Exchanges exchanges;
	private final User alice, bob, carol;
	private final CommunicationUserIdentifier nobody; // an id of this server's form that no user has
	private final String thread;

	ChatCases(boolean synchronous, Identity identity, Exchanges exchanges) {
		this.synchronous = synchronous;
		this.identity = identity;
		this.exchanges = exchanges;
		alice = newUser();
		bob = newUser();
		carol = newUser();
		nobody = new CommunicationUserIdentifier(alice.id.replaceAll("_.*", "_" + UUID.randomUUID()));
		thread = newThread();
	}

	List<Case> all() {
		List<Case> cases = new ArrayList<>(threads());
		cases.addAll(messages());
		cases.addAll(participants());
		cases.addAll(receipts());
		cases.addAll(errors());
		return cases;
	}

	private List<Case> threads() {
		return List.of(
			new Case("create thread", "with participants", () -> {
				CreateChatThreadResult made = create(alice, "Lunch", named(bob, "Bob"), named(carol, "Carol"));
				Case.matches("^19:.+@thread\\.v2$", made.getChatThread().getId(), "the id");
				Case.same("Lunch", made.getChatThread().getTopic(), "the topic");
				has(made.getChatThread().getId(), alice, bob, carol);
			}),
			new Case("create thread", "idempotent", () -> {
				String token = UUID.randomUUID().toString();
				List<String> made = new ArrayList<>();
				for (String t : List.of(token, token, UUID.randomUUID().toString())) {
					made.add(alice.chat.create(options("Once", named(bob, "Bob")).setIdempotencyToken(t)).getChatThread().getId());
				}
				Case.same(made.get(0), made.get(1), "the thread of the second call");
				Case.check(!made.get(0).equals(made.get(2)), "another token gives the same thread");
			}),
			new Case("create thread", "refused participant", () -> {
				CreateChatThreadResult made = create(alice, "Ghost", named(bob, "Bob"), new ChatParticipant().setCommunicationIdentifier(nobody));
				isRefused(made.getInvalidParticipants());
				has(made.getChatThread().getId(), alice, bob);
			}),
			new Case("get thread", "properties", () -> {
				ChatThreadProperties shown = alice.chat.properties(thread);
				Case.same(List.of(thread, "Scene", alice.id), List.of(shown.getId(), shown.getTopic(), id(shown.getCreatedBy())), "id, topic, creator");
				isNow(shown.getCreatedOn());
			}),
			new Case("list threads", "one page", () -> {
				User user = newUser();
				String made = create(user, "Alone").getChatThread().getId();
				List<ChatThreadItem> page = only(user.chat.threads());
				Case.same(1, page.size(), "the number of threads");
				Case.same(List.of(made, "Alone"), List.of(page.get(0).getId(), page.get(0).getTopic()), "id and topic");
				isNow(page.get(0).getLastMessageReceivedOn());
			}),
			new Case("list threads", "two pages", () -> {
				User user = newUser();
				List<String> made = new ArrayList<>();
				for (String topic : List.of("1", "2", "3")) {
					made.add(create(user, topic).getChatThread().getId());
				}
				inPages(made, user.chat.threads(2), ChatThreadItem::getId);
			}),
			new Case("update thread", "topic", () -> {
				String made = newThread();
				bob.chat.updateTopic(made, "Dinner");
				Case.same("Dinner", alice.chat.properties(made).getTopic(), "the topic");
			}),
			new Case("update thread", "metadata", () -> {
				Reflect.method(UpdateChatThreadOptions.class, "setMetadata", Map.class);
				throw new AssertionError("this release has metadata of threads: write the case");
			}),
			new Case("delete thread", "once", () -> {
				String made = newThread();
				alice.chat.delete(made);
				refused(404, "not found", () -> alice.chat.messages(made));
			}),
			new Case("delete thread", "twice", () -> {
				String made = newThread();
				alice.chat.delete(made);
				alice.chat.delete(made);
			}));
	}

	private List<Case> messages() {
		return List.of(
			new Case("send message", "text", () -> {
				String text = "Where do we eat? \uC624\uB298 \uD83C\uDF5C";
				String id = alice.chat.send(thread, text(text).setType(ChatMessageType.TEXT).setSenderDisplayName("Alice"));
				Case.matches("^\\d+$", id, "the id");
				ChatMessage shown = bob.chat.message(thread, id);
				Case.same(List.of(ChatMessageType.TEXT, text, "Alice"),
					List.of(shown.getType(), shown.getContent().getMessage(), shown.getSenderDisplayName()), "type, text, name");
			}),
			new Case("send message", "html", () -> {
				ChatMessage shown = bob.chat.message(thread, alice.chat.send(thread, text("<b>Hello</b>").setType(ChatMessageType.HTML)));
				Case.same(List.of(ChatMessageType.HTML, "<b>Hello</b>"), List.of(shown.getType(), shown.getContent().getMessage()), "type and text");
			}),
			new Case("send message", "metadata", () -> {
				SendChatMessageOptions options = text("tagged");
				Reflect.call(options, "setMetadata", Map.class, Map.of("tags", "blue"));
				Case.same(Map.of("tags", "blue"), metadata(bob.chat.message(thread, alice.chat.send(thread, options))), "the metadata");
			}),
			new Case("send message", "lost answer", this::lostAnswer),
			new Case("get message", "text", () -> {
				String id = alice.chat.send(thread, text("read me"));
				ChatMessage shown = bob.chat.message(thread, id);
				Case.same(Arrays.asList(id, "read me", alice.id, null, null), Arrays.asList(shown.getId(), shown.getContent().getMessage(),
					id(shown.getSender()), shown.getEditedOn(), shown.getDeletedOn()), "id, text, sender, editedOn, deletedOn");
				isNow(shown.getCreatedOn());
			}),
			new Case("list messages", "one page", () -> {
				String made = newThread();
				String one = alice.chat.send(made, text("one")), two = bob.chat.send(made, text("two"));
				List<List<String>> shown = only(carol.chat.messages(made, 100)).stream().filter(m -> m.getType().equals(ChatMessageType.TEXT))
					.map(m -> List.of(m.getId(), m.getContent().getMessage(), id(m.getSender()))).collect(Collectors.toList());
				Case.same(List.of(List.of(two, "two", bob.id), List.of(one, "one", alice.id)), shown, "the messages, newest first");
			}),
			new Case("list messages", "two pages", () -> {
				String made = newThread();
				List<String> sent = new ArrayList<>();
				for (String text : List.of("one", "two", "three")) {
					sent.add(0, alice.chat.send(made, text(text)));
				}
				List<List<ChatMessage>> pages = bob.chat.messages(made, 2);
				List<String> shown = flat(pages).stream().map(ChatMessage::getId).collect(Collectors.toList());
				Case.same(5, shown.size(), "three messages and the two of the creation");
				Case.same(sent, shown.subList(0, 3), "the newest first");
				inPages(shown.stream().distinct().collect(Collectors.toList()), pages, ChatMessage::getId);
			}),
			new Case("list messages", "system messages", this::systemMessages),
			new Case("update message", "content", () -> {
				String id = alice.chat.send(thread, text("before"));
				alice.chat.updateMessage(thread, id, new UpdateChatMessageOptions().setContent("after"));
				ChatMessage shown = bob.chat.message(thread, id);
				Case.same("after", shown.getContent().getMessage(), "the text");
				isNow(shown.getEditedOn());
			}),
			new Case("update message", "metadata", () -> {
				UpdateChatMessageOptions options = new UpdateChatMessageOptions();
				Reflect.call(options, "setMetadata", Map.class, Map.of("tags", "green"));
				String id = alice.chat.send(thread, text("tagged later"));
				alice.chat.updateMessage(thread, id, options);
				ChatMessage shown = bob.chat.message(thread, id);
				Case.same(List.of("tagged later", Map.of("tags", "green")), List.of(shown.getContent().getMessage(), metadata(shown)), "text and metadata");
			}),
			new Case("delete message", "tombstone", () -> {
				String made = newThread(), id = alice.chat.send(made, text("oops"));
				alice.chat.deleteMessage(made, id);
				ChatMessage shown = flat(bob.chat.messages(made)).stream().filter(m -> m.getId().equals(id)).findFirst()
					.orElseThrow(() -> new AssertionError("the deleted message is not in the list"));
				isNow(shown.getDeletedOn());
				Case.check(shown.getContent() == null || "".equals(shown.getContent().getMessage()), "the deleted message still has its text");
			}));
	}

	private void systemMessages() {
		String made = create(alice, "Old", named(bob, "Bob")).getChatThread().getId();
		alice.chat.updateTopic(made, "New");
		alice.chat.add(made, List.of(named(carol, "Carol")));
		alice.chat.remove(made, carol.identifier);
		List<String> shown = new ArrayList<>();
		for (ChatMessage m : flat(bob.chat.messages(made, 100))) {
			String what = m.getContent().getTopic();
			if (m.getContent().getParticipants() != null) {
				List<String> ids = new ArrayList<>();
				m.getContent().getParticipants().forEach(p -> ids.add(id(p.getCommunicationIdentifier())));
				Collections.sort(ids);
				what = ids.isEmpty() ? what : String.join(" ", ids);
			}
			shown.add(0, m.getType() + " " + what + " by " + id(m.getContent().getInitiator()));
		}
		List<String> both = Arrays.asList(alice.id, bob.id);
		Collections.sort(both);
		String by = " by " + alice.id;
		Case.same(List.of(ChatMessageType.PARTICIPANT_ADDED + " " + String.join(" ", both) + by, ChatMessageType.TOPIC_UPDATED + " Old" + by,
			ChatMessageType.TOPIC_UPDATED + " New" + by, ChatMessageType.PARTICIPANT_ADDED + " " + carol.id + by,
			ChatMessageType.PARTICIPANT_REMOVED + " " + carol.id + by), shown, "the system messages");
	}

	/** The SDK repeats a send by itself when its answer is lost. The server knows the repeat by the request id, if the SDK sends one. */
	private void lostAnswer() throws Exception {
		String made = newThread();
		Server.faults("POST", "{\"operation\": \"send message\", \"drop\": \"after\"}");
		exchanges.forget();
		try {
			List<String> sent = List.of(alice.chat.send(made, text("hello")), alice.chat.send(made, text("hello")));
			boolean known = exchanges.eachHas("x-ms-client-request-id");
			Case.matches("\"faults\":\\s*\\[\\]", Server.faults("GET", ""), "the faults that are left: the answer was not lost");
			List<String> shown = flat(bob.chat.messages(made)).stream().filter(m -> m.getType().equals(ChatMessageType.TEXT))
				.map(ChatMessage::getId).collect(Collectors.toList());
			if (!known) {
				Case.same(3, shown.size(), "the number of messages after a repeat that nobody can know");
				throw new Lacks("sends no x-ms-client-request-id, so the repeat is a third message");
			}
			Case.sameSet(sent, shown, "messages in the thread, and the ids that the calls returned");
		} finally {
			Server.faults("DELETE", "");
		}
	}

	private List<Case> participants() {
		return List.of(
			new Case("add participants", "several", () -> {
				String made = create(alice, "Scene").getChatThread().getId();
				AddChatParticipantsResult added = alice.chat.add(made, List.of(named(bob, "Bob"), named(carol, "Carol")));
				Case.check(added.getInvalidParticipants() == null || added.getInvalidParticipants().isEmpty(), "somebody was refused");
				has(made, alice, bob, carol);
				carol.chat.send(made, text("thanks"));
			}),
			new Case("add participants", "one", () -> {
				String made = create(alice, "Scene").getChatThread().getId();
				alice.chat.addOne(made, named(bob, "Bob"));
				has(made, alice, bob);
			}),
			new Case("add participants", "refused participant", () -> {
				String made = create(alice, "Scene").getChatThread().getId();
				ChatParticipant unknown = new ChatParticipant().setCommunicationIdentifier(nobody);
				isRefused(alice.chat.add(made, List.of(named(bob, "Bob"), unknown)).getInvalidParticipants());
				try {
					alice.chat.addOne(made, unknown);
					throw new AssertionError("the unknown user alone is not refused");
				} catch (InvalidParticipantException e) {
					isRefused(List.of(e.getChatError()));
				}
				has(made, alice, bob);
			}),
			new Case("list participants", "one page", () -> {
				List<String> shown = only(bob.chat.participants(thread)).stream()
					.map(p -> id(p.getCommunicationIdentifier()) + " " + p.getDisplayName()).collect(Collectors.toList());
				Case.sameSet(List.of(alice.id + " null", bob.id + " Bob", carol.id + " Carol"), shown, "ids and names");
			}),
			new Case("list participants", "two pages", () -> {
				inPages(List.of(alice.id, bob.id, carol.id), bob.chat.participants(thread, 2), p -> id(p.getCommunicationIdentifier()));
			}),
			new Case("remove participant", "gone", () -> {
				String made = newThread();
				alice.chat.remove(made, bob.identifier);
				has(made, alice, carol);
				refused(403, "permission", () -> bob.chat.send(made, text("still here?")));
			}));
	}

	private List<Case> receipts() {
		return List.of(
			new Case("send read receipt", "sent", () -> {
				String made = newThread(), message = alice.chat.send(made, text("seen?"));
				bob.chat.sendReceipt(made, message);
				ChatMessageReadReceipt shown = only(only(alice.chat.receipts(made)));
				Case.same(List.of(bob.id, message), List.of(id(shown.getSender()), shown.getChatMessageId()), "reader and message");
			}),
			new Case("list read receipts", "one page", () -> {
				String made = newThread(), message = readByAll(made);
				List<ChatMessageReadReceipt> page = only(alice.chat.receipts(made));
				Case.same(3, page.size(), "the number of receipts");
				for (ChatMessageReadReceipt receipt : page) {
					Case.same(message, receipt.getChatMessageId(), "the message");
					isNow(receipt.getReadOn());
				}
			}),
			new Case("list read receipts", "two pages", () -> {
				String made = newThread();
				readByAll(made);
				inPages(List.of(alice.id, bob.id, carol.id), alice.chat.receipts(made, 2), r -> id(r.getSender()));
			}),
			new Case("send typing notification", "sent", () -> alice.chat.typing(thread)),
			new Case("send typing notification", "display name", () -> alice.chat.typing(thread, "Alice")));
	}

	private List<Case> errors() {
		return List.of(
			new Case("errors", "400", () -> {
				ChatParticipant wrong = new ChatParticipant().setCommunicationIdentifier(new CommunicationUserIdentifier("8:acs:invalidUserId"));
				refused(400, "8:acs:invalidUserId", () -> alice.chat.add(thread, List.of(wrong)));
			}),
			new Case("errors", "401", () -> {
				User user = newUser();
				identity.revokeTokens(user.identifier);
				IdentityCases.refused(401, "401", user.chat::threads); // the answer has no body
			}),
			new Case("errors", "403", () -> {
				User stranger = newUser();
				refused(403, "permission", () -> stranger.chat.send(thread, text("hello")));
			}),
			new Case("errors", "404", () -> refused(404, "[a-z]+ [a-z]+ [a-z]+", () -> alice.chat.message(thread, "1"))));
	}

	/** Throws unless the call throws the exception of the chat SDK with this status, a message with the sentence, and a value of the body's parts. */
	private static void refused(int status, String sentence, Case.Body call) throws Exception {
		IdentityCases.refused(status, sentence, () -> {
			try {
				call.run();
			} catch (ChatErrorResponseException e) {
				Case.check(e.getValue() != null, "the exception has no value: " + e);
				Case.matches("^[A-Z][A-Za-z]+$", e.getValue().getCode(), "the code of the exception's value");
				Case.matches(sentence, e.getValue().getMessage(), "the message of the exception's value");
				throw e;
			}
		});
	}

	private User newUser() {
		CommunicationUserIdentifierAndToken made = identity.createUserAndToken();
		return new User(made.getUser(), new Chat(synchronous, made.getUserToken().getToken(), exchanges));
	}

	/** Makes the thread Scene of all three, and returns its id. */
	private String newThread() {
		return create(alice, "Scene", named(bob, "Bob"), named(carol, "Carol")).getChatThread().getId();
	}

	private static CreateChatThreadResult create(User user, String topic, ChatParticipant... people) {
		return user.chat.create(options(topic, people));
	}

	private static CreateChatThreadOptions options(String topic, ChatParticipant... people) {
		return new CreateChatThreadOptions(topic).setParticipants(Arrays.asList(people));
	}

	private static ChatParticipant named(User user, String name) {
		return new ChatParticipant().setCommunicationIdentifier(user.identifier).setDisplayName(name);
	}

	private static SendChatMessageOptions text(String text) {
		return new SendChatMessageOptions().setContent(text);
	}

	private static Object metadata(ChatMessage message) throws Exception {
		return Reflect.call(message, Reflect.method(ChatMessage.class, "getMetadata"));
	}

	private static String id(CommunicationIdentifier identifier) {
		return ((CommunicationUserIdentifier) identifier).getId();
	}

	/** Sends a message to a thread of all three, who read it. */
	private String readByAll(String made) {
		String message = alice.chat.send(made, text("all read this"));
		for (User user : List.of(alice, bob, carol)) {
			user.chat.sendReceipt(made, message);
		}
		return message;
	}

	/** Throws unless these users are in a thread. */
	private void has(String made, User... users) {
		Case.sameSet(Arrays.stream(users).map(u -> u.id).collect(Collectors.toList()),
			flat(alice.chat.participants(made)).stream().map(p -> id(p.getCommunicationIdentifier())).collect(Collectors.toList()), "the participants");
	}

	private void isRefused(List<ChatError> refused) {
		Case.check(refused != null, "nobody is refused");
		ChatError error = only(refused);
		Case.same(nobody.getId(), error.getTarget(), "the refused participant");
		Case.matches("^(403|404)$", error.getCode(), "the code");
		Case.matches("[a-z]+ [a-z]+", error.getMessage(), "the message");
	}

	private static void isNow(OffsetDateTime time) {
		Case.check(time != null && Duration.between(time, OffsetDateTime.now()).abs().toHours() < 1, "the time is " + time);
	}

	private static <T> T only(List<T> one) {
		Case.same(1, one.size(), "the number of elements");
		return one.get(0);
	}

	private static <T> List<T> flat(List<List<T>> pages) {
		return pages.stream().flatMap(List::stream).collect(Collectors.toList());
	}

	/** Throws unless several pages of at most two elements have the wanted ones, each once. */
	private static <T> void inPages(List<String> want, List<List<T>> pages, Function<T, String> id) {
		Case.check(pages.size() > 1 && pages.stream().allMatch(p -> p.size() <= 2),
			"pages of " + pages.stream().map(List::size).collect(Collectors.toList()));
		Case.sameSet(want, flat(pages).stream().map(id).collect(Collectors.toList()), "the elements of all pages");
	}
}
