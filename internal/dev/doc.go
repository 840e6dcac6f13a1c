// Package dev is the part of a development server that no other server has: a clock
// that a test moves forward, and faults that it adds.
//
// A [Clock] and [Faults] can be reached in two ways: through the paths /dev/clock and
// /dev/faults of `confab serve --dev` and `confab run`, which [New] serves, and through
// package chattest for tests in Go.
//
//	clock := dev.NewClock(time.Now)
//	clock.Advance(25 * time.Hour) // tokens of a day have expired
//
//	faults := dev.NewFaults(rest.Operations())
//	faults.Add(rest.Fault{Operation: "send message", Status: 429, RetryAfter: time.Second, Times: 2})
//
// The clock drives the domain: the expiry of tokens, the dates of messages, the windows
// of limits, the grace of deleted users. The dates of signed requests, certificates and
// the log keep the real time, since clients and other machines do.
package dev
