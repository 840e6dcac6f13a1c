package main

import (
	"errors"
	"os"
	"os/exec"

	"golang.org/x/sys/windows"
)

// alive reports whether a process runs.
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

func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

func passedSignals() []os.Signal { return stopSignals() }

// passOn does nothing: the console interrupts every program in it by itself.
func passOn(*os.Process, os.Signal) {}

func codeOf(state *os.ProcessState) exitCode { return exitCode(state.ExitCode()) }

// cannotRun is the exit code for a program that does not start.
func cannotRun(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}

func openFiles() (limit uint64, known bool) { return 0, false }
