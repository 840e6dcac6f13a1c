//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// alive reports whether a process runs.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// stopSignals end a server, and are passed on by run. A hang-up that was
// ignored when we started (nohup) stays ignored.
func stopSignals() []os.Signal {
	s := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

// passedSignals are those that run passes on to its program.
func passedSignals() []os.Signal {
	return append(stopSignals(), syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
}

// passOn gives a signal to the program. Those that a key of the terminal makes
// reach the program by themselves, with its whole process group; a second one
// would cut short what the program does upon the first.
func passOn(p *os.Process, sig os.Signal) {
	if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
		return
	}
	p.Signal(sig) // an error means that it has ended
}

// inForeground reports whether the terminal's keys signal this process group.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// codeOf is what a shell makes of an ended process: its exit code, or 128 and
// the signal that killed it.
func codeOf(state *os.ProcessState) exitCode {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitCode(128 + int(ws.Signal()))
	}
	return exitCode(state.ExitCode())
}

// cannotRun is the exit code of a shell for a program that does not start.
func cannotRun(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

// openFiles is how many files and connections a server may have open. Go has
// raised the limit to what this user may have.
func openFiles() (limit uint64, known bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return uint64(r.Cur), err == nil
}
