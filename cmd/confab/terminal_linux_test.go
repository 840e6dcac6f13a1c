package main

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

const hasTerminal = true

// terminal implements the script command "terminal NAME WORD command...". It starts the command
// on a new terminal, as a background job called NAME, and waits until the command prints a line
// that contains WORD. The command keeps running, at most until the script ends. The variable
// TERMINAL_COLUMNS sets the width of the terminal; without it, the terminal has no width.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	master, slave, err := openTerminal()
	ts.Check(err)
	ts.Defer(func() { master.Close() })
	if columns := ts.Getenv("TERMINAL_COLUMNS"); columns != "" {
		n, err := strconv.ParseUint(columns, 10, 16)
		ts.Check(err)
		ts.Check(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(n), Row: 50}))
	}
	path, err := lookIn(ts.Getenv("PATH"), args[2])
	ts.Check(err)
	cmd := exec.Command(path, args[3:]...)
	cmd.Args[0] = args[2]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(environ(ts), "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	slave.Close()
	startJob(ts, args[0], args[1], cmd, bufio.NewReader(master))
	ts.Value("jobs").(*jobs).m[args[0]].terminal = master
}

func openTerminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	raw, err := master.SyscallConn() // do not call the method Fd: reads would then block until Close, and Close would wait for the reads
	if err != nil {
		return nil, nil, err
	}
	n := 0
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}
