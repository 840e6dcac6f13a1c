import com.azure.communication.common.CommunicationUserIdentifier;
import com.azure.communication.identity.models.CommunicationUserIdentifierAndToken;
import com.azure.core.credential.AccessToken;
import com.azure.core.exception.HttpResponseException;
import java.time.OffsetDateTime;
import java.util.List;

/** The cases of the identity client. */
final class IdentityCases {
	private IdentityCases() {}

	static List<Case> all(Identity identity) {
		return List.of(
			new Case("create user", "alone", () -> {
				Case.matches("^8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}$", identity.createUser().getId(), "the id");
			}),
			new Case("create user", "with token", () -> {
				CommunicationUserIdentifierAndToken made = identity.createUserAndToken();
				Case.matches("^8:acs:", made.getUser().getId(), "the id");
				Case.same(200, Server.chatStatus(made.getUserToken().getToken()), "the status with the token");
			}),
			new Case("issue token", "chat scope", () -> {
				AccessToken token = identity.issueToken(identity.createUser());
				Case.same(200, Server.chatStatus(token.getToken()), "the status with the token");
				Case.check(token.getExpiresAt().isAfter(OffsetDateTime.now()), "the token expires at " + token.getExpiresAt());
			}),
			new Case("revoke tokens", "old token is refused", () -> {
				CommunicationUserIdentifier user = identity.createUser();
				String old = identity.issueToken(user).getToken();
				Case.same(200, Server.chatStatus(old), "the status before");
				identity.revokeTokens(user);
				Case.same(401, Server.chatStatus(old), "the status with the old token");
				Case.same(200, Server.chatStatus(identity.issueToken(user).getToken()), "the status with a new token");
			}),
			new Case("delete user", "gone", () -> {
				CommunicationUserIdentifierAndToken user = identity.createUserAndToken();
				identity.deleteUser(user.getUser());
				Case.same(401, Server.chatStatus(user.getUserToken().getToken()), "the status with the token");
				refused(401, "resource", () -> identity.issueToken(user.getUser()));
			}),
			new Case("exchange token", "refused", () -> {
				refused(401, "[Tt]oken", identity::exchangeToken);
			}));
	}

	/** Throws unless the call throws an exception of the SDK with this status and a message with the sentence, a pattern. */
	static void refused(int status, String sentence, Case.Body call) throws Exception {
		try {
			call.run();
		} catch (HttpResponseException e) {
			Case.check(e.getResponse() != null, "the exception has no response: " + e);
			Case.same(status, e.getResponse().getStatusCode(), "the status of " + e);
			Case.matches(sentence, e.getMessage(), "the message of the exception");
			return;
		}
		throw new AssertionError("nothing was thrown, but " + status + " is expected");
	}
}
