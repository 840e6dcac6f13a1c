// Package dev implements the features that only a development server has: a clock that tests can
// move forward, faults that make requests fail or wait, and users for visitors of the chat page
// ([People]).
//
// Tests reach the [Clock] and the [Faults] of a server through the paths /dev/clock and /dev/faults
// of `confab serve --dev` and `confab run`, which [New] serves. Tests in Go can use package
// chattest instead.
//
//	clock := dev.NewClock(time.Now)
//	clock.Advance(25 * time.Hour) // tokens that were valid for a day have expired
//
//	faults := dev.NewFaults(rest.Operations())
//	faults.Add(rest.Fault{Operation: "send message", Status: 429, RetryAfter: time.Second, Times: 2})
//
// The server uses this clock for the expiry of tokens and threads, the dates of messages, the
// windows of rate limits, the deletion grace of users and the age of audit rows. It uses the real
// time to check signed requests and certificates, because clients and other machines use the real
// time, and for the times in its log.
package dev
