import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/** Asks the server without an SDK: some rows have no chat release, and no release has /dev. */
final class Server {
	private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

	private Server() {}

	/** Returns the status of a list of threads that is asked for with a token. */
	static int chatStatus(String token) throws Exception {
		return CLIENT.send(request("/chat/threads?api-version=2021-03-07").header("Authorization", "Bearer " + token).build(),
			BodyHandlers.discarding()).statusCode();
	}

	/** Asks /dev/faults and returns the answer. */
	static String faults(String method, String order) throws Exception {
		HttpRequest request = request("/dev/faults").header("Content-Type", "application/json")
			.method(method, HttpRequest.BodyPublishers.ofString(order)).build();
		HttpResponse<String> answer = CLIENT.send(request, BodyHandlers.ofString());
		if (answer.statusCode() >= 300) {
			throw new IllegalStateException("/dev/faults: " + answer.statusCode() + " " + answer.body());
		}
		return answer.body();
	}

	private static HttpRequest.Builder request(String path) {
		return HttpRequest.newBuilder(URI.create(System.getenv("CONFAB_ENDPOINT") + path)).timeout(Duration.ofMinutes(1));
	}
}
