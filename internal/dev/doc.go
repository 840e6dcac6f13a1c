// Package dev is what a development server has and no other: a clock that a
// test moves forward, and faults that it orders.
//
// There is one mechanism, a [Clock] and [Faults], and two doors to it: the
// paths /dev/clock and /dev/faults of `confab serve --dev` and `confab run`,
// which [New] answers, and package chattest for tests in Go.
//
//	clock := dev.NewClock(time.Now)
//	clock.Advance(25 * time.Hour) // tokens of a day have expired
//
//	faults := dev.NewFaults(rest.Operations())
//	faults.Add(dev.Fault{Operation: "send message", Status: 429, RetryAfter: time.Second, Times: 2})
//
// The clock is that of the domain: when tokens expire, how old messages are,
// what a limit counts, when a deleted user's grace is over. What is agreed with
// a machine outside keeps that machine's time: the dates of signed requests,
// which clients with an unmoved clock make, certificates, and the log.
package dev
