import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

/**
 * Takes the releases on the class path through the scenario, first with the synchronous and then with the asynchronous clients, and
 * prints a line of JSON for each case. A failed case also has "exchange". The last line has the api-versions that were asked for.
 * Arguments: the chat release (empty for an identity release alone) and the name of the identity release.
 */
final class Matrix {
	private static final int PATIENCE_S = 120;
	private static final ExecutorService RUNNER = Executors.newCachedThreadPool(work -> {
		Thread thread = new Thread(work, "case");
		thread.setDaemon(true);
		return thread;
	});

	public static void main(String[] arguments) {
		String chat = arguments[0], identity = arguments[1];
		Exchanges exchanges = new Exchanges();
		for (boolean synchronous : new boolean[] {true, false}) {
			Identity clients = new Identity(synchronous, exchanges);
			List<Case> cases = new ArrayList<>(IdentityCases.all(clients));
			if (!chat.isEmpty()) {
				cases.addAll(new ChatCases(synchronous, clients, exchanges).all());
			}
			for (Case c : cases) {
				exchanges.forget();
				long start = System.nanoTime();
				Throwable error = outcome(c);
				String result = error == null ? "PASS" : error instanceof Lacks ? "NA" : "FAIL";
				Map<String, Object> line = new LinkedHashMap<>();
				line.put("language", "java");
				line.put("chat", chat);
				line.put("identity", identity);
				line.put("operation", c.operation);
				line.put("case", c.name);
				line.put("client", synchronous ? "sync" : "async");
				line.put("result", result);
				line.put("ms", TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start));
				line.put("error", error == null ? "" : error instanceof Lacks ? error.getMessage() : error.toString());
				if (result.equals("FAIL")) {
					line.put("exchange", exchanges.last());
				}
				System.out.println(json(line));
			}
		}
		System.out.println(json(Map.of("chat", exchanges.chatVersions, "identity", exchanges.identityVersions)));
		System.exit(0); // the HTTP client of the SDK has threads of its own
	}

	/** Runs a case. It returns null, a Lacks, or what is wrong. */
	private static Throwable outcome(Case c) {
		Future<?> running = RUNNER.submit(() -> {
			c.body.run();
			return null;
		});
		try {
			running.get(PATIENCE_S, TimeUnit.SECONDS);
			return null;
		} catch (ExecutionException e) {
			return e.getCause();
		} catch (TimeoutException e) {
			return new AssertionError("not done after " + PATIENCE_S + " s");
		} catch (InterruptedException e) {
			return e;
		}
	}

	private static String json(Object value) {
		if (value instanceof Map) {
			return ((Map<?, ?>) value).entrySet().stream().map(e -> json(e.getKey()) + ": " + json(e.getValue())).collect(Collectors.joining(", ", "{", "}"));
		}
		if (value instanceof Set) {
			return ((Set<?>) value).stream().map(Matrix::json).collect(Collectors.joining(", ", "[", "]"));
		}
		if (value instanceof Number) {
			return value.toString();
		}
		StringBuilder text = new StringBuilder("\"");
		for (char c : value.toString().toCharArray()) {
			if (c == '"' || c == '\\') {
				text.append('\\').append(c);
			} else if (c < ' ' || c > '~') {
				text.append(String.format("\\u%04x", (int) c));
			} else {
				text.append(c);
			}
		}
		return text.append('"').toString();
	}
}
