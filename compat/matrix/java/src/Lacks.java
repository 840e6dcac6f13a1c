/** Says that a release does not have what a case needs. The case is then NA. */
final class Lacks extends RuntimeException {
	Lacks(String what) {
		super(what);
	}
}
