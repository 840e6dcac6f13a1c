// Package cputime reads the CPU time of processes, for benchmarks.
package cputime
