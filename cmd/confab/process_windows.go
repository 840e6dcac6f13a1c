package main

import (
	"errors"
	"os"
	"os/exec"

	"golang.org/x/sys/windows"
)

// alive reports whether a process with the id pid runs.
func alive(pid int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	defer windows.CloseHandle(h)
	const stillActive = 259
	var code uint32
	return windows.GetExitCodeProcess(h, &code) == nil && code == stillActive
}

// stopSignals returns the signals that end a command.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// endSignals returns the signals that stop a running server.
func endSignals() []os.Signal { return stopSignals() }

// watchHangups returns a channel that never receives a signal, because Windows has no SIGHUP.
func watchHangups() (hangups chan os.Signal, terminalGone func() bool) {
	return make(chan os.Signal), func() bool { return false }
}

// passedSignals returns the signals that `confab run` forwards to the program that it
// started.
func passedSignals() []os.Signal { return stopSignals() }

// passOn does nothing, because the Windows console sends an interrupt to every program that runs in
// it, also to the program that `confab run` started.
func passOn(*os.Process, os.Signal) {}

// codeOf returns the exit code of an ended process.
func codeOf(state *os.ProcessState) exitCode { return exitCode(state.ExitCode()) }

// cannotRun returns the exit code for a program that does not start: 127 if the program was not
// found, and otherwise 126, as on Unix.
func cannotRun(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

// openFiles returns known as false, because Windows sets no limit to open files.
func openFiles() (limit uint64, known bool) { return 0, false }
