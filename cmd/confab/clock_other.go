//go:build !linux

package main

// clockSynced is implemented for Linux only; known is false elsewhere.
func clockSynced() (synced, known bool) { return false, false }
