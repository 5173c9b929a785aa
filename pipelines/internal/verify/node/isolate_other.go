//go:build !linux

package node

import (
	"errors"
	"os"
	"syscall"
)

var errLinux = errors.New("only Linux has namespaces")

func isolated(*os.File) *syscall.SysProcAttr { return nil }

func makeCgroup() (*os.File, error) { return nil, errLinux }

func (n *Node) removeCgroup() error { return nil }

// Inside is an error.
func (n *Node) Inside(func() error) error { return errLinux }
