import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import reactor.core.publisher.Mono;

/** Calls what only some releases have. The classes here are compiled once, against the oldest release. */
final class Reflect {
	private Reflect() {}

	/** Calls a public method with one parameter. It throws Lacks if there is none, and what the method throws. */
	static Object call(Object target, String name, Class<?> type, Object argument) throws Exception {
		return call(target, method(target.getClass(), name, type), argument);
	}

	/** Calls a method. It waits if the method returns a Mono, and throws what the method throws. */
	static Object call(Object target, Method method, Object... arguments) throws Exception {
		try {
			Object result = method.invoke(target, arguments);
			return result instanceof Mono ? Clients.await((Mono<?>) result) : result;
		} catch (InvocationTargetException e) {
			if (e.getCause() instanceof Exception) {
				throw (Exception) e.getCause();
			}
			throw (Error) e.getCause();
		}
	}

	/** Returns a public method of a class, and throws Lacks if it has none with this name and these parameters. */
	static Method method(Class<?> owner, String name, Class<?>... types) {
		try {
			return owner.getMethod(name, types);
		} catch (NoSuchMethodException e) {
			throw new Lacks(owner.getSimpleName() + " has no " + name + (types.length == 0 ? "" : "(" + types[0].getSimpleName() + ")"));
		}
	}

	/** Returns the class of a name, and throws Lacks if the release has none. */
	static Class<?> type(String name) {
		try {
			return Class.forName(name);
		} catch (ClassNotFoundException e) {
			throw new Lacks("there is no " + name);
		}
	}
}
