// Command testguest is the first process of a domain in which the package's tests set traps.
// It executes itself again and again, and says how that went.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if os.Getpid() != 1 {
		return
	}
	_ = syscall.Mount("proc", "/proc", "proc", 0, "")
	_ = syscall.Mount("dev", "/dev", "devtmpfs", 0, "")
	line, _ := os.ReadFile("/proc/cmdline")
	workers := 1
	if strings.Contains(string(line), "smp") {
		workers = runtime.NumCPU()
	}
	fmt.Printf("GUEST ready, %d processors\n", runtime.NumCPU())
	done := make(chan string)
	for w := range workers {
		go func() {
			for n := 0; ; n++ {
				err := exec.Command("/init").Run()
				switch {
				case err == nil:
					done <- fmt.Sprintf("GUEST %d.%d ran", w, n)
				case errors.Is(err, syscall.EACCES):
					done <- fmt.Sprintf("GUEST %d.%d denied", w, n)
				default:
					done <- fmt.Sprintf("GUEST %d.%d %v", w, n, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	for text := range done {
		fmt.Println(text)
	}
}
