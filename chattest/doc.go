// Package chattest runs a chat server for tests: a complete Confab server in the process of the
// test, in memory, over TLS. It starts in about five milliseconds and stops with the test. Nothing
// has to be installed or started, no port is fixed, no file is written, and every test can have its
// own server.
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
// It is the production server, which implements the protocol of Azure Communication Services with
// its checks, error bodies and limits, not a fake.
//
// # Clients
//
// [Server.Chat] returns a client of package chat for a user, and [Server.Identity] returns a client
// of package identity. Tests use them to prepare and to inspect the data of the server.
//
// The code under test creates its own clients. Each server has its own certificate, which clients
// must trust. [Server.Client] returns an http.Client that trusts it; this client can be the
// Transport of every SDK that is based on azcore:
//
//	&chat.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: s.Client()}}
//
// Code that needs a certificate gets it from [Server.CA].
//
// Identity clients need [Server.ConnectionString]. Chat clients need a token: [User.Token] returns
// one, and [Server.Token] issues one with other scopes or another lifetime.
//
// # Time
//
// Clock.Advance moves the clock of the server forward. When it returns, the server has completed
// the work that became due:
//
//	s.Clock.Advance(25 * time.Hour)
//
// Tokens with a lifetime of a day have then expired: the server answers chat requests with them
// 401, and a test can check that the code renews its tokens. Throttled clients may send again, and
// deleted users are erased with their messages. Certificates and signatures still follow the real
// time; see [Clock].
//
// # Faults
//
// A test can make requests fail as they may fail in production:
//
//	s.Faults.Add(chattest.Fault{Operation: "send message", Status: 429, RetryAfter: time.Second, Times: 2})
//	s.Faults.Add(chattest.Fault{Operation: "create thread", Drop: chattest.DropAfter})
//	s.Faults.Add(chattest.Fault{Delay: 200 * time.Millisecond, Times: chattest.Always})
//
// The second fault finds code that creates threads twice: the server creates the thread, but the
// response is lost. [Server.Requests] returns how many requests the code under test sent.
// [Faults.Left] returns the faults that have not yet been applied to all of their requests.
//
// # Live events
//
// chat.Client.Events works with the server as in production. A call of [Faults.DropLive] breaks the
// connections that are open, so that a test can check that a reader misses nothing. Clock.Advance
// ends the connections whose token has expired by the new time.
//
// # One server for a package
//
// Code that reads the address of its server from the environment, and packages with many small
// tests, can share a server:
//
//	func TestMain(m *testing.M) { chattest.Main(m) }
//
// [Main] sets CONFAB_ENDPOINT, CONFAB_CONNECTION_STRING and CONFAB_CA_FILE while the tests run;
// [Shared] returns the server.
//
// # Dependencies
//
// A module that imports this package gets the server's dependencies in its go.mod, and requires Go
// 1.26. Programs that do not import it are not affected. To avoid this, put such tests into a
// separate module, or run them with `confab run -- go test ./...`.
//
// # Other languages
//
// `confab run -- pytest` starts the same server for programs in any language, with the clock and
// the faults at $CONFAB_ENDPOINT/dev/clock and /dev/faults; docs/testing.md in the repository has
// an example for each.
package chattest
