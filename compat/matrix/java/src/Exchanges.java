import com.azure.core.http.HttpPipelineCallContext;
import com.azure.core.http.HttpPipelineNextPolicy;
import com.azure.core.http.HttpPipelinePosition;
import com.azure.core.http.HttpRequest;
import com.azure.core.http.HttpResponse;
import com.azure.core.http.policy.HttpPipelinePolicy;
import com.azure.core.util.FluxUtil;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import reactor.core.publisher.Mono;

/**
 * Records what the clients of a release send, each try of a request by itself, and changes nothing. It is a proxy, because a policy
 * compiled against the oldest release would take the synchronous clients of later ones off their own way, the method processSync.
 */
final class Exchanges implements InvocationHandler {
	private static final class Exchange {
		final HttpRequest request;
		volatile String answer = "no answer";

		Exchange(HttpRequest request) {
			this.request = request;
		}
	}

	/** The api-versions that were asked for since the start. */
	final Set<String> chatVersions = new TreeSet<>();
	final Set<String> identityVersions = new TreeSet<>();

	private final List<Exchange> all = new ArrayList<>();

	HttpPipelinePolicy policy() {
		return (HttpPipelinePolicy) Proxy.newProxyInstance(getClass().getClassLoader(), new Class<?>[] {HttpPipelinePolicy.class}, this);
	}

	@Override
	public Object invoke(Object proxy, Method method, Object[] arguments) throws Throwable {
		switch (method.getName()) {
			case "process": {
				Exchange exchange = begin(arguments[0]);
				Mono<HttpResponse> next = ((HttpPipelineNextPolicy) arguments[1]).process();
				return next.doOnNext(r -> exchange.answer = "status " + r.getStatusCode()).doOnError(e -> exchange.answer = e.toString());
			}
			case "processSync": {
				Exchange exchange = begin(arguments[0]);
				try {
					Object answer = Reflect.call(arguments[1], Reflect.method(arguments[1].getClass(), "processSync"));
					exchange.answer = "status " + ((HttpResponse) answer).getStatusCode();
					return answer;
				} catch (Exception e) {
					exchange.answer = e.toString();
					throw e;
				}
			}
			case "getPipelinePosition":
				return HttpPipelinePosition.PER_RETRY;
			case "toString":
				return "Exchanges";
			case "hashCode":
				return System.identityHashCode(proxy);
			case "equals":
				return proxy == arguments[0];
			default:
				throw new UnsupportedOperationException(method.toString());
		}
	}

	private synchronized Exchange begin(Object context) {
		Exchange exchange = new Exchange(((HttpPipelineCallContext) context).getHttpRequest());
		all.add(exchange);
		String path = exchange.request.getUrl().getPath(), query = "&" + exchange.request.getUrl().getQuery(), name = "&api-version=";
		String version = query.contains(name) ? query.split(name, 2)[1].split("&")[0] : "none";
		(path.startsWith("/chat/") ? chatVersions : identityVersions).add(version);
		return exchange;
	}

	/** Forgets the exchanges, not the versions. */
	synchronized void forget() {
		all.clear();
	}

	/** Reports whether each recorded request had this header. */
	synchronized boolean eachHas(String header) {
		return all.stream().allMatch(e -> e.request.getHeaders().getValue(header) != null);
	}

	/** Returns the text of the last exchange, without tokens. The answer's body is in the SDK's exception. */
	synchronized String last() {
		if (all.isEmpty()) {
			return "";
		}
		Exchange exchange = all.get(all.size() - 1);
		HttpRequest request = exchange.request;
		String body = "";
		try {
			if (request.getBody() != null) {
				byte[] bytes = FluxUtil.collectBytesInByteBufferStream(request.getBody()).block(Duration.ofSeconds(5));
				body = "\n" + new String(bytes, StandardCharsets.UTF_8).replaceAll("(\"token\"\\s*:\\s*)\"[^\"]*\"", "$1\"...\"");
			}
		} catch (RuntimeException e) {
			body = "\n(the body cannot be read again: " + e + ")";
		}
		return request.getHttpMethod() + " " + request.getUrl() + body + "\n--\n" + exchange.answer;
	}
}
