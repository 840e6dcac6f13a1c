// Package compat has no code, only tests: the whole surface of the Go SDK against
// the built server, as compat/python has Microsoft's SDK. It is a module of its
// own because that is how its users have it, with the SDK and nothing else.
//
// Run them with compat/go/run: each needs CONFAB_CONNECTION_STRING and
// CONFAB_CA_FILE, which `confab run` sets.
package compat
