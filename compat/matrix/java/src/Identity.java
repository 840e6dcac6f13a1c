import com.azure.communication.common.CommunicationUserIdentifier;
import com.azure.communication.identity.CommunicationIdentityAsyncClient;
import com.azure.communication.identity.CommunicationIdentityClient;
import com.azure.communication.identity.CommunicationIdentityClientBuilder;
import com.azure.communication.identity.models.CommunicationTokenScope;
import com.azure.communication.identity.models.CommunicationUserIdentifierAndToken;
import com.azure.core.credential.AccessToken;
import java.lang.reflect.Method;
import java.util.List;
import java.util.UUID;

/** The identity client of a release, synchronous or asynchronous. */
final class Identity {
	private static final List<CommunicationTokenScope> CHAT = List.of(CommunicationTokenScope.CHAT);

	private final CommunicationIdentityClient sync;
	private final CommunicationIdentityAsyncClient async;

	Identity(boolean synchronous, Exchanges exchanges) {
		CommunicationIdentityClientBuilder builder = new CommunicationIdentityClientBuilder()
			.connectionString(System.getenv("CONFAB_CONNECTION_STRING"))
			.addPolicy(exchanges.policy());
		sync = synchronous ? builder.buildClient() : null;
		async = synchronous ? null : builder.buildAsyncClient();
	}

	CommunicationUserIdentifier createUser() {
		return sync != null ? sync.createUser() : Clients.await(async.createUser());
	}

	CommunicationUserIdentifierAndToken createUserAndToken() {
		return sync != null ? sync.createUserAndToken(CHAT) : Clients.await(async.createUserAndToken(CHAT));
	}

	AccessToken issueToken(CommunicationUserIdentifier user) {
		return sync != null ? sync.getToken(user, CHAT) : Clients.await(async.getToken(user, CHAT));
	}

	void revokeTokens(CommunicationUserIdentifier user) {
		if (sync != null) {
			sync.revokeTokens(user);
		} else {
			Clients.await(async.revokeTokens(user));
		}
	}

	void deleteUser(CommunicationUserIdentifier user) {
		if (sync != null) {
			sync.deleteUser(user);
		} else {
			Clients.await(async.deleteUser(user));
		}
	}

	/** Exchanges a token of Teams. Early releases take the token alone, later ones an application and a user too. */
	void exchangeToken() throws Exception {
		Object client = sync != null ? sync : async;
		for (Method method : client.getClass().getMethods()) {
			if (method.getName().equals("getTokenForTeamsUser")) {
				Class<?> type = method.getParameterTypes()[0];
				Object argument = type == String.class ? "no token of Teams"
					: type.getConstructor(String.class, String.class, String.class)
						.newInstance("no token of Teams", UUID.randomUUID().toString(), UUID.randomUUID().toString());
				Reflect.call(client, method, argument);
				return;
			}
		}
		throw new Lacks("has no exchange of Teams tokens");
	}
}
