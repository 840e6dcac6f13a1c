// Package compat contains only tests: they call every method of the Go SDK against the built
// server, as compat/python does with Microsoft's SDK. It is a separate module that depends on the
// SDK only, like the programs of the SDK's users.
//
// Run the tests with compat/go/run: they need CONFAB_CONNECTION_STRING and CONFAB_CA_FILE, which
// `confab run` sets.
package compat
