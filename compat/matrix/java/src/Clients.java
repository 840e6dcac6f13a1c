import com.azure.core.http.rest.PagedFlux;
import com.azure.core.http.rest.PagedIterable;
import com.azure.core.http.rest.PagedResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import reactor.core.publisher.Mono;

/** What the synchronous and asynchronous clients of both packages share. */
final class Clients {
	private static final Duration PATIENCE = Duration.ofMinutes(1);

	private Clients() {}

	/** Returns the value of a call of an asynchronous client, or throws its error. */
	static <T> T await(Mono<T> call) {
		return call.block(PATIENCE);
	}

	static <T> List<List<T>> pages(PagedIterable<T> all) {
		List<List<T>> pages = new ArrayList<>();
		for (PagedResponse<T> page : all.iterableByPage()) {
			pages.add(items(page));
		}
		return pages;
	}

	static <T> List<List<T>> pages(PagedFlux<T> all) {
		return await(all.byPage().map(Clients::items).collectList());
	}

	private static <T> List<T> items(PagedResponse<T> page) {
		return page.getElements().stream().collect(Collectors.toList());
	}
}
