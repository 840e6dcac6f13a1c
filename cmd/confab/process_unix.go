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

// alive reports whether a process with the id pid exists.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// stopSignals returns the signals that end a command. They include SIGHUP, unless this process was
// started by a program such as nohup, which makes it ignore SIGHUP. A running server uses
// endSignals instead.
func stopSignals() []os.Signal {
	s := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

// endSignals returns the signals that stop a running server. SIGHUP is not one of them; see
// watchHangups.
func endSignals() []os.Signal { return []os.Signal{syscall.SIGINT, syscall.SIGTERM} }

// watchHangups returns a channel that receives SIGHUP. A closed terminal also causes a SIGHUP,
// so watchHangups returns the function terminalGone too: it reports whether the terminal of
// this process was closed since the call of watchHangups. terminalGone always returns false if
// the process was started without a terminal or by nohup.
func watchHangups() (hangups chan os.Signal, terminalGone func() bool) {
	stays := signal.Ignored(syscall.SIGHUP) || !atTerminal()
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups, func() bool { return !stays && !atTerminal() }
}

// atTerminal reports whether this process has a controlling terminal.
func atTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	tty.Close()
	return true
}

// passedSignals returns the signals that `confab run` forwards to the program that it
// started.
func passedSignals() []os.Signal {
	return append(stopSignals(), syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
}

// passOn forwards a signal to the program that `confab run` started. It does not forward
// SIGINT and SIGQUIT if a key of the terminal caused them, because the terminal sends these signals
// to the whole process group, and a second signal could interrupt the program's own shutdown.
func passOn(p *os.Process, sig os.Signal) {
	if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
		return
	}
	p.Signal(sig) // ignore the error, because Signal fails only if the program has ended
}

// inForeground reports whether this process group is in the foreground of its terminal, so
// that the terminal sends it SIGINT for Ctrl-C.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// codeOf returns the exit code that a shell reports for an ended process: the code of the
// process, or 128 plus the number of the signal that killed it.
func codeOf(state *os.ProcessState) exitCode {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitCode(128 + int(ws.Signal()))
	}
	return exitCode(state.ExitCode())
}

// cannotRun returns the exit code that shells use for a program that does not start: 127 if the
// program was not found, and otherwise 126.
func cannotRun(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

// openFiles returns the limit of open files and connections of this process. The Go runtime has
// already raised the limit to the user's hard limit. known is false if the limit cannot be read.
func openFiles() (limit uint64, known bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return uint64(r.Cur), err == nil
}
