//go:build !linux

package nydus

import "errors"

// Snapshots are served on Linux only.
func onOverlay(string) (bool, error) { return false, errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
