// Command pipelines builds the assets of a Kata Containers release. See the
// README, or run it with --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cli"
)

// limit is how long the program may take to end after a signal, whatever hangs: ten
// seconds less what a busy machine adds.
const limit = 8 * time.Second

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	// The second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, os.Args[1:], cli.Process{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv})
	}()
	overdue := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(limit, func() { close(overdue) }) })
	select {
	case code := <-ended:
		os.Exit(code)
	case <-overdue:
		go fmt.Fprintln(os.Stderr, "interrupted, without waiting longer for what does not end")
		time.Sleep(100 * time.Millisecond) // Stderr may be what hangs.
		os.Exit(1)
	}
}
