// Command init loads the modules of an initrd and becomes the agent: the kernels of
// distributions have the drivers of virtual machines as modules.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	modules, err := filepath.Glob("/modules/*")
	if err == nil {
		err = load(modules)
	}
	if err == nil {
		err = syscall.Exec("/agent", []string{"agent"}, nil)
	}
	fmt.Fprintln(os.Stderr, "init:", err)
	for { // A first process that ends is a panic, which would hide the message.
		time.Sleep(time.Hour)
	}
}

// load loads modules, those that need others after them: which ones do differs from kernel to
// kernel.
func load(modules []string) error {
	var waiting []string
	var failed error
	for _, path := range modules {
		module, err := os.ReadFile(path)
		if err == nil {
			err = unix.InitModule(module, "")
		}
		if err != nil {
			waiting, failed = append(waiting, path), fmt.Errorf("loading %s: %w", path, err)
		}
	}
	if len(waiting) == 0 || len(waiting) == len(modules) {
		return failed
	}
	return load(waiting)
}
