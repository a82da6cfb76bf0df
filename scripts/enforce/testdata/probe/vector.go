//go:build amd64

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/cpu"
)

// rounds of one call of addLoop, some hundred milliseconds under emulation: long enough for the scheduler and for traps
// to come in between.
const rounds = 1 << 20

// addLoop puts start[i] into each of the four lanes of vector register i, adds 1 to all lanes (a register of -1 is taken
// away) rounds times, and stores
// the registers. In between they are nowhere but in the registers.
//
//go:noescape
func addLoop(start *[15]uint64, rounds uint64, end *[15][4]uint64)

// vector computes what is known beforehand, until it is told to end.
func vector([]string) error {
	if !cpu.X86.HasAVX2 {
		return fmt.Errorf("this CPU has no AVX2")
	}
	runtime.LockOSThread()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	calls := 0
	for ; len(told) == 0; calls++ {
		var start [15]uint64
		for i := range start {
			start[i] = uint64(calls)<<32 + uint64(i)<<56
		}
		var end [15][4]uint64
		addLoop(&start, rounds, &end)
		for i, lanes := range end {
			for lane, got := range lanes {
				if want := start[i] + rounds; got != want {
					return fmt.Errorf("call %d: lane %d of register %d is %#x, want %#x", calls, lane, i, got, want)
				}
			}
		}
	}
	fmt.Println(calls, "calls")
	return nil
}
