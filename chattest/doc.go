// Package chattest is a chat server for tests: a whole Confab in the test's own
// process, in memory, over TLS, ready in some five milliseconds and gone with
// the test. Nothing has to be installed or started, no port is fixed, no file
// is written, and every test can have a server of its own.
//
//	func TestLunch(t *testing.T) {
//		s := chattest.NewServer(t)
//		ann := s.NewUser()
//		app := lunch.New(s.Endpoint(), ann.Token(), s.Client())
//		...
//		for thread, err := range s.Chat(ann).ListThreads(t.Context(), nil) {
//			...
//		}
//	}
//
// It is the server that speaks the protocol of Azure Communication Services in
// production, with its checks, error bodies and limits: not a fake that agrees
// with the test.
//
// # Clients
//
// [Server.Chat] is a client of package chat, ready made for a user, and
// [Server.Identity] one of package identity: for what the test itself says and
// looks at.
//
// The code under test has clients of its own. The certificate of a server is its
// own, so a client must be told to trust it. [Server.Client] is an http.Client that
// does; it also is the Transport of every SDK that is built on azcore:
//
//	&chat.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}}
//
// Code that takes its roots from somewhere else gets them from [Server.CA].
//
// Its identity clients take [Server.ConnectionString]; its chat clients take the
// token of a [User], or one of [Server.Token] with other scopes or another
// lifetime.
//
// # Time
//
// A day passes in a call, and what was due in it is done when the call returns:
//
//	s.Clock.Advance(25 * time.Hour)
//
// Tokens of a day have expired then: chat requests with them are answered 401,
// and what renews tokens can be watched doing so. Throttled clients are let in,
// deleted users are gone with what they wrote. The [Clock] says what keeps the
// real time.
//
// # Faults
//
// What goes wrong one day in production goes wrong in a test on order:
//
//	s.Faults.Add(chattest.Fault{Operation: "send message", Status: 429, RetryAfter: time.Second, Times: 2})
//	s.Faults.Add(chattest.Fault{Operation: "create thread", Drop: chattest.DropAfter})
//	s.Faults.Add(chattest.Fault{Delay: 200 * time.Millisecond, Times: chattest.Always})
//
// The second line is the one that finds doubled threads: the thread is made, and
// its answer is lost. [Server.Requests] tells how often the code under test asked,
// [Faults.Left] whether it met all that was ordered.
//
// # One server for a package
//
// Code that finds its server through the environment, and packages of many small
// tests, may share one:
//
//	func TestMain(m *testing.M) { chattest.Main(m) }
//
// [Main] sets CONFAB_ENDPOINT, CONFAB_CONNECTION_STRING and CONFAB_CA_FILE for
// the time of the tests; [Shared] is the server.
//
// # What it brings along
//
// The server's own dependencies: they come into the go.mod of whoever imports this
// package, and Go 1.26 with them, though into no program that does not. To keep them
// out, put such tests into a module of their own, or run them as
// `confab run -- go test ./...` does.
//
// # Other languages
//
// `confab run -- pytest` gives the same server to programs in any language, with
// the clock and the faults at $CONFAB_ENDPOINT/dev/clock and /dev/faults;
// docs/testing.md of the repository has an example for each.
package chattest
