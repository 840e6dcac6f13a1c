//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

const hasTerminal = false

func terminal(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("no terminal here") }
