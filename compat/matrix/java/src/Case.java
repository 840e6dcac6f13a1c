import java.util.Collection;
import java.util.Objects;
import java.util.regex.Pattern;

/** One case of the scenario (../../README.md): an operation, a name, and a body that throws if the release does not do what its users expect. */
final class Case {
	/** The body of a case. */
	interface Body {
		void run() throws Exception;
	}

	final String operation;
	final String name;
	final Body body;

	Case(String operation, String name, Body body) {
		this.operation = operation;
		this.name = name;
		this.body = body;
	}

	/** Throws unless the condition holds. */
	static void check(boolean holds, String what) {
		if (!holds) {
			throw new AssertionError(what);
		}
	}

	/** Throws unless both are equal. */
	static void same(Object want, Object got, String what) {
		check(Objects.equals(want, got), what + ": want " + want + ", got " + got);
	}

	/** Throws unless the text has a match of the pattern. */
	static void matches(String pattern, String text, String what) {
		check(text != null && Pattern.compile(pattern).matcher(text).find(), what + ": want a match of " + pattern + ", got " + text);
	}

	/** Throws unless the collections have the same elements in some order. */
	static void sameSet(Collection<String> want, Collection<String> got, String what) {
		same(String.join(" ", sorted(want)), String.join(" ", sorted(got)), what);
	}

	private static String[] sorted(Collection<String> all) {
		return all.stream().sorted().toArray(String[]::new);
	}
}
