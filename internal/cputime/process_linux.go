package cputime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Process returns the user and system time that a process has used so far.
func Process(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// tick is the unit of the CPU times in /proc, which C calls USER_HZ. It is a hundredth of a second
// on every architecture that Go supports.
const tick = 10 * time.Millisecond

// parseStat returns the user and system CPU time in a line of /proc/PID/stat: the 14th and
// the 15th field (proc_pid_stat(5)). The second field is the program's name in parentheses
// and may contain spaces.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third field on
	if len(fields) < 13 {
		return 0, fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err
}
